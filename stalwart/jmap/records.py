"""The records of a /set or /copy: found and shown as they are, and decoded as the client wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET

from stalwart.jmap import wire
from stalwart.jmap.arguments import invalid
from stalwart.jmap.call import Call
from stalwart.jmap.declare import Creation, DataType, Property, Show, show_plainly
from stalwart.jmap.errors import InvalidArguments, SetError, invalid_properties
from stalwart.jmap.patches import Patch, Pointer, apply_patch, parse_patch
from stalwart.jmap.references import substitute

Row = TypeVar("Row")
Resolve = Callable[[str], str]

_decode = msgspec.json.Decoder().decode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode


class Records(Generic[Row]):
    """The objects of one type in one account, read once and kept until they are written to."""

    def __init__(self, call: Call, data_type: DataType[Row, Any]) -> None:
        self._call = call
        self._type = data_type
        self._rows: dict[int, Row] = {}
        self._shows: dict[tuple[str, ...], Show[Row]] = {}

    def load(self, ids: Iterable[str]) -> None:
        """Read the rows with these ids, as far as they exist, in one go."""
        numbers = {row for text in ids if (row := self._type.row_of(text)) is not None}
        if numbers:
            self._rows.update(self._type.fetch(self._call, sorted(numbers)))

    def find(self, text: str) -> tuple[int, Row]:
        """The number and the row of an id. Raises SetError, `notFound`."""
        number = self._type.row_of(text)
        if number is not None:
            if number not in self._rows:
                self._rows.update(self._type.fetch(self._call, [number]))
            if number in self._rows:
                return number, self._rows[number]
        raise SetError("notFound", f"There is no {self._type.name} {text[:100]!r}.")

    def forget(self, number: int) -> None:
        """The row was written to: read it anew when it is needed again."""
        self._rows.pop(number, None)

    def values(self, row: Row, names: Iterable[str]) -> dict[str, Any]:
        """The id and these properties of a row as a client gets them."""
        wanted = tuple(dict.fromkeys(("id", *names)))
        show = self._shows.get(wanted)
        if show is None:
            show = self._shows[wanted] = self._view(wanted)
        shown: dict[str, Any] = _decode(wire.encode(show(row)))
        return shown

    def created(self, text: str, creation: Creation, properties: tuple[str, ...] | None) -> dict[str, Any]:
        """What a client is told of a new record: `properties`, or all that it didn't send or that came out otherwise.

        Raises:
            SetError: there is no such record.
        """
        number, row = self.find(text)
        self.forget(number)
        if properties is not None:
            return self.values(row, properties)
        shown = self.values(row, self._type.properties)
        # RFC 8620 §5.3: all server-set properties, and those that were set to a default
        return {
            name: value for name, value in shown.items() if name not in creation.given or value != creation.values[name]
        }

    def _view(self, wanted: tuple[str, ...]) -> Show[Row]:
        data_type = self._type
        if data_type.view is None:
            return show_plainly(data_type.properties, wanted)
        shape: Any = data_type.get_arguments
        arguments = shape() if data_type.of_user else shape(account_id=self._call.account.id)
        return data_type.view(self._call, wanted, arguments)


def decode_creation(
    data_type: DataType[Row, Any], creation_id: str, given: Mapping[str, Any], resolve: Resolve
) -> Creation:
    """The record that a client wants, with the defaults of the type. Raises SetError, `invalidProperties`."""
    values, wrong = _decoded(data_type, given, resolve)
    for declared in data_type.properties.values():
        if declared.set_by != "client" or declared.name in given:
            continue
        if declared.default is UNSET:
            wrong[declared.name] = f"{declared.name}: is required."
        else:
            values[declared.name] = declared.default
    _refuse(wrong)
    return Creation(id=creation_id, values=values, given=frozenset(given))


def decode_given(
    data_type: DataType[Row, Any], creation_id: str, given: Mapping[str, Any], resolve: Resolve
) -> Creation:
    """As `decode_creation`, but nothing is required and nothing is added: what else there is comes from a copy."""
    values, wrong = _decoded(data_type, given, resolve)
    _refuse(wrong)
    return Creation(id=creation_id, values=values, given=frozenset(given))


def resolve_creation(data_type: DataType[Row, Any], creation: Creation, resolve: Resolve) -> Creation:
    """The same with ids in the place of creation ids."""
    values = dict(creation.values)
    for name in creation.given:
        declared = data_type.properties.get(name)
        if declared is not None and declared.references is not None:
            values[name] = substitute(values[name], declared.references, resolve)
    return msgspec.structs.replace(creation, values=values)


def creation_order(data_type: DataType[Row, Any], creations: Mapping[str, Creation]) -> list[str]:
    """The creation ids, each after those that its record refers to (RFC 8620 §5.3). Circles are broken anywhere."""
    referred: dict[str, list[str]] = {}
    for creation_id, creation in creations.items():
        found: dict[str, None] = {}

        def note(text: str, found: dict[str, None] = found) -> str:
            if text.startswith("#") and text[1:] in creations:
                found[text[1:]] = None
            return text

        resolve_creation(data_type, creation, note)
        referred[creation_id] = list(found)
    order: dict[str, None] = {}
    for start in referred:
        path = {start: iter(referred[start])}
        while path:
            last = next(reversed(path))
            following = next((one for one in path[last] if one not in order and one not in path), None)
            if following is not None:
                path[following] = iter(referred[following])
            else:
                del path[last]
                order[last] = None
    return list(order)


def decode_update(
    data_type: DataType[Row, Any], records: Records[Row], row: Row, patch: Mapping[str, Any], resolve: Resolve
) -> dict[str, Any]:
    """The new values of those properties that a PatchObject changes.

    Raises:
        SetError: `invalidPatch` or `invalidProperties`.
    """
    properties = data_type.properties

    def resolve_step(pointer: Pointer) -> Pointer:
        declared = properties.get(pointer[0])
        if len(pointer) != 2 or declared is None:
            return pointer
        step = resolve(pointer[1]) if declared.references == "keys" else pointer[1]
        return pointer[0], step.lower() if declared.fold_keys else step

    def default(name: str) -> Any:
        declared = properties.get(name)
        # What the client can't set is only compared.
        return declared.default if declared is not None and _may_change(declared) else None

    parsed: Patch = parse_patch(patch, resolve_step)
    known = [name for name in parsed.names() if _accepted(data_type, name)]
    current = records.values(row, known)
    wanted = apply_patch(parsed, current, default)
    differing: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, value in wanted.items():
        declared = properties.get(name)
        if name not in current:
            wrong[name] = f"{name}: {data_type.name} has no such property."
            continue
        if declared is not None and declared.references is not None:
            value = substitute(value, declared.references, resolve)
        if value == current[name] and _encode_sorted(value) == _encode_sorted(current[name]):
            continue  # RFC 8620 §5.3: an entire object is also a valid PatchObject
        if declared is None or not _may_change(declared):
            wrong[name] = f"{name}: can't be changed."
            continue
        try:
            differing[name] = msgspec.convert(value, declared.type)
        except msgspec.ValidationError as error:
            wrong[name] = invalid(error, name).description
    _refuse(wrong)
    return differing


def _decoded(
    data_type: DataType[Row, Any], given: Mapping[str, Any], resolve: Resolve
) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, value in given.items():
        declared = data_type.properties.get(name)
        if declared is None:
            if _accepted(data_type, name):
                values[name] = value
            else:
                wrong[name] = f"{name[:100]}: {data_type.name} has no such property."
        elif declared.set_by == "server":
            wrong[name] = f"{name}: only the server sets it."
        else:
            try:
                if declared.references is not None:
                    value = substitute(value, declared.references, resolve)
                values[name] = msgspec.convert(value, declared.type)
            except msgspec.ValidationError as error:
                wrong[name] = invalid(error, name).description
    return values, wrong


def _refuse(wrong: Mapping[str, str]) -> None:
    if wrong:
        # RFC 8620 §5.3: "properties" lists all that were invalid
        raise invalid_properties(" ".join(wrong.values()), wrong)


def _may_change(declared: Property[Any]) -> bool:
    return declared.set_by == "client" and not declared.immutable


def _accepted(data_type: DataType[Row, Any], name: str) -> bool:
    if name in data_type.properties:
        return True
    if data_type.accepts is None:
        return False
    try:
        data_type.accepts(name)
    except InvalidArguments:
        return False
    return True
