"""Who can be given permissions: individuals, groups, roles and API keys; what they may do; and mailing lists' names.

Each change moves the directory's version (see `recipients`), so that what was worked out before is known to be old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from sqlalchemy import Row, bindparam, delete, func, insert, select, update

from stalwart.store.errors import AlreadyExists, CircularRoles, NotFound, StillInUse, StoreError
from stalwart.store.permissions import BUILT_IN_ROLES, PERMISSIONS
from stalwart.store.session import Session
from stalwart.store.shares import forget_subscriptions, may_write
from stalwart.store.tables import principal, principal_member, principal_permission, principal_role

PrincipalKind = Literal["individual", "group", "role", "apiKey", "list"]

# What moves the directory's version: not the note of when a credential was last used, nor of a code's time step.
_WATCHED: Mapping[str, str] = {
    "principal": "",
    "principal_member": "",
    "principal_role": "",
    "principal_permission": "",
    "credential": " OF name, hash, networks, expires_at",
    "totp": " OF secret",
}
_MOVE = "UPDATE directory SET version = version + 1"
DDL = (
    *(
        f"CREATE TRIGGER {table}_{name} AFTER {event} ON {table} BEGIN {_MOVE}; END"
        for table, columns in _WATCHED.items()
        for name, event in (("added", "INSERT"), ("changed", f"UPDATE{columns}"), ("removed", "DELETE"))
    ),
    f"CREATE TRIGGER account_password AFTER UPDATE OF password_hash, credential_version ON account BEGIN {_MOVE}; END",
)

_PRINCIPALS = select(*principal.c)
_BY_ID = _PRINCIPALS.where(principal.c.id == bindparam("principal"))
_BY_NAME = _PRINCIPALS.where(principal.c.kind == bindparam("kind"), principal.c.name == bindparam("name"))
_BY_ACCOUNT = _PRINCIPALS.where(principal.c.account_id == bindparam("account"))
_OF_KIND = _PRINCIPALS.where(principal.c.kind == bindparam("kind")).order_by(principal.c.name)
_OF_OWNER = _PRINCIPALS.where(principal.c.owner_id == bindparam("principal")).order_by(principal.c.name)
_INSERT = insert(principal)
_UPDATE = update(principal).where(principal.c.id == bindparam("principal"))
_DESCRIBE = _UPDATE.values(description=bindparam("new_description"), locale=bindparam("new_locale"))
_ENABLE = _UPDATE.values(is_enabled=bindparam("enabled"))
_DELETE = delete(principal).where(principal.c.id == bindparam("principal"))

_ROLES = (
    select(principal.c.id, principal.c.name)
    .join_from(principal_role, principal, principal_role.c.role_id == principal.c.id)
    .where(principal_role.c.principal_id == bindparam("principal"))
    .order_by(principal.c.name)
)
_HAVING_ROLE = select(func.count()).where(principal_role.c.role_id == bindparam("principal"))
_ADD_ROLE = insert(principal_role)
_DROP_ROLES = delete(principal_role).where(principal_role.c.principal_id == bindparam("principal"))
_GRANTS = (
    select(principal_permission.c.permission, principal_permission.c.is_enabled)
    .where(principal_permission.c.principal_id == bindparam("principal"))
    .order_by(principal_permission.c.permission)
)
_ADD_GRANT = insert(principal_permission)
_DROP_GRANTS = delete(principal_permission).where(principal_permission.c.principal_id == bindparam("principal"))

_MEMBERS = (
    _PRINCIPALS.join_from(principal_member, principal, principal_member.c.member_id == principal.c.id)
    .where(principal_member.c.group_id == bindparam("principal"))
    .order_by(principal.c.name)
)
_GROUPS = (
    _PRINCIPALS.join_from(principal_member, principal, principal_member.c.group_id == principal.c.id)
    .where(principal_member.c.member_id == bindparam("principal"))
    .order_by(principal.c.name)
)
_IS_MEMBER = select(principal_member.c.group_id).where(
    principal_member.c.group_id == bindparam("in_group"), principal_member.c.member_id == bindparam("member")
)
_ADD_MEMBER = insert(principal_member)
_DROP_MEMBER = delete(principal_member).where(
    principal_member.c.group_id == bindparam("in_group"), principal_member.c.member_id == bindparam("member")
)


class PrincipalRow(msgspec.Struct, frozen=True, kw_only=True):
    """A principal. `account_id` is where its mail lies, `owner_id` for whom an API key signs in."""

    id: int
    kind: PrincipalKind
    name: str
    description: str
    locale: str | None
    is_enabled: bool
    created_at: int
    account_id: int | None
    owner_id: int | None


class Grants(msgspec.Struct, frozen=True, kw_only=True):
    """What is given to a principal itself, and what is taken from it whatever its roles say."""

    enabled: frozenset[str] = frozenset()
    disabled: frozenset[str] = frozenset()


def create_principal(
    s: Session,
    kind: PrincipalKind,
    name: str,
    *,
    description: str = "",
    locale: str | None = None,
    account_id: int | None = None,
    owner_id: int | None = None,
) -> PrincipalRow:
    """Make a principal without any permissions. AlreadyExists if there is one of this kind and name."""
    if find_principal(s, kind, name) is not None:
        raise AlreadyExists(f"{_KINDS[kind]} {name} exists already")
    values = {
        "kind": kind,
        "name": name,
        "description": description,
        "locale": locale,
        "is_enabled": True,
        "created_at": s.now(),
        "account_id": account_id,
        "owner_id": owner_id,
    }
    return get_principal(s, s.insert(_INSERT, values))


def get_principal(s: Session, principal_id: int) -> PrincipalRow:
    """The principal with this id. NotFound."""
    row = s.connection.execute(_BY_ID, {"principal": principal_id}).one_or_none()
    if row is None:
        raise NotFound(f"principal {principal_id} does not exist")
    return _row(row)


def find_principal(s: Session, kind: PrincipalKind, name: str) -> PrincipalRow | None:
    """The principal of this kind and name; names that are addresses must be normalised."""
    row = s.connection.execute(_BY_NAME, {"kind": kind, "name": name}).one_or_none()
    return None if row is None else _row(row)


def principal_of_account(s: Session, account_id: int) -> PrincipalRow:
    """The individual or group that an account belongs to. NotFound."""
    row = s.connection.execute(_BY_ACCOUNT, {"account": account_id}).one_or_none()
    if row is None:
        raise NotFound(f"account {account_id} does not exist")
    return _row(row)


def list_principals(s: Session, kind: PrincipalKind) -> list[PrincipalRow]:
    """All of a kind, by name."""
    return [_row(row) for row in s.connection.execute(_OF_KIND, {"kind": kind})]


def list_api_keys_of(s: Session, owner_id: int) -> list[PrincipalRow]:
    """The API keys that sign in for a principal, by name."""
    return [_row(row) for row in s.connection.execute(_OF_OWNER, {"principal": owner_id})]


def describe_principal(s: Session, principal_id: int, *, description: str, locale: str | None) -> None:
    """Replace the texts about a principal. NotFound."""
    values = {"principal": principal_id, "new_description": description, "new_locale": locale}
    _found(s.connection.execute(_DESCRIBE, values).rowcount, principal_id)


def enable_principal(s: Session, principal_id: int, *, enabled: bool) -> None:
    """Let the principal's credentials count, or not for now. NotFound."""
    _found(s.connection.execute(_ENABLE, {"principal": principal_id, "enabled": enabled}).rowcount, principal_id)


