"""Email/query (RFC 8621 §4.4): its conditions and sort keys in the words of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from stalwart import store
from stalwart.jmap.arguments import Id, QueryArguments, QueryChangesArguments, UnsignedInt, UTCDate
from stalwart.jmap.call import Call
from stalwart.jmap.declare import (
    Comparator,
    FilterCondition,
    Found,
    FoundChanges,
    Operator,
    Query,
    Search,
    SearchChanges,
    SortKey,
)
from stalwart.jmap.errors import AnchorNotFound, InvalidArguments, UnsupportedFilter
from stalwart.jmap.ids import row_of
from stalwart.jmap.types.email_header_filter import header_filter
from stalwart.store import (
    After,
    AllOf,
    AnyOf,
    Before,
    Filter,
    HasAttachment,
    HasKeyword,
    InMailbox,
    InMailboxOtherThan,
    MaxSize,
    MinSize,
    NoneOf,
    NotKeyword,
    Sort,
    Text,
    ThreadKeyword,
)

_MOST_TEXT = 1000
"""Characters of a text to search for."""
_MOST_MAILBOXES = 500

TextField = Literal["any", "from", "to", "cc", "bcc", "subject", "body"]
HeaderTest = Annotated[list[str], Meta(min_length=1, max_length=2)]

SORTS = {
    "receivedAt": SortKey(),
    "size": SortKey(),
    "from": SortKey(is_text=True),
    "to": SortKey(is_text=True),
    "subject": SortKey(is_text=True),
    "sentAt": SortKey(),
    "hasKeyword": SortKey(needs_keyword=True),
    "allInThreadHaveKeyword": SortKey(needs_keyword=True),
    "someInThreadHaveKeyword": SortKey(needs_keyword=True),
}


class EmailQueryArguments(QueryArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8621 §4.4."""

    collapse_threads: bool = False


