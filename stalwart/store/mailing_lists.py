"""Mailing lists: addresses that stand for many, who is on them, and who may post.

Members are kept by their addresses, whether an account, a group, another list or somebody elsewhere is behind them.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from sqlalchemy import bindparam, delete, exists, insert, select

from stalwart.store.accounts import domain_of_free_address, is_local_domain, resolve_recipient
from stalwart.store.addresses import normalise_address, without_tag
from stalwart.store.errors import AlreadyExists, CircularLists, InvalidAddress, NotFound, StoreError
from stalwart.store.principals import create_principal, delete_principal, groups_of, principal_of_account
from stalwart.store.session import Session
from stalwart.store.tables import address, list_member, mailing_list, principal

_LISTS = select(
    principal.c.id,
    principal.c.name.label("address"),
    principal.c.description.label("name"),
    mailing_list.c.owner,
    mailing_list.c.is_members_only,
).join_from(mailing_list, principal, mailing_list.c.principal_id == principal.c.id)
_BY_ADDRESS = _LISTS.where(principal.c.kind == "list", principal.c.name == bindparam("address"))
_BY_ID = _LISTS.where(principal.c.id == bindparam("list"))
_ALL = _LISTS.order_by(principal.c.name)
_INSERT = insert(mailing_list)
_OWNS = select(mailing_list.c.principal_id).where(mailing_list.c.owner == bindparam("address")).limit(1)

_MEMBERS = (
    select(list_member.c.address).where(list_member.c.list_id == bindparam("list")).order_by(list_member.c.address)
)
_IS_ON = select(list_member.c.list_id).where(
    list_member.c.list_id == bindparam("list"), list_member.c.address == bindparam("address")
)
_ADD = insert(list_member)
_REMOVE = delete(list_member).where(
    list_member.c.list_id == bindparam("list"), list_member.c.address == bindparam("wanted")
)
_LEAVE_ALL = delete(list_member).where(list_member.c.address == bindparam("wanted"))

# UNION, not UNION ALL: each address is reached once, also where lists are on each other.
_FIRST = select(list_member.c.address).where(list_member.c.list_id == bindparam("list")).cte("reached", recursive=True)
_REACHED = _FIRST.union(
    select(list_member.c.address)
    .join_from(_FIRST, principal, principal.c.name == _FIRST.c.address)
    .join(list_member, list_member.c.list_id == principal.c.id)
    .where(principal.c.kind == "list")
)
_NO_LIST = ~exists().where(principal.c.kind == "list", principal.c.name == _REACHED.c.address)
_EXPANDED = (
    select(_REACHED.c.address, address.c.account_id)
    .join_from(_REACHED, address, address.c.address == _REACHED.c.address, isouter=True)
    .where(_NO_LIST)
    .order_by(_REACHED.c.address)
)
_SOMEBODY = select(_REACHED.c.address).where(_NO_LIST).limit(1)
_REACHES = select(_REACHED.c.address).where(_REACHED.c.address == bindparam("address")).limit(1)


class ListRow(msgspec.Struct, frozen=True, kw_only=True):
    """A mailing list. `id` is its principal's; reports about what it sends go to `owner`."""

    id: int
    address: str
    name: str
    owner: str
    is_members_only: bool


def create_list(s: Session, address: str, *, owner: str, name: str = "", is_members_only: bool = False) -> ListRow:
    """Make a list without members. NoSuchDomain, AlreadyExists, InvalidAddress; NotFound for an owner not here."""
    wanted = normalise_address(address)
    if without_tag(wanted) is not None:
        raise InvalidAddress(f"{wanted} can't be a mailing list's address: what follows + is taken for a tag")
    domain_id = domain_of_free_address(s, wanted)
    reports_to = normalise_address(owner)
    # A list can't get them: it takes nothing with an empty return path.
    if reports_to == wanted or find_list(s, reports_to) is not None:
        raise StoreError(f"{reports_to} is a mailing list and can't be an owner: reports go to somebody who reads them")
    _must_exist(s, reports_to)
    made = create_principal(s, "list", wanted, description=name)
    values = {"domain_id": domain_id, "owner": reports_to, "is_members_only": is_members_only}
    s.connection.execute(_INSERT, {"principal_id": made.id, **values})
    return get_list(s, made.id)


