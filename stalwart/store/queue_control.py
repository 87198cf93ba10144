"""What people do to the queue: hold, release, try again, cancel, pause; and how it stands."""

from __future__ import annotations

from sqlalchemy import bindparam, func, select, update

from stalwart.store.errors import NotFound
from stalwart.store.queue import finish_if_done, get_queue_message, is_paused
from stalwart.store.queue_rows import QueueFigures, QueueMessageRow
from stalwart.store.session import Session
from stalwart.store.submission_state import touch_submission
from stalwart.store.tables import queue_control, queue_message, queue_recipient

_m, _r = queue_message.c, queue_recipient.c
_HOLD = update(queue_message).where(_m.id == bindparam("message")).values(is_held=bindparam("held"))
_STOP_WAITING = (
    update(queue_recipient)
    .where(_r.message_id == bindparam("message"), _r.status == "queued")
    .values(next_attempt_at=None)
)
_WAIT_UNTIL = (
    update(queue_recipient)
    .where(_r.message_id == bindparam("message"), _r.status == "queued", _r.begun_at.is_(None))
    .values(next_attempt_at=bindparam("at"))
)
_MAY_GO = update(queue_message).where(_m.id == bindparam("message")).values(not_before=bindparam("at"))
_CANCEL = (
    update(queue_recipient)
    .where(_r.message_id == bindparam("message"), _r.status == "queued")
    .values(status="canceled", next_attempt_at=None)
    .returning(_r.id)
)
_PAUSE = update(queue_control).values(is_paused=bindparam("paused"))
_FIGURES = select(
    func.count(),
    func.coalesce(func.sum(_m.is_held), 0),
    func.min(_m.not_before).filter(_m.is_held.is_(False), _m.not_before <= bindparam("now")),
).where(_m.finished_at.is_(None))
_COUNT_WAITING = (
    select(func.count())
    .select_from(queue_recipient)
    .join(queue_message, _m.id == _r.message_id)
    .where(_m.finished_at.is_(None), _r.status == "queued")
)


def queue_figures(s: Session) -> QueueFigures:
    """How the queue stands. Reads what is not done yet."""
    messages, held, oldest_at = s.connection.execute(_FIGURES, {"now": s.now()}).one()
    return QueueFigures(
        messages=messages,
        recipients=s.connection.scalar(_COUNT_WAITING) or 0,
        held=held,
        oldest_at=oldest_at,
        is_paused=is_paused(s),
    )


def hold(s: Session, message_id: int) -> None:
    """Have the message wait until it is released; an attempt that is under way ends as it would. Raises NotFound."""
    _unfinished(s, message_id)
    s.connection.execute(_HOLD, {"message": message_id, "held": True})
    s.connection.execute(_STOP_WAITING, {"message": message_id})


def release(s: Session, message_id: int) -> None:
    """Let a message go that was held: at once, or when it may first go. Raises NotFound."""
    message = _unfinished(s, message_id)
    s.connection.execute(_HOLD, {"message": message_id, "held": False})
    s.connection.execute(_WAIT_UNTIL, {"message": message_id, "at": max(s.now(), message.not_before)})
    s.queued = True


def retry(s: Session, message_id: int) -> None:
    """Try all recipients that wait now, also before the time the message was to go, and if it is held. NotFound."""
    message = _unfinished(s, message_id)
    s.connection.execute(_HOLD, {"message": message_id, "held": False})
    s.connection.execute(_MAY_GO, {"message": message_id, "at": min(s.now(), message.not_before)})
    s.connection.execute(_WAIT_UNTIL, {"message": message_id, "at": s.now()})
    s.queued = True


def cancel(s: Session, message_id: int) -> int:
    """Give up all recipients that wait, telling nobody; gives how many. NotFound.

    An attempt under way goes on, and is the last: what it reaches or what refuses it for good is noted as ever.
    """
    message = _unfinished(s, message_id)
    canceled = list(s.connection.scalars(_CANCEL, {"message": message_id}))
    if canceled:
        finish_if_done(s, message_id)
        touch_submission(s, message.account_id, message.submission_id)
    return len(canceled)


def unsend(s: Session, message_id: int) -> bool:
    """Cancel the message for all recipients if nothing of it was tried yet; whether that was so. Raises NotFound."""
    message = get_queue_message(s, message_id)
    if any(each.attempts or each.begun_at is not None or each.status != "queued" for each in message.recipients):
        return False
    cancel(s, message_id)
    return True


def set_paused(s: Session, paused: bool) -> None:
    """Begin no attempt any more, for the whole queue; or go on."""
    s.connection.execute(_PAUSE, {"paused": paused})
    s.queued = True


def _unfinished(s: Session, message_id: int) -> QueueMessageRow:
    message = get_queue_message(s, message_id)
    if message.finished_at is not None:
        raise NotFound(f"message {message_id} is done: no recipient waits any more")
    return message
