"""The standard methods that read (RFC 8620 §5), written once over the declarations of data types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from stalwart import store
from stalwart.jmap.arguments import (
    Arguments,
    ChangesArguments,
    GetArguments,
    QueryArguments,
    QueryChangesArguments,
    UserGetArguments,
)
from stalwart.jmap.call import Call
from stalwart.jmap.copying import copy_records, prepare_copy
from stalwart.jmap.declare import (
    Ahead,
    DataType,
    Found,
    FoundChanges,
    Method,
    Query,
    Search,
    SearchChanges,
    show_plainly,
)
from stalwart.jmap.errors import (
    AnchorNotFound,
    CannotCalculateChanges,
    InvalidArguments,
    RequestTooLarge,
    TooManyChanges,
)
from stalwart.jmap.filters import decode_filter, decode_sort
from stalwart.jmap.writing import prepare_set, set_records
from stalwart.store import Changes

Row = TypeVar("Row")
F = TypeVar("F")

Run = Callable[[Call, Any], object]

_MAX_STATE = 2**63 - 1


def methods_of(data_type: DataType[Row, F]) -> tuple[Method, ...]:
    """The standard methods that the declaration of a data type gives it."""
    made = [_method(data_type, "get", data_type.get_arguments, lambda call, arguments: get(call, data_type, arguments))]
    if not (data_type.of_user or data_type.singleton):
        shape = data_type.changes_arguments
        made.append(_method(data_type, "changes", shape, lambda call, arguments: changes(call, data_type, arguments)))
    if (declared := data_type.query) is not None:
        made.append(
            _method(
                data_type,
                "query",
                declared.arguments,
                lambda call, arguments: query(call, data_type, declared, arguments),
            )
        )
        made.append(
            _method(
                data_type,
                "queryChanges",
                declared.changes_arguments,
                lambda call, arguments: query_changes(call, data_type, declared, arguments),
            )
        )
    if (write := data_type.write) is not None:
        made.append(
            _method(
                data_type,
                "set",
                write.arguments,
                lambda call, arguments: set_records(call, data_type, write, arguments),
                lambda call, arguments: prepare_set(call, data_type, write, arguments),
                write.ahead,
                open_to_readers=write.open_to_readers,
            )
        )
        if write.copy is not None:
            made.append(
                _method(
                    data_type,
                    "copy",
                    write.copy_arguments,
                    lambda call, arguments: copy_records(call, data_type, write, arguments),
                    lambda call, arguments: prepare_copy(call, data_type, write, arguments),
                )
            )
    return tuple(made)


def _method(
    data_type: DataType[Row, F],
    name: str,
    shape: type[Arguments],
    run: Run,
    prepare: Run | None = None,
    ahead: Callable[[Call, Any], Ahead | None] | None = None,
    *,
    open_to_readers: Callable[[Any], bool] | None = None,
) -> Method:
    return Method(
        name=f"{data_type.name}/{name}",
        capability=data_type.capability,
        arguments=shape,
        run=run,
        writes=prepare is not None,
        prepare=prepare,
        open_to_readers=open_to_readers,
        ahead=ahead,
    )


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
    since = _known_state(arguments.since_state, "sinceState")
    most = min(arguments.max_changes or call.limits.max_changes, call.limits.max_changes)
    try:
        if data_type.find_changes is None:
            found = store.changes(call.session, call.account.row, data_type.name, since, most)
        else:
            found = data_type.find_changes(call, since, most)
    except store.CannotCalculateChanges:
        raise _unknown_changes(data_type, arguments.since_state) from None
    id_of = data_type.id_of
    response: dict[str, Any] = {
        "accountId": call.account.id,
        "oldState": arguments.since_state,
        "newState": str(found.new_state),
        "hasMoreChanges": found.has_more,
        "created": [id_of(row) for row in found.created],
        "updated": [id_of(row) for row in found.updated],
        "destroyed": [id_of(row) for row in found.destroyed],
    }
    if data_type.also_changed is not None:
        response.update(data_type.also_changed(found))
    return response


def _known_state(text: str, argument: str) -> int:
    # A state is the decimal number that `Call.state` gave.
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and str(int(text)) == text):
        raise CannotCalculateChanges(f"{argument} {text[:40]!r} is not a state that this server gave.")
    if int(text) > _MAX_STATE:
        raise CannotCalculateChanges(f"{argument} {text!r} lies in the future.")
    return int(text)


def _unknown_changes(data_type: DataType[Row, F], since: str) -> CannotCalculateChanges:
    return CannotCalculateChanges(
        f"The changes of {data_type.name} since state {since!r} are not known; fetch everything again."
    )


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
        "canCalculateChanges": declared.can_calculate(arguments),
        "position": found.position,
        "ids": [f"{prefix}{row}" for row in found.rows],
    }
    if found.total is not None:
        response["total"] = found.total
    if limit != arguments.limit:
        # RFC 8620 §5.5: only returned if the server set a limit, or another than the one given
        response["limit"] = limit
    return response


def query_changes(
    call: Call, data_type: DataType[Row, F], declared: Query[F], arguments: QueryChangesArguments
) -> dict[str, Any]:
    """RFC 8620 §5.6."""
    search: SearchChanges[F] = SearchChanges(
        filter=None if arguments.filter is None else decode_filter(arguments.filter, declared, call),
        sort=decode_sort(arguments.sort, declared) if arguments.sort else (),
        since=_known_state(arguments.since_query_state, "sinceQueryState"),
        up_to=None if arguments.up_to_id is None else data_type.row_of(call.resolve(arguments.up_to_id)),
        calculate_total=arguments.calculate_total,
    )
    try:
        found = declared.changes(call, search, arguments)
    except store.CannotCalculateChanges:
        raise _unknown_changes(data_type, arguments.since_query_state) from None
    if arguments.max_changes is not None and len(found.removed) + len(found.added) > arguments.max_changes:
        raise TooManyChanges(
            f"{len(found.removed)} removed and {len(found.added)} added are more than maxChanges, "
            f"{arguments.max_changes}."
        )
    id_of = data_type.id_of
    response: dict[str, Any] = {
        "accountId": call.account.id,
        "oldQueryState": arguments.since_query_state,
        "newQueryState": call.state(data_type.name),
        "removed": [id_of(row) for row in found.removed],
        "added": [{"id": id_of(row), "index": index} for row, index in found.added],
    }
    if found.total is not None:
        response["total"] = found.total
    return response


def splice(rows: Sequence[int], changed: Changes, search: SearchChanges[F]) -> FoundChanges:
    """The changes of a result of which all row numbers are known, in order."""
    moved = {*changed.updated, *changed.created}
    return FoundChanges(
        removed=[*changed.updated, *changed.destroyed],
        added=[(row, index) for index, row in enumerate(rows) if row in moved],
        total=len(rows) if search.calculate_total else None,
    )


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
