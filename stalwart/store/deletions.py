"""Removes what deleted accounts held, or all mail of a mailbox, in portions between which deliveries have their turn.

Each portion is a transaction; a process that ends in between leaves the rest to the next one that comes here.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import bindparam, delete, not_, select, tuple_

from stalwart.store.database import Store
from stalwart.store.mailboxes import remove_emails
from stalwart.store.tables import IS_LIVE, account, email, thread, tombstone

_DELETED = select(account.c.id).where(not_(IS_LIVE))


_PORTION = 100
_EMAILS = delete(email).where(
    email.c.id.in_(select(email.c.id).where(email.c.account_id == bindparam("account")).limit(_PORTION))
)
_THREADS = delete(thread).where(
    thread.c.id.in_(select(thread.c.id).where(thread.c.account_id == bindparam("account")).limit(1000))
)
_KEY = (tombstone.c.account_id, tombstone.c.type, tombstone.c.modseq)
_TOMBSTONES = delete(tombstone).where(
    tuple_(*_KEY).in_(select(*_KEY).where(tombstone.c.account_id == bindparam("account")).limit(5000))
)
_ACCOUNT = delete(account).where(account.c.id == bindparam("account"))


def finish_deletions(
    store: Store, *, wanted: Callable[[], bool] = lambda: True, pause: Callable[[float], None] = time.sleep
) -> int:
    """Remove the accounts that were deleted, with everything in them; gives how many went.

    Their blobs are left to the sweep. It ends early once `wanted()` is false, which it asks after each portion. After
    each it waits, for as long as that took: writers of other processes get the database by trying.
    """
    with store.read() as s:
        deleted = list(s.connection.scalars(_DELETED))
    for done, account_id in enumerate(deleted):
        for statement in (_EMAILS, _THREADS, _TOMBSTONES, _ACCOUNT):
            removed = 1
            while removed:
                if not wanted():
                    return done
                started = time.monotonic()
                with store.write() as s:
                    removed = s.connection.execute(statement, {"account": account_id}).rowcount
                pause(time.monotonic() - started)
    return len(deleted)


def empty_mailbox(
    store: Store, account_id: int, mailbox_id: int, *, pause: Callable[[float], None] = time.sleep
) -> None:
    """Take all e-mails out of a mailbox, as `remove_emails` does. What arrives in the end may stay."""
    removed = _PORTION
    while removed == _PORTION:
        started = time.monotonic()
        with store.write() as s:
            removed = remove_emails(s, account_id, mailbox_id, _PORTION)
        pause(time.monotonic() - started)
