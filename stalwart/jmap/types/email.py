"""Emails (RFC 8621 §4): what a list view needs comes from one row, bodies and header fields from the message."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from stalwart import store
from stalwart.store import EmailRow, Filter

from ..arguments import GetArguments, Id, UnsignedInt, UTCDate
from ..call import Call
from ..declare import DataType, Property, Show, table
from ..errors import InvalidArguments
from ..ids import blob_id
from . import mail
from .email_body import DEFAULT_PART_PROPERTIES, Body, PartView, Values, body_of
from .email_headers import HeaderProperty, all_headers, header_property, header_value
from .email_query import QUERY
from .email_source import Source

# RFC 8621 §4.1.1: printable ASCII, without parentheses, { ] % * " and backslash
Keyword = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[!#$&'+-\[^-z|}~]+$")]
Addresses = list[dict[str, str | None]] | None


class EmailGetArguments(GetArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8621 §4.2."""

    body_properties: list[str] | None = None
    fetch_text_body_values: bool = False
    fetch_html_body_values: bool = msgspec.field(name="fetchHTMLBodyValues", default=False)
    fetch_all_body_values: bool = False
    max_body_value_bytes: UnsignedInt = 0


def _fetch(call: Call, rows: Sequence[int] | None) -> Mapping[int, EmailRow]:
    if rows is None:
        rows = store.list_email_ids(call.session, call.account.row, call.limits.max_objects_in_get + 1)
    found = store.get_emails(call.session, call.account.row, rows)
    return {row: found[row] for row in rows if row in found}


# What lies in the row itself.
_METADATA: Mapping[str, Callable[[EmailRow], object]] = {
    "id": lambda row: f"E{row.id}",
    "blobId": lambda row: blob_id(row.blob_hash),
    "threadId": lambda row: f"T{row.thread_id}",
    "mailboxIds": lambda row: {f"M{mailbox}": True for mailbox in row.mailbox_ids},
    "keywords": lambda row: dict.fromkeys(row.keywords, True),
    "size": lambda row: row.size,
    "receivedAt": lambda row: datetime.fromtimestamp(row.received_at, UTC),
}
# What was worked out when the message came in, and lies in the row as JSON under these names.
_SUMMARY = (
    "messageId",
    "inReplyTo",
    "references",
    "sender",
    "from",
    "to",
    "cc",
    "bcc",
    "replyTo",
    "subject",
    "sentAt",
    "hasAttachment",
    "preview",
)
# What is put together from the stored structure.
_BODY: Mapping[str, Callable[[EmailRow, Body, PartView, Source], object]] = {
    "bodyStructure": lambda row, body, view, source: view.show_tree(body.root, row, source),
    "textBody": lambda row, body, view, source: [view.show(part, row, source) for part in body.lists.text],
    "htmlBody": lambda row, body, view, source: [view.show(part, row, source) for part in body.lists.html],
    "attachments": lambda row, body, view, source: [
        view.show(part, row, source) for part in body.lists.attachments
    ],
}


class _Picker:
    """Takes members out of a summary as the JSON that they are, without reading into it."""

    def __init__(self, names: tuple[str, ...]) -> None:
        # Attribute names of our own: "from" is a keyword of Python.
        self.attributes = [(f"member_{index}", name) for index, name in enumerate(names)]
        shape = msgspec.defstruct(
            "Members",
            [(attribute, Raw, Raw(b"null")) for attribute, _ in self.attributes],
            rename=dict(self.attributes),
        )
        self.decode = msgspec.json.Decoder(shape).decode


@functools.lru_cache(maxsize=512)
def _picker(names: tuple[str, ...]) -> _Picker:
    return _Picker(names)


def _show_fast(wanted: Sequence[str]) -> Show[EmailRow]:
    """Show what is in the row, and nothing else."""
    metadata = [(name, _METADATA[name]) for name in wanted if name in _METADATA]
    picker = _picker(tuple(name for name in wanted if name in _SUMMARY))
    decode, attributes = picker.decode, picker.attributes

    def show(row: EmailRow) -> object:
        shown = {name: read(row) for name, read in metadata}
        members = decode(row.summary)
        for attribute, name in attributes:
            shown[name] = getattr(members, attribute)
        return shown

    return show


