"""How a data type is declared, and how a method is. The standard methods in `standard` work on these declarations.

A type's module says what its objects consist of and how rows are fetched and shown; it does not know of requests,
references or errors of transport.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET

from stalwart.jmap.arguments import (
    Arguments,
    ChangesArguments,
    CopyArguments,
    GetArguments,
    QueryArguments,
    QueryChangesArguments,
    SetArguments,
    UserGetArguments,
    UserSetArguments,
)
from stalwart.jmap.call import Call
from stalwart.jmap.errors import InvalidArguments, SetError
from stalwart.jmap.ids import row_of
from stalwart.store import Changes

Row = TypeVar("Row")
F = TypeVar("F")
Operator = Literal["AND", "OR", "NOT"]
Show = Callable[[Row], object]
References = Literal["value", "keys", "members"]


class Property(msgspec.Struct, Generic[Row], frozen=True, kw_only=True):
    """One property of a data type.

    `type` is what a value sent by a client is checked against; `default` is UNSET where a creation has to give one.
    `read` gives the value to be sent; None where the type's `view` knows how. `references` tells where ids of other
    records are in a value, so that `#creationId` may stand for them (RFC 8620 §5.3): the value itself or the items of
    the list that it is, the keys of a map, or all members named `…Id` anywhere inside. `fold_keys`: the value is a
    map whose keys are compared without case and kept in lower case.
    """

    name: str
    type: Any
    read: Callable[[Row], object] | None = None
    default: Any = UNSET
    set_by: Literal["client", "server"] = "client"
    immutable: bool = False
    references: References | None = None
    fold_keys: bool = False


class FilterCondition(msgspec.Struct, Generic[F], frozen=True, kw_only=True):
    """One property of a FilterCondition: the type of its value, and what it becomes."""

    type: Any
    build: Callable[[Call, Any], F]


class SortKey(msgspec.Struct, frozen=True, kw_only=True):
    """One property that a query can sort by. Collations only apply to text (RFC 8620 §5.5)."""

    is_text: bool = False
    needs_keyword: bool = False


class Comparator(Arguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8620 §5.5, with the `keyword` of RFC 8621 §4.4.2."""

    property: str
    is_ascending: bool = True
    collation: str | None = None
    keyword: str | None = None


class Search(msgspec.Struct, Generic[F], frozen=True, kw_only=True):
    """A query, decoded. `anchor` is a row number; `limit` is within the server's own."""

    filter: F | None
    sort: tuple[Comparator, ...]
    position: int
    anchor: int | None
    anchor_offset: int
    limit: int
    calculate_total: bool


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A window of the results: row numbers, the index of the first, and the total if it was asked for."""

    rows: Sequence[int]
    position: int
    total: int | None


class SearchChanges(msgspec.Struct, Generic[F], frozen=True, kw_only=True):
    """A query whose changes are wanted, decoded. `since` is a state of the type; `up_to` is a row number."""

    filter: F | None
    sort: tuple[Comparator, ...]
    since: int
    up_to: int | None
    calculate_total: bool


class FoundChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Row numbers that left the results, or may have moved in them; those that came or moved, with their index."""

    removed: Sequence[int]
    added: Sequence[tuple[int, int]]
    total: int | None


class Query(msgspec.Struct, Generic[F], frozen=True, kw_only=True):
    """How a data type is searched. `combine` joins conditions; of none, AND and NOT are true and OR is false.

    `changes` raises CannotCalculateChanges; `can_calculate` tells of the arguments of a query whether it need ever be
    asked.
    """

    filters: Mapping[str, FilterCondition[F]]
    sorts: Mapping[str, SortKey]
    combine: Callable[[Operator, Sequence[F]], F]
    search: Callable[[Call, Search[F], Any], Found]
    changes: Callable[[Call, SearchChanges[F], Any], FoundChanges]
    can_calculate: Callable[[Any], bool] = lambda arguments: True
    arguments: type[QueryArguments] = QueryArguments
    changes_arguments: type[QueryChangesArguments] = QueryChangesArguments


class Creation(msgspec.Struct, frozen=True, kw_only=True):
    """A record to be created. `values` are decoded and hold the defaults of what was not given.

    `given` are the names that the client sent; `prepared` is what the type's `prepare` made of it.
    """

    id: str
    values: Mapping[str, Any]
    given: frozenset[str]
    prepared: Any = None


