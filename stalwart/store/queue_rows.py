"""The queue's values: what is put in, and what is read from it."""

from __future__ import annotations

from typing import Literal

import msgspec

QueueStatus = Literal["queued", "delivered", "relayed", "failed", "expired", "canceled"]
"""`delivered`: in the recipient's mailbox; `relayed`: another server has taken it over; `expired`: given up after too
long; `failed`: refused for good."""

Ret = Literal["FULL", "HDRS"]
"""How much of the message a report is to carry. RFC 3461 §4.3"""

ReportKind = Literal["dsn", "mdn"]
"""About the delivery (RFC 3464), or about whether the message was shown (RFC 8098)."""

LOCAL = "local"
"""The destination of recipients on this server."""


class NewRecipient(msgspec.Struct, frozen=True, kw_only=True):
    """Who is to get it. `notify`, `orcpt`: RFC 3461 §4.1 and §4.2, before xtext, without keyword; None: not given."""

    address: str
    notify: str | None = None
    orcpt: str | None = None


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message to send, whose octets lie in the blob store as they are to go out, but for signatures.

    `message_id` is its Message-ID, without brackets.

    `account_id` None stands for the server itself; an empty `return_path` for a report, which causes none in turn.
    Times are epoch seconds. `env_id` is made up if it is None; `expires_at` None: four days after it may first go.
    """

    account_id: int | None
    submission_id: int | None = None
    blob_hash: str
    size: int
    return_path: str
    recipients: tuple[NewRecipient, ...]
    env_id: str | None = None
    ret: Ret | None = None
    message_id: str | None = None
    is_8bit: bool = False
    needs_smtputf8: bool = False
    not_before: int | None = None
    expires_at: int | None = None
    is_held: bool = False


class QueueRecipientRow(msgspec.Struct, frozen=True, kw_only=True):
    """A recipient of a queued message. `begun_at` is set while an attempt is under way, `ending_at` from when the end
    of the message may have been sent; `next_attempt_at` is None when the recipient doesn't wait: done, held, or under
    way. `reply` is the last answer of SMTP, on one line.
    """

    id: int
    message_id: int
    address: str
    notify: str | None
    orcpt: str | None
    destination: str
    status: QueueStatus
    attempts: int
    next_attempt_at: int | None
    begun_at: int | None
    ending_at: int | None
    last_attempt_at: int | None
    reply: str | None
    peer: str | None
    is_displayed: bool = False


class QueueMessageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A message in the queue. `warn_at`: when its sender is to be told that it is late; `finished_at` None: some
    recipient still waits.
    """

    id: int
    account_id: int | None
    submission_id: int | None
    blob_hash: str
    size: int
    return_path: str
    env_id: str
    ret: Ret | None
    is_8bit: bool
    needs_smtputf8: bool
    created_at: int
    not_before: int
    expires_at: int
    is_held: bool
    warn_at: int | None
    finished_at: int | None
    message_id: str | None = None
    recipients: tuple[QueueRecipientRow, ...]


class DueRecipient(msgspec.Struct, frozen=True, kw_only=True):
    """A recipient whose time has come. `size` is the message's, in octets, `account_id` that of who sends it."""

    id: int
    message_id: int
    destination: str
    size: int
    account_id: int | None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an attempt to reach one recipient. `status` "queued": it is tried again at `next_attempt_at`."""

    at: int
    status: QueueStatus
    reply: str
    peer: str
    next_attempt_at: int | None = None


class QueueFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How the queue stands. `oldest_at`: since when the oldest message waits that isn't held; None: none does."""

    messages: int
    recipients: int
    held: int
    oldest_at: int | None
    is_paused: bool
