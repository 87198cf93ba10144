"""Whose accounts a user sees beside their own, those of their groups too, and what they subscribed to there.

Who shares with whom is kept in memory under a number that moves with every change of it, in the same transaction and
whichever process makes it: a share that was taken back is gone with the next snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, delete, func, literal, select, union_all, update
from sqlalchemy.dialects.sqlite import insert

from stalwart.store.errors import NotFound
from stalwart.store.prepared import Prepared
from stalwart.store.rows import Rights, ShareRow
from stalwart.store.session import Session
from stalwart.store.tables import account, mailbox, principal, principal_member, share, subscription

# SQLite fires these for rows that go by cascade, too.
DDL = (
    "CREATE TRIGGER share_added AFTER INSERT ON share BEGIN UPDATE directory SET version = version + 1; END",
    "CREATE TRIGGER share_changed AFTER UPDATE ON share BEGIN UPDATE directory SET version = version + 1; END",
    "CREATE TRIGGER share_removed AFTER DELETE ON share BEGIN UPDATE directory SET version = version + 1; END",
)

# The members of a group see its account, and may change what is there.
_MEMBER, _GROUP = principal.alias("a_member"), principal.alias("a_group")
_OF_MEMBERS = (
    select(_MEMBER.c.account_id.label("guest_id"), _GROUP.c.account_id.label("owner_id"), literal(1).label("may_write"))
    .join_from(principal_member, _MEMBER, principal_member.c.member_id == _MEMBER.c.id)
    .join(_GROUP, principal_member.c.group_id == _GROUP.c.id)
)
_OF_GUESTS = select(share.c.guest_id, share.c.owner_id, share.c.may_write)
_SEEN = union_all(
    _OF_GUESTS.where(share.c.guest_id == bindparam("guest")),
    _OF_MEMBERS.where(_MEMBER.c.account_id == bindparam("guest")),
).subquery()
_SHARED_WITH = Prepared(
    select(_SEEN.c.owner_id, account.c.address, func.max(_SEEN.c.may_write))
    .join_from(_SEEN, account, _SEEN.c.owner_id == account.c.id)
    .group_by(_SEEN.c.owner_id, account.c.address)
    .order_by(account.c.address)
)
_FIND = Prepared(select(func.max(_SEEN.c.may_write)).where(_SEEN.c.owner_id == bindparam("owner")))
_ALL = Prepared(union_all(_OF_GUESTS, _OF_MEMBERS))
_GUESTS = (
    select(share.c.owner_id, share.c.guest_id.label("account_id"), account.c.address, share.c.may_write)
    .join_from(share, account, share.c.guest_id == account.c.id)
    .order_by(account.c.address)
)
_SHARE = insert(share)
_SHARE = _SHARE.on_conflict_do_update(
    index_elements=[share.c.guest_id, share.c.owner_id], set_={"may_write": _SHARE.excluded.may_write}
)
_UNSHARE = delete(share).where(share.c.guest_id == bindparam("guest"), share.c.owner_id == bindparam("owner"))
_FORGET_SUBSCRIPTIONS = delete(subscription).where(
    subscription.c.guest_id == bindparam("guest"),
    subscription.c.mailbox_id.in_(select(mailbox.c.id).where(mailbox.c.account_id == bindparam("owner"))),
)
_SUBSCRIPTIONS = (
    select(subscription.c.mailbox_id)
    .join_from(subscription, mailbox, subscription.c.mailbox_id == mailbox.c.id)
    .where(subscription.c.guest_id == bindparam("guest"), mailbox.c.account_id == bindparam("account"))
)
_SUBSCRIBE = insert(subscription).on_conflict_do_nothing()
_UNSUBSCRIBE = delete(subscription).where(
    subscription.c.guest_id == bindparam("guest"), subscription.c.mailbox_id == bindparam("mailbox")
)
_TOUCH = Prepared(
    update(mailbox)
    .where(mailbox.c.id == bindparam("mailbox"))
    .values(modseq=bindparam("new_modseq"), properties_modseq=bindparam("new_modseq"))
)

# Caches have no None.
_MAY_WRITE: Mapping[Rights, bool | None] = {"none": None, "read": False, "write": True}
_RIGHTS = {writes: rights for rights, writes in _MAY_WRITE.items()}


def shared_with(s: Session, guest_id: int) -> tuple[ShareRow, ...]:
    """The accounts of others and of groups that this user may see, by address."""
    caches = s.shares
    if caches is None:
        return _read_shared_with(s, guest_id)
    key = (s.directory_version(), guest_id)
    known = caches.sharings.get(key)
    if known is None:
        known = _read_shared_with(s, guest_id)
        caches.sharings.put(key, known)
    return known


def _read_shared_with(s: Session, guest_id: int) -> tuple[ShareRow, ...]:
    found = _SHARED_WITH.run(s.driver, {"guest": guest_id})
    return tuple(ShareRow(account_id=row[0], address=row[1], may_write=bool(row[2])) for row in found)


def shares_by_guest(s: Session) -> dict[int, frozenset[int]]:
    """Whose accounts each user sees with whom any is shared."""
    found: dict[int, set[int]] = {}
    for guest, owner, _ in _ALL.run(s.driver, {}):
        found.setdefault(guest, set()).add(owner)
    return {guest: frozenset(owners) for guest, owners in found.items()}


def may_write(s: Session, owner_id: int, guest_id: int) -> bool | None:
    """Whether the guest may change the owner's mail; None if it isn't shared with them."""
    caches = s.shares
    if caches is None:
        return _read_may_write(s, owner_id, guest_id)
    key = (s.directory_version(), owner_id, guest_id)
    known = caches.acl.get(key)
    if known is None:
        known = _RIGHTS[_read_may_write(s, owner_id, guest_id)]
        caches.acl.put(key, known)
    return _MAY_WRITE[known]


def _read_may_write(s: Session, owner_id: int, guest_id: int) -> bool | None:
    row = _FIND.run(s.driver, {"guest": guest_id, "owner": owner_id}).fetchone()
    return None if row is None or row[0] is None else bool(row[0])


def guests_of(s: Session, owner_id: int) -> list[ShareRow]:
    """With whom an account is shared, by address; not the members of a group."""
    found = s.connection.execute(_GUESTS.where(share.c.owner_id == owner_id))
    return [ShareRow(account_id=row[1], address=row[2], may_write=row[3]) for row in found]


def all_guests(s: Session) -> dict[int, list[ShareRow]]:
    """With whom each account is shared that is."""
    found: dict[int, list[ShareRow]] = {}
    for owner, guest, address, writes in s.connection.execute(_GUESTS):
        found.setdefault(owner, []).append(ShareRow(account_id=guest, address=address, may_write=writes))
    return found


def share_account(s: Session, owner_id: int, guest_id: int, *, writing: bool) -> None:
    """Let the guest see the owner's account; sharing again changes what they may. ValueError with oneself."""
    if owner_id == guest_id:
        raise ValueError("an account can't be shared with itself")
    s.connection.execute(_SHARE, {"guest_id": guest_id, "owner_id": owner_id, "may_write": writing})


