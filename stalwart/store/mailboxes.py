"""Mailboxes: making, listing, changing and destroying them. Their counters are kept by `counters`."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select, update

from stalwart.mail.normal import normalized
from stalwart.store import counters
from stalwart.store.edits import bury, destroy_email, read_places, update_email
from stalwart.store.emails import trash_of
from stalwart.store.errors import AlreadyExists, InvalidName, NotFound, StillInUse
from stalwart.store.prepared import Prepared
from stalwart.store.rows import MailboxRow, Role
from stalwart.store.session import Session
from stalwart.store.tables import email_mailbox, mailbox

_STANDARD: tuple[tuple[Role, str], ...] = (
    ("inbox", "Inbox"),
    ("drafts", "Drafts"),
    ("sent", "Sent"),
    ("archive", "Archive"),
    ("junk", "Junk"),
    ("trash", "Trash"),
)
_LONGEST_NAME = 255  # octets

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
_LIST = Prepared(_MAILBOXES.order_by(mailbox.c.sort_order, mailbox.c.name, mailbox.c.id))
_BY_ID = _MAILBOXES.where(mailbox.c.id == bindparam("mailbox"))
_BY_ROLE = _MAILBOXES.where(mailbox.c.role == bindparam("role"))
_TOP_BY_NAME = _MAILBOXES.where(mailbox.c.parent_id.is_(None), mailbox.c.name == bindparam("name"))
_CHILD_BY_NAME = _MAILBOXES.where(mailbox.c.parent_id == bindparam("parent"), mailbox.c.name == bindparam("name"))
_INSERT = insert(mailbox)
_SET = Prepared(
    update(mailbox)
    .where(mailbox.c.id == bindparam("mailbox"))
    .values(
        name=bindparam("new_name"),
        parent_id=bindparam("new_parent"),
        role=bindparam("new_role"),
        sort_order=bindparam("new_order"),
        is_subscribed=bindparam("new_subscribed"),
        modseq=bindparam("new_modseq"),
        properties_modseq=bindparam("new_modseq"),
    )
)
# A name that no mailbox can have.
_SET_ASIDE = Prepared(
    update(mailbox).where(mailbox.c.id == bindparam("mailbox")).values(name=bindparam("aside"), role=None)
)
_CHILD = Prepared(select(mailbox.c.id).where(mailbox.c.parent_id == bindparam("parent")).limit(1))
_EMAILS = Prepared(
    select(email_mailbox.c.email_id)
    .where(email_mailbox.c.account_id == bindparam("account"), email_mailbox.c.mailbox_id == bindparam("mailbox"))
    .limit(bindparam("most"))
)
_ALL = 2**62
_DELETE = Prepared(delete(mailbox).where(mailbox.c.id == bindparam("mailbox")))


def list_mailboxes(s: Session, account_id: int) -> list[MailboxRow]:
    """All mailboxes of the account, by sort order, then name."""
    return [
        MailboxRow(
            id=row[0],
            name=row[1],
            parent_id=row[2],
            role=row[3],
            sort_order=row[4],
            is_subscribed=bool(row[5]),
            total_emails=row[6],
            unread_emails=row[7],
            total_threads=row[8],
            unread_threads=row[9],
            created_modseq=row[10],
            modseq=row[11],
            properties_modseq=row[12],
        )
        for row in _LIST.run(s.driver, {"account": account_id})
    ]


def find_mailbox(
    s: Session, account_id: int, *, role: Role | None = None, name: str | None = None
) -> MailboxRow | None:
    """The mailbox with this role, or the top-level one with this name (exact, after NFC)."""
    if role is not None:
        found = s.connection.execute(_BY_ROLE, {"account": account_id, "role": role})
    elif name is not None:
        found = s.connection.execute(_TOP_BY_NAME, {"account": account_id, "name": normalized("NFC", name)})
    else:
        raise ValueError("a role or a name is needed")
    row = found.one_or_none()
    return _mailbox(row) if row is not None else None


def create_mailbox(
    s: Session,
    account_id: int,
    name: str,
    parent_id: int | None = None,
    role: Role | None = None,
    *,
    sort_order: int = 100,
    is_subscribed: bool = True,
    longest_name: int = _LONGEST_NAME,
) -> MailboxRow:
    """Make a mailbox. InvalidName, NotFound (account, parent), AlreadyExists (a sibling's name, or the role)."""
    name = normal_name(name, longest_name)
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
    return _create(s, account_id, name, parent_id, role, sort_order=sort_order, is_subscribed=is_subscribed)


def update_mailboxes(s: Session, account_id: int, rows: Sequence[MailboxRow]) -> None:
    """Give mailboxes that exist the properties of these rows; counters and modseqs there are ignored.

    All at once, so that two may swap their names or roles. Names are as `normal_name` gives them. Whether the result
    is a tree in which siblings have different names, and in which no role is there twice, is for the caller to see to.
    """
    old_trash = trash_of(s, account_id)
    if len(rows) > 1:
        _SET_ASIDE.run_many(s.driver, [{"mailbox": row.id, "aside": f"\n{row.id}"} for row in rows])
    _SET.run_many(
        s.driver,
        [
            {
                "mailbox": row.id,
                "new_name": row.name,
                "new_parent": row.parent_id,
                "new_role": row.role,
                "new_order": row.sort_order,
                "new_subscribed": row.is_subscribed,
                "new_modseq": s.touch(account_id, "Mailbox"),
            }
            for row in rows
        ],
    )
    trash = trash_of(s, account_id)
    if trash != old_trash:
        counters.change_trash(s, account_id, old_trash, trash)


def destroy_mailbox(s: Session, account_id: int, mailbox_id: int) -> None:
    """Remove a mailbox, and the e-mails that are in no other one. NotFound; StillInUse if it has children."""
    row = s.connection.execute(_BY_ID, {"account": account_id, "mailbox": mailbox_id}).one_or_none()
    if row is None:
        raise NotFound(f"mailbox {mailbox_id} does not exist in account {account_id}")
    if _CHILD.run(s.driver, {"parent": mailbox_id}).fetchone() is not None:
        raise StillInUse(f"mailbox {mailbox_id} has mailboxes in it")
    remove_emails(s, account_id, mailbox_id, _ALL)
    _DELETE.run(s.driver, {"mailbox": mailbox_id})
    s.touch(account_id, "Quota")
    bury(s, account_id, "Mailbox", mailbox_id, row.created_modseq)


def remove_emails(s: Session, account_id: int, mailbox_id: int, most: int) -> int:
    """Take at most so many e-mails out of a mailbox, and destroy those that are in no other one; gives how many."""
    where = {"account": account_id, "mailbox": mailbox_id, "most": most}
    emails = {email_id for (email_id,) in _EMAILS.run(s.driver, where)}
    for email_id, places in read_places(s, account_id, emails).items():
        if places == {mailbox_id}:
            destroy_email(s, account_id, email_id)
        else:
            update_email(s, account_id, email_id, mailbox_ids=places - {mailbox_id})
    return len(emails)


def create_standard_mailboxes(s: Session, account_id: int) -> None:
    """The six mailboxes of a new account."""
    for number, (role, name) in enumerate(_STANDARD, start=1):
        _create(s, account_id, name, None, role, sort_order=number)


def _create(
    s: Session,
    account_id: int,
    name: str,
    parent_id: int | None,
    role: Role | None,
    *,
    sort_order: int,
    is_subscribed: bool = True,
) -> MailboxRow:
    modseq = s.touch(account_id, "Mailbox")
    s.touch(account_id, "Quota")
    values: dict[str, Any] = {
        "name": name,
        "parent_id": parent_id,
        "role": role,
        "sort_order": sort_order,
        "is_subscribed": is_subscribed,
        "total_emails": 0,
        "unread_emails": 0,
        "total_threads": 0,
        "unread_threads": 0,
        "created_modseq": modseq,
        "modseq": modseq,
        "properties_modseq": modseq,
    }
    return MailboxRow(id=s.insert(_INSERT, {"account_id": account_id, **values}), **values)


def normal_name(name: str, longest: int) -> str:
    """The name as it is kept (RFC 8621 §2): Net-Unicode (RFC 5198: NFC, no control characters), of at most `longest`
    octets of UTF-8. InvalidName."""
    name = normalized("NFC", name)
    if not name or any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise InvalidName(f"{name!r} can't be a mailbox name: wanted one or more characters, none of them control ones")
    if len(name.encode("utf-8")) > longest:
        raise InvalidName(f"the mailbox name {name[:100]!r} is longer than {longest} octets")
    return name


def _mailbox(row: Row[*tuple[Any, ...]]) -> MailboxRow:
    return MailboxRow(**row._mapping)
