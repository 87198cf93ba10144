"""The standard methods /get, /changes and /query (RFC 8620 §5), written once over the declarations of data types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from stalwart import store
from stalwart.jmap.arguments import (
    ChangesArguments,
    GetArguments,
    QueryArguments,
    SetArguments,
    UserGetArguments,
    UserSetArguments,
)
from stalwart.jmap.call import Call
from stalwart.jmap.declare import DataType, Found, Method, Query, Search, show_plainly
from stalwart.jmap.errors import AnchorNotFound, CannotCalculateChanges, InvalidArguments, RequestTooLarge
from stalwart.jmap.filters import decode_filter, decode_sort
from stalwart.jmap.writing import prepare_set, set_records

Row = TypeVar("Row")
F = TypeVar("F")

_MAX_STATE = 2**63 - 1


def methods_of(data_type: DataType[Row, F]) -> tuple[Method, ...]:
    """The standard methods that the declaration of a data type gives it."""
    name, capability = data_type.name, data_type.capability

    def run_get(call: Call, arguments: GetArguments | UserGetArguments) -> object:
        return get(call, data_type, arguments)

    made = [Method(name=f"{name}/get", capability=capability, arguments=data_type.get_arguments, run=run_get)]
    if not data_type.of_user:

        def run_changes(call: Call, arguments: ChangesArguments) -> object:
            return changes(call, data_type, arguments)

        made.append(
            Method(
                name=f"{name}/changes", capability=capability, arguments=data_type.changes_arguments, run=run_changes
            )
        )
    if (searched := data_type.query) is not None:

        def run_query(call: Call, arguments: QueryArguments) -> object:
            return query(call, data_type, searched, arguments)

        made.append(Method(name=f"{name}/query", capability=capability, arguments=searched.arguments, run=run_query))
    if (write := data_type.write) is not None:

        def prepare(call: Call, arguments: SetArguments | UserSetArguments) -> object:
            return prepare_set(call, data_type, write, arguments)

        def run_set(call: Call, arguments: SetArguments | UserSetArguments) -> object:
            return set_records(call, data_type, write, arguments)

        made.append(
            Method(
                name=f"{name}/set",
                capability=capability,
                arguments=write.arguments,
                run=run_set,
                writes=True,
                prepare=prepare,
            )
        )
    return tuple(made)


def get(call: Call, data_type: DataType[Row, F], arguments: GetArguments | UserGetArguments) -> dict[str, Any]:
    """RFC 8620 §5.1."""
    wanted = _wanted(data_type, arguments.properties)
    if data_type.view is None:
        show = show_plainly(data_type.properties, wanted)
    else:
        show = data_type.view(call, wanted, arguments)
    most = call.limits.max_objects_in_get
    missing: list[str] = []
    if arguments.ids is None:
        rows = data_type.fetch(call, None)
        _check_count(len(rows), most, data_type)
    else:
        numbers: dict[int, str] = {}
        row_of = data_type.row_of
        asked = dict.fromkeys(arguments.ids)  # RFC 8620 §5.1: an identical id is answered once
        _check_count(len(asked), most, data_type)
        for text in asked:
            number = row_of(text)
            if number is None and text.startswith("#"):
                number = row_of(call.resolve(text))
            if number is None:
                missing.append(text)
            else:
                numbers.setdefault(number, text)
        rows = data_type.fetch(call, list(numbers)) if numbers else {}
        if len(rows) != len(numbers):
            missing.extend(text for number, text in numbers.items() if number not in rows)
    found = {"list": [show(row) for row in rows.values()], "notFound": missing}
    if data_type.of_user:
        return found
    return {"accountId": call.account.id, "state": call.state(data_type.name), **found}


def _wanted(data_type: DataType[Row, F], properties: Sequence[str] | None) -> Sequence[str]:
    if properties is None:
        return data_type.default_properties or tuple(data_type.properties)
    # RFC 8620 §5.1: the id is always returned
    wanted = tuple(dict.fromkeys(("id", *properties)))
    known = data_type.properties
    for name in wanted:
        if name in known:
            continue
        if data_type.accepts is None:
            raise InvalidArguments(f"properties: {data_type.name} has no property {name!r}.", "properties")
        data_type.accepts(name)
    return wanted


def _check_count(count: int, most: int, data_type: DataType[Row, F]) -> None:
    if count > most:
        raise RequestTooLarge(f"More than {most} {data_type.name} objects in one call; get them in parts.")


def changes(call: Call, data_type: DataType[Row, F], arguments: ChangesArguments) -> dict[str, Any]:
    """RFC 8620 §5.2."""
    since = arguments.since_state
    # A state is the decimal number that `Call.state` gave.
    if not (since.isascii() and since.isdecimal() and len(since) < 20 and str(int(since)) == since):
        raise CannotCalculateChanges(f"sinceState {since[:40]!r} is not a state that this server gave.")
    most = min(arguments.max_changes or call.limits.max_changes, call.limits.max_changes)
    if int(since) > _MAX_STATE:
        raise CannotCalculateChanges(f"sinceState {since!r} lies in the future.")
    try:
        found = store.changes(call.session, call.account.row, data_type.name, int(since), most)
    except store.CannotCalculateChanges:
        raise CannotCalculateChanges(
            f"The changes of {data_type.name} since state {since!r} are not known; fetch everything again."
        ) from None
    id_of = data_type.id_of
    response: dict[str, Any] = {
        "accountId": call.account.id,
        "oldState": since,
        "newState": str(found.new_state),
        "hasMoreChanges": found.has_more,
        "created": [id_of(row) for row in found.created],
        "updated": [id_of(row) for row in found.updated],
        "destroyed": [id_of(row) for row in found.destroyed],
    }
    if data_type.also_changed is not None:
        response.update(data_type.also_changed(found))
    return response


def query(call: Call, data_type: DataType[Row, F], declared: Query[F], arguments: QueryArguments) -> dict[str, Any]:
    """RFC 8620 §5.5."""
    most = call.limits.max_results
    limit = most if arguments.limit is None else min(arguments.limit, most)
    prefix = data_type.prefix
    anchor = None
    if arguments.anchor is not None:
        anchor = data_type.row_of(call.resolve(arguments.anchor))
        if anchor is None:
            raise AnchorNotFound(f"{arguments.anchor!r} is not the id of any {data_type.name}.")
    search: Search[F] = Search(
        filter=None if arguments.filter is None else decode_filter(arguments.filter, declared, call),
        sort=decode_sort(arguments.sort, declared) if arguments.sort else (),
        position=arguments.position,
        anchor=anchor,
        anchor_offset=arguments.anchor_offset,
        limit=limit,
        calculate_total=arguments.calculate_total,
    )
    found = declared.search(call, search, arguments)
    response: dict[str, Any] = {
        "accountId": call.account.id,
        "queryState": call.state(data_type.name),
        "canCalculateChanges": False,
        "position": found.position,
        "ids": [f"{prefix}{row}" for row in found.rows],
    }
    if found.total is not None:
        response["total"] = found.total
    if limit != arguments.limit:
        # RFC 8620 §5.5: only returned if the server set a limit, or another than the one given
        response["limit"] = limit
    return response


def window(rows: Sequence[int], search: Search[F]) -> Found:
    """The window of a result of which all row numbers are known, in order."""
    if search.anchor is not None:
        try:
            position = rows.index(search.anchor)
        except ValueError:
            raise AnchorNotFound("The anchor is not among the results.") from None
        position = max(0, position + search.anchor_offset)
    elif search.position < 0:
        position = max(0, len(rows) + search.position)  # RFC 8620 §5.5: clamped to 0
    else:
        position = search.position
    return Found(
        rows=rows[position : position + search.limit],
        position=position,
        total=len(rows) if search.calculate_total else None,
    )
