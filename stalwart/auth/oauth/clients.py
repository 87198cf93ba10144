"""OAuth clients: finding and authenticating them. RFC 6749 §2"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Literal
from urllib.parse import unquote_plus

import msgspec

from stalwart.auth.oauth.errors import OAuthError
from stalwart.auth.oauth.parameters import Parameters
from stalwart.auth.oauth.scopes import OF_STRANGERS
from stalwart.config.oauth_settings import OAuthSettings
from stalwart.store import ClientRow, Session, find_client, secret_matches

GrantType = Literal["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]
AUTHORIZATION_CODE: GrantType = "authorization_code"
REFRESH_TOKEN: GrantType = "refresh_token"  # noqa: S105 - a name
DEVICE_CODE: GrantType = "urn:ietf:params:oauth:grant-type:device_code"
GRANT_TYPES: tuple[GrantType, ...] = (AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE)

# RFC 6749 appendix A.1: VSCHAR; a space would only mislead
_ID = re.compile(r"[\x21-\x7e]{1,100}")
_BASIC = re.compile(rb"[ \t]*basic +([A-Za-z0-9+/]+={0,2})[ \t]*", re.IGNORECASE)


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A program that asks for tokens. One that isn't registered has any name, and no redirect URIs."""

    client_id: str
    name: str
    """What it says it is called: not verified by anybody unless an administrator made it."""

    row_id: int | None = None
    """None: not registered."""

    is_confidential: bool = False
    """Whether it has a secret to authenticate with."""

    is_verified: bool = False
    """Whether an administrator of this server has made it."""

    redirect_uris: tuple[str, ...] = ()
    grant_types: tuple[str, ...] = GRANT_TYPES
    scope: tuple[str, ...] | None = None
    """What it may ask for at most; None: all there is."""

    uri: str | None = None
    """Its home page, as it says."""

    def may_use(self, grant_type: GrantType) -> bool:
        """Whether it may get tokens in this way."""
        return grant_type in self.grant_types


def is_client_id(text: str) -> bool:
    """Whether a client can be called so."""
    return _ID.fullmatch(text) is not None


def lookup_client(s: Session, client_id: str, settings: OAuthSettings) -> Client | None:
    """The client of this id: one that is registered, or a native one that isn't, where those are let in."""
    row = find_client(s, client_id)
    if row is not None:
        return client_of(row)
    if settings.registered_only or not is_client_id(client_id):
        return None
    return Client(client_id=client_id, name=client_id, scope=OF_STRANGERS)


def client_of(row: ClientRow) -> Client:
    """A registered client."""
    uri = row.metadata.get("client_uri")
    return Client(
        client_id=row.client_id,
        name=row.name,
        row_id=row.id,
        is_confidential=row.has_secret,
        is_verified=row.is_verified,
        redirect_uris=row.redirect_uris,
        grant_types=row.grant_types,
        scope=row.scope,
        uri=uri if isinstance(uri, str) else None,
    )


def authenticate_client(
    s: Session, authorization: bytes | None, parameters: Parameters, settings: OAuthSettings
) -> Client:
    """The client that sends a request, by its secret if it has one. RFC 6749 §2.3, §3.2.1

    Raises OAuthError: invalid_client (401) if it is unknown or its secret is wrong, invalid_request if it says who it
    is in two ways, or not at all.
    """
    claimed, secret = parameters.get("client_id"), parameters.get("client_secret")
    if authorization is not None:
        if secret is not None:
            # RFC 6749 §2.3: the client must not use more than one authentication method
            raise OAuthError("invalid_request", "The client authenticates in two ways at once.")
        name, secret = _basic(authorization)
        if claimed is not None and claimed != name:
            raise OAuthError("invalid_request", "There are two different client_ids in this request.")
        claimed = name
    if claimed is None:
        raise OAuthError("invalid_request", "The parameter client_id is missing.")
    client = lookup_client(s, claimed, settings)
    if client is None:
        raise _refused("No such client is registered here.")
    if client.is_confidential:
        if secret is None:
            raise _refused("This client must authenticate by its secret.")
        assert client.row_id is not None
        if not secret_matches(s, client.row_id, secret):
            raise _refused("The client_secret is wrong.")
    elif secret is not None:
        raise _refused("This client has no secret: it is registered as a public one.")
    return client


def _refused(description: str) -> OAuthError:
    return OAuthError("invalid_client", description, status=401)


def _basic(authorization: bytes) -> tuple[str, str]:
    match = _BASIC.fullmatch(authorization)
    try:
        if match is None:
            raise ValueError
        name, colon, secret = base64.b64decode(match[1], validate=True).decode("ascii").partition(":")
        if not colon:
            raise ValueError
        # RFC 6749 §2.3.1: each is form-encoded before they are joined
        return unquote_plus(name, errors="strict"), unquote_plus(secret, errors="strict")
    except (ValueError, binascii.Error):
        raise _refused("The Authorization field does not hold a client_id and a client_secret.") from None
