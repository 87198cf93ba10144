"""Answers while somebody is away (RFC 3834): to which mails there may be one, and what it looks like.

An answer to a machine could be answered in turn, for ever; so in doubt there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from stalwart.mail.addresses import Address, AddressGroup
from stalwart.mail.build import NewPart, build
from stalwart.mail.build_fields import InvalidValue, address_field, date_field, message_id_field, text_field
from stalwart.mail.headers import HeaderField, as_addresses, as_text, unfolded
from stalwart.mail.html import html_to_text
from stalwart.mail.identifiers import parse_message_ids

__all__ = ["INTERVAL", "Answer", "Response", "compose", "sender_key", "why_silent"]

INTERVAL: Final = 7 * 86400
"""Seconds in which a sender gets one answer and no more (RFC 3834 §2 wants several days)."""

_ADDRESSED: Final = frozenset({"to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc"})
_LIST_FIELDS: Final = frozenset({"mailing-list", "x-mailing-list", "list-id", "x-listname", "feedback-id"})
_BULK: Final = frozenset({"bulk", "list", "junk"})
# RFC 3834 §2, RFC 5230 §4.6: names of programs that send mail, and of those behind mailing lists.
_MACHINE: Final = re.compile(
    r"(?:owner-.*|.*-(?:request|owner|bounces?|return)|mailer-daemon|listserv|majordomo|postmaster|"
    r"bounces?(?:[-+=._].*)?|(?:.*[-._+])?(?:no|do-?not)[-._]?reply(?:[-._+].*)?)",
    re.IGNORECASE,
)
# Bounce Address Tag Validation: a tag that changes from day to day, before the sender's own address.
_TAG: Final = re.compile(r"prvs=[^=@]*=")
_CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160), 0x2028, 0x2029, *range(0xD800, 0xE000)), " ")
_MAX_SUBJECT: Final = 200
_MAX_REFERENCES: Final = 20
_DEFAULT_SUBJECT: Final = "Automatic reply"
_DEFAULT_TEXT: Final = "I have received your message, but I am away and may not read it for some time.\n"


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What its user wants to be said (RFC 8621 §8); None leaves it to the server."""

    subject: str | None = None
    text_body: str | None = None
    html_body: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """From whom an answer comes, to whom it goes, and its id (without brackets) and time (epoch seconds)."""

    name: str
    sender: str
    recipient: str
    message_id: str
    sent_at: int


def why_silent(fields: Sequence[HeaderField], return_path: str, is_own: Callable[[str], bool]) -> str | None:
    """Why a message must not be answered, for people; None if it may be.

    `fields` are those of its header. `is_own` tells whether an address is one of the user's.
    """
    # RFC 3834 §2: the address to answer is the return path, and without one there is nobody to answer.
    if not return_path:
        return "it has no return path, as bounces have"
    local, at, _ = return_path.rpartition("@")
    if not at or not local:
        return "its return path is no address"
    if _MACHINE.fullmatch(local):
        return "its return path is that of a program"
    if is_own(return_path):
        return "it comes from the user"
    addressed = False
    for field in fields:
        name = field.name.lower()
        if name in _ADDRESSED:
            addressed = addressed or any(is_own(address.email) for address in as_addresses(field.raw))
        elif _is_automatic(name, field.raw):
            return f"its field {name} says that no person sent it to the user alone"
    if not addressed:
        # RFC 3834 §2: MUST NOT unless the address of the user is in To, Cc, Bcc or Resent-…
        return "no field names an address of the user"
    return None


def sender_key(return_path: str) -> str:
    """By what a sender is known again."""
    return _TAG.sub("", return_path.casefold(), count=1)


def compose(
    response: Response, answer: Answer, fields: Sequence[HeaderField], random_token: Callable[[], str]
) -> bytes:
    """The answer to the message with these header fields. Raises InvalidValue for addresses no field can have.

    It is to be sent with an empty return path (RFC 3834 §3.3).
    """
    by_name: dict[str, HeaderField] = {}
    for field in fields:
        by_name.setdefault(field.name.lower(), field)
    header = [
        address_field("From", [AddressGroup(None, (Address(_clean(answer.name) or None, answer.sender),))]),
        address_field("To", [AddressGroup(None, (Address(None, answer.recipient),))]),
        text_field("Subject", _subject(response, by_name.get("subject"))),
        date_field("Date", datetime.fromtimestamp(answer.sent_at, UTC)),
        message_id_field("Message-ID", [answer.message_id]),
        text_field("Auto-Submitted", "auto-replied"),  # RFC 3834 §3.1.7
    ]
    own_ids = _ids(by_name.get("message-id"))[:1]
    if own_ids:
        # RFC 3834 §3.1.6 and RFC 5322 §3.6.4
        earlier = _ids(by_name.get("references")) or _ids(by_name.get("in-reply-to"))
        references = [one for one in earlier if one not in own_ids][-_MAX_REFERENCES:]
        header += [message_id_field("In-Reply-To", own_ids), message_id_field("References", references + own_ids)]
    return b"".join(build(header, _body(response), random_token))


def _is_automatic(name: str, raw: bytes) -> bool:
    if name.startswith("list-") or name in _LIST_FIELDS:
        return True
    value = unfolded(raw).strip().lower()
    match name:
        case "auto-submitted":  # RFC 3834 §5
            return value.partition(";")[0].partition("(")[0].strip() != "no"
        case "precedence":
            return value.partition("(")[0].strip() in _BULK
        case "content-type":
            return value.startswith("multipart/report")  # RFC 6522
        case "x-auto-response-suppress":
            return not {"all", "oof", "autoreply"}.isdisjoint(re.split(r"[\s,]+", value))
        case "x-autoreply" | "x-autorespond" | "x-autogenerated" | "x-spam-flag":
            return value != "no"
        case _:
            return False


def _subject(response: Response, original: HeaderField | None) -> str:
    if response.subject is not None:
        return _clean(response.subject)
    subject = "" if original is None else _clean(as_text(original.raw))[:_MAX_SUBJECT]
    return f"Auto: {subject}" if subject else _DEFAULT_SUBJECT  # RFC 3834 §3.1.5


def _clean(text: str) -> str:
    """Text on one line: a header field that it is put into doesn't end in it."""
    return " ".join(text.translate(_CONTROLS).split())


def _ids(field: HeaderField | None) -> list[str]:
    """The message ids of a field, but for those that can't be written again."""
    found = None if field is None else parse_message_ids(unfolded(field.raw))
    return list(_writable(found or ()))


def _writable(ids: Iterable[str]) -> Iterable[str]:
    for one in ids:
        try:
            message_id_field("References", [one])
        except InvalidValue:
            continue
        yield one


def _body(response: Response) -> NewPart:
    html, text = response.html_body, response.text_body
    if text is None:
        # RFC 8621 §8: the plain text is made from the HTML
        text = _DEFAULT_TEXT if html is None else html_to_text(html) + "\n"
    plain = NewPart(type="text/plain", content=text)
    if html is None:
        return plain
    return NewPart(type="multipart/alternative", sub_parts=(plain, NewPart(type="text/html", content=html)))
