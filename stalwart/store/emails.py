"""Messages as rows: adding them, and the reads that lists and threads need."""

from __future__ import annotations

from collections.abc import Iterable

from stalwart.store.rows import EmailRow, NewEmail, StoredEmail
from stalwart.store.session import Session


def add_email(s: Session, account_id: int, new: NewEmail) -> StoredEmail:
    """Add a message: rows, counters, thread, search text and change log, in the caller's transaction.

    Two messages with the same Message-ID, even the same octets, become two e-mails. OverQuota, NotFound (account or
    mailbox), ValueError if it would be in no mailbox.
    """
    raise NotImplementedError


def get_emails(s: Session, account_id: int, ids: Iterable[int]) -> dict[int, EmailRow]:
    """The rows of those ids that exist in the account, in one indexed read."""
    raise NotImplementedError


def list_email_ids(s: Session, account_id: int, limit: int) -> list[int]:
    """At most `limit` ids of the account's e-mails, oldest id first."""
    raise NotImplementedError


def has_blob(s: Session, account_id: int, blob_hash: str) -> list[int]:
    """Ids of the account's e-mails whose message is this blob."""
    raise NotImplementedError


def get_threads(s: Session, account_id: int, ids: Iterable[int]) -> dict[int, tuple[int, ...]]:
    """E-mail ids of those threads that exist, ordered by (received_at, id). RFC 8621 §3."""
    raise NotImplementedError
