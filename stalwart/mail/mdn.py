"""Message disposition notifications (RFC 8098, RFC 6533 §6): that a recipient was shown a message. Read only."""

from __future__ import annotations

from typing import Final

import msgspec

from stalwart.mail.bodies import decode_part
from stalwart.mail.comments import strip_comments
from stalwart.mail.dsn import read_group, typed_value
from stalwart.mail.headers import as_addresses, header_fields
from stalwart.mail.identifiers import parse_message_ids
from stalwart.mail.message import scan

__all__ = ["Notification", "parse"]

_TYPES: Final = frozenset({"message/disposition-notification", "message/global-disposition-notification"})
_MOST_OCTETS: Final = 1 << 16


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """What a notification says. `message_id` is that of the message it is about, without brackets.

    `recipients` are the addresses that it may be from: the one that was sent to, and the one that was reached.
    """

    message_id: str
    recipients: tuple[str, ...]
    is_displayed: bool


def parse(message: bytes) -> Notification | None:
    """What a notification says; None for a message that is none, or doesn't say of which message it is."""
    root, _ = scan(message)
    part = next((part for part in root.sub_parts or () if part.type in _TYPES), None)
    if part is None:
        return None
    fields = read_group(decode_part(message, part)[:_MOST_OCTETS].replace(b"\r\n", b"\n").strip())
    ids = parse_message_ids(fields.get("original-message-id", ""))
    # RFC 8098 §3: From MUST be the person whom it is about
    authors = {
        address.email.lower()
        for field in header_fields(message, root)
        if field.name.lower() == "from"
        for address in as_addresses(field.raw)
    }
    named = [typed_value(fields.get(name, "")) for name in ("original-recipient", "final-recipient")]
    if not ids or authors.isdisjoint(address.lower() for address in named if address is not None):
        return None
    # RFC 8098 §3.2.6: action-mode/sending-mode; disposition-type/modifiers
    kind = strip_comments(fields.get("disposition", "")).partition(";")[2].partition("/")[0].strip().lower()
    return Notification(
        message_id=ids[0],
        recipients=tuple(dict.fromkeys(address for address in named if address is not None)),
        is_displayed=kind == "displayed",
    )
