"""Keeps the counters of mailboxes and threads when an e-mail appears, changes or goes. RFC 8621 §2.

One function handles all three: it takes where the e-mail was and where it is now, reads the thread's counts, and
writes what differs. Unread means neither $seen nor $draft. For unreadThreads, e-mails that are only in the trash
count for the trash alone, and e-mails that are not in the trash don't count for it.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from stalwart.store.prepared import Prepared
from stalwart.store.session import Session
from stalwart.store.tables import mailbox, thread, thread_mailbox

_READ = frozenset({"$seen", "$draft"})

_THREAD = Prepared(
    select(thread.c.emails, thread.c.unread_elsewhere, thread.c.unread_in_trash).where(
        thread.c.id == bindparam("thread")
    )
)
_PLACES = Prepared(
    select(thread_mailbox.c.mailbox_id, thread_mailbox.c.emails).where(
        thread_mailbox.c.thread_id == bindparam("thread")
    )
)
_SET_THREAD = Prepared(
    update(thread)
    .where(thread.c.id == bindparam("thread"))
    .values(
        emails=bindparam("new_emails"),
        unread_elsewhere=bindparam("new_elsewhere"),
        unread_in_trash=bindparam("new_in_trash"),
    )
)
_ADD_PLACE = Prepared(insert(thread_mailbox))
_SET_PLACE = Prepared(
    update(thread_mailbox)
    .where(thread_mailbox.c.thread_id == bindparam("thread"), thread_mailbox.c.mailbox_id == bindparam("place"))
    .values(emails=bindparam("new_emails"))
)
_DROP_PLACE = Prepared(
    delete(thread_mailbox).where(
        thread_mailbox.c.thread_id == bindparam("thread"), thread_mailbox.c.mailbox_id == bindparam("place")
    )
)
_COUNT = Prepared(
    update(mailbox)
    .where(mailbox.c.id == bindparam("mailbox"))
    .values(
        total_emails=mailbox.c.total_emails + bindparam("emails"),
        unread_emails=mailbox.c.unread_emails + bindparam("unread"),
        total_threads=mailbox.c.total_threads + bindparam("threads"),
        unread_threads=mailbox.c.unread_threads + bindparam("unread_thread_delta"),
        modseq=bindparam("new_modseq"),
    )
)


# When another mailbox becomes the trash, the unread counts are of another division. Rare, so these are counted anew.
_DIVIDE_UNREAD = """
UPDATE thread SET
    unread_elsewhere = (
        SELECT count(*) FROM email AS e
        WHERE e.thread_id = thread.id
        AND EXISTS (SELECT 1 FROM email_mark WHERE email_id = e.id AND mark = 'not $seen')
        AND NOT EXISTS (SELECT 1 FROM email_mark WHERE email_id = e.id AND mark = '$draft')
        AND EXISTS (SELECT 1 FROM email_mailbox WHERE email_id = e.id AND mailbox_id IS NOT :trash)
    ),
    unread_in_trash = (
        SELECT count(*) FROM email AS e
        WHERE e.thread_id = thread.id
        AND EXISTS (SELECT 1 FROM email_mark WHERE email_id = e.id AND mark = 'not $seen')
        AND NOT EXISTS (SELECT 1 FROM email_mark WHERE email_id = e.id AND mark = '$draft')
        AND EXISTS (SELECT 1 FROM email_mailbox WHERE email_id = e.id AND mailbox_id IS :trash)
    )
WHERE id IN (SELECT thread_id FROM thread_mailbox WHERE mailbox_id IN (:old_trash, :trash))
"""
_UNREAD_THREADS = """
SELECT m.id, m.unread_threads, (
    SELECT count(*) FROM thread_mailbox AS place
    CROSS JOIN thread AS t ON t.id = place.thread_id
    WHERE place.mailbox_id = m.id
    AND CASE WHEN m.id IS :trash THEN t.unread_in_trash ELSE t.unread_elsewhere END > 0
)
FROM mailbox AS m WHERE m.account_id = :account ORDER BY m.id
"""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where one e-mail lies and whether it is unread. In no mailbox: it does not exist."""

    mailbox_ids: frozenset[int] = frozenset()
    unread: bool = False


#: Before an e-mail was added, and after it was destroyed.
NOWHERE = Placement()


def is_unread(keywords: frozenset[str]) -> bool:
    """RFC 8621 §2: neither $seen nor $draft."""
    return keywords.isdisjoint(_READ)


