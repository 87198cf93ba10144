"""Makes large mailboxes in the time that copying rows takes: a message delivered in earnest is copied within SQL.

What comes out is what deliveries would have left: rows, threads, counters, change numbers, text index; the copies share
the blobs of the originals. `main` in jmap.py measures on it.
"""

from __future__ import annotations

import sqlite3
import time

# Ids of each copy are those of the originals plus a multiple of this.
_STRIDE = 1_000_000


def grow(path: str, account: int, copies: int) -> int:
    """Have every message of the account `copies` times in all; gives their number. The daemon must not run."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -400000")
        (highest,) = database.execute("SELECT max(id) FROM email").fetchone()
        assert highest < _STRIDE
        first, last, modseq = database.execute(
            "SELECT min(received_at), max(received_at), (SELECT modseq FROM account WHERE id = ?1) FROM email "
            "WHERE account_id = ?1",
            (account,),
        ).fetchone()
        for copy in range(1, copies):
            given = {
                "account": account,
                "ids": copy * _STRIDE,
                "later": copy * (last - first + 60),
                "modseqs": copy * modseq,
                "key": copy.to_bytes(4, "big"),
            }
            for statement in _STATEMENTS:
                database.execute(statement, given)
            database.commit()
        factor = {"account": account, "copies": copies}
        database.execute(
            "UPDATE mailbox SET total_emails = total_emails * :copies, unread_emails = unread_emails * :copies, "
            "total_threads = total_threads * :copies, unread_threads = unread_threads * :copies "
            "WHERE account_id = :account",
            factor,
        )
        database.execute(
            "UPDATE account SET used = used * :copies, message_count = message_count * :copies, "
            "modseq = modseq * (:copies + 1) WHERE id = :account",
            factor,
        )
        # States point at the newest change; the oldest messages were the originals.
        database.execute(
            "UPDATE type_state SET modseq = (SELECT modseq FROM account WHERE id = :account) "
            "WHERE account_id = :account AND type IN ('Email', 'Thread', 'Mailbox')",
            factor,
        )
        (count,) = database.execute("SELECT count(*) FROM email WHERE account_id = ?", (account,)).fetchone()
    return int(count)


def _copied(table: str, changes: dict[str, str], columns: str, where: str) -> str:
    """INSERT … SELECT of the originals, with some columns given anew."""
    names = columns.split()
    values = ", ".join(changes.get(name, name) for name in names)
    return f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} WHERE {where}"


_ID = {"id": "id + :ids"}
_THREAD = {"thread_id": "thread_id + :ids"}
_EMAIL = {"email_id": "email_id + :ids"}
_MODSEQS = {"created_modseq": "created_modseq + :modseqs", "modseq": "modseq + :modseqs"}
_TIMES = {"received_at": "received_at + :later", "sent_at": "sent_at + :later"}
_MINE = f"account_id = :account AND {{}} < {_STRIDE}"

_STATEMENTS = (
    _copied(
        "thread",
        _ID | _MODSEQS,
        "id account_id emails unread_elsewhere unread_in_trash created_modseq modseq",
        _MINE.format("id"),
    ),
    _copied(
        "thread_key",
        _THREAD | {"key": "CAST(:key || substr(key, 5) AS BLOB)"},
        "account_id key thread_id",
        _MINE.format("thread_id"),
    ),
    _copied("thread_mailbox", _THREAD, "thread_id mailbox_id emails", f"thread_id < {_STRIDE}"),
    _copied(
        "email",
        _ID | _THREAD | _TIMES | _MODSEQS,
        "id account_id thread_id blob_hash size received_at sent_at has_attachment mailbox_ids keywords sort_from "
        "sort_to sort_subject created_modseq modseq",
        _MINE.format("id"),
    ),
    _copied("email_content", _EMAIL, "email_id summary structure", f"email_id < {_STRIDE}"),
    _copied(
        "email_mailbox",
        _EMAIL | _THREAD | _TIMES,
        "account_id mailbox_id received_at email_id thread_id",
        _MINE.format("email_id"),
    ),
    _copied(
        "email_mark",
        _EMAIL | _THREAD | _TIMES,
        "account_id mark mailbox_id received_at email_id thread_id",
        _MINE.format("email_id"),
    ),
    _copied(
        "email_text",
        _EMAIL,
        "email_id account subject from_ to_ cc bcc body attachments",
        f"email_id < {_STRIDE}",
    ),
)


def timed(path: str, account: int, copies: int) -> tuple[int, float]:
    """`grow`, with the seconds it took."""
    started = time.monotonic()
    return grow(path, account, copies), time.monotonic() - started
