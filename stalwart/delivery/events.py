"""What an LMTP session tells its owner, as values."""

from __future__ import annotations

import msgspec

from stalwart.delivery.commands import Body
from stalwart.delivery.replies import Reply


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One mail transaction. `id` is ours, `client` the name from LHLO, `sender` is empty for a bounce."""

    id: str
    client: str
    sender: str
    recipients: tuple[str, ...] = ()
    size: int | None
    body: Body
    smtputf8: bool


class RecipientAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A RCPT waits for `answer_recipient`."""

    envelope: Envelope
    address: str


class MessageOffered(msgspec.Struct, frozen=True, kw_only=True):
    """A DATA waits for `open_message` or `refuse_message`."""

    envelope: Envelope


class MessageOctets(msgspec.Struct, frozen=True, kw_only=True):
    """The next octets of the message, dots unstuffed."""

    octets: bytes


class MessageEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The message is whole and waits for `answer_message`."""

    envelope: Envelope


class MessageDropped(msgspec.Struct, frozen=True, kw_only=True):
    """The message got too large, so what came of it can be forgotten. The client hears so after its last octet."""

    envelope: Envelope
    reply: Reply


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """The session is over: send what there is and hang up."""


Event = RecipientAsked | MessageOffered | MessageOctets | MessageEnded | MessageDropped | Closed
