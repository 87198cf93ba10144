"""Identities: under which of its addresses, and how, an account sends (RFC 8621 §6).

Each address of an account comes with one, which stays as long as the address does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from stalwart.store.edits import bury
from stalwart.store.errors import InvalidAddress, NotFound
from stalwart.store.rows import IdentityRow
from stalwart.store.session import Session
from stalwart.store.tables import address, identity

_IDENTITIES = select(
    identity.c.id,
    identity.c.email,
    identity.c.name,
    identity.c.reply_to,
    identity.c.bcc,
    identity.c.text_signature,
    identity.c.html_signature,
    identity.c.may_delete,
    identity.c.modseq,
).where(identity.c.account_id == bindparam("account"))
_SOME = _IDENTITIES.where(identity.c.id.in_(bindparam("ids", expanding=True))).order_by(identity.c.id)
_ALL = _IDENTITIES.order_by(identity.c.id)
_COUNT = select(func.count()).select_from(identity).where(identity.c.account_id == bindparam("account"))
_IS_ADDRESS = select(address.c.address).where(
    address.c.address == bindparam("email"), address.c.account_id == bindparam("account")
)
_CREATED = select(identity.c.id, identity.c.created_modseq).where(identity.c.account_id == bindparam("account"))
_INSERT = insert(identity)
_DELETE = delete(identity).where(identity.c.id == bindparam("identity"))


def list_identities(s: Session, account_id: int) -> list[IdentityRow]:
    """All identities of an account, oldest first."""
    return [IdentityRow(**row._mapping) for row in s.connection.execute(_ALL, {"account": account_id})]


def get_identities(s: Session, account_id: int, ids: Sequence[int]) -> dict[int, IdentityRow]:
    """Those of these identities that the account has, by id."""
    found = s.connection.execute(_SOME, {"account": account_id, "ids": list(ids)})
    return {row.id: IdentityRow(**row._mapping) for row in found}


def count_identities(s: Session, account_id: int) -> int:
    """How many identities an account has."""
    return s.connection.scalar(_COUNT, {"account": account_id}) or 0


def create_identity(s: Session, account_id: int, email: str, values: Mapping[str, Any], *, may_delete: bool) -> int:
    """Make an identity for a (normalised) address of the account; gives its id. InvalidAddress if it isn't one.

    `values` are those of `IdentityRow`; what is missing is empty.
    """
    if s.connection.scalar(_IS_ADDRESS, {"account": account_id, "email": email}) is None:
        raise InvalidAddress(f"{email} is not an address of this account")
    modseq = s.touch(account_id, "Identity")
    s.touch(account_id, "Quota")
    row = {"name": "", "reply_to": None, "bcc": None, "text_signature": "", "html_signature": "", **values}
    return s.insert(
        _INSERT,
        {
            **row,
            "account_id": account_id,
            "email": email,
            "may_delete": may_delete,
            "created_modseq": modseq,
            "modseq": modseq,
        },
    )


def update_identity(s: Session, account_id: int, identity_id: int, values: Mapping[str, Any]) -> None:
    """Change the named values of `IdentityRow`. NotFound."""
    modseq = s.touch(account_id, "Identity")
    statement = update(identity).where(identity.c.id == identity_id, identity.c.account_id == account_id)
    if not s.connection.execute(statement.values(**values, modseq=modseq)).rowcount:
        raise NotFound(f"identity {identity_id} does not exist in account {account_id}")


def destroy_identity(s: Session, account_id: int, identity_id: int) -> None:
    """Remove an identity. NotFound."""
    row = s.connection.execute(_CREATED.where(identity.c.id == identity_id), {"account": account_id}).one_or_none()
    if row is None:
        raise NotFound(f"identity {identity_id} does not exist in account {account_id}")
    _remove(s, account_id, identity_id, row.created_modseq)


def drop_identities(s: Session, account_id: int, email: str) -> None:
    """Remove all identities of an address that the account loses."""
    for row in s.connection.execute(_CREATED.where(identity.c.email == email), {"account": account_id}).all():
        _remove(s, account_id, row.id, row.created_modseq)


def _remove(s: Session, account_id: int, identity_id: int, created_modseq: int) -> None:
    s.connection.execute(_DELETE, {"identity": identity_id})
    bury(s, account_id, "Identity", identity_id, created_modseq)
    s.touch(account_id, "Quota")
