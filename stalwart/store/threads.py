"""Which thread a message joins. RFC 8621 §3: a shared message id, and the same base subject."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from stalwart.store.prepared import Prepared
from stalwart.store.session import Session
from stalwart.store.tables import thread, thread_key

# A thread that is full is left as it is, and the next message starts another: nothing that is done for a whole thread
# may grow without bound.
_MOST_EMAILS = 1024
_MOST_KEYS = 200

_FIND = Prepared(
    select(thread.c.id, thread.c.emails)
    .join_from(thread_key, thread, thread.c.id == thread_key.c.thread_id)
    .where(thread_key.c.account_id == bindparam("account"), thread_key.c.key == bindparam("wanted"))
)
_INSERT = Prepared(insert(thread))
_TOUCH = Prepared(update(thread).where(thread.c.id == bindparam("thread")).values(modseq=bindparam("new_modseq")))
_NEW_LINK = upsert(thread_key)
_LINK = Prepared(
    _NEW_LINK.on_conflict_do_update(
        index_elements=[thread_key.c.account_id, thread_key.c.key], set_={"thread_id": _NEW_LINK.excluded.thread_id}
    )
)


def join_thread(s: Session, account_id: int, thread_keys: Sequence[bytes]) -> tuple[int, bool]:
    """The id of the thread a new message belongs to, and whether it was made for it.

    A message that links two threads joins the older one, and they stay apart: an e-mail's thread never changes.
    """
    keys = list(dict.fromkeys(thread_keys))[:_MOST_KEYS]
    known: dict[bytes, int] = {}
    open_threads: set[int] = set()
    for key in keys:
        for thread_id, emails in _FIND.run(s.driver, {"account": account_id, "wanted": key}):
            known[key] = thread_id
            if emails < _MOST_EMAILS:
                open_threads.add(thread_id)
    modseq = s.touch(account_id, "Thread")
    if open_threads:
        joined = min(open_threads)
        _TOUCH.run(s.driver, {"thread": joined, "new_modseq": modseq})
    else:
        joined = _INSERT.insert(
            s.driver,
            {
                "account_id": account_id,
                "emails": 0,
                "unread_elsewhere": 0,
                "unread_in_trash": 0,
                "created_modseq": modseq,
                "modseq": modseq,
            },
        )
    links = [
        {"account_id": account_id, "key": key, "thread_id": joined}
        for key in keys
        if known.get(key) not in open_threads
    ]
    if links:
        _LINK.run_many(s.driver, links)
    return joined, not open_threads
