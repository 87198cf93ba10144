"""Messages as rows: adding them, and the reads that lists and threads need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from sqlalchemy import Text, bindparam, cast, exists, func, insert, or_, select, text, update

from stalwart.mail.message import encode_structure
from stalwart.mail.summary import Digest, encode_summary
from stalwart.store import counters, marks, search
from stalwart.store.errors import NotFound, OverQuota
from stalwart.store.prepared import Prepared
from stalwart.store.rows import EmailRow, NewEmail, StoredEmail
from stalwart.store.session import Session
from stalwart.store.tables import IS_LIVE, account, email, email_content, email_mailbox, mailbox
from stalwart.store.threads import join_thread

_LONGEST_SORT_KEY = 255

_ROOM = Prepared(
    select(account.c.address, account.c.quota, account.c.used).where(account.c.id == bindparam("account"), IS_LIVE)
)
_HAS_QUOTA = Prepared(select(account.c.id).where(account.c.id == bindparam("account"), account.c.quota.is_not(None)))
_FILL = Prepared(
    update(account)
    .where(account.c.id == bindparam("account"))
    .values(
        used=account.c.used + bindparam("octets"),
        message_count=account.c.message_count + bindparam("messages"),
    )
)
_IS_MAILBOX = Prepared(
    select(mailbox.c.id).where(mailbox.c.account_id == bindparam("account"), mailbox.c.id == bindparam("mailbox"))
)
_TRASH = Prepared(select(mailbox.c.id).where(mailbox.c.account_id == bindparam("account"), mailbox.c.role == "trash"))
_INSERT = Prepared(insert(email))
_INSERT_CONTENT = Prepared(insert(email_content))
_INSERT_MAILBOX = Prepared(insert(email_mailbox))
_IDS = select(email.c.id).where(email.c.account_id == bindparam("account")).order_by(email.c.created_modseq)
_SOME_IDS = _IDS.limit(bindparam("most"))
_WITH_BLOB = (
    select(email.c.id)
    .where(email.c.blob_hash == bindparam("hash"), email.c.account_id == bindparam("account"))
    .order_by(email.c.id)
)

# The hottest read goes to the driver: a list of ids as one JSON parameter keeps the statement the same for any number.
_ROWS = """
SELECT e.id, e.thread_id, e.blob_hash, e.size, e.received_at, e.mailbox_ids, e.keywords, c.summary, c.structure,
       e.modseq
FROM json_each(?) AS wanted
CROSS JOIN email AS e ON e.id = wanted.value
CROSS JOIN email_content AS c ON c.email_id = e.id
WHERE e.account_id = ?
"""
_THREADS = """
SELECT e.thread_id, e.id
FROM json_each(?) AS wanted
CROSS JOIN email AS e ON e.thread_id = wanted.value
WHERE e.account_id = ?
ORDER BY e.thread_id, e.received_at, e.id
"""


def add_email(s: Session, account_id: int, new: NewEmail) -> StoredEmail:
    """Add a message: rows, counters, thread, search text and change log, in the caller's transaction.

    Two messages with the same Message-ID, even the same octets, become two e-mails. OverQuota, NotFound (account or
    mailbox), ValueError if it would be in no mailbox or a keyword holds white space.
    """
    _make_room(s, account_id, new.size)
    mailbox_ids = frozenset(new.mailbox_ids)
    trash_id = check_mailboxes(s, account_id, mailbox_ids)
    keywords = normal_keywords(new.keywords)
    digest = new.digest
    thread_id, is_new = join_thread(s, account_id, digest.thread_keys)
    modseq = s.touch(account_id, "Email")
    s.touch(account_id, "EmailDelivery")
    email_id = _INSERT.insert(
        s.driver,
        {
            "account_id": account_id,
            "thread_id": thread_id,
            "blob_hash": new.blob_hash,
            "size": new.size,
            "received_at": new.received_at,
            "sent_at": _sent_at(digest, new.received_at),
            "has_attachment": digest.summary.has_attachment,
            "mailbox_ids": ",".join(map(str, sorted(mailbox_ids))),
            "keywords": " ".join(sorted(keywords)),
            "sort_from": _sort_key(digest.sort_from),
            "sort_to": _sort_key(digest.sort_to),
            "sort_subject": _sort_key(digest.base_subject),
            "created_modseq": modseq,
            "modseq": modseq,
        },
    )
    _INSERT_CONTENT.run(
        s.driver,
        {
            "email_id": email_id,
            "summary": encode_summary(digest.summary),
            "structure": encode_structure(digest.structure),
        },
    )
    _INSERT_MAILBOX.run_many(
        s.driver,
        [
            {
                "account_id": account_id,
                "mailbox_id": mailbox_id,
                "received_at": new.received_at,
                "email_id": email_id,
                "thread_id": thread_id,
            }
            for mailbox_id in mailbox_ids
        ],
    )
    marks.move(s, account_id, email_id, thread_id, new.received_at, marks.NONE, marks.marks_of(mailbox_ids, keywords))
    search.add_text(s, account_id, email_id, digest.search)
    counters.move(
        s,
        account_id,
        thread_id,
        counters.NOWHERE,
        counters.Placement(mailbox_ids=mailbox_ids, unread=counters.is_unread(keywords)),
        trash_id=trash_id,
        new_thread=is_new,
    )
    return StoredEmail(id=email_id, thread_id=thread_id, modseq=modseq)


def get_emails(s: Session, account_id: int, ids: Iterable[int]) -> dict[int, EmailRow]:
    """The rows of those ids that exist in the account, in one indexed read."""
    return {
        row[0]: EmailRow(
            id=row[0],
            thread_id=row[1],
            blob_hash=row[2],
            size=row[3],
            received_at=row[4],
            mailbox_ids=_mailbox_ids(row[5]),
            keywords=_keywords(row[6]),
            summary=row[7],
            structure=row[8],
            modseq=row[9],
        )
        for row in s.driver.execute(_ROWS, (json.dumps(list(ids)), account_id))
    }


def list_email_ids(s: Session, account_id: int, limit: int) -> list[int]:
    """At most `limit` ids of the account's e-mails, in the order in which they were added."""
    return list(s.connection.scalars(_SOME_IDS, {"account": account_id, "most": limit}))


