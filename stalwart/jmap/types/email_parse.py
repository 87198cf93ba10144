"""Email/parse (RFC 8621 §4.9): blobs shown as Emails without becoming any."""

from __future__ import annotations

from typing import Any

import msgspec

from stalwart.jmap.arguments import AccountArguments, Id, UnsignedInt
from stalwart.jmap.call import Call
from stalwart.jmap.contents import Content
from stalwart.jmap.declare import Method
from stalwart.jmap.errors import RequestTooLarge
from stalwart.jmap.types import mail
from stalwart.jmap.types.email import EMAIL, EmailGetArguments, FullView, accepts
from stalwart.jmap.types.email_body import Body
from stalwart.jmap.types.email_source import Source
from stalwart.mail.bodies import body_lists, text_charset
from stalwart.mail.fields import begins_like_mail
from stalwart.mail.message import encode_structure
from stalwart.mail.summary import encode_summary, summarize
from stalwart.store import EmailRow

# RFC 8621 §4.9: these stand for a stored Email, and a parsed one is none.
_NULL = ("id", "threadId", "mailboxIds", "keywords", "receivedAt")
_DEFAULT = (
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
    "bodyValues",
    "textBody",
    "htmlBody",
    "attachments",
)


class EmailParseArguments(AccountArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8621 §4.9."""

    blob_ids: list[Id]
    properties: list[str] | None = None
    body_properties: list[str] | None = None
    fetch_text_body_values: bool = False
    fetch_html_body_values: bool = msgspec.field(name="fetchHTMLBodyValues", default=False)
    fetch_all_body_values: bool = False
    max_body_value_bytes: UnsignedInt = 0


def _parse(call: Call, arguments: EmailParseArguments) -> dict[str, Any]:
    blob_ids = dict.fromkeys(arguments.blob_ids)
    most = call.limits.max_parsed
    if len(blob_ids) > most:
        raise RequestTooLarge(f"{len(blob_ids)} blobs to parse in one call, and {most} are allowed.")
    view = _View(call, arguments)
    parsed: dict[str, object] = {}
    not_found: list[str] = []
    not_parsable: list[str] = []
    for given in blob_ids:
        content = call.content(given)
        if content is None:
            not_found.append(given)
            continue
        call.exchange.charge_read(content.size)
        octets = content.read(0, content.size)
        if begins_like_mail(octets):
            parsed[given] = view.show(octets, content, call.resolve(given))
        else:
            not_parsable.append(given)
    return {
        "accountId": call.account.id,
        # RFC 8621 §4.9: null if none
        "parsed": parsed or None,
        "notParsable": not_parsable or None,
        "notFound": not_found or None,
    }


class _View:
    """Shows messages as Emails with the wanted properties."""

    def __init__(self, call: Call, arguments: EmailParseArguments) -> None:
        wanted = _DEFAULT if arguments.properties is None else tuple(dict.fromkeys(arguments.properties))
        for name in wanted:
            if name not in EMAIL.properties:
                accepts(name)
        self._call = call
        self._wanted = wanted
        self._full = FullView(
            call,
            ("id", *wanted),
            EmailGetArguments(
                account_id=arguments.account_id,
                body_properties=arguments.body_properties,
                fetch_text_body_values=arguments.fetch_text_body_values,
                fetch_html_body_values=arguments.fetch_html_body_values,
                fetch_all_body_values=arguments.fetch_all_body_values,
                max_body_value_bytes=arguments.max_body_value_bytes,
            ),
        )

    def show(self, octets: bytes, content: Content, text: str) -> dict[str, Any]:
        digest = summarize(octets)
        root = digest.structure
        row = EmailRow(
            id=0,
            thread_id=0,
            blob_hash=content.origin,
            size=len(octets),
            received_at=0,
            mailbox_ids=(),
            keywords=(),
            summary=encode_summary(digest.summary),
            structure=encode_structure(root),
            modseq=0,
        )
        source = Source(self._call, row, text_charset(root), octets=octets, within=content.within)
        shown = self._full.show_from(row, Body(root=root, lists=body_lists(root)), source)
        shown |= dict.fromkeys(_NULL)
        shown["blobId"] = text
        return {name: shown[name] for name in self._wanted}


PARSE = Method(name="Email/parse", capability=mail.URI, arguments=EmailParseArguments, run=_parse)
