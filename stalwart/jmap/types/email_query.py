"""Email/query (RFC 8621 §4.4): its conditions and sort keys in the words of the store."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from stalwart import store
from stalwart.jmap.arguments import Id, QueryArguments, UnsignedInt, UTCDate
from stalwart.jmap.call import Call
from stalwart.jmap.declare import FilterCondition, Found, Operator, Query, Search, SortKey
from stalwart.jmap.errors import AnchorNotFound, InvalidArguments, RequestTooLarge, UnsupportedFilter
from stalwart.jmap.ids import row_of
from stalwart.mail.bodies import text_charset
from stalwart.mail.headers import as_text, parse_fields
from stalwart.mail.message import decode_structure
from stalwart.store import (
    After,
    AllOf,
    AmongIds,
    AnyOf,
    Before,
    BlobMissing,
    Filter,
    HasAttachment,
    HasKeyword,
    IdList,
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
_ROWS_AT_ONCE = 500
_LEAST_PRICE = 1000
"""Octets that looking at one message counts for at least."""

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


def _seconds(value: str, name: str) -> int:
    """The first whole second that is not before the date. Mail is kept with whole seconds."""
    whole, _, fraction = value.removesuffix("Z").partition(".")
    try:
        seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    except ValueError:
        raise InvalidArguments(f"filter: {name} {value!r} is not a date.", "filter") from None
    return seconds + 1 if fraction.strip("0") else seconds


def _before(call: Call, value: str) -> Filter:
    return Before(time=_seconds(value, "before"))


def _after(call: Call, value: str) -> Filter:
    return After(time=_seconds(value, "after"))


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
    """No index knows every field of every message, so this reads the headers of all of them."""
    name = value[0].lower()
    if not name:
        raise InvalidArguments("filter: the name of a header field is not empty.", "filter")
    wanted = _folded(value[1]) if len(value) > 1 else None
    if wanted is not None:
        _check_length(call, value[1], "header")
    question = ("header", name, wanted)
    known = store.recall(call.session, call.account.row, question)
    if known is not None:
        return AmongIds(ids=tuple(known.ids))
    matching: list[int] = []
    all_read = True
    every = store.list_email_ids(call.session, call.account.row, 2**62)
    for start in range(0, len(every), _ROWS_AT_ONCE):
        for row in store.get_emails(call.session, call.account.row, every[start : start + _ROWS_AT_ONCE]).values():
            root = decode_structure(row.structure)
            charset = text_charset(root)
            size = root.body_start - root.header_start
            try:
                call.exchange.charge_read(max(size, _LEAST_PRICE))
                fields = parse_fields(call.blobs.get(row.blob_hash, root.header_start, size))
            except RequestTooLarge as error:
                raise UnsupportedFilter(f"header: there is too much mail to search. {error}") from None
            except BlobMissing:
                all_read = False
                continue
            if any(
                field.name.lower() == name and (wanted is None or wanted in _folded(as_text(field.raw, charset)))
                for field in fields
            ):
                matching.append(row.id)
    if all_read:
        store.remember(call.session, call.account.row, question, IdList(ids=array("q", matching)))
    return AmongIds(ids=tuple(matching))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _search(call: Call, search: Search[Filter], arguments: EmailQueryArguments) -> Found:
    try:
        result = store.query_emails(
            call.session,
            call.account.row,
            search.filter,
            [
                Sort(
                    property=_property(one.property),
                    ascending=one.is_ascending,
                    keyword=one.keyword,
                    numeric=one.collation == "i;ascii-numeric",
                )
                for one in search.sort
            ],
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
)
