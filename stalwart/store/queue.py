"""The queue of messages on their way out: putting in, attempts, and what became of each recipient.

An attempt is marked as begun before anything is sent and its outcome is recorded afterwards, each in a transaction of
its own, so that none is open while a peer is talked to. What was begun and has no outcome after a crash may have been
sent.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

import msgspec
from sqlalchemy import bindparam, case, delete, func, insert, or_, select, update

from stalwart.store.accounts import is_local_domain
from stalwart.store.addresses import normalise_domain
from stalwart.store.errors import InvalidAddress, NotFound
from stalwart.store.prepared import Prepared
from stalwart.store.queue_rows import (
    LOCAL,
    Attempt,
    DueRecipient,
    NewMessage,
    QueueMessageRow,
    QueueRecipientRow,
)
from stalwart.store.session import Session
from stalwart.store.submission_state import touch_submission
from stalwart.store.tables import queue_control, queue_message, queue_recipient

_EXPIRE_SECONDS = 4 * 86400
_WARN_SECONDS = 4 * 3600
_AT_ONCE = 500

_m, _r = queue_message.c, queue_recipient.c
_AMONG = select(func.json_each(bindparam("ids")).table_valued("value").c.value)
_INSERT_MESSAGE = Prepared(insert(queue_message))
_INSERT_RECIPIENT = Prepared(insert(queue_recipient))
_MESSAGES = select(queue_message).where(_m.id.in_(_AMONG)).order_by(_m.id)
_RECIPIENTS = select(queue_recipient).where(_r.message_id.in_(_AMONG)).order_by(_r.id)
_UNFINISHED = select(_m.id).where(_m.finished_at.is_(None), _m.id > bindparam("after")).order_by(_m.id)
_ALL = select(_m.id).where(_m.id > bindparam("after")).order_by(_m.id)
# One step of the index for each destination, and not one for each recipient who waits.
_FIRST_DESTINATION = select(func.min(_r.destination).label("name")).where(_r.next_attempt_at.is_not(None))
_DESTINATIONS = _FIRST_DESTINATION.cte("waiting", recursive=True)
_DESTINATIONS = _DESTINATIONS.union_all(
    select(
        select(func.min(_r.destination))
        .where(_r.next_attempt_at.is_not(None), _r.destination > _DESTINATIONS.c.name)
        .scalar_subquery()
    ).where(_DESTINATIONS.c.name.is_not(None))
)
_DUE_DESTINATIONS = Prepared(
    select(
        _DESTINATIONS.c.name,
        select(func.min(_r.next_attempt_at))
        .where(_r.next_attempt_at.is_not(None), _r.destination == _DESTINATIONS.c.name)
        .scalar_subquery(),
    ).where(_DESTINATIONS.c.name.is_not(None))
)
_DUE = Prepared(
    select(_r.id, _r.message_id, _r.destination, _m.size, _m.account_id)
    .join_from(queue_recipient, queue_message, _m.id == _r.message_id)
    .where(
        _r.next_attempt_at.is_not(None),
        _r.destination == bindparam("destination"),
        _r.next_attempt_at <= bindparam("now"),
        func.coalesce(_m.account_id, 0).not_in(
            select(func.json_each(bindparam("others")).table_valued("value").c.value)
        ),
    )
    .order_by(_r.next_attempt_at, _r.id)
    .limit(bindparam("most"))
)
# From the messages, which are far fewer than the recipients where one has many.
_DESTINATIONS_OF = Prepared(
    select(_r.destination)
    .distinct()
    .where(
        _r.next_attempt_at <= bindparam("now"),
        _r.message_id.in_(
            select(_m.id).where(
                _m.finished_at.is_(None),
                func.coalesce(_m.account_id, 0).not_in(
                    select(func.json_each(bindparam("others")).table_valued("value").c.value)
                ),
            )
        ),
    )
)
_BEGIN = (
    update(queue_recipient)
    .where(_r.id.in_(_AMONG), _r.next_attempt_at <= bindparam("now"))
    .values(begun_at=bindparam("now"), next_attempt_at=None)
    .returning(_r.id)
)
_CHOSEN = select(queue_recipient).where(_r.id.in_(_AMONG)).order_by(_r.id)
_END = update(queue_recipient).where(_r.id.in_(_AMONG), _r.begun_at.is_not(None)).values(ending_at=bindparam("now"))
_IS_HELD = select(_m.is_held).where(_m.id == _r.message_id).scalar_subquery()
_GIVE_BACK = (
    update(queue_recipient)
    .where(_r.id.in_(_AMONG), _r.begun_at.is_not(None))
    .values(
        begun_at=None,
        ending_at=None,
        next_attempt_at=case((or_(_IS_HELD, _r.status == "canceled"), None), else_=bindparam("at")),
    )
)
_CANCELED = (
    select(_m.id, _m.account_id, _m.submission_id)
    .distinct()
    .join_from(queue_recipient, queue_message, _m.id == _r.message_id)
    .where(_r.id.in_(_AMONG), _r.status == "canceled")
)
_BEGUN = select(queue_recipient).where(_r.begun_at.is_not(None)).order_by(_r.id)
_RECIPIENT = select(queue_recipient, _m.is_held, _m.account_id, _m.submission_id).join_from(
    queue_recipient, queue_message, _m.id == _r.message_id
)
_ONE = _RECIPIENT.where(_r.id == bindparam("recipient"))
_RECORD = (
    update(queue_recipient)
    .where(_r.id == bindparam("recipient"))
    .values(
        status=bindparam("new_status"),
        attempts=_r.attempts + 1,
        next_attempt_at=bindparam("next_at"),
        begun_at=None,
        ending_at=None,
        last_attempt_at=bindparam("at"),
        reply=bindparam("new_reply"),
        peer=bindparam("new_peer"),
    )
)
_WAITING = (
    select(_r.id)
    .where(_r.message_id == bindparam("message"), or_(_r.status == "queued", _r.begun_at.is_not(None)))
    .limit(1)
)
_FINISH = update(queue_message).where(_m.id == bindparam("message")).values(finished_at=bindparam("now"))
_PAUSED = select(queue_control.c.is_paused)
_OF_SUBMISSION = select(_m.id).where(_m.submission_id == bindparam("submission"))
_DETACH = update(queue_message).where(_m.submission_id == bindparam("submission")).values(submission_id=None)
_FORGET = delete(queue_message).where(
    _m.id.in_(
        select(_m.id)
        .where(_m.finished_at < bindparam("before"), or_(_m.submission_id.is_(None), _m.account_id.is_(None)))
        .limit(_AT_ONCE)
    )
)


def enqueue(s: Session, new: NewMessage) -> int:
    """Put a message into the queue, with all its recipients; gives its id.

    The daemon is woken after the commit. Raises InvalidAddress for a recipient without a usable domain; ValueError if
    there is no recipient.
    """
    if not new.recipients:
        raise ValueError("a message without recipients can't be queued")
    now = s.now()
    first_at = max(now, new.not_before or 0)
    destinations: dict[str, str] = {}
    for recipient in new.recipients:
        domain = recipient.address.rpartition("@")[2]
        if domain not in destinations:
            destinations[domain] = _destination(s, recipient.address)
    message_id = _INSERT_MESSAGE.insert(
        s.driver,
        {
            "account_id": new.account_id,
            "submission_id": new.submission_id,
            "blob_hash": new.blob_hash,
            "size": new.size,
            "return_path": new.return_path,
            "env_id": secrets.token_hex(16) if new.env_id is None else new.env_id,
            "ret": new.ret,
            "is_8bit": new.is_8bit,
            "needs_smtputf8": new.needs_smtputf8,
            "created_at": now,
            "not_before": first_at,
            "expires_at": first_at + _EXPIRE_SECONDS if new.expires_at is None else new.expires_at,
            "is_held": new.is_held,
            "warn_at": first_at + _WARN_SECONDS if new.return_path else None,
            "finished_at": None,
            "message_id": new.message_id,
        },
    )
    _INSERT_RECIPIENT.run_many(
        s.driver,
        (
            {
                "message_id": message_id,
                "address": recipient.address,
                "notify": recipient.notify,
                "orcpt": recipient.orcpt,
                "destination": destinations[recipient.address.rpartition("@")[2]],
                "status": "queued",
                "attempts": 0,
                "next_attempt_at": None if new.is_held else first_at,
                "begun_at": None,
                "ending_at": None,
                "last_attempt_at": None,
                "reply": None,
                "peer": None,
                "is_displayed": False,
            }
            for recipient in new.recipients
        ),
    )
    s.queued = True
    return message_id


def get_queue_message(s: Session, message_id: int) -> QueueMessageRow:
    """A message with all its recipients. Raises NotFound."""
    found = get_queue_messages(s, [message_id])
    if not found:
        raise NotFound(f"message {message_id} is not in the queue; `stalwart queue list` shows those that are")
    return found[0]


def get_queue_messages(s: Session, ids: Iterable[int]) -> list[QueueMessageRow]:
    """The messages of these ids with all their recipients, by id; those that don't exist are left out."""
    where = {"ids": _listed(ids)}
    recipients: dict[int, list[QueueRecipientRow]] = {}
    for row in s.connection.execute(_RECIPIENTS, where):
        recipients.setdefault(row.message_id, []).append(QueueRecipientRow(**row._mapping))
    return [
        QueueMessageRow(**row._mapping, recipients=tuple(recipients.get(row.id, ())))
        for row in s.connection.execute(_MESSAGES, where)
    ]


