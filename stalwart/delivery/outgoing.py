"""A message on its way out as a value, and what became of it for each of its recipients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

Kind = Literal["accepted", "temporary", "permanent", "unknown"]
"""What a peer said of a recipient. `unknown`: it got the whole message, and its answer was lost."""

Begun = Callable[[tuple[str, ...]], Awaitable[None]]
"""Is told, before the octets that end a message are sent, which recipients the peer may then have accepted."""


class OutRecipient(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient; `notify` and `orcpt` are the DSN parameters of RFC 3461 §4.1 and §4.2, before xtext."""

    address: str
    notify: str | None = None
    orcpt: str | None = None


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it is handed to a peer. `data` has CRLF line ends; `size` is its octets.

    `return_path` is '' for bounces. `is_8bit`: the body has octets over 127. `needs_smtputf8`: the header has, whoever
    the recipients are; what addresses need is seen by themselves. `seven_bit`, if given, makes the same message for
    peers without 8BITMIME, signed anew, in a thread; it fails with `stalwart.mail.seven_bit.NotConvertible`.
    """

    return_path: str
    recipients: tuple[OutRecipient, ...]
    data: bytes
    size: int
    env_id: str | None = None
    ret: Literal["FULL", "HDRS"] | None = None
    is_8bit: bool = False
    needs_smtputf8: bool = False
    seven_bit: Callable[[], Awaitable[bytes]] | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one recipient. `reply` is one line; `peer` is who said it, '' if nobody was reached.

    `takes_dsn`: the peer was asked to report success if that was wanted (RFC 3461 §5.2.2).
    """

    recipient: str
    kind: Kind
    reply: str
    enhanced: str | None
    peer: str
    takes_dsn: bool = False