class EmailQueryChangesArguments(
    QueryChangesArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """RFC 8621 §4.5."""

    collapse_threads: bool = False


def _combine(operator: Operator, children: Sequence[Filter]) -> Filter:
    match operator:
        case "AND":
            return AllOf(children=tuple(children))
        case "OR":
            return AnyOf(children=tuple(children))
        case "NOT":
            return NoneOf(children=tuple(children))


_NOTHING = AnyOf(children=())


def _in_mailbox(call: Call, value: str) -> Filter:
    row = row_of("M", call.resolve(value))
    return _NOTHING if row is None else InMailbox(id=row)


def _in_other_mailbox(call: Call, value: list[str]) -> Filter:
    rows = {row for text in call.resolve_all(value) if (row := row_of("M", text)) is not None}
    if len(rows) > _MOST_MAILBOXES:
        raise UnsupportedFilter(f"inMailboxOtherThan: at most {_MOST_MAILBOXES} mailboxes are supported.")
    return InMailboxOtherThan(ids=tuple(sorted(rows)))


def seconds_from(value: str, name: str) -> int:
    """The first whole second that is not before the date. Mail is kept with whole seconds."""
    whole, _, fraction = value.removesuffix("Z").partition(".")
    try:
        seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    except ValueError:
        raise InvalidArguments(f"filter: {name} {value!r} is not a date.", "filter") from None
    return seconds + 1 if fraction.strip("0") else seconds


def _before(call: Call, value: str) -> Filter:
    return Before(time=seconds_from(value, "before"))


def _after(call: Call, value: str) -> Filter:
    return After(time=seconds_from(value, "after"))


def _thread_keyword(mode: Literal["all", "some", "none"]) -> FilterCondition[Filter]:
    return FilterCondition(type=str, build=lambda call, value: ThreadKeyword(mode=mode, keyword=value))


def _text(name: str, field: TextField) -> FilterCondition[Filter]:
    def build(call: Call, value: str) -> Filter:
        _check_length(call, value, name)
        return Text(field=field, query=value)

    return FilterCondition(type=str, build=build)


def _check_length(call: Call, value: str, name: str) -> None:
    call.exchange.charge_text(len(value))
    if len(value) > _MOST_TEXT:
        raise UnsupportedFilter(f"{name}: at most {_MOST_TEXT} characters are searched for.")


def _with_header(call: Call, value: list[str]) -> Filter:
    wanted = value[1] if len(value) > 1 else None
    if wanted is not None:
        _check_length(call, wanted, "header")
    return header_filter(call, value[0], wanted)


def _search(call: Call, search: Search[Filter], arguments: EmailQueryArguments) -> Found:
    try:
        result = store.query_emails(
            call.session,
            call.account.row,
            search.filter,
            _sorts(search.sort),
            collapse_threads=arguments.collapse_threads,
            position=search.position,
            limit=search.limit,
            anchor=search.anchor,
            anchor_offset=search.anchor_offset,
            calculate_total=search.calculate_total,
        )
    except store.AnchorNotFound:
        raise AnchorNotFound("The anchor is not among the results.") from None
    except store.FilterTooComplex as error:
        raise UnsupportedFilter(f"The filter is too complex: {error}.") from None
    return Found(rows=result.ids, position=result.position, total=result.total)


def _search_changes(call: Call, search: SearchChanges[Filter], arguments: EmailQueryChangesArguments) -> FoundChanges:
    try:
        found = store.query_email_changes(
            call.session,
            call.account.row,
            search.filter,
            _sorts(search.sort),
            collapse_threads=arguments.collapse_threads,
            since=search.since,
            up_to=search.up_to,
            calculate_total=search.calculate_total,
        )
    except store.FilterTooComplex as error:
        raise UnsupportedFilter(f"The filter is too complex: {error}.") from None
    return FoundChanges(removed=found.removed, added=found.added, total=found.total)


def _sorts(comparators: Sequence[Comparator]) -> list[Sort]:
    return [
        Sort(
            property=_property(one.property),
            ascending=one.is_ascending,
            keyword=one.keyword,
            numeric=one.collation == "i;ascii-numeric",
        )
        for one in comparators
    ]


def _property(name: str) -> Any:
    return name  # one of SORTS, which are the store's


def _plain(type_: Any, build: Callable[[Any], Filter]) -> FilterCondition[Filter]:
    return FilterCondition(type=type_, build=lambda call, value: build(value))


QUERY: Query[Filter] = Query(
    arguments=EmailQueryArguments,
    filters={
        "inMailbox": FilterCondition(type=Id, build=_in_mailbox),
        "inMailboxOtherThan": FilterCondition(type=list[Id], build=_in_other_mailbox),
        "before": FilterCondition(type=UTCDate, build=_before),
        "after": FilterCondition(type=UTCDate, build=_after),
        "minSize": _plain(UnsignedInt, lambda value: MinSize(size=value)),
        "maxSize": _plain(UnsignedInt, lambda value: MaxSize(size=value)),
        "allInThreadHaveKeyword": _thread_keyword("all"),
        "someInThreadHaveKeyword": _thread_keyword("some"),
        "noneInThreadHaveKeyword": _thread_keyword("none"),
        "hasKeyword": _plain(str, lambda value: HasKeyword(keyword=value)),
        "notKeyword": _plain(str, lambda value: NotKeyword(keyword=value)),
        "hasAttachment": _plain(bool, lambda value: HasAttachment(value=value)),
        "text": _text("text", "any"),
        "from": _text("from", "from"),
        "to": _text("to", "to"),
        "cc": _text("cc", "cc"),
        "bcc": _text("bcc", "bcc"),
        "subject": _text("subject", "subject"),
        "body": _text("body", "body"),
        "header": FilterCondition(type=HeaderTest, build=_with_header),
    },
    sorts=SORTS,
    combine=_combine,
    search=_search,
    changes=_search_changes,
    changes_arguments=EmailQueryChangesArguments,
)