def list_queue(s: Session, *, after: int = 0, limit: int = 1000, finished: bool = False) -> list[QueueMessageRow]:
    """The messages with ids greater than `after`, by id; those that are done only if `finished`."""
    ids = s.connection.scalars((_ALL if finished else _UNFINISHED).limit(limit), {"after": after})
    return get_queue_messages(s, ids)


def messages_of_submission(s: Session, submission_id: int) -> list[QueueMessageRow]:
    """What an EmailSubmission has put into the queue."""
    return get_queue_messages(s, s.connection.scalars(_OF_SUBMISSION, {"submission": submission_id}))


# Attempts


def due_destinations(s: Session) -> list[tuple[str, int]]:
    """Where somebody waits, and from when on (epoch seconds, perhaps past). Costs a step of the index for each."""
    return _DUE_DESTINATIONS.run(s.driver, {}).fetchall()


def destinations_without(s: Session, now: int, others: Iterable[int | None]) -> frozenset[str]:
    """Where somebody's time has come to whom another account sends than these (None: the server itself)."""
    rows = _DESTINATIONS_OF.run(s.driver, {"now": now, "others": _listed(each or 0 for each in others)})
    return frozenset(row[0] for row in rows)


def due(
    s: Session, now: int, destination: str, limit: int, *, without: Iterable[int | None] = ()
) -> list[DueRecipient]:
    """Recipients at a destination whose time has come, who waits longest first; none that is held or under way.

    Those are left out to whom these accounts send (None: the server itself).
    """
    others = _listed(each or 0 for each in without)
    rows = _DUE.run(s.driver, {"destination": destination, "now": now, "most": limit, "others": others})
    return [
        DueRecipient(id=row[0], message_id=row[1], destination=row[2], size=row[3], account_id=row[4]) for row in rows
    ]