class Write(msgspec.Struct, Generic[Row], frozen=True, kw_only=True):
    """How records of a data type are written. The last argument of each function is the arguments of the call.

    Each runs in a transaction that is undone if it raises `SetError`; the other records go on. What a type can't do
    is None. Values come decoded and with creation ids resolved.

    `prepare` sees a new record before the transaction begins, to do what takes long or waits for the disk (writing
    blobs); ids of records that the same call creates are not known to it yet. It may raise `SetError`.
    `create` gives the number of the new row.
    `update` gets the row and the new values of those properties that differ, and gives the properties that changed in
    another way than was asked for (RFC 8620 §5.3, `updated`), or None.
    `update_together` gets, by row number, those updates that got in each other's way one by one, as a swap of two
    names does; it makes all that are possible together, and gives for each what `update` would give, or its error.
    `finish` comes after all others, with the rows of those records that were created, changed or destroyed, by id.
    `created_properties` are what the client is told of a new record; None: all that it didn't send.
    `copy` gets the call, the call as it would be on the account copied from, the row there, and a `Creation` with
    only what was given; it gives the number of the new row. `prepare_copy` is to it what `prepare` is to `create`.
    """

    arguments: type[SetArguments] | type[UserSetArguments] = SetArguments
    prepare: Callable[[Call, Creation, Any], Any] | None = None
    create: Callable[[Call, Creation, Any], int] | None = None
    update: Callable[[Call, Row, Mapping[str, Any], Any], Mapping[str, object] | None] | None = None
    update_together: (
        Callable[
            [Call, Mapping[int, tuple[Row, Mapping[str, Any]]], Any],
            Mapping[int, SetError | Mapping[str, object] | None],
        ]
        | None
    ) = None
    destroy: Callable[[Call, Row, Any], None] | None = None
    finish: Callable[[Call, Mapping[str, Row], Any], None] | None = None
    created_properties: tuple[str, ...] | None = None
    copy: Callable[[Call, Call, Row, Creation, Any], int] | None = None
    prepare_copy: Callable[[Call, Call, Row, Creation, Any], Any] | None = None
    copy_arguments: type[CopyArguments] = CopyArguments


class DataType(msgspec.Struct, Generic[Row, F], frozen=True, kw_only=True):
    """A data type: what its objects are made of, and where they come from.

    `fetch` gives the rows of those numbers that exist, in order; for None at most one more than maxObjectsInGet of
    all there are. `view` turns the wanted property names into a function that shows a row; without one, each
    property's `read` is used. `accepts` allows names that are not in the table (RFC 8621 §4.1.3) or raises
    InvalidArguments. `also_changed` adds to the response of /changes; `find_changes` finds the changes since a state,
    at most so many, of a type whose objects have no rows of their own.

    A type with `of_user` belongs to the user: its methods have no accountId, its objects no state and no /changes
    (RFC 8620 §7.2). `call.account` is then the user's own account. Of a `singleton` type each account has one object,
    with row number 0 and the id "singleton", and there is no /changes (RFC 8621 §8). Records of one that
    `refers_to_itself` may hold ids of others of its kind.
    """

    name: str
    capability: str
    prefix: str
    properties: Mapping[str, Property[Row]]
    fetch: Callable[[Call, Sequence[int] | None], Mapping[int, Row]]
    default_properties: tuple[str, ...] | None = None
    get_arguments: type[GetArguments] | type[UserGetArguments] = GetArguments
    view: Callable[[Call, Sequence[str], Any], Show[Row]] | None = None
    accepts: Callable[[str], None] | None = None
    changes_arguments: type[ChangesArguments] = ChangesArguments
    also_changed: Callable[[Changes], Mapping[str, object]] | None = None
    find_changes: Callable[[Call, int, int], Changes] | None = None
    query: Query[F] | None = None
    write: Write[Row] | None = None
    of_user: bool = False
    singleton: bool = False
    refers_to_itself: bool = False

    def id_of(self, row: int) -> str:
        """The id of the object with this row number."""
        return "singleton" if self.singleton else f"{self.prefix}{row}"

    def row_of(self, text: str) -> int | None:
        """The row number in an id, or None when it is not one that this server gives out."""
        if self.singleton:
            return 0 if text == "singleton" else None
        return row_of(self.prefix, text)


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """A method that clients can call. `run` gets the `Call` and the decoded arguments; it gives those of the response.

    `arguments` None leaves them as they came. `writes` gives the call a transaction of its own; `prepare` then runs
    before it, on a snapshot, and what it gives is in `call.prepared`.
    """

    name: str
    capability: str
    arguments: type[Arguments] | None
    run: Callable[[Call, Any], object]
    writes: bool = False
    prepare: Callable[[Call, Any], object] | None = None


def table(*properties: Property[Row]) -> Mapping[str, Property[Row]]:
    """Properties by name."""
    return {declared.name: declared for declared in properties}


def field(name: str) -> Callable[[Any], object]:
    """A `read` that gives one attribute of the row as it is."""
    return operator.attrgetter(name)


def show_plainly(properties: Mapping[str, Property[Row]], wanted: Sequence[str]) -> Show[Row]:
    """Show rows by the `read` functions of the wanted properties."""
    readers: list[tuple[str, Callable[[Row], object]]] = []
    for name in wanted:
        declared = properties.get(name)
        if declared is None or declared.read is None:
            raise InvalidArguments(f"properties: there is no property {name!r}.", "properties")
        readers.append((name, declared.read))
    return lambda row: {name: read(row) for name, read in readers}
