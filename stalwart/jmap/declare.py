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

from stalwart.jmap.arguments import Arguments, ChangesArguments, GetArguments, QueryArguments
from stalwart.jmap.call import Call
from stalwart.jmap.errors import InvalidArguments
from stalwart.store import Changes, TypeName

Row = TypeVar("Row")
F = TypeVar("F")
Operator = Literal["AND", "OR", "NOT"]
Show = Callable[[Row], object]


class Property(msgspec.Struct, Generic[Row], frozen=True, kw_only=True):
    """One property of a data type.

    `type` is what a value sent by a client is checked against; `default` is UNSET where a creation has to give one.
    `read` gives the value to be sent; None where the type's `view` knows how.
    """

    name: str
    type: Any
    read: Callable[[Row], object] | None = None
    default: Any = UNSET
    set_by: Literal["client", "server"] = "client"
    immutable: bool = False


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


class Query(msgspec.Struct, Generic[F], frozen=True, kw_only=True):
    """How a data type is searched. `combine` joins conditions; of none, AND and NOT are true and OR is false."""

    filters: Mapping[str, FilterCondition[F]]
    sorts: Mapping[str, SortKey]
    combine: Callable[[Operator, Sequence[F]], F]
    search: Callable[[Call, Search[F], Any], Found]
    arguments: type[QueryArguments] = QueryArguments


class DataType(msgspec.Struct, Generic[Row, F], frozen=True, kw_only=True):
    """A data type: what its objects are made of, and where they come from.

    `fetch` gives the rows of those numbers that exist, in order; for None at most one more than maxObjectsInGet of
    all there are. `view` turns the wanted property names into a function that shows a row; without one, each
    property's `read` is used. `accepts` allows names that are not in the table (RFC 8621 §4.1.3) or raises
    InvalidArguments. `also_changed` adds to the response of /changes.
    """

    name: TypeName
    capability: str
    prefix: str
    properties: Mapping[str, Property[Row]]
    fetch: Callable[[Call, Sequence[int] | None], Mapping[int, Row]]
    default_properties: tuple[str, ...] | None = None
    get_arguments: type[GetArguments] = GetArguments
    view: Callable[[Call, Sequence[str], Any], Show[Row]] | None = None
    accepts: Callable[[str], None] | None = None
    changes_arguments: type[ChangesArguments] = ChangesArguments
    also_changed: Callable[[Changes], Mapping[str, object]] | None = None
    query: Query[F] | None = None


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """A method that clients can call. `run` gets the `Call` and the decoded arguments; it gives those of the response.

    `arguments` None leaves them as they came. `writes` gives the call a transaction of its own.
    """

    name: str
    capability: str
    arguments: type[Arguments] | None
    run: Callable[[Call, Any], object]
    writes: bool = False


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
