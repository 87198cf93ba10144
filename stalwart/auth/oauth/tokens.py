"""The token endpoint's work: what codes, device codes and refresh tokens are exchanged for. RFC 6749 §4.1.3, §5, §6

What a request makes known to be stolen is revoked though the request is refused: so refusals are given back and not
raised, and the transaction is kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Any

import msgspec

from stalwart.auth.loading import load_principal
from stalwart.auth.oauth import scopes
from stalwart.auth.oauth.clients import AUTHORIZATION_CODE, DEVICE_CODE, GRANT_TYPES, REFRESH_TOKEN, Client
from stalwart.auth.oauth.errors import OAuthError
from stalwart.auth.oauth.parameters import Parameters
from stalwart.auth.oauth.resources import is_ours
from stalwart.auth.oauth.signing import make_key, sign, token_hash
from stalwart.auth.principal import Principal
from stalwart.config.oauth_settings import OAuthSettings
from stalwart.store import (
    GrantRow,
    Session,
    TokenRow,
    add_token,
    end_grant,
    ensure_signing_key,
    find_code,
    find_device,
    find_token,
    get_grant,
    note_client_use,
    note_grant_use,
    note_question,
    refreshed_at,
    remove_device,
    remove_token,
    replace_refresh_tokens,
    use_code,
)

RETRY_SECONDS = 30
"""For how long a refresh token that was used may be used again, by a client that didn't get the answer.

RFC 9700 §4.14.2 asks that reuse be noticed. It is: only one refresh token at a time is not yet used, so that of two
parties who both have one, the second to come after this time ends the whole grant.
"""

MOST_REFRESHES = 60
"""How many refresh tokens a grant gives in an hour, or four times as many as its access tokens need, if that is more.

Each that was used is kept until it expires: were old ones forgotten sooner, a thief could use new ones until the one
that its owner still has is forgotten, and would not be noticed (RFC 9700 §4.14.2).
"""

_HOUR = 3600  # seconds
_SLOWER = 5  # seconds. RFC 8628 §3.5
# RFC 7636 §4.1
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class TokenAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client gets. RFC 6749 §5.1, OpenID Connect Core §3.1.3.3"""

    access_token: str
    expires_in: int
    token_type: str = msgspec.field(default_factory=lambda: "Bearer")
    scope: str
    refresh_token: str | None = None
    id_token: str | None = None

    def __repr__(self) -> str:
        return f"TokenAnswer(scope={self.scope!r})"


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be issued: an access token with `scope`, and what belongs to the grant."""

    grant: GrantRow
    scope: tuple[str, ...]
    nonce: str | None = None


class TokenDesk(msgspec.Struct, frozen=True, kw_only=True):
    """What every exchange goes by. `issuer` is the base URL of this server; `address` the client's."""

    issuer: str
    address: str
    settings: OAuthSettings

    def exchange(self, s: Session, client: Client, parameters: Parameters) -> TokenAnswer | OAuthError:
        """Answer an authenticated client's token request; `s` is a transaction, to be kept also for an error."""
        try:
            return self._issue(s, client, self._wanted(s, client, parameters))
        except OAuthError as error:
            return error

    def _wanted(self, s: Session, client: Client, parameters: Parameters) -> _Wanted:
        grant_type = parameters.require("grant_type")
        known = next((each for each in GRANT_TYPES if each == grant_type), None)
        if known is None:
            raise OAuthError("unsupported_grant_type", "This grant_type is not supported.")
        if not client.may_use(known):
            raise OAuthError("unauthorized_client", "The client is not registered for this grant_type.")
        if not all(is_ours(resource, self.issuer) for resource in parameters.resources):
            raise OAuthError("invalid_target", "The resource is not one of this server.")  # RFC 8707 §2
        if known == AUTHORIZATION_CODE:
            return _by_code(s, client, parameters)
        if known == DEVICE_CODE:
            return _by_device(s, client, parameters)
        return _by_refresh_token(s, client, parameters, self.settings)

    def _issue(self, s: Session, client: Client, wanted: _Wanted) -> TokenAnswer:
        grant, settings = wanted.grant, self.settings
        principal = load_principal(s, grant.account_id, grant.credential_id, grant_id=grant.id)
        if principal is None:
            raise _invalid_grant("The password was changed since, or the account may not do this any more.")
        now = s.now()
        access_token = f"swa_{secrets.token_urlsafe(32)}"
        expires_at = now + int(settings.token)
        add_token(s, access_token, "access", grant.id, wanted.scope, expires_at=expires_at)
        refresh_token = None
        if scopes.OFFLINE_ACCESS in grant.scope and client.may_use(REFRESH_TOKEN):
            refresh_token = f"swr_{secrets.token_urlsafe(32)}"
            replace_refresh_tokens(s, grant.id)
            expires_at = now + int(settings.refresh_token)
            add_token(s, refresh_token, "refresh", grant.id, grant.scope, expires_at=expires_at)
        note_grant_use(s, grant.id, self.address)
        if client.row_id is not None:
            note_client_use(s, client.row_id)
        return TokenAnswer(
            access_token=access_token,
            expires_in=int(settings.token),
            scope=" ".join(wanted.scope),
            refresh_token=refresh_token,
            id_token=self._id_token(s, wanted, access_token) if scopes.OPENID in wanted.scope else None,
        )

    def _id_token(self, s: Session, wanted: _Wanted, access_token: str) -> str:
        """OpenID Connect Core §2; claims about the user are given by the UserInfo endpoint."""
        key = ensure_signing_key(s, self.settings.algorithm, make_key)
        now = s.now()
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": subject(wanted.grant.account_id),
            "aud": wanted.grant.client_id,
            "exp": now + int(self.settings.id_token),
            "iat": now,
            "auth_time": wanted.grant.signed_in_at,
            "at_hash": token_hash(key.algorithm, access_token),
        }
        if wanted.nonce is not None:
            claims["nonce"] = wanted.nonce
        return sign(key, claims)


