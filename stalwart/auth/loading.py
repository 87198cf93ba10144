"""Principals as the store has them at one moment: who stands behind a password, an app password or an API key."""

from __future__ import annotations

import msgspec

from stalwart.auth.principal import Principal
from stalwart.store import (
    CredentialRow,
    NotFound,
    Session,
    effective_permissions,
    get_account,
    get_credential,
    get_principal,
    has_expired,
    principal_of_account,
)

NOT_BY_APP_PASSWORDS = frozenset({"authenticate-oauth", "manage-passwords"})
"""What an app password doesn't let its owner do: whoever finds one must not be able to make others."""


def load_principal(s: Session, account_id: int, credential_id: int | None) -> Principal | None:
    """Who signs in by the password of an account, or by an app password or API key; None if nobody can by now."""
    try:
        if credential_id is None:
            return _by_password(s, account_id)
        return _by_credential(s, get_credential(s, credential_id))
    except NotFound:
        return None


def _by_password(s: Session, account_id: int) -> Principal | None:
    account = get_account(s, account_id)
    if account.kind != "individual" or not account.is_enabled:
        return None
    principal_id = principal_of_account(s, account_id).id
    return Principal(
        account_id=account.id,
        address=account.address,
        name=account.name,
        credential_version=account.credential_version,
        permissions=effective_permissions(s, principal_id),
        principal_id=principal_id,
    )


def _by_credential(s: Session, row: CredentialRow) -> Principal | None:
    holder = get_principal(s, row.principal_id)
    if has_expired(s, row) or not holder.is_enabled:
        return None
    if holder.account_id is not None:
        found = _by_password(s, holder.account_id)
        if found is not None:
            found = msgspec.structs.replace(found, permissions=found.permissions - NOT_BY_APP_PASSWORDS)
    elif holder.owner_id is not None:
        found = _for_owner(s, holder.id, holder.owner_id)
    else:
        found = Principal(
            account_id=0,
            address=holder.name,
            name=holder.description,
            credential_version=0,
            permissions=effective_permissions(s, holder.id),
            principal_id=holder.id,
        )
    if found is None:
        return None
    return msgspec.structs.replace(
        found, credential_version=0, credential_id=row.id, networks=row.networks, expires_at=row.expires_at
    )


def _for_owner(s: Session, key_id: int, owner_id: int) -> Principal | None:
    """Who signs in for somebody may do no more than that one may."""
    owner = get_principal(s, owner_id)
    found = None if owner.account_id is None else _by_password(s, owner.account_id)
    if found is None:
        return None
    permissions = found.permissions & effective_permissions(s, key_id)
    return msgspec.structs.replace(found, permissions=permissions, principal_id=key_id)
