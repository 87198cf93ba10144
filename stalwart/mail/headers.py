"""Header fields and the forms in which they may be asked for (RFC 8621 §4.1.2 and §4.1.3)."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import msgspec

from stalwart.mail.addresses import Address, parse_address_list
from stalwart.mail.charsets import decode_header
from stalwart.mail.dates import format_date, parse_date
from stalwart.mail.fields import scan_header
from stalwart.mail.identifiers import parse_message_ids, parse_urls
from stalwart.mail.message import Part
from stalwart.mail.words import decode_words, nfc, unfold

__all__ = [
    "ALLOWED_FORMS",
    "ALL_FORMS",
    "Form",
    "HeaderField",
    "HeaderValue",
    "allowed_forms",
    "as_addresses",
    "as_text",
    "header_fields",
    "header_form",
    "parse_fields",
    "unfolded",
]

Form = Literal["raw", "text", "addresses", "grouped-addresses", "message-ids", "date", "urls"]
#: What a form gives, ready for JSON: strings, lists of strings, lists of objects, null.
HeaderValue = str | list[str] | list[dict[str, Any]] | None

#: Every form, which fields not named in `ALLOWED_FORMS` may have.
ALL_FORMS: Final[frozenset[Form]] = frozenset(get_args(Form))

_TEXT: Final[frozenset[Form]] = frozenset({"raw", "text"})
_ADDRESSES: Final[frozenset[Form]] = frozenset({"raw", "addresses", "grouped-addresses"})
_IDS: Final[frozenset[Form]] = frozenset({"raw", "message-ids"})
_DATE: Final[frozenset[Form]] = frozenset({"raw", "date"})
_URLS: Final[frozenset[Form]] = frozenset({"raw", "urls"})

#: RFC 8621 §4.1.2.1 to §4.1.2.7: the fields of RFC 5322 and RFC 2369, names in lower case.
ALLOWED_FORMS: Final[dict[str, frozenset[Form]]] = {
    **dict.fromkeys(("subject", "comments", "keywords"), _TEXT),
    **dict.fromkeys(("from", "sender", "reply-to", "to", "cc", "bcc"), _ADDRESSES),
    **dict.fromkeys(("resent-from", "resent-sender", "resent-reply-to"), _ADDRESSES),
    **dict.fromkeys(("resent-to", "resent-cc", "resent-bcc"), _ADDRESSES),
    **dict.fromkeys(("message-id", "in-reply-to", "references", "resent-message-id"), _IDS),
    **dict.fromkeys(("date", "resent-date"), _DATE),
    **dict.fromkeys(("list-help", "list-unsubscribe", "list-subscribe"), _URLS),
    **dict.fromkeys(("list-post", "list-owner", "list-archive"), _URLS),
    **dict.fromkeys(("return-path", "received"), frozenset[Form]({"raw"})),
}

#: Octets of a value that the parsed forms look at.
_MAX_VALUE: Final = 1 << 19


class HeaderField(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A field as it was sent: name, and the octets after the colon with their folding, without the last CRLF."""

    name: str
    raw: bytes


def allowed_forms(name: str) -> frozenset[Form]:
    """The forms in which the field of that name may be fetched; other forms are invalidArguments."""
    return ALLOWED_FORMS.get(name.lower(), ALL_FORMS)


def header_fields(data: bytes, part: Part) -> tuple[HeaderField, ...]:
    """The fields of a part in their order; `data` is the whole message."""
    return parse_fields(data[part.header_start : part.body_start])


def parse_fields(header: bytes) -> tuple[HeaderField, ...]:
    """The fields of a part, given only `message[part.header_start:part.body_start]`."""
    return tuple(
        HeaderField(
            name=header[span.name_start : span.name_end].decode("ascii"),
            raw=header[span.value_start : span.value_end],
        )
        for span in scan_header(header, 0, len(header), len(header)).fields
    )


def header_form(raw: bytes, form: Form, charset: str | None = None) -> HeaderValue:
    """A value in one of the forms, as JSON has it. Whether the field may have the form is not asked here.

    `charset` is that of the message's text (`bodies.text_charset`), which 8-bit octets may be in.
    """
    match form:
        case "raw":
            # RFC 8621 §4.1.2.1: U+FFFD for what is no UTF-8, NUL dropped.
            return raw.decode("utf-8", "replace").replace("\0", "")
        case "text":
            return as_text(raw, charset)
        case "addresses":
            return [_builtin(address) for address in as_addresses(raw, charset)]
        case "grouped-addresses":
            return [
                {"name": group.name, "addresses": [_builtin(address) for address in group.addresses]}
                for group in parse_address_list(unfolded(raw, charset))
            ]
        case "message-ids":
            return parse_message_ids(unfolded(raw, charset))
        case "date":
            moment = parse_date(unfolded(raw, charset))
            return None if moment is None else format_date(moment)
        case "urls":
            return parse_urls(unfolded(raw, charset))


def as_text(raw: bytes, charset: str | None = None) -> str:
    """RFC 8621 §4.1.2.2: unfolded, encoded words decoded, in NFC."""
    return nfc(decode_words(unfolded(raw, charset).lstrip(" \t")))


def as_addresses(raw: bytes, charset: str | None = None) -> tuple[Address, ...]:
    """RFC 8621 §4.1.2.3: the mailboxes of an address list, those of groups among them."""
    groups = parse_address_list(unfolded(raw, charset))
    if len(groups) == 1:
        return groups[0].addresses
    return tuple(address for group in groups for address in group.addresses)


def unfolded(raw: bytes, charset: str | None = None) -> str:
    """A value as one line of text, its encoded words untouched."""
    return unfold(decode_header(raw[:_MAX_VALUE], charset))


def _builtin(address: Address) -> dict[str, Any]:
    return {"name": address.name, "email": address.email}
