"""Domains, accounts, their aliases, and who receives mail for an address."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, bindparam, delete, exists, insert, or_, select, update

from stalwart.store.addresses import normalise_address, normalise_domain, without_tag
from stalwart.store.errors import AlreadyExists, InvalidAddress, NoSuchDomain, NotFound, StillInUse
from stalwart.store.identities import create_identity, drop_identities
from stalwart.store.mailboxes import create_standard_mailboxes
from stalwart.store.prepared import Prepared
from stalwart.store.principals import create_principal, set_roles
from stalwart.store.rows import AccountKind, AccountRow
from stalwart.store.session import Session
from stalwart.store.tables import (
    DELETED,
    IS_LIVE,
    account,
    address,
    domain,
    list_member,
    mailing_list,
    oauth_grant,
    principal,
    principal_role,
    push_subscription,
    queue_message,
    share,
    type_state,
)

_DOMAIN_ID = select(domain.c.id).where(domain.c.name == bindparam("name"))
_DOMAINS = select(domain.c.name).order_by(domain.c.name)
_INSERT_DOMAIN = insert(domain)
_DELETE_DOMAIN = delete(domain).where(domain.c.id == bindparam("domain"))
_SOME_ADDRESSES = (
    select(address.c.address)
    .where(address.c.domain_id == bindparam("domain"))
    .union_all(
        select(principal.c.name)
        .join_from(mailing_list, principal, mailing_list.c.principal_id == principal.c.id)
        .where(mailing_list.c.domain_id == bindparam("domain"))
    )
    .order_by("address")
    .limit(4)
)

_ADMIN = principal.alias("admin")
_IS_ADMIN = exists().where(
    principal_role.c.principal_id == principal.c.id,
    principal_role.c.role_id == _ADMIN.c.id,
    _ADMIN.c.kind == "role",
    _ADMIN.c.name == "admin",
)
_ACCOUNTS = select(
    account.c.id,
    account.c.address,
    account.c.name,
    account.c.password_hash,
    _IS_ADMIN.label("is_admin"),
    principal.c.kind,
    principal.c.is_enabled,
    account.c.quota,
    account.c.used,
    account.c.message_count,
    account.c.credential_version,
    account.c.created_at,
).join_from(account, principal, principal.c.account_id == account.c.id)
_ALL_ACCOUNTS = _ACCOUNTS.where(principal.c.kind == "individual").order_by(account.c.address)
_ACCOUNT = _ACCOUNTS.where(account.c.id == bindparam("account"))
_ACCOUNT_OF = _ACCOUNTS.where(account.c.address == bindparam("address"))
_RECIPIENT = _ACCOUNTS.join(address, address.c.account_id == account.c.id).where(
    address.c.address == bindparam("address")
)
_ALIASES = select(address.c.account_id, address.c.address).where(address.c.is_alias).order_by(address.c.address)
_ALIASES_OF = _ALIASES.where(address.c.account_id == bindparam("account"))
_CREDENTIAL_VERSION = Prepared(
    select(account.c.credential_version).where(account.c.id == bindparam("account"), IS_LIVE)
)

_INSERT_ACCOUNT = insert(account)
_INSERT_ADDRESS = insert(address)
_TAKEN = select(address.c.address).where(address.c.address == bindparam("address"))
_IS_LIST = select(principal.c.id).where(principal.c.kind == "list", principal.c.name == bindparam("address"))
_LEAVE_LISTS = delete(list_member).where(list_member.c.address == bindparam("wanted"))
_DELETE_ALIAS = delete(address).where(
    address.c.address == bindparam("wanted"), address.c.account_id == bindparam("account"), address.c.is_alias
)
# Nothing that belongs to it is reached any more, and its address is free for another.
_MARK_DELETED = (
    update(account)
    .where(account.c.id == bindparam("account"), IS_LIVE)
    .values(address=bindparam("mark"), credential_version=account.c.credential_version + 1)
)
_TAKE_AWAY = (
    # Its addresses may be another's soon, who is not to get what they were on lists for.
    delete(list_member).where(
        list_member.c.address.in_(select(address.c.address).where(address.c.account_id == bindparam("account")))
    ),
    delete(address).where(address.c.account_id == bindparam("account")),
    delete(principal).where(principal.c.account_id == bindparam("account")),
    delete(share).where(or_(share.c.guest_id == bindparam("account"), share.c.owner_id == bindparam("account"))),
    delete(push_subscription).where(push_subscription.c.account_id == bindparam("account")),
    delete(oauth_grant).where(oauth_grant.c.account_id == bindparam("account")),
    delete(type_state).where(type_state.c.account_id == bindparam("account")),
    # Nothing is sent any more in its name, which may be another's soon; what is done stays for the operator to see.
    delete(queue_message).where(
        queue_message.c.account_id == bindparam("account"), queue_message.c.finished_at.is_(None)
    ),
)
_SET_PASSWORD = (
    update(account)
    .where(account.c.id == bindparam("account"))
    .values(password_hash=bindparam("hash"), credential_version=account.c.credential_version + 1)
)
_REPLACE_HASH = (
    update(account)
    .where(account.c.id == bindparam("account"), account.c.password_hash == bindparam("old"))
    .values(password_hash=bindparam("new"))
)
_END_SIGN_INS = (
    update(account)
    .where(account.c.id == bindparam("account"), IS_LIVE)
    .values(credential_version=account.c.credential_version + 1)
)


def create_domain(s: Session, name: str) -> str:
    """Make a domain; gives its normalised name (A-labels, lower case). AlreadyExists, InvalidAddress."""
    name = normalise_domain(name)
    if s.connection.scalar(_DOMAIN_ID, {"name": name}) is not None:
        raise AlreadyExists(f"domain {name} exists already")
    s.connection.execute(_INSERT_DOMAIN, {"name": name, "created_at": s.now()})
    return name


def list_domains(s: Session) -> list[str]:
    """All domain names, sorted."""
    return list(s.connection.scalars(_DOMAINS))


def delete_domain(s: Session, name: str) -> None:
    """Remove a domain. NotFound; StillInUse while addresses are in it."""
    name = normalise_domain(name)
    domain_id = s.connection.scalar(_DOMAIN_ID, {"name": name})
    if domain_id is None:
        raise NotFound(f"domain {name} does not exist")
    if users := list(s.connection.scalars(_SOME_ADDRESSES, {"domain": domain_id})):
        names = ", ".join(users[:3]) + (", …" if len(users) > 3 else "")
        raise StillInUse(f"domain {name} still has addresses ({names}); delete its accounts, aliases and lists first")
    s.connection.execute(_DELETE_DOMAIN, {"domain": domain_id})


def create_account(
    s: Session,
    address: str,
    *,
    name: str = "",
    password_hash: str,
    is_admin: bool = False,
    quota: int | None = None,
    kind: AccountKind = "individual",
) -> AccountRow:
    """Make an account with its six mailboxes; an individual's has the role `user`, an admin's `admin`, too.

    NoSuchDomain, AlreadyExists, InvalidAddress.
    """
    wanted = normalise_address(address)
    domain_id = domain_of_free_address(s, wanted)
    account_id = s.insert(
        _INSERT_ACCOUNT,
        {
            "address": wanted,
            "name": name,
            "password_hash": password_hash,
            "quota": quota,
            "used": 0,
            "message_count": 0,
            "credential_version": 1,
            "modseq": 0,
            "created_at": s.now(),
            "quota_modseq": 0,
            "quota_created_modseq": 0,
        },
    )
    s.connection.execute(
        _INSERT_ADDRESS,
        {"address": wanted, "domain_id": domain_id, "account_id": account_id, "is_alias": False},
    )
    made = create_principal(s, kind, wanted, description=name, account_id=account_id)
    if kind == "individual":
        set_roles(s, made.id, ("admin", "user") if is_admin else ("user",))
    create_standard_mailboxes(s, account_id)
    create_identity(s, account_id, wanted, {"name": name}, may_delete=False)
    return get_account(s, account_id)


def find_account(s: Session, address: str) -> AccountRow | None:
    """The account whose own address this is (not an alias), compared without case. InvalidAddress."""
    row = s.connection.execute(_ACCOUNT_OF, {"address": normalise_address(address)}).one_or_none()
    return _account(s, row) if row is not None else None


def get_account(s: Session, account_id: int) -> AccountRow:
    """The account with this id. NotFound."""
    row = s.connection.execute(_ACCOUNT, {"account": account_id}).one_or_none()
    if row is None:
        raise _no_account(account_id)
    return _account(s, row)


def list_accounts(s: Session) -> list[AccountRow]:
    """The accounts of individuals, sorted by address."""
    aliases: dict[int, list[str]] = {}
    for account_id, alias in s.connection.execute(_ALIASES):
        aliases.setdefault(account_id, []).append(alias)
    return [
        AccountRow(**row._mapping, aliases=tuple(aliases.get(row.id, ())))
        for row in s.connection.execute(_ALL_ACCOUNTS)
    ]


def credential_version(s: Session, account_id: int) -> int | None:
    """How often the account's password was set; None if there is no such account."""
    row = _CREDENTIAL_VERSION.run(s.driver, {"account": account_id}).fetchone()
    return None if row is None else int(row[0])


