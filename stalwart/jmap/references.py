"""References inside a request: to results of earlier calls (RFC 8620 §3.7), and to records created in it (§5.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from stalwart.jmap.arguments import decode_value
from stalwart.jmap.errors import InvalidArguments, InvalidResultReference

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class ResultReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8620 §3.7."""

    result_of: str
    name: str
    path: str


class Response:
    """One entry of `methodResponses`, encoded once; decoded again only when a reference reaches into it."""

    __slots__ = ("_plain", "arguments", "call_id", "encoded", "name")

    def __init__(self, name: str, arguments: object, encoded: bytes, call_id: str) -> None:
        self.name = name
        self.arguments = arguments
        self.encoded = encoded
        self.call_id = call_id
        self._plain: Any = None

    def value(self, steps: list[str]) -> tuple[Any, list[str]]:
        """Where to begin with a path, and what is left of it."""
        if len(steps) == 1 and isinstance(self.arguments, dict):
            first = self.arguments.get(steps[0])
            if isinstance(first, list) and (not first or type(first[0]) is str):  # the ids of a query
                return first, []
        if self._plain is None:
            self._plain = _decode(self.encoded)
        return self._plain, steps


class Earlier(Protocol):
    """What resolving needs of the request under way."""

    @property
    def responses(self) -> Sequence[Response]:
        """The responses so far, in order."""

    def charge_reference(self, octets: int) -> None:
        """Count what a reference brought along. Raises InvalidResultReference when it is too much."""


def resolve(arguments: dict[str, Any], earlier: Earlier) -> dict[str, Any]:
    """`arguments` with every `#name` replaced by `name` and the value that it refers to.

    Raises:
        InvalidArguments: `name` and `#name` are both there, or a reference has the wrong shape.
        InvalidResultReference: a reference leads nowhere.
    """
    for key in arguments:
        if key.startswith("#"):
            break
    else:
        return arguments
    resolved: dict[str, Any] = {}
    for key, value in arguments.items():
        if not key.startswith("#"):
            resolved[key] = value
            continue
        name = key[1:]
        if name in arguments:
            raise InvalidArguments(f"{name}: given as itself and as a reference.", name)
        resolved[name] = _follow(decode_value(value, ResultReference, key), key, earlier)
    return resolved


def _follow(reference: ResultReference, key: str, earlier: Earlier) -> Any:
    # RFC 8620 §3.7: the first response with that call id, and it must have that name
    response = next((known for known in earlier.responses if known.call_id == reference.result_of), None)
    if response is None:
        raise InvalidResultReference(f"{key}: no call {reference.result_of!r} came before this one.")
    if response.name != reference.name:
        raise InvalidResultReference(
            f"{key}: the response of call {reference.result_of!r} is {response.name!r}, not {reference.name!r}."
        )
    path = reference.path
    if path and not path.startswith("/"):
        raise InvalidResultReference(f"{key}: the path {path!r} does not begin with a slash.")
    steps = path.split("/")[1:]
    for index, step in enumerate(steps):
        if "~" in step:
            steps[index] = _unescape(step, key)
    start, left = response.value(steps)
    value = _point(start, left, 0, key, earlier)
    # What is shared here is written out where it is echoed, so a chain of references could grow without end.
    if len(response.encoded) > 65_536:
        earlier.charge_reference(len(_encode(value)))
    else:
        earlier.charge_reference(len(response.encoded))
    return value


def _unescape(step: str, key: str) -> str:
    # RFC 6901 §4: first ~1, then ~0
    plain = step.replace("~1", "/").replace("~0", "~")
    if step.count("~") != step.count("~0") + step.count("~1"):
        raise InvalidResultReference(f"{key}: {step!r} has a tilde that is neither ~0 nor ~1 (RFC 6901).")
    return plain


def _point(value: Any, steps: list[str], at: int, key: str, earlier: Earlier) -> Any:
    while at < len(steps):
        step = steps[at]
        at += 1
        if type(value) is dict:
            if step not in value:
                raise InvalidResultReference(f"{key}: there is no {step!r} where the path leads.")
            value = value[step]
        elif type(value) is list and step == "*":
            earlier.charge_reference(len(value))
            gathered: list[Any] = []
            for item in value:
                found = _point(item, steps, at, key, earlier)
                if type(found) is list:
                    gathered.extend(found)
                else:
                    gathered.append(found)
            return gathered
        elif type(value) is list:
            # RFC 6901 §4: digits without a leading zero
            index = int(step) if step.isascii() and step.isdecimal() and len(step) < 10 else -1
            if not 0 <= index < len(value) or str(index) != step:
                raise InvalidResultReference(f"{key}: there is no item {step!r} in the array where the path leads.")
            value = value[index]
        else:
            raise InvalidResultReference(f"{key}: the path goes on after a value that has nothing inside, at {step!r}.")
    return value


class CreatedIds:
    """The map from creation ids to ids; one for all types, the last one counts (RFC 8620 §3.3, §5.3)."""

    __slots__ = ("known",)

    def __init__(self, known: dict[str, str]) -> None:
        self.known = known

    def add(self, creation_id: str, real_id: str) -> None:
        """A record was created."""
        self.known[creation_id] = real_id

    def resolve(self, text: str) -> str:
        """The id that `text` stands for: itself, or the record of a `#creationId`. An unknown one stays as it is."""
        return self.known.get(text[1:], text) if text.startswith("#") else text


def substitute(value: Any, where: Literal["value", "keys", "members"], resolve: Callable[[str], str]) -> Any:
    """`value` with each reference in it replaced by what `resolve` gives for it.

    `where` is as in `Property.references`; what has another shape than that is left as it is.
    """
    match where:
        case "value":
            if isinstance(value, str):
                return resolve(value)
            if isinstance(value, list):
                return [resolve(item) if isinstance(item, str) else item for item in value]
            return value
        case "keys":
            return {resolve(key): item for key, item in value.items()} if isinstance(value, dict) else value
        case "members":
            return _substitute_members(value, resolve)


def _substitute_members(value: Any, resolve: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_substitute_members(item, resolve) for item in value]
    if isinstance(value, dict):
        return {
            name: resolve(item) if name.endswith("Id") and isinstance(item, str) else _substitute_members(item, resolve)
            for name, item in value.items()
        }
    return value
