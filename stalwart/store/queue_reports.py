"""Reports about messages in the queue: to whom one may go, and what those say that come in (RFC 3464, RFC 8098)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, insert, select, update

from stalwart.store.accounts import is_local_domain, resolve_recipient
from stalwart.store.mailing_lists import owns_list
from stalwart.store.queue import get_queue_message, get_queue_messages
from stalwart.store.queue_rows import QueueMessageRow, QueueStatus, ReportKind
from stalwart.store.recipients import may_receive
from stalwart.store.session import Session
from stalwart.store.submission_state import touch_submission
from stalwart.store.tables import queue_message, queue_recipient, queue_report

MOST_REPORTS = 500
"""Reports that are listed with a message: whoever got it knows its envelope id, and could send any number."""
_MOST_SAME = 20  # messages of one Message-ID, as when an Email is submitted again

_m, _r = queue_message.c, queue_recipient.c
_IS_KNOWN = select(_m.id).where(_m.id == bindparam("message"))
_WARNED = update(queue_message).where(_m.id == bindparam("message"), _m.warn_at.is_not(None)).values(warn_at=None)
_BY_ENV_ID = select(_m.id, _m.account_id, _m.submission_id).where(_m.env_id == bindparam("env_id"))
_STATUS = update(queue_recipient).where(_r.id == bindparam("recipient")).values(status=bindparam("new_status"))
_INSERT_REPORT = insert(queue_report)
_BY_MESSAGE_ID = (
    select(_m.id)
    .where(_m.account_id == bindparam("account"), _m.message_id == bindparam("wanted"))
    .order_by(_m.id.desc())
    .limit(_MOST_SAME)
)
_DISPLAYED = update(queue_recipient).where(_r.id == bindparam("recipient")).values(is_displayed=True)
_COUNT_REPORTS = select(func.count()).where(queue_report.c.message_id == bindparam("message"))
_REPORTS = (
    select(queue_report.c.blob_hash)
    .where(queue_report.c.message_id == bindparam("message"))
    .order_by(queue_report.c.id)
)


def warned(s: Session, message_id: int) -> bool:
    """Note that the sender is told now that the message is late; whether they weren't yet."""
    return s.connection.execute(_WARNED, {"message": message_id}).rowcount > 0


def may_be_told(s: Session, message: QueueMessageRow) -> bool:
    """Whether a report about the message would still reach the account that has sent it, or the owner of the list
    that has, and nobody else.

    No once that account is deleted, or receives no mail; its address, or an alias that was taken away, may be
    another's by now.
    """
    if s.connection.execute(_IS_KNOWN, {"message": message.id}).first() is None:
        return False
    if message.account_id is None and not owns_list(s, message.return_path):
        return False
    if not is_local_domain(s, message.return_path.rpartition("@")[2]):
        return True
    owner = resolve_recipient(s, message.return_path)
    return owner is not None and message.account_id in (None, owner.id) and may_receive(s, owner)


def find_sent(s: Session, account_id: int, env_id: str) -> QueueMessageRow | None:
    """The account's message that a report calls so, if there is one. RFC 3464 §2.2.1"""
    row = s.connection.execute(_BY_ENV_ID, {"env_id": env_id}).one_or_none()
    return get_queue_message(s, row.id) if row is not None and row.account_id == account_id else None


def record_report(s: Session, message: QueueMessageRow, blob_hash: str, statuses: dict[int, QueueStatus]) -> None:
    """Note that a report about the message came, and by recipient id what it says has become of them.

    Only of who was relayed can a report tell news. Of more than MOST_REPORTS the mail is kept, but not listed here.
    """
    relayed = {each.id for each in message.recipients if each.status == "relayed"}
    for recipient_id, status in statuses.items():
        if recipient_id in relayed:
            s.connection.execute(_STATUS, {"recipient": recipient_id, "new_status": status})
    _list_report(s, message, blob_hash, "dsn")


def sent_with_id(s: Session, account_id: int, message_id: str) -> list[QueueMessageRow]:
    """What the account has sent under this Message-ID (without brackets), the newest first."""
    found = s.connection.scalars(_BY_MESSAGE_ID, {"account": account_id, "wanted": message_id})
    return get_queue_messages(s, found)[::-1]


def record_notification(
    s: Session, message: QueueMessageRow, blob_hash: str, recipient_id: int, is_displayed: bool
) -> None:
    """Note that a recipient's notification about the message came, and whether they were shown it. RFC 8098"""
    if is_displayed:
        s.connection.execute(_DISPLAYED, {"recipient": recipient_id})
    _list_report(s, message, blob_hash, "mdn")


def _list_report(s: Session, message: QueueMessageRow, blob_hash: str, kind: ReportKind) -> None:
    if (s.connection.scalar(_COUNT_REPORTS, {"message": message.id}) or 0) < MOST_REPORTS:
        s.connection.execute(_INSERT_REPORT, {"message_id": message.id, "blob_hash": blob_hash, "kind": kind})
    touch_submission(s, message.account_id, message.submission_id)


def list_reports(s: Session, message_id: int) -> Sequence[str]:
    """The blobs of the reports that came about a message, the oldest first."""
    return s.connection.scalars(_REPORTS, {"message": message_id}).all()