class _FullView:
    """Shows what needs the message's structure or its octets, beside what is in the row."""

    def __init__(self, call: Call, wanted: Sequence[str], arguments: EmailGetArguments) -> None:
        self._call = call
        self._fast = _show_fast(wanted)
        self._body = [(name, _BODY[name]) for name in wanted if name in _BODY]
        self._headers: list[tuple[str, HeaderProperty | None]] = [
            (name, None if name == "headers" else header_property(name))
            for name in wanted
            if name == "headers" or name.startswith("header:")
        ]
        self._parts = PartView(
            DEFAULT_PART_PROPERTIES if arguments.body_properties is None else arguments.body_properties
        )
        self._values = (
            Values(
                text=arguments.fetch_text_body_values,
                html=arguments.fetch_html_body_values,
                every=arguments.fetch_all_body_values,
                most=arguments.max_body_value_bytes,
            )
            if "bodyValues" in wanted
            else None
        )

    def show(self, row: EmailRow) -> object:
        shown: Any = self._fast(row)
        source = Source(self._call, row)
        body = body_of(row)
        for name, read in self._body:
            shown[name] = read(row, body, self._parts, source)
        if self._values is not None:
            shown["bodyValues"] = self._values.read(body, source)
        if self._headers:
            fields = source.fields(body.root)
            for name, header in self._headers:
                shown[name] = all_headers(fields) if header is None else header_value(header, fields)
        return shown


def _view(call: Call, wanted: Sequence[str], arguments: EmailGetArguments) -> Show[EmailRow]:
    if all(name in _FAST for name in wanted):
        if arguments.body_properties is not None:
            PartView(arguments.body_properties)  # wrong names are an error even where they aren't used
        return _show_fast(wanted)
    return _FullView(call, wanted, arguments).show


_FAST = frozenset((*_METADATA, *_SUMMARY))


def _accepts(name: str) -> None:
    if not name.startswith("header:"):
        raise InvalidArguments(f"properties: Email has no property {name[:200]!r}.", "properties")
    header_property(name)


def _server_set(name: str, type_: Any) -> Property[EmailRow]:
    return Property(name=name, type=type_, set_by="server", immutable=True)


def _immutable(name: str, type_: Any) -> Property[EmailRow]:
    return Property(name=name, type=type_, default=None, immutable=True)


EMAIL: DataType[EmailRow, Filter] = DataType(
    name="Email",
    capability=mail.URI,
    prefix="E",
    properties=table(
        _server_set("id", Id),
        _server_set("blobId", Id),
        _server_set("threadId", Id),
        Property(name="mailboxIds", type=dict[Id, bool]),
        Property(name="keywords", type=dict[Keyword, bool], default={}),
        _server_set("size", UnsignedInt),
        _immutable("receivedAt", UTCDate),
        _immutable("headers", list[dict[str, str]]),
        _immutable("messageId", list[str] | None),
        _immutable("inReplyTo", list[str] | None),
        _immutable("references", list[str] | None),
        _immutable("sender", Addresses),
        _immutable("from", Addresses),
        _immutable("to", Addresses),
        _immutable("cc", Addresses),
        _immutable("bcc", Addresses),
        _immutable("replyTo", Addresses),
        _immutable("subject", str | None),
        _immutable("sentAt", str | None),
        _immutable("bodyStructure", dict[str, Any]),
        _immutable("bodyValues", dict[str, Any]),
        _immutable("textBody", list[dict[str, Any]]),
        _immutable("htmlBody", list[dict[str, Any]]),
        _immutable("attachments", list[dict[str, Any]]),
        _server_set("hasAttachment", bool),
        _server_set("preview", str),
    ),
    # RFC 8621 §4.2: this default instead of all properties
    default_properties=(
        "id",
        "blobId",
        "threadId",
        "mailboxIds",
        "keywords",
        "size",
        "receivedAt",
        *_SUMMARY,
        "bodyValues",
        "textBody",
        "htmlBody",
        "attachments",
    ),
    get_arguments=EmailGetArguments,
    fetch=_fetch,
    view=_view,
    accepts=_accepts,
    query=QUERY,
)