def set_password_hash(s: Session, account_id: int, password_hash: str) -> None:
    """Replace the password; what was verified with the old one is no longer valid. NotFound."""
    if not s.connection.execute(_SET_PASSWORD, {"account": account_id, "hash": password_hash}).rowcount:
        raise _no_account(account_id)


def replace_password_hash(s: Session, account_id: int, old: str, new: str) -> None:
    """Put another hash of the same password in the place of `old`, if that is still there: nothing else changes."""
    s.connection.execute(_REPLACE_HASH, {"account": account_id, "old": old, "new": new})


def end_sign_ins(s: Session, account_id: int) -> None:
    """Have what was verified with the account's password verified anew. NotFound."""
    if not s.connection.execute(_END_SIGN_INS, {"account": account_id}).rowcount:
        raise _no_account(account_id)


def add_alias(s: Session, account_id: int, address: str) -> str:
    """Give the account one more address; gives its normalised form. NoSuchDomain, AlreadyExists, NotFound."""
    wanted = normalise_address(address)
    row = get_account(s, account_id)
    s.connection.execute(
        _INSERT_ADDRESS,
        {"address": wanted, "domain_id": domain_of_free_address(s, wanted), "account_id": account_id, "is_alias": True},
    )
    create_identity(s, account_id, wanted, {"name": row.name}, may_delete=False)
    return wanted


