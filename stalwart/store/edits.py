"""Changes to stored e-mails: their mailboxes, their keywords, and their end."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from stalwart.store import counters, marks
from stalwart.store.emails import check_mailboxes, fill, normal_keywords
from stalwart.store.errors import NotFound
from stalwart.store.prepared import Prepared
from stalwart.store.session import Session
from stalwart.store.tables import email, email_mailbox, thread, tombstone, type_state

_EMAIL = Prepared(
    select(
        email.c.thread_id,
        email.c.received_at,
        email.c.size,
        email.c.mailbox_ids,
        email.c.keywords,
        email.c.created_modseq,
    ).where(email.c.id == bindparam("email"), email.c.account_id == bindparam("account"))
)
_SET = Prepared(
    update(email)
    .where(email.c.id == bindparam("email"))
    .values(mailbox_ids=bindparam("places"), keywords=bindparam("words"), modseq=bindparam("new_modseq"))
)
_ADD_MAILBOX = Prepared(insert(email_mailbox))
_DROP_MAILBOX = Prepared(
    delete(email_mailbox).where(
        email_mailbox.c.account_id == bindparam("account"),
        email_mailbox.c.mailbox_id == bindparam("mailbox"),
        email_mailbox.c.received_at == bindparam("received"),
        email_mailbox.c.email_id == bindparam("email"),
    )
)
_DELETE_EMAIL = Prepared(delete(email).where(email.c.id == bindparam("email")))
_THREAD_CREATED = Prepared(select(thread.c.created_modseq).where(thread.c.id == bindparam("thread")))
_TOUCH_THREAD = Prepared(
    update(thread).where(thread.c.id == bindparam("thread")).values(modseq=bindparam("new_modseq"))
)
_DELETE_THREAD = Prepared(delete(thread).where(thread.c.id == bindparam("thread")))
_BURY = Prepared(insert(tombstone))

_PLACES = """
SELECT e.id, e.mailbox_ids
FROM json_each(?) AS wanted
CROSS JOIN email AS e ON e.id = wanted.value
WHERE e.account_id = ?
"""

_LAST_BURIED = select(tombstone.c.account_id, tombstone.c.type, tombstone.c.modseq).where(
    tombstone.c.destroyed_at < bindparam("before")
)
_RAISE_FLOOR = (
    update(type_state)
    .where(
        type_state.c.account_id == bindparam("account"),
        type_state.c.type == bindparam("type_name"),
        type_state.c.floor < bindparam("new_floor"),
    )
    .values(floor=bindparam("new_floor"))
)
_UNBURY = delete(tombstone).where(tombstone.c.destroyed_at < bindparam("before"))


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    thread_id: int
    received_at: int
    size: int
    mailbox_ids: frozenset[int]
    keywords: frozenset[str]
    created_modseq: int

    def placement(self) -> counters.Placement:
        return counters.Placement(mailbox_ids=self.mailbox_ids, unread=counters.is_unread(self.keywords))


def update_email(
    s: Session,
    account_id: int,
    email_id: int,
    *,
    mailbox_ids: Iterable[int] | None = None,
    keywords: Iterable[str] | None = None,
) -> int | None:
    """Put the e-mail into exactly these mailboxes, and give it exactly these keywords; None leaves them as they are.

    Gives its new modseq, or None if nothing differed. NotFound (e-mail or mailbox), ValueError as `add_email`.
    """
    old = _find(s, account_id, email_id)
    places = old.mailbox_ids if mailbox_ids is None else frozenset(mailbox_ids)
    words = old.keywords if keywords is None else normal_keywords(keywords)
    if (places, words) == (old.mailbox_ids, old.keywords):
        return None
    trash_id = check_mailboxes(s, account_id, places)
    modseq = s.touch(account_id, "Email")
    _SET.run(
        s.driver,
        {
            "email": email_id,
            "places": ",".join(map(str, sorted(places))),
            "words": " ".join(sorted(words)),
            "new_modseq": modseq,
        },
    )
    where = {"account": account_id, "email": email_id, "received": old.received_at}
    _DROP_MAILBOX.run_many(s.driver, [{**where, "mailbox": mailbox_id} for mailbox_id in old.mailbox_ids - places])
    row = {
        "account_id": account_id,
        "email_id": email_id,
        "received_at": old.received_at,
        "thread_id": old.thread_id,
    }
    _ADD_MAILBOX.run_many(s.driver, [{**row, "mailbox_id": mailbox_id} for mailbox_id in places - old.mailbox_ids])
    before, after = marks.marks_of(old.mailbox_ids, old.keywords), marks.marks_of(places, words)
    marks.move(s, account_id, email_id, old.thread_id, old.received_at, before, after)
    counters.move(
        s,
        account_id,
        old.thread_id,
        old.placement(),
        counters.Placement(mailbox_ids=places, unread=counters.is_unread(words)),
        trash_id=trash_id,
    )
    return modseq


def destroy_email(s: Session, account_id: int, email_id: int) -> None:
    """Remove the e-mail, and its thread if it was the last one there (RFC 8621 §3). NotFound."""
    old = _find(s, account_id, email_id)
    trash_id = check_mailboxes(s, account_id, old.mailbox_ids)
    left = counters.move(s, account_id, old.thread_id, old.placement(), counters.NOWHERE, trash_id=trash_id)
    _DELETE_EMAIL.run(s.driver, {"email": email_id})
    bury(s, account_id, "Email", email_id, old.created_modseq)
    if left:
        _TOUCH_THREAD.run(s.driver, {"thread": old.thread_id, "new_modseq": s.touch(account_id, "Thread")})
    else:
        (created,) = _THREAD_CREATED.run(s.driver, {"thread": old.thread_id}).fetchone()
        _DELETE_THREAD.run(s.driver, {"thread": old.thread_id})
        bury(s, account_id, "Thread", old.thread_id, created)
    fill(s, account_id, -old.size, -1)


def read_places(s: Session, account_id: int, email_ids: Iterable[int]) -> dict[int, frozenset[int]]:
    """The mailboxes of each of those e-mails that exist."""
    found = s.driver.execute(_PLACES, (json.dumps(sorted(email_ids)), account_id))
    return {email_id: frozenset(map(int, places.split(","))) for email_id, places in found}


def forget_destroyed(s: Session, before: int) -> None:
    """Drop the memory of what was destroyed before this time.

    From then on changes since states older than that can't be told, rather than told in part. RFC 8620 §5.2 asks for
    30 days at least.
    """
    floors: dict[tuple[int, str], int] = {}
    for account_id, type_name, modseq in s.connection.execute(_LAST_BURIED, {"before": before}):
        floors[account_id, type_name] = max(modseq, floors.get((account_id, type_name), 0))
    for (account_id, type_name), modseq in floors.items():
        s.connection.execute(_RAISE_FLOOR, {"account": account_id, "type_name": type_name, "new_floor": modseq})
    s.connection.execute(_UNBURY, {"before": before})


def _find(s: Session, account_id: int, email_id: int) -> _Stored:
    row = _EMAIL.run(s.driver, {"email": email_id, "account": account_id}).fetchone()
    if row is None:
        raise NotFound(f"e-mail {email_id} does not exist in account {account_id}")
    return _Stored(
        thread_id=row[0],
        received_at=row[1],
        size=row[2],
        mailbox_ids=frozenset(map(int, row[3].split(","))),
        keywords=frozenset(row[4].split()),
        created_modseq=row[5],
    )


def bury(s: Session, account_id: int, type_name: str, object_id: int, created_modseq: int) -> int:
    """Remember that an object was destroyed, so that clients can be told; gives the modseq of that."""
    modseq = s.touch(account_id, type_name)
    _BURY.run(
        s.driver,
        {
            "account_id": account_id,
            "type": type_name,
            "modseq": modseq,
            "object_id": object_id,
            "created_modseq": created_modseq,
            "destroyed_at": s.now(),
        },
    )
    return modseq