def begin(s: Session, message_id: int, recipient_ids: Iterable[int]) -> QueueMessageRow | None:
    """Mark that an attempt to reach these recipients of a message begins now; gives it with those that still wait.

    None does, and nothing is given, while all is paused.
    """
    if is_paused(s):
        return None
    ids = {"ids": _listed(recipient_ids)}
    begun = list(s.connection.scalars(_BEGIN, {**ids, "now": s.now()}))
    rows = s.connection.execute(_CHOSEN, {"ids": _listed(begun)})
    recipients = tuple(QueueRecipientRow(**row._mapping) for row in rows)
    if not recipients:
        return None
    message = s.connection.execute(_MESSAGES, {"ids": _listed([message_id])}).one()
    return QueueMessageRow(**message._mapping, recipients=recipients)


def end(s: Session, recipient_ids: Iterable[int]) -> None:
    """Mark that the end of the message is about to be sent: from now on these recipients may have it."""
    s.connection.execute(_END, {"ids": _listed(recipient_ids), "now": s.now()})


def give_back(s: Session, recipient_ids: Iterable[int], at: int) -> None:
    """Undo `begin` for who was not tried after all; they wait until `at` again, unless the message is held by now, or
    they were canceled.
    """
    ids = _listed(recipient_ids)
    s.connection.execute(_GIVE_BACK, {"ids": ids, "at": at})
    for row in s.connection.execute(_CANCELED, {"ids": ids}).all():
        finish_if_done(s, row.id)
        touch_submission(s, row.account_id, row.submission_id)
    s.queued = True


