"""The condition `header` of Email/query (RFC 8621 §4.4.1).

An index knows which fields a message has, of whatever name. What is in them is read from those messages that have the
field, as many as one request may cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from stalwart import store
from stalwart.jmap.call import Call
from stalwart.jmap.errors import InvalidArguments, RequestTooLarge, UnsupportedFilter
from stalwart.mail.bodies import text_charset
from stalwart.mail.fields import line_view
from stalwart.mail.headers import as_text
from stalwart.mail.message import decode_structure
from stalwart.mail.terms import fold
from stalwart.store import AmongIds, BlobMissing, EmailRow, Filter, HasHeader

_MOST_MESSAGES = 100_000
_ROWS_AT_ONCE = 500
_BEGINNING = 8192
"""Octets of a message that are read at first: most headers are in them."""
_LEAST_PRICE = 1000
"""Octets that looking at one message counts for at least: opening a file costs more than reading it."""
_ROW_PRICE = 100
"""Octets that looking at what is kept of one message counts for."""
_IDS = {"message-id": "messageId", "in-reply-to": "inReplyTo", "references": "references"}
_ID = re.compile(r"[a-z0-9.@+=_$!~-]{3,}", re.ASCII)
_BLANK = re.compile(rb"\n\r*+\n")


def header_filter(call: Call, name: str, wanted: str | None) -> Filter:
    """Messages that have a header field of that name, in which `wanted` is found (None: in any way).

    Raises:
        InvalidArguments: the name is empty.
        UnsupportedFilter: too many messages would have to be read.
    """
    if not name:
        raise InvalidArguments("filter: the name of a header field is not empty.", "filter")
    if wanted is None:
        return HasHeader(name=name)
    return AmongIds(ids=tuple(_matching(call, name, fold(wanted).casefold())))


def _matching(call: Call, name: str, wanted: str) -> list[int]:
    values_of = _reader(name)
    mentions = _in_summary(name, wanted)
    if mentions:
        _charge(call, _ROW_PRICE * store.get_account(call.session, call.account.row).message_count)
    every = store.ids_with_header(call.session, call.account.row, name, _MOST_MESSAGES + 1, mentions)
    if len(every) > _MOST_MESSAGES:
        raise UnsupportedFilter(f"header: more than {_MOST_MESSAGES} messages have that field; that is too much mail.")
    matching: list[int] = []
    for start in range(0, len(every), _ROWS_AT_ONCE):
        rows = store.get_emails(call.session, call.account.row, every[start : start + _ROWS_AT_ONCE])
        for row in rows.values():
            header = _header(call, row)
            values = values_of(header) if header is not None else ()
            charset = None
            if values and not all(map(bytes.isascii, values)):
                charset = text_charset(decode_structure(row.structure))
            if any(wanted in fold(as_text(raw, charset)).casefold() for raw in values):
                matching.append(row.id)
    return matching


def _reader(name: str) -> Callable[[bytes], list[bytes]]:
    """Gives the values of the fields of one name in a header, as `mail.fields` would find them."""
    begin = b"\n" + name.lower().encode("utf-8")
    field = re.compile(re.escape(begin) + rb"[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)", re.IGNORECASE)

    def read(header: bytes) -> list[bytes]:
        header = b"\n" + header
        # Far quicker than the pattern, where the name isn't there.
        first = header.lower().find(begin)
        return [] if first < 0 else field.findall(header, first)

    return read


def _in_summary(name: str, wanted: str) -> Sequence[str]:
    """What a message's summary has in it if one of its ids has `wanted`; nothing where the summary can't tell.

    Clients look for messages by their Message-ID more than by anything else.
    """
    part, member = wanted.strip(" <>"), _IDS.get(name.lower())
    # A field in which no ids were found may have the text nevertheless.
    return (part, f'"{member}":null'.lower()) if member is not None and _ID.fullmatch(part) else ()


def _header(call: Call, row: EmailRow) -> bytes | None:
    try:
        _charge(call, _LEAST_PRICE)
        header = call.blobs.get(row.blob_hash, 0, _BEGINNING)
        if row.size > _BEGINNING and _BLANK.search(header) is None:
            root = decode_structure(row.structure)
            _charge(call, root.body_start)
            header = call.blobs.get(row.blob_hash, root.header_start, root.body_start - root.header_start)
    except BlobMissing:
        return None
    header = line_view(header).lstrip(b"\r\n")
    blank = _BLANK.search(header)
    return header if blank is None else header[: blank.start() + 1]


def _charge(call: Call, octets: int) -> None:
    try:
        call.exchange.charge_read(octets)
    except RequestTooLarge as error:
        raise UnsupportedFilter(f"header: there is too much mail to search. {error}") from None