def unshare_account(s: Session, owner_id: int, guest_id: int) -> None:
    """Take it back, and forget what the guest subscribed to there. NotFound if it isn't shared with them."""
    where = {"guest": guest_id, "owner": owner_id}
    if not s.connection.execute(_UNSHARE, where).rowcount:
        raise NotFound("the account is not shared with that one: `stalwart account show` tells with whom it is")
    if _read_may_write(s, owner_id, guest_id) is None:  # they may also belong to a group, whose account it is
        forget_subscriptions(s, owner_id, guest_id)


def forget_subscriptions(s: Session, owner_id: int, guest_id: int) -> None:
    """Forget which of the owner's mailboxes the guest subscribed to."""
    s.connection.execute(_FORGET_SUBSCRIPTIONS, {"guest": guest_id, "owner": owner_id})


def subscribed_mailboxes(s: Session, account_id: int, guest_id: int) -> frozenset[int]:
    """The mailboxes of somebody else's account that the guest subscribed to. RFC 8621 §2: by default none."""
    return frozenset(s.connection.scalars(_SUBSCRIPTIONS, {"guest": guest_id, "account": account_id}))


def set_subscription(s: Session, account_id: int, mailbox_id: int, guest_id: int, *, subscribed: bool) -> None:
    """Note that the guest wants to see this mailbox of somebody else, or no longer.

    It counts as a change of the mailbox for everybody: states are kept per account and not per user.
    """
    if subscribed:
        s.connection.execute(_SUBSCRIBE, {"guest_id": guest_id, "mailbox_id": mailbox_id})
    else:
        s.connection.execute(_UNSUBSCRIBE, {"guest": guest_id, "mailbox": mailbox_id})
    _TOUCH.run(s.driver, {"mailbox": mailbox_id, "new_modseq": s.touch(account_id, "Mailbox")})
