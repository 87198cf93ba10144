"""What the owner of an SMTP client session hears from it."""

from __future__ import annotations

import msgspec

from stalwart.delivery.outgoing import Outcome
from stalwart.delivery.replies import Reply


class StartTls(msgspec.Struct, frozen=True):
    """Begin the handshake, and call `secured` after it."""


class Ready(msgspec.Struct, frozen=True):
    """A message can be sent, the session's first one or the next."""


class SendContent(msgspec.Struct, frozen=True, kw_only=True):
    """The peer waits for the message, for these recipients: call `content` with it, then `end_content`."""

    recipients: tuple[str, ...]


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The message is done with: one outcome for each recipient, in their order."""

    outcomes: tuple[Outcome, ...]


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """No message can be sent in this session; the reply is the peer's, or says what it did."""

    reply: Reply


class Closed(msgspec.Struct, frozen=True):
    """The session is over: close the connection."""


Event = StartTls | Ready | SendContent | Finished | Failed | Closed