def unresolved(s: Session) -> list[QueueRecipientRow]:
    """Recipients with an attempt under way. When the daemon starts: those about whom a crash left it open whether they
    were reached.
    """
    return [QueueRecipientRow(**row._mapping) for row in s.connection.execute(_BEGUN)]


def record(s: Session, recipient_id: int, attempt: Attempt) -> bool:
    """Note what came of an attempt; gives whether the message is done with that. Raises NotFound.

    If the message was put on hold meanwhile, the recipient isn't tried again by itself; if it was canceled, they are
    canceled unless it has reached them, or was refused for good.
    """
    row = s.connection.execute(_ONE, {"recipient": recipient_id}).one_or_none()
    if row is None:
        raise NotFound(f"recipient {recipient_id} is not in the queue")
    status = attempt.status
    if row.status == "canceled" and status in ("queued", "expired"):
        status = "canceled"
    s.connection.execute(
        _RECORD,
        {
            "recipient": recipient_id,
            "new_status": status,
            "next_at": attempt.next_attempt_at if status == "queued" and not row.is_held else None,
            "at": attempt.at,
            "new_reply": attempt.reply,
            "new_peer": attempt.peer,
        },
    )
    touch_submission(s, row.account_id, row.submission_id)
    return status != "queued" and finish_if_done(s, row.message_id)


def is_paused(s: Session) -> bool:
    """Whether the whole queue is paused."""
    return bool(s.connection.scalar(_PAUSED))


# What is kept of the past


def detach_submission(s: Session, submission_id: int) -> None:
    """Forget that what is queued belongs to a submission, which was destroyed. It is sent all the same."""
    s.connection.execute(_DETACH, {"submission": submission_id})


def forget_finished(s: Session, before: int) -> int:
    """Remove some of the messages that were done before that time and that no submission shows; gives how many."""
    return s.connection.execute(_FORGET, {"before": before}).rowcount


def _listed(ids: Iterable[int]) -> str:
    return msgspec.json.encode(list(ids)).decode()


def _destination(s: Session, address: str) -> str:
    local, at, domain = address.rpartition("@")
    if not at or not local:
        raise InvalidAddress(f"{address!r} is not an address: wanted user@domain")
    if domain.startswith("["):  # RFC 5321 §4.1.3: an address literal
        return domain.lower()
    name = normalise_domain(domain)
    return LOCAL if is_local_domain(s, name) else name


def finish_if_done(s: Session, message_id: int) -> bool:
    """Note that the message is done if no recipient waits any more; gives whether that is so."""
    if s.connection.execute(_WAITING, {"message": message_id}).first() is not None:
        return False
    s.connection.execute(_FINISH, {"message": message_id, "now": s.now()})
    return True
