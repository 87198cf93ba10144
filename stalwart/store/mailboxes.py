"""Mailboxes and their kept counters."""

from __future__ import annotations

from stalwart.store.rows import MailboxRow, Role
from stalwart.store.session import Session


def list_mailboxes(s: Session, account_id: int) -> list[MailboxRow]:
    """All mailboxes of the account, by sort order, then name."""
    raise NotImplementedError


def create_mailbox(
    s: Session, account_id: int, name: str, parent_id: int | None = None, role: Role | None = None
) -> MailboxRow:
    """Make a mailbox. InvalidName, NotFound (parent), AlreadyExists (a sibling's name, or the role)."""
    raise NotImplementedError


def find_mailbox(s: Session, account_id: int, *, role: Role | None = None, name: str | None = None) -> MailboxRow | None:
    """The mailbox with this role, or the top-level one with this name (exact, after NFC)."""
    raise NotImplementedError