def delete_principal(s: Session, principal_id: int) -> None:
    """Remove a role, an API key or a mailing list; what has an account goes with that.

    NotFound; StillInUse for a role somebody has.
    """
    row = get_principal(s, principal_id)
    if row.account_id is not None:
        raise StoreError(f"{row.name} has an account: delete that")
    if row.kind == "role":
        if row.name in BUILT_IN_ROLES:
            raise StillInUse(f"the role {row.name} is built in and stays")
        if count := s.connection.execute(_HAVING_ROLE, {"principal": principal_id}).scalar_one():
            raise StillInUse(f"{count} principals have the role {row.name}; give them other roles first")
    s.connection.execute(_DELETE, {"principal": principal_id})


# Roles and permissions.


def roles_of(s: Session, principal_id: int) -> tuple[str, ...]:
    """The names of the principal's own roles."""
    return tuple(name for _, name in s.connection.execute(_ROLES, {"principal": principal_id}))


def set_roles(s: Session, principal_id: int, names: Iterable[str]) -> None:
    """Replace the principal's roles. NotFound for a role that doesn't exist; CircularRoles."""
    row = get_principal(s, principal_id)
    wanted = []
    for name in sorted(set(names)):
        role = find_principal(s, "role", name)
        if role is None:
            raise NotFound(f"there is no role {name}: `stalwart role list` shows those there are")
        if row.kind == "role" and (role.id == row.id or row.id in _below(s, role.id)):
            raise CircularRoles(f"the role {row.name} can't have the role {name}, which has {row.name} itself")
        wanted.append({"principal_id": principal_id, "role_id": role.id})
    s.connection.execute(_DROP_ROLES, {"principal": principal_id})
    if wanted:
        s.connection.execute(_ADD_ROLE, wanted)


def grants_of(s: Session, principal_id: int) -> Grants:
    """What is given to and taken from the principal itself."""
    found = [(row[0], bool(row[1])) for row in s.connection.execute(_GRANTS, {"principal": principal_id})]
    return Grants(
        enabled=frozenset(name for name, enabled in found if enabled),
        disabled=frozenset(name for name, enabled in found if not enabled),
    )