def subject(account_id: int) -> str:
    """What an account is called in tokens: never given to another. OpenID Connect Core §8"""
    return f"A{account_id}"


def _by_code(s: Session, client: Client, parameters: Parameters) -> _Wanted:
    """RFC 6749 §4.1.3, RFC 7636 §4.6"""
    code = parameters.require("code")
    row = find_code(s, code)
    if row is None:
        raise _invalid_grant("The code is unknown or has expired.")
    grant = get_grant(s, row.grant_id)
    if not _is_of(grant, client):
        raise _invalid_grant("The code was issued to another client.")
    if row.used_at is not None:
        # RFC 6749 §4.1.2: whoever has stolen the code may have been the first
        end_grant(s, grant.id)
        raise _invalid_grant(
            "The code was used before: what was issued for it is revoked.", reason=_ended(grant, "a code")
        )
    if row.expires_at <= s.clock():
        raise _invalid_grant("The code is unknown or has expired.")
    uri = parameters.get("redirect_uri")
    if row.redirect_uri is not None and uri != row.redirect_uri:
        raise _invalid_grant("The redirect_uri is not the one of the authorization request.")
    if row.redirect_uri is None and uri is not None and (uri,) != client.redirect_uris:
        raise _invalid_grant("The redirect_uri is not the one of the authorization request.")
    verifier = parameters.get("code_verifier")
    if row.code_challenge is None:
        if verifier is not None:
            # RFC 9700 §4.8.2: somebody has taken the challenge out of the request
            raise _invalid_grant("There is a code_verifier, and the authorization request had no code_challenge.")
    elif verifier is None:
        raise OAuthError("invalid_request", "The parameter code_verifier is missing.")
    elif not _verifies(verifier, row.code_challenge):
        raise _invalid_grant("The code_verifier does not match the code_challenge.")
    use_code(s, code)
    return _Wanted(grant=grant, scope=grant.scope, nonce=row.nonce)


def _by_device(s: Session, client: Client, parameters: Parameters) -> _Wanted:
    """RFC 8628 §3.4, §3.5"""
    device_code = parameters.require("device_code")
    row = find_device(s, device_code)
    if row is None or row.client_id != client.client_id or row.client_row_id != client.row_id:
        raise _invalid_grant("The device_code is unknown, used, or of another client.")
    now = s.now()
    if row.expires_at <= now:
        raise OAuthError("expired_token", "The device_code has expired.")
    # Times are in whole seconds here.
    too_soon = row.asked_at is not None and now - row.asked_at < row.interval - 1
    note_question(s, device_code, row.interval + (_SLOWER if too_soon else 0))
    if too_soon:
        raise OAuthError("slow_down", f"Ask every {row.interval + _SLOWER} seconds from now on.")
    if not row.is_decided:
        raise OAuthError("authorization_pending", "The user has not decided yet.")
    remove_device(s, device_code)
    if row.grant_id is None:
        raise OAuthError("access_denied", "The user does not agree.")
    grant = get_grant(s, row.grant_id)
    return _Wanted(grant=grant, scope=grant.scope, nonce=row.nonce)


