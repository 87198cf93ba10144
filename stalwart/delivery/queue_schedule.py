"""When a message is tried again, and what is recorded of an attempt. Pure: time and chance are passed in."""

from __future__ import annotations

from stalwart.delivery.outgoing import Kind
from stalwart.store import QueueMessageRow, QueueRecipientRow, QueueStatus
from stalwart.store.queue_rows import Attempt

_FIRST_SECONDS = 300.0
_MOST_SECONDS = 4 * 3600.0
_JITTER = 0.2
_REPLY_LENGTH = 1000


def back_off(attempts: int, chance: float) -> float:
    """Seconds to wait after so many attempts (1 or more): doubled each time, at most four hours, and a fifth more or
    less by `chance` (0 to 1), so that what failed together isn't tried again together.
    """
    # RFC 5321 §4.5.4.1 wants half an hour and more; the first tries come sooner for the sake of greylisting.
    seconds = min(_MOST_SECONDS, _FIRST_SECONDS * (1 << min(attempts - 1, 20)))
    return seconds * (1 + _JITTER * (2 * chance - 1))


def attempt_of(
    message: QueueMessageRow,
    recipient: QueueRecipientRow,
    kind: Kind,
    *,
    reply: str,
    peer: str,
    now: int,
    chance: float,
    accepted: QueueStatus = "relayed",
) -> Attempt:
    """What is to be recorded of an attempt that ended so; `accepted` is what a recipient is who has it."""
    reply = " ".join(reply.split())[:_REPLY_LENGTH]
    if kind == "accepted":
        return Attempt(at=now, status=accepted, reply=reply, peer=peer)
    if kind == "permanent":
        return Attempt(at=now, status="failed", reply=reply, peer=peer)
    if now >= message.expires_at:
        return Attempt(at=now, status="expired", reply=reply, peer=peer)
    again = now + max(1, int(back_off(recipient.attempts + 1, chance)))
    # Whoever is to be warned, or given up, is tried once more at that moment.
    for moment in (message.warn_at, message.expires_at):
        if moment is not None and now < moment < again:
            again = moment
    return Attempt(at=now, status="queued", reply=reply, peer=peer, next_attempt_at=again)