def ids_with_header(s: Session, account_id: int, name: str, limit: int, mentions: Sequence[str] = ()) -> list[int]:
    """At most `limit` ids of the account's e-mails that have a header field of this name, the newest first.

    With `mentions`, only those whose summary has one of these texts in it, in lower case.
    """
    found = search.with_header(account_id, name)
    if mentions:
        summary = func.lower(cast(email_content.c.summary, Text))
        mentioned = or_(*(func.instr(summary, one) > 0 for one in mentions))
        found = found.where(exists().where(email_content.c.email_id == text("email_search.rowid"), mentioned))
    return list(s.connection.scalars(found.order_by(text("rowid DESC")).limit(limit)))


def has_blob(s: Session, account_id: int, blob_hash: str) -> list[int]:
    """Ids of the account's e-mails whose message is this blob."""
    return list(s.connection.scalars(_WITH_BLOB, {"account": account_id, "hash": blob_hash}))


def get_threads(s: Session, account_id: int, ids: Iterable[int]) -> dict[int, tuple[int, ...]]:
    """E-mail ids of those threads that exist, ordered by (received_at, id). RFC 8621 §3."""
    found: dict[int, list[int]] = {}
    for thread_id, email_id in s.driver.execute(_THREADS, (json.dumps(sorted(set(ids))), account_id)):
        found.setdefault(thread_id, []).append(email_id)
    return {thread_id: tuple(email_ids) for thread_id, email_ids in found.items()}


def normal_keywords(keywords: Iterable[str]) -> frozenset[str]:
    """Keywords in lower case (RFC 8621 §4.1.1: compared without case). ValueError if one is empty or has spaces."""
    lowered = frozenset(keyword.lower() for keyword in keywords)
    for keyword in lowered:
        if not keyword or keyword.split() != [keyword]:
            raise ValueError(f"{keyword!r} is not a keyword: it must be one word")
    return lowered


def fill(s: Session, account_id: int, octets: int, messages: int) -> None:
    """Add to what the account has in use; negative to take away."""
    if _HAS_QUOTA.run(s.driver, {"account": account_id}).fetchone() is not None:
        s.touch(account_id, "Quota")
    _FILL.run(s.driver, {"account": account_id, "octets": octets, "messages": messages})


def _make_room(s: Session, account_id: int, size: int) -> None:
    row = _ROOM.run(s.driver, {"account": account_id}).fetchone()
    if row is None:
        raise NotFound(f"account {account_id} does not exist")
    address, quota, used = row
    if quota is not None and used + size > quota:
        raise OverQuota(address, used, size, quota)
    fill(s, account_id, size, 1)


def check_mailboxes(s: Session, account_id: int, mailbox_ids: frozenset[int]) -> int | None:
    """The id of the account's trash, after making sure that all mailboxes are the account's."""
    if not mailbox_ids:
        raise ValueError("an e-mail must be in at least one mailbox")  # RFC 8621 §4.1.1
    for mailbox_id in mailbox_ids:
        if _IS_MAILBOX.run(s.driver, {"account": account_id, "mailbox": mailbox_id}).fetchone() is None:
            raise NotFound(f"mailbox {mailbox_id} does not exist in account {account_id}")
    return trash_of(s, account_id)


def trash_of(s: Session, account_id: int) -> int | None:
    """The mailbox that is the account's trash, if one is."""
    trash = _TRASH.run(s.driver, {"account": account_id}).fetchone()
    return None if trash is None else int(trash[0])


def _sent_at(digest: Digest, received_at: int) -> int:
    """The Date as a time to sort by; the time of receipt if there is none that can be read."""
    if digest.summary.sent_at is None:
        return received_at
    try:
        date = datetime.fromisoformat(digest.summary.sent_at)
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return received_at


def _sort_key(text: str) -> str:
    text = text[:_LONGEST_SORT_KEY].replace("\0", " ")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


@lru_cache(maxsize=1024)
def _mailbox_ids(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


@lru_cache(maxsize=1024)
def _keywords(text: str) -> tuple[str, ...]:
    return tuple(text.split())