def _by_refresh_token(s: Session, client: Client, parameters: Parameters, settings: OAuthSettings) -> _Wanted:
    """RFC 6749 §6"""
    token = parameters.require("refresh_token")
    row = find_token(s, token)
    if row is None or row.kind != "refresh":
        raise _invalid_grant("The refresh_token is unknown, expired or revoked.")
    grant = get_grant(s, row.grant_id)
    if not _is_of(grant, client):
        raise _invalid_grant("The refresh_token was issued to another client.")
    if row.replaced_at is not None and s.now() - row.replaced_at > RETRY_SECONDS:
        end_grant(s, grant.id)  # RFC 9700 §4.14.2
        raise _invalid_grant(
            "The refresh_token was used before: what was issued for it is revoked.",
            reason=_ended(grant, "a refresh token"),
        )
    scope = grant.scope
    if (asked := parameters.get("scope")) is not None:
        if not set(asked.split()) & scopes.PERMISSIONS_OF.keys() <= set(grant.scope):
            raise OAuthError("invalid_scope", "The scope has more than what the user agreed to.")
        scope = scopes.parse_scope(asked, grant.scope)
    _require_slowness(s, grant, settings)
    return _Wanted(grant=grant, scope=scope)


def _require_slowness(s: Session, grant: GrantRow, settings: OAuthSettings) -> None:
    most = max(MOST_REFRESHES, int(4 * _HOUR / settings.token))
    first = refreshed_at(s, grant.id, most)
    if first is None or (wait := first + _HOUR - s.now()) <= 0:
        return
    # RFC 6585 §4; no code of RFC 6749 §5.2 says that the token stays good.
    raise OAuthError(
        "temporarily_unavailable",
        f"At most {most} refreshes of one authorisation in an hour are answered here. Use the access token.",
        status=429,
        retry_after=wait,
    )


def revoke(s: Session, client: Client, token: str) -> OAuthError | None:
    """Revoke a token of an authenticated client: a refresh token with all that was issued beside it. RFC 7009 §2.1

    One that isn't known is revoked already.
    """
    row = find_token(s, token)
    if row is None:
        return None
    if not _is_of(get_grant(s, row.grant_id), client):
        return _invalid_grant("The token was issued to another client.")
    if row.kind == "refresh":
        end_grant(s, row.grant_id)
    else:
        remove_token(s, row.id)
    return None


def introspect(s: Session, token: str, *, issuer: str, client: Client | None) -> dict[str, Any]:
    """What there is to know of a token, for its client, or with None for whoever may know all. RFC 7662 §2.2"""
    row = find_token(s, token)
    if row is None or row.replaced_at is not None:
        return {"active": False}
    grant = get_grant(s, row.grant_id)
    principal = _holder(s, row, grant)
    if principal is None or (client is not None and not _is_of(grant, client)):
        return {"active": False}
    answer = {
        "active": True,
        "scope": " ".join(row.scope),
        "client_id": grant.client_id,
        "username": principal.address,
        "exp": row.expires_at,
        "iat": row.created_at,
        "sub": subject(grant.account_id),
        "aud": issuer,
        "iss": issuer,
    }
    return {**answer, "token_type": "Bearer"} if row.kind == "access" else answer


def userinfo(s: Session, principal: Principal) -> dict[str, Any]:
    """The claims about a user that their token gives. OpenID Connect Core §5.3, §5.4

    `principal` signed in by an access token with the scope `openid`.
    """
    claims: dict[str, Any] = {"sub": subject(principal.account_id)}
    if scopes.PROFILE in principal.scope:
        claims |= {"name": principal.name or principal.address, "preferred_username": principal.address}
    if scopes.EMAIL in principal.scope:
        claims |= {"email": principal.address, "email_verified": True}
    return claims


def _holder(s: Session, row: TokenRow, grant: GrantRow) -> Principal | None:
    if row.kind == "access":
        return load_principal(s, 0, None, token_id=row.id)
    return load_principal(s, 0, None, grant_id=grant.id)


def _is_of(grant: GrantRow, client: Client) -> bool:
    return (grant.client_row_id, grant.client_id) == (client.row_id, client.client_id)


def _verifies(verifier: str, challenge: str) -> bool:
    if not _VERIFIER.fullmatch(verifier):
        return False
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii"), challenge)


def _invalid_grant(description: str, *, reason: str | None = None) -> OAuthError:
    return OAuthError("invalid_grant", description, reason=reason)


def _ended(grant: GrantRow, what: str) -> str:
    return (
        f"{what} of OAuth client {grant.client_id!r} ({grant.client_name!r}) for account A{grant.account_id} was used "
        "again: what was issued for it is revoked, for one of the two may have stolen it"
    )
