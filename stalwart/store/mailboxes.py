"""Mailboxes: making and listing them. Their counters are kept by `counters`."""

from __future__ import annotations

import unicodedata
from typing import Any

from sqlalchemy import Row, bindparam, insert, select

from stalwart.store.errors import AlreadyExists, InvalidName, NotFound
from stalwart.store.rows import MailboxRow, Role
from stalwart.store.session import Session
from stalwart.store.tables import mailbox

_STANDARD: tuple[tuple[Role, str], ...] = (
    ("inbox", "Inbox"),
    ("drafts", "Drafts"),
    ("sent", "Sent"),
    ("archive", "Archive"),
    ("junk", "Junk"),
    ("trash", "Trash"),
)
_LONGEST_NAME = 255  # octets, as the maxSizeMailboxName that is announced

_MAILBOXES = select(
    mailbox.c.id,
    mailbox.c.name,
    mailbox.c.parent_id,
    mailbox.c.role,
    mailbox.c.sort_order,
    mailbox.c.is_subscribed,
    mailbox.c.total_emails,
    mailbox.c.unread_emails,
    mailbox.c.total_threads,
    mailbox.c.unread_threads,
    mailbox.c.created_modseq,
    mailbox.c.modseq,
    mailbox.c.properties_modseq,
).where(mailbox.c.account_id == bindparam("account"))
_LIST = _MAILBOXES.order_by(mailbox.c.sort_order, mailbox.c.name, mailbox.c.id)
_BY_ID = _MAILBOXES.where(mailbox.c.id == bindparam("mailbox"))
_BY_ROLE = _MAILBOXES.where(mailbox.c.role == bindparam("role"))
_TOP_BY_NAME = _MAILBOXES.where(mailbox.c.parent_id.is_(None), mailbox.c.name == bindparam("name"))
_CHILD_BY_NAME = _MAILBOXES.where(mailbox.c.parent_id == bindparam("parent"), mailbox.c.name == bindparam("name"))
_INSERT = insert(mailbox)


def list_mailboxes(s: Session, account_id: int) -> list[MailboxRow]:
    """All mailboxes of the account, by sort order, then name."""
    return [_mailbox(row) for row in s.connection.execute(_LIST, {"account": account_id})]


def find_mailbox(
    s: Session, account_id: int, *, role: Role | None = None, name: str | None = None
) -> MailboxRow | None:
    """The mailbox with this role, or the top-level one with this name (exact, after NFC)."""
    if role is not None:
        found = s.connection.execute(_BY_ROLE, {"account": account_id, "role": role})
    elif name is not None:
        found = s.connection.execute(_TOP_BY_NAME, {"account": account_id, "name": unicodedata.normalize("NFC", name)})
    else:
        raise ValueError("a role or a name is needed")
    row = found.one_or_none()
    return _mailbox(row) if row is not None else None


def create_mailbox(
    s: Session, account_id: int, name: str, parent_id: int | None = None, role: Role | None = None
) -> MailboxRow:
    """Make a mailbox. InvalidName, NotFound (account, parent), AlreadyExists (a sibling's name, or the role)."""
    name = _checked(name)
    place = {"account": account_id, "name": name, "parent": parent_id}
    if parent_id is None:
        twin = s.connection.execute(_TOP_BY_NAME, place).first()
    else:
        if s.connection.execute(_BY_ID, {"account": account_id, "mailbox": parent_id}).first() is None:
            raise NotFound(f"mailbox {parent_id} does not exist in this account, so it can't be a parent")
        twin = s.connection.execute(_CHILD_BY_NAME, place).first()
    if twin is not None:
        raise AlreadyExists(f"there is a mailbox named {name!r} at this place already")
    if role is not None and find_mailbox(s, account_id, role=role) is not None:
        raise AlreadyExists(f"there is a mailbox with the role {role!r} already")
    return _create(s, account_id, name, parent_id, role, sort_order=100)


def create_standard_mailboxes(s: Session, account_id: int) -> None:
    """The six mailboxes of a new account."""
    for number, (role, name) in enumerate(_STANDARD, start=1):
        _create(s, account_id, name, None, role, sort_order=number)


def _create(
    s: Session, account_id: int, name: str, parent_id: int | None, role: Role | None, *, sort_order: int
) -> MailboxRow:
    modseq = s.touch(account_id, "Mailbox")
    s.touch(account_id, "Quota")
    values: dict[str, Any] = {
        "name": name,
        "parent_id": parent_id,
        "role": role,
        "sort_order": sort_order,
        "is_subscribed": True,
        "total_emails": 0,
        "unread_emails": 0,
        "total_threads": 0,
        "unread_threads": 0,
        "created_modseq": modseq,
        "modseq": modseq,
        "properties_modseq": modseq,
    }
    return MailboxRow(id=s.insert(_INSERT, {"account_id": account_id, **values}), **values)


def _checked(name: str) -> str:
    # RFC 8621 §2: Net-Unicode (RFC 5198: NFC, no control characters), at least one character.
    name = unicodedata.normalize("NFC", name)
    if not name or any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise InvalidName(f"{name!r} can't be a mailbox name: wanted one or more characters, none of them control ones")
    if len(name.encode("utf-8")) > _LONGEST_NAME:
        raise InvalidName(f"the mailbox name {name!r} is longer than {_LONGEST_NAME} octets")
    return name


def _mailbox(row: Row[*tuple[Any, ...]]) -> MailboxRow:
    return MailboxRow(**row._mapping)