class _Thread(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a thread: its e-mails, the two unread counts, and how many e-mails lie in which mailbox."""

    emails: int = 0
    elsewhere: int = 0
    in_trash: int = 0
    places: dict[int, int] = {}

    def moved(self, before: Placement, after: Placement, trash_id: int | None) -> _Thread:
        places = dict(self.places)
        for mailbox_id in before.mailbox_ids - after.mailbox_ids:
            places[mailbox_id] -= 1
        for mailbox_id in after.mailbox_ids - before.mailbox_ids:
            places[mailbox_id] = places.get(mailbox_id, 0) + 1
        return _Thread(
            emails=self.emails + bool(after.mailbox_ids) - bool(before.mailbox_ids),
            elsewhere=self.elsewhere + _elsewhere(after, trash_id) - _elsewhere(before, trash_id),
            in_trash=self.in_trash + _in_trash(after, trash_id) - _in_trash(before, trash_id),
            places=places,
        )

    def counts_in(self, mailbox_id: int, trash_id: int | None) -> tuple[int, int]:
        """What the thread adds to the mailbox's totalThreads and unreadThreads: zero or one each."""
        if not self.places.get(mailbox_id):
            return 0, 0
        return 1, int((self.in_trash if mailbox_id == trash_id else self.elsewhere) > 0)


def move(
    s: Session,
    account_id: int,
    thread_id: int,
    before: Placement,
    after: Placement,
    *,
    trash_id: int | None,
    new_thread: bool = False,
) -> int:
    """Count one e-mail of the thread from `before` to `after`; gives how many e-mails the thread now has.

    Mailboxes whose counters differ get a modseq. `new_thread` saves reading what can't be there.
    """
    old = _Thread() if new_thread else _read(s, thread_id)
    new = old.moved(before, after, trash_id)
    _write_places(s, thread_id, old, new)
    if (new.emails, new.elsewhere, new.in_trash) != (old.emails, old.elsewhere, old.in_trash):
        _SET_THREAD.run(
            s.driver,
            {
                "thread": thread_id,
                "new_emails": new.emails,
                "new_elsewhere": new.elsewhere,
                "new_in_trash": new.in_trash,
            },
        )
    updates = []
    for mailbox_id in sorted(new.places):
        emails = (mailbox_id in after.mailbox_ids) - (mailbox_id in before.mailbox_ids)
        unread = (after.unread and mailbox_id in after.mailbox_ids) - (
            before.unread and mailbox_id in before.mailbox_ids
        )
        threads_before, unread_before = old.counts_in(mailbox_id, trash_id)
        threads_after, unread_after = new.counts_in(mailbox_id, trash_id)
        deltas = (emails, unread, threads_after - threads_before, unread_after - unread_before)
        if any(deltas):
            updates.append(
                {
                    "mailbox": mailbox_id,
                    "emails": deltas[0],
                    "unread": deltas[1],
                    "threads": deltas[2],
                    "unread_thread_delta": deltas[3],
                    "new_modseq": s.touch(account_id, "Mailbox"),
                }
            )
    if updates:
        _COUNT.run_many(s.driver, updates)
    return new.emails


def change_trash(s: Session, account_id: int, old_trash: int | None, trash: int | None) -> None:
    """Another mailbox is the trash now, or none is."""
    values = {"account": account_id, "old_trash": old_trash, "trash": trash}
    s.driver.execute(_DIVIDE_UNREAD, values)
    for mailbox_id, kept, counted in s.driver.execute(_UNREAD_THREADS, values).fetchall():
        if kept != counted:
            _COUNT.run(
                s.driver,
                {
                    "mailbox": mailbox_id,
                    "emails": 0,
                    "unread": 0,
                    "threads": 0,
                    "unread_thread_delta": counted - kept,
                    "new_modseq": s.touch(account_id, "Mailbox"),
                },
            )


def _elsewhere(placement: Placement, trash_id: int | None) -> int:
    return int(placement.unread and any(mailbox_id != trash_id for mailbox_id in placement.mailbox_ids))


def _in_trash(placement: Placement, trash_id: int | None) -> int:
    return int(placement.unread and trash_id in placement.mailbox_ids)


def _read(s: Session, thread_id: int) -> _Thread:
    emails, elsewhere, in_trash = _THREAD.run(s.driver, {"thread": thread_id}).fetchone()
    places = {row[0]: row[1] for row in _PLACES.run(s.driver, {"thread": thread_id})}
    return _Thread(emails=emails, elsewhere=elsewhere, in_trash=in_trash, places=places)


def _write_places(s: Session, thread_id: int, old: _Thread, new: _Thread) -> None:
    added = [
        {"thread_id": thread_id, "mailbox_id": mailbox_id, "emails": count}
        for mailbox_id, count in new.places.items()
        if mailbox_id not in old.places
    ]
    if added:
        _ADD_PLACE.run_many(s.driver, added)
    for mailbox_id, count in old.places.items():
        if (now := new.places[mailbox_id]) == count:
            continue
        place = {"thread": thread_id, "place": mailbox_id}
        if now:
            _SET_PLACE.run(s.driver, {**place, "new_emails": now})
        else:
            _DROP_PLACE.run(s.driver, place)