def remove_alias(s: Session, account_id: int, address: str) -> None:
    """Take an alias away. NotFound if the account has no such alias (its own address is none)."""
    wanted = normalise_address(address)
    if not s.connection.execute(_DELETE_ALIAS, {"account": account_id, "wanted": wanted}).rowcount:
        raise NotFound(f"{wanted} is not an alias of this account")
    drop_identities(s, account_id, wanted)
    s.connection.execute(_LEAVE_LISTS, {"wanted": wanted})


def delete_account(s: Session, account_id: int) -> None:
    """Take the account away: nobody can sign in, deliver, or see it any more, and what it had queued isn't sent.

    NotFound if there is no such account.
    What it holds may be much, so `finish_deletions` removes that later, in portions.
    """
    gone = {"account": account_id, "mark": f"{DELETED} {account_id}"}
    if not s.connection.execute(_MARK_DELETED, gone).rowcount:
        raise _no_account(account_id)
    for statement in _TAKE_AWAY:
        s.connection.execute(statement, {"account": account_id})
    s.drop(account_id)


def resolve_recipient(s: Session, address: str) -> AccountRow | None:
    """Who receives mail for `address`: exact addresses and aliases first, then `user+tag@` as `user@`.

    Domain and local part are compared without case. None if nobody does, or if it is no address.
    """
    try:
        wanted: str | None = normalise_address(address)
    except InvalidAddress:
        return None
    while wanted is not None:
        row = s.connection.execute(_RECIPIENT, {"address": wanted}).one_or_none()
        if row is not None:
            return _account(s, row)
        wanted = without_tag(wanted)
    return None


def is_local_domain(s: Session, name: str) -> bool:
    """Whether this server has the domain; no for what is no domain name."""
    try:
        wanted = normalise_domain(name)
    except InvalidAddress:
        return False
    return s.connection.scalar(_DOMAIN_ID, {"name": wanted}) is not None


def domain_of_free_address(s: Session, wanted: str) -> int:
    """The id of a normalised address' domain, if the address is still free there. NoSuchDomain, AlreadyExists."""
    domain_name = wanted.rpartition("@")[2]
    domain_id = s.connection.scalar(_DOMAIN_ID, {"name": domain_name})
    if domain_id is None:
        raise NoSuchDomain(domain_name)
    if s.connection.scalar(_TAKEN, {"address": wanted}) is not None:
        raise AlreadyExists(f"address {wanted} is taken, by an account or as an alias")
    if s.connection.scalar(_IS_LIST, {"address": wanted}) is not None:
        raise AlreadyExists(f"address {wanted} is taken, by a mailing list")
    return int(domain_id)


def _account(s: Session, row: Row[*tuple[Any, ...]]) -> AccountRow:
    aliases = tuple(alias for _, alias in s.connection.execute(_ALIASES_OF, {"account": row.id}))
    return AccountRow(**row._mapping, aliases=aliases)


def _no_account(account_id: int) -> NotFound:
    return NotFound(f"account {account_id} does not exist")
