"""The marks by which e-mails are picked out: kept in `email_mark` as keywords and mailboxes change."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert

from stalwart.store.prepared import Prepared
from stalwart.store.session import Session
from stalwart.store.tables import email_mark

SEEN = "$seen"
UNSEEN = "not $seen"
"""The mark of e-mails without $seen. A keyword has no spaces."""
ANYWHERE = 0
"""The mailbox under which all e-mails of the account stand that have the mark."""

_ADD = Prepared(insert(email_mark))
_DROP = Prepared(
    delete(email_mark).where(
        email_mark.c.account_id == bindparam("account_id"),
        email_mark.c.mark == bindparam("mark"),
        email_mark.c.mailbox_id == bindparam("mailbox_id"),
        email_mark.c.received_at == bindparam("received_at"),
        email_mark.c.email_id == bindparam("email_id"),
    )
)

Marks = frozenset[tuple[str, int]]
"""Pairs of mark and mailbox."""
NONE: Marks = frozenset()


def marks_of(mailbox_ids: frozenset[int], keywords: frozenset[str]) -> Marks:
    """The marks of an e-mail in these mailboxes, with these keywords (in lower case)."""
    marks = keywords - {SEEN} if SEEN in keywords else keywords | {UNSEEN}
    return frozenset((mark, place) for mark in marks for place in (ANYWHERE, *mailbox_ids))


def move(
    s: Session, account_id: int, email_id: int, thread_id: int, received_at: int, before: Marks, after: Marks
) -> None:
    """Write the difference of an e-mail's marks."""
    if before == after:
        return
    row = {"account_id": account_id, "email_id": email_id, "thread_id": thread_id, "received_at": received_at}
    _DROP.run_many(s.driver, [{**row, "mark": mark, "mailbox_id": place} for mark, place in before - after])
    _ADD.run_many(s.driver, [{**row, "mark": mark, "mailbox_id": place} for mark, place in after - before])
