"""Principals as the store has them at one moment: who stands behind a password, an app password or an API key."""

from __future__ import annotations

import msgspec

from stalwart.auth.oauth.scopes import permissions_of
from stalwart.auth.principal import Principal
from stalwart.store import (
    CredentialRow,
    GrantRow,
    NotFound,
    Session,
    TokenRow,
    effective_permissions,
    get_account,
    get_credential,
    get_grant,
    get_principal,
    get_token,
    has_expired,
    principal_of_account,
)

NOT_BY_APP_PASSWORDS = frozenset({"authenticate-oauth", "manage-passwords"})
"""What an app password doesn't let its owner do: whoever finds one must not be able to make others."""


LETS_CLIENTS_IN = "authenticate-oauth"
"""What a user needs for OAuth clients to sign in for them."""


def load_principal(
    s: Session,
    account_id: int,
    credential_id: int | None,
    *,
    grant_id: int | None = None,
    token_id: int | None = None,
) -> Principal | None:
    """Who signs in by the password of an account, or by an app password or API key; None if nobody can by now.

    With `token_id` it is by that access token, with `grant_id` by what an account lets an OAuth client do.
    """
    try:
        if token_id is not None:
            return _by_token(s, get_token(s, token_id))
        if grant_id is not None:
            return _by_grant(s, get_grant(s, grant_id))
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


def _by_token(s: Session, token: TokenRow) -> Principal | None:
    grant = get_grant(s, token.grant_id)
    found = None if token.kind != "access" else _by_grant(s, grant, token.scope)
    if found is None:
        return None
    expires_at = token.expires_at if found.expires_at is None else min(found.expires_at, token.expires_at)
    return msgspec.structs.replace(found, token_id=token.id, expires_at=expires_at)


def _by_grant(s: Session, grant: GrantRow, scope: tuple[str, ...] | None = None) -> Principal | None:
    """Who lets the client in, with the permissions that both the scope leaves and they have themselves."""
    found = load_principal(s, grant.account_id, grant.credential_id)
    if found is None or found.credential_version != grant.credential_version:
        return None
    if not found.permissions.issuperset(("authenticate", LETS_CLIENTS_IN)):
        return None  # whatever the scope: one without any permission tells others who they are
    scope = grant.scope if scope is None else scope
    return msgspec.structs.replace(
        found, permissions=found.permissions & permissions_of(scope), grant_id=grant.id, scope=frozenset(scope)
    )


def _for_owner(s: Session, key_id: int, owner_id: int) -> Principal | None:
    """Who signs in for somebody may do no more than that one may."""
    owner = get_principal(s, owner_id)
    found = None if owner.account_id is None else _by_password(s, owner.account_id)
    if found is None:
        return None
    permissions = found.permissions & effective_permissions(s, key_id)
    return msgspec.structs.replace(found, permissions=permissions, principal_id=key_id)
