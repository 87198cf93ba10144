"""Emails (RFC 8621 §4): what a list view needs comes from one row, bodies and header fields from the message."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw

from stalwart import store
from stalwart.jmap.arguments import GetArguments, Id, UnsignedInt, UTCDate
from stalwart.jmap.call import Call
from stalwart.jmap.declare import DataType, Property, Show, table
from stalwart.jmap.errors import InvalidArguments
from stalwart.jmap.ids import blob_id
from stalwart.jmap.types import mail
from stalwart.jmap.types.email_body import DEFAULT_PART_PROPERTIES, Body, PartView, Values, body_of
from stalwart.jmap.types.email_copy import copy, prepare_copy
from stalwart.jmap.types.email_create import create, prepare
from stalwart.jmap.types.email_headers import HeaderProperty, all_headers, header_property, header_value
from stalwart.jmap.types.email_query import QUERY
from stalwart.jmap.types.email_set import WRITE
from stalwart.jmap.types.email_source import Source
from stalwart.mail.bodies import text_charset
from stalwart.store import EmailRow, Filter

# RFC 8621 §4.1.1: printable ASCII, without parentheses, { ] % * " and backslash
Keyword = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\A[!#$&'+-\[^-z|}~]+\Z")]
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
    call.exchange.charge_read(sum(len(row.summary) + len(row.structure) for row in found.values()))
    return {row: found[row] for row in rows if row in found}


# What lies in the row itself, and under which attribute of a `Listed` it is kept.
_METADATA = {
    "id": "id",
    "blobId": "blob_id",
    "threadId": "thread_id",
    "mailboxIds": "mailbox_ids",
    "keywords": "keywords",
    "size": "size",
    "receivedAt": "received_at",
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
    "attachments": lambda row, body, view, source: [view.show(part, row, source) for part in body.lists.attachments],
}


class _Lister:
    """Shows of an Email what is in its row, and nothing else.

    The members of the summary that are wanted are taken out as the JSON that they are, and sent as that.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        # Attribute names of our own: "from" is a keyword of Python.
        members = {name: f"member_{index}" for index, name in enumerate(wanted) if name in _SUMMARY}
        metadata = {name: attribute for name, attribute in _METADATA.items() if name in wanted}
        self.attributes = {**metadata, **members}
        shape = msgspec.defstruct(
            "Listed",
            [
                *((attribute, object, UNSET) for attribute in metadata.values()),
                *((attribute, Raw, Raw(b"null")) for attribute in members.values()),
            ],
            rename={attribute: name for name, attribute in self.attributes.items()},
            gc=False,
        )
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(shape).decode
        self._blob_id = "blobId" in wanted
        self._thread_id = "threadId" in wanted
        self._mailbox_ids = "mailboxIds" in wanted
        self._keywords = "keywords" in wanted
        self._size = "size" in wanted
        self._received_at = "receivedAt" in wanted

    def show(self, row: EmailRow) -> Any:
        shown = self._decode(row.summary)
        shown.id = f"E{row.id}"
        if self._blob_id:
            shown.blob_id = blob_id(row.blob_hash)
        if self._thread_id:
            shown.thread_id = f"T{row.thread_id}"
        if self._mailbox_ids:
            shown.mailbox_ids = _mailbox_ids(row.mailbox_ids)
        if self._keywords:
            shown.keywords = dict.fromkeys(row.keywords, True)
        if self._size:
            shown.size = row.size
        if self._received_at:
            shown.received_at = datetime.fromtimestamp(row.received_at, UTC)
        return shown


@functools.lru_cache(maxsize=1024)
def _mailbox_ids(rows: tuple[int, ...]) -> Raw:
    # Most Emails of a list lie in the same mailboxes.
    return Raw(msgspec.json.encode({f"M{row}": True for row in rows}))


@functools.lru_cache(maxsize=512)
def _lister(wanted: tuple[str, ...]) -> _Lister:
    return _Lister(wanted)


class FullView:
    """Shows what needs the message's structure or its octets, beside what is in the row."""

    def __init__(self, call: Call, wanted: Sequence[str], arguments: EmailGetArguments) -> None:
        self._call = call
        self._lister = _lister(tuple(name for name in wanted if name in _FAST))
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
        """One Email."""
        body = body_of(row)
        return self.show_from(row, body, Source(self._call, row, text_charset(body.root)))

    def show_from(self, row: EmailRow, body: Body, source: Source) -> dict[str, Any]:
        """One Email, its octets taken from `source`."""
        listed = self._lister.show(row)
        shown = {name: getattr(listed, attribute) for name, attribute in self._lister.attributes.items()}
        for name, read in self._body:
            shown[name] = read(row, body, self._parts, source)
        if self._values is not None:
            shown["bodyValues"] = self._values.read(body, source)
        if self._headers:
            fields = source.fields(body.root)
            for name, header in self._headers:
                shown[name] = (
                    all_headers(fields, source.charge)
                    if header is None
                    else header_value(header, fields, source.charset, source.charge)
                )
        return shown


def _view(call: Call, wanted: Sequence[str], arguments: EmailGetArguments) -> Show[EmailRow]:
    if all(name in _FAST for name in wanted):
        if arguments.body_properties is not None:
            PartView(arguments.body_properties)  # wrong names are an error even where they aren't used
        return _lister(tuple(wanted)).show
    return FullView(call, wanted, arguments).show


_FAST = frozenset((*_METADATA, *_SUMMARY))


def accepts(name: str) -> None:
    """Allow a header property. Raises InvalidArguments for anything else."""
    if not name.startswith("header:"):
        raise InvalidArguments(f"properties: Email has no property {name[:200]!r}.", "properties")
    header_property(name)


def _server_set(name: str, type_: Any) -> Property[EmailRow]:
    return Property(name=name, type=type_, set_by="server", immutable=True)


def _immutable(name: str, type_: Any) -> Property[EmailRow]:
    return Property(name=name, type=type_, default=None, immutable=True)


# RFC 8621 §4.1; §4.3: /changes as it is
EMAIL: DataType[EmailRow, Filter] = DataType(
    name="Email",
    capability=mail.URI,
    prefix="E",
    properties=table(
        _server_set("id", Id),
        _server_set("blobId", Id),
        _server_set("threadId", Id),
        Property(name="mailboxIds", type=dict[Id, bool], references="keys"),
        Property(name="keywords", type=dict[Keyword, bool], default={}, fold_keys=True),
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
    accepts=accepts,
    query=QUERY,
    write=msgspec.structs.replace(WRITE, prepare=prepare, create=create, prepare_copy=prepare_copy, copy=copy),
)