def get_list(s: Session, list_id: int) -> ListRow:
    """The list with this id. NotFound."""
    row = s.connection.execute(_BY_ID, {"list": list_id}).one_or_none()
    if row is None:
        raise NotFound(f"mailing list {list_id} does not exist")
    return ListRow(**row._mapping)


def find_list(s: Session, address: str) -> ListRow | None:
    """The list with this address, compared without case; None if there is none, or if it is no address."""
    try:
        wanted = normalise_address(address)
    except InvalidAddress:
        return None
    row = s.connection.execute(_BY_ADDRESS, {"address": wanted}).one_or_none()
    return None if row is None else ListRow(**row._mapping)


def list_lists(s: Session) -> list[ListRow]:
    """All lists, by address."""
    return [ListRow(**row._mapping) for row in s.connection.execute(_ALL)]


def delete_list(s: Session, list_id: int) -> None:
    """Remove a list, and its address from others. What it has queued is sent. NotFound."""
    s.connection.execute(_LEAVE_ALL, {"wanted": get_list(s, list_id).address})
    delete_principal(s, list_id)


def owns_list(s: Session, address: str) -> bool:
    """Whether the reports of some list go to this normalised address."""
    return s.connection.execute(_OWNS, {"address": address}).first() is not None


# Members.


def list_members(s: Session, list_id: int) -> list[str]:
    """The addresses on a list, in their order, without those that are on it through other lists."""
    return list(s.connection.scalars(_MEMBERS, {"list": list_id}))


def add_list_member(s: Session, list_id: int, member: str) -> str:
    """Put an address on a list; gives its normalised form.

    AlreadyExists, InvalidAddress; NotFound for one of this server's domains that receives nothing; CircularLists.
    """
    row, wanted = get_list(s, list_id), normalise_address(member)
    nested = find_list(s, wanted)
    if nested is None:
        _must_exist(s, wanted)
    elif nested.id == list_id or s.connection.scalar(_REACHES, {"list": nested.id, "address": row.address}) is not None:
        raise CircularLists(f"{wanted} can't be on the list {row.address}, which would be on itself by that")
    if s.connection.scalar(_IS_ON, {"list": list_id, "address": wanted}) is not None:
        raise AlreadyExists(f"{wanted} is on the list {row.address} already")
    s.connection.execute(_ADD, {"list_id": list_id, "address": wanted})
    return wanted


def remove_list_member(s: Session, list_id: int, member: str) -> str:
    """Take an address off a list; gives its normalised form. NotFound."""
    row, wanted = get_list(s, list_id), normalise_address(member)
    if not s.connection.execute(_REMOVE, {"list": list_id, "wanted": wanted}).rowcount:
        raise NotFound(f"{wanted} is not on the list {row.address}: `stalwart list show {row.address}` shows who is")
    return wanted


def expand_list(s: Session, list_id: int) -> list[str]:
    """Whom mail for a list goes to, through all lists on it, each account and each address elsewhere once."""
    return [member for member, _ in _expanded(s, list_id)]


def reaches_somebody(s: Session, list_id: int) -> bool:
    """Whether mail for a list goes to anybody."""
    return s.connection.scalar(_SOMEBODY, {"list": list_id}) is not None


def may_post(s: Session, row: ListRow, sender: str) -> bool:
    """Whether a list takes mail with this return path.

    Members may write from any address of the account that is on it, and of those that belong to a group that is.
    """
    if not row.is_members_only:
        return True
    try:
        wanted = normalise_address(sender)
    except InvalidAddress:
        return False
    members = dict(_expanded(s, row.id))
    if wanted in members:
        return True
    account = resolve_recipient(s, wanted)
    if account is None:
        return False
    groups = groups_of(s, principal_of_account(s, account.id).id)
    return not {account.id, *(group.account_id for group in groups)}.isdisjoint(members.values())


def _expanded(s: Session, list_id: int) -> Iterator[tuple[str, int | None]]:
    """Addresses with the accounts behind those that are one's own or an alias."""
    seen: set[int] = set()
    for row in s.connection.execute(_EXPANDED, {"list": list_id}):
        if row.account_id is None or row.account_id not in seen:
            yield row.address, row.account_id
            if row.account_id is not None:
                seen.add(row.account_id)


def _must_exist(s: Session, wanted: str) -> None:
    if is_local_domain(s, wanted.rpartition("@")[2]) and resolve_recipient(s, wanted) is None:
        raise NotFound(f"nobody here has the address {wanted}: create the account first")