def set_grants(s: Session, principal_id: int, grants: Grants) -> None:
    """Replace what is given to and taken from the principal itself. NotFound for what is no permission."""
    row = get_principal(s, principal_id)
    if row.kind == "role" and row.name == "admin":
        raise StoreError("the role admin has all permissions and can't be changed")
    for name in sorted(grants.enabled | grants.disabled):
        if name not in PERMISSIONS:
            raise NotFound(f"there is no permission {name}: `stalwart role permissions` shows those there are")
    if both := sorted(grants.enabled & grants.disabled):
        raise StoreError(f"a permission is either given or taken away: {', '.join(both)}")
    s.connection.execute(_DROP_GRANTS, {"principal": principal_id})
    rows = [
        {"principal_id": principal_id, "permission": name, "is_enabled": name in grants.enabled}
        for name in sorted(grants.enabled | grants.disabled)
    ]
    if rows:
        s.connection.execute(_ADD_GRANT, rows)


def effective_permissions(s: Session, principal_id: int) -> frozenset[str]:
    """What a principal may do: what its roles give and what it was given itself, without what was taken from it.

    What a role takes away it takes from what it gives, not from what other roles do.
    """
    found: set[str] = set()
    for role_id, name in s.connection.execute(_ROLES, {"principal": principal_id}).all():
        found |= _of_role(s, role_id, name)
    grants = grants_of(s, principal_id)
    return frozenset((found | grants.enabled) - grants.disabled)


def account_may(s: Session, account_id: int, permission: str) -> bool:
    """Whether whom an account belongs to has a permission; no if there is no such account."""
    row = s.connection.execute(_BY_ACCOUNT, {"account": account_id}).one_or_none()
    return row is not None and permission in effective_permissions(s, row.id)


def permissions_of_role(s: Session, role: PrincipalRow) -> frozenset[str]:
    """What a role gives."""
    return _of_role(s, role.id, role.name)


def _of_role(s: Session, role_id: int, name: str) -> frozenset[str]:
    built_in = BUILT_IN_ROLES.get(name)
    if built_in is None:
        return effective_permissions(s, role_id)
    grants = grants_of(s, role_id)
    return (built_in | effective_permissions(s, role_id)) - grants.disabled


def _below(s: Session, role_id: int) -> set[int]:
    """The roles that a role has, and those that these have."""
    found: set[int] = set()
    waiting = [role_id]
    while waiting:
        for below, _ in s.connection.execute(_ROLES, {"principal": waiting.pop()}).all():
            if below not in found:
                found.add(below)
                waiting.append(below)
    return found


# Members.


def members_of(s: Session, group_id: int) -> list[PrincipalRow]:
    """Who belongs to a group, by name."""
    return [_row(row) for row in s.connection.execute(_MEMBERS, {"principal": group_id})]


def groups_of(s: Session, principal_id: int) -> list[PrincipalRow]:
    """The groups that a principal belongs to, by name."""
    return [_row(row) for row in s.connection.execute(_GROUPS, {"principal": principal_id})]


def add_member(s: Session, group_id: int, member_id: int) -> None:
    """Have an individual belong to a group. AlreadyExists, NotFound; StoreError where kinds don't fit."""
    group, member = get_principal(s, group_id), get_principal(s, member_id)
    if group.kind != "group" or member.kind != "individual":
        raise StoreError(f"{member.name} can't belong to {group.name}: only individuals belong to groups")
    values = {"in_group": group_id, "member": member_id}
    if s.connection.scalar(_IS_MEMBER, values) is not None:
        raise AlreadyExists(f"{member.name} belongs to {group.name} already")
    s.connection.execute(_ADD_MEMBER, {"group_id": group_id, "member_id": member_id})


def remove_member(s: Session, group_id: int, member_id: int) -> None:
    """Have it belong there no longer, and forget what it subscribed to there. NotFound."""
    group, member = get_principal(s, group_id), get_principal(s, member_id)
    if not s.connection.execute(_DROP_MEMBER, {"in_group": group_id, "member": member_id}).rowcount:
        raise NotFound(f"{member.name} does not belong to {group.name}: `stalwart group list` shows who does")
    assert group.account_id is not None
    assert member.account_id is not None
    if may_write(s, group.account_id, member.account_id) is None:
        forget_subscriptions(s, group.account_id, member.account_id)


_KINDS: Mapping[PrincipalKind, str] = {
    "individual": "account",
    "group": "group",
    "role": "role",
    "apiKey": "API key",
    "list": "mailing list",
}


def _row(row: Row[*tuple[Any, ...]]) -> PrincipalRow:
    return PrincipalRow(**row._mapping)


def _found(rows: int, principal_id: int) -> None:
    if not rows:
        raise NotFound(f"principal {principal_id} does not exist")
