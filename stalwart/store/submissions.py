"""EmailSubmissions: what was handed in to be sent (RFC 8621 §7). What became of it is read from the queue.

A submission and what it puts into the queue are written in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, case, delete, exists, func, insert, or_, select
from sqlalchemy.dialects.sqlite import insert as insert_or_update

from stalwart.store.edits import bury
from stalwart.store.errors import NotFound
from stalwart.store.queue import detach_submission, enqueue, messages_of_submission
from stalwart.store.queue_control import unsend
from stalwart.store.queue_rows import NewMessage, QueueRecipientRow, ReportKind
from stalwart.store.rows import NewSubmission, SubmissionRow
from stalwart.store.session import Session
from stalwart.store.submission_state import EMAIL_SUBMISSION
from stalwart.store.tables import email_submission, queue_message, queue_recipient, queue_report, sending_allowance

_e = email_submission.c
_AMONG = select(func.json_each(bindparam("ids")).table_valued("value").c.value)
_RECIPIENTS = (
    select(queue_recipient.c.id)
    .join_from(queue_message, queue_recipient, queue_recipient.c.message_id == queue_message.c.id)
    .where(queue_message.c.submission_id == _e.id)
    .correlate(email_submission)
)
WAS_TRIED = exists(_RECIPIENTS.where(or_(queue_recipient.c.status != "queued", queue_recipient.c.attempts > 0)))
IS_WANTED = exists(_RECIPIENTS.where(queue_recipient.c.status != "canceled"))
_SUBMISSIONS = select(
    _e.id,
    _e.identity_id,
    _e.email_id,
    _e.thread_id,
    _e.envelope,
    _e.send_at,
    # RFC 8621 §7: "final" once it can't be told whether some recipient has it
    case((~WAS_TRIED, "pending"), (~IS_WANTED, "canceled"), else_="final").label("undo_status"),
    _e.created_modseq,
).where(_e.account_id == bindparam("account"))
_SOME = _SUBMISSIONS.where(_e.id.in_(_AMONG)).order_by(_e.id)
_FIRST = _SUBMISSIONS.order_by(_e.id).limit(bindparam("most"))
_FINISHED = (
    select(_e.id, _e.account_id, _e.created_modseq)
    .join_from(email_submission, queue_message, queue_message.c.submission_id == _e.id)
    .where(queue_message.c.finished_at < bindparam("before"))
    .limit(bindparam("most"))
)
_INSERT = insert(email_submission)
_DELETE = delete(email_submission).where(_e.id == bindparam("submission"))
_REPORTS = (
    select(queue_report.c.blob_hash)
    .join_from(queue_report, queue_message, queue_message.c.id == queue_report.c.message_id)
    .where(queue_message.c.submission_id == bindparam("submission"), queue_report.c.kind == bindparam("report_kind"))
    .order_by(queue_report.c.id)
)
_HAS_REPORT = (
    select(queue_report.c.id)
    .join_from(queue_report, queue_message, queue_message.c.id == queue_report.c.message_id)
    .where(queue_message.c.account_id == bindparam("account"), queue_report.c.blob_hash == bindparam("hash"))
    .limit(1)
)
_FREE_AT = select(sending_allowance.c.free_at).where(sending_allowance.c.account_id == bindparam("account"))
_NEW_FREE_AT = insert_or_update(sending_allowance).values(account_id=bindparam("account"), free_at=bindparam("free"))
_SET_FREE_AT = _NEW_FREE_AT.on_conflict_do_update(
    index_elements=[sending_allowance.c.account_id], set_={"free_at": _NEW_FREE_AT.excluded.free_at}
)
_SLACK = 0.001  # seconds: sums of floats must not refuse the last recipient


def create_submission(s: Session, account_id: int, new: NewSubmission, message: NewMessage) -> int:
    """Note a submission, and put its message into the queue; gives the submission's id.

    `message` has no `submission_id` yet. Raises InvalidAddress and ValueError as `enqueue`.
    """
    modseq = s.touch(account_id, EMAIL_SUBMISSION)
    submission_id = s.insert(
        _INSERT,
        {"account_id": account_id, "created_modseq": modseq, "modseq": modseq, **msgspec.structs.asdict(new)},
    )
    enqueue(s, msgspec.structs.replace(message, account_id=account_id, submission_id=submission_id))
    return submission_id


def get_submissions(s: Session, account_id: int, ids: Sequence[int]) -> dict[int, SubmissionRow]:
    """Those of these submissions that the account has, by id."""
    found = s.connection.execute(_SOME, {"account": account_id, "ids": msgspec.json.encode(list(ids)).decode()})
    return {row.id: SubmissionRow(**row._mapping) for row in found}


def list_submissions(s: Session, account_id: int, most: int) -> list[SubmissionRow]:
    """The submissions of an account, the oldest first, at most so many."""
    return [
        SubmissionRow(**row._mapping) for row in s.connection.execute(_FIRST, {"account": account_id, "most": most})
    ]


def submission_recipients(s: Session, submission_id: int) -> list[QueueRecipientRow]:
    """What became of each recipient of a submission."""
    return [each for message in messages_of_submission(s, submission_id) for each in message.recipients]


def submission_reports(s: Session, submission_id: int, kind: ReportKind) -> list[str]:
    """The blobs of the notifications that came about a submission, the oldest first."""
    return list(s.connection.scalars(_REPORTS, {"submission": submission_id, "report_kind": kind}))


def has_report(s: Session, account_id: int, blob_hash: str) -> bool:
    """Whether this blob is a report about something that the account sent."""
    return s.connection.execute(_HAS_REPORT, {"account": account_id, "hash": blob_hash}).first() is not None


def cancel_submission(s: Session, submission_id: int) -> bool:
    """Have nothing of the submission sent, if nothing of it was tried yet; gives whether that was so."""
    messages = messages_of_submission(s, submission_id)
    return bool(messages) and all(unsend(s, message.id) for message in messages)


def destroy_submission(s: Session, account_id: int, submission_id: int) -> None:
    """Forget a submission; what is queued is sent all the same (RFC 8621 §7.5). NotFound."""
    row = get_submissions(s, account_id, [submission_id]).get(submission_id)
    if row is None:
        raise NotFound(f"submission {submission_id} does not exist in account {account_id}")
    _remove(s, account_id, submission_id, row.created_modseq)


def expire_submissions(s: Session, before: int, most: int = 500) -> int:
    """Forget some of the submissions that were done with before this time; gives how many. RFC 8621 §7 allows it."""
    rows = s.connection.execute(_FINISHED, {"before": before, "most": most}).all()
    for row in rows:
        _remove(s, row.account_id, row.id, row.created_modseq)
    return len(rows)


def sending_wait(s: Session, account_id: int, recipients: int, count: int, period: float) -> float:
    """What `charge_sending` would give now, counting nothing."""
    return max(0.0, _free_at(s, account_id, recipients, count, period) - s.clock() - period - _SLACK)


def charge_sending(s: Session, account_id: int, recipients: int, count: int, period: float) -> float:
    """Count recipients toward `count` in `period` seconds: 0 if they may be sent to, else the seconds to wait.

    The generic cell rate algorithm: a burst up to the count, then evenly. What is refused counts nothing.
    """
    wait = sending_wait(s, account_id, recipients, count, period)
    if wait == 0.0:
        free_at = _free_at(s, account_id, recipients, count, period)
        s.connection.execute(_SET_FREE_AT, {"account": account_id, "free": free_at})
    return wait


def _free_at(s: Session, account_id: int, recipients: int, count: int, period: float) -> float:
    """When all would have come back if these recipients were counted."""
    now = s.clock()
    free_at = float(s.connection.scalar(_FREE_AT, {"account": account_id}) or now)
    return min(max(free_at, now), now + period) + recipients * period / count


def _remove(s: Session, account_id: int, submission_id: int, created_modseq: int) -> None:
    detach_submission(s, submission_id)
    s.connection.execute(_DELETE, {"submission": submission_id})
    bury(s, account_id, EMAIL_SUBMISSION, submission_id, created_modseq)
