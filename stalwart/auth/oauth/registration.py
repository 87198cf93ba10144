"""Dynamic registration: what a client may say of itself. RFC 7591, OpenID Connect Dynamic Client Registration"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from stalwart.auth.oauth import scopes
from stalwart.auth.oauth.clients import AUTHORIZATION_CODE, DEVICE_CODE, GRANT_TYPES, REFRESH_TOKEN, is_client_id
from stalwart.auth.oauth.errors import OAuthError
from stalwart.auth.oauth.metadata import SECRET_METHODS
from stalwart.auth.oauth.redirects import BadRedirect, check_redirect, is_native
from stalwart.config.oauth_settings import OAuthSettings
from stalwart.store import ClientRow, Session, add_client, count_unused_clients, forget_unused_clients

MOST_UNUSED = 1000
"""Clients that registered themselves and have not got a token yet."""

UNUSED_SECONDS = 86_400
"""For how long a client that registered itself may take to get its first token."""

_MOST_URIS = 20
_MOST_NAME = 100
_MOST_TEXT = 2000
_URIS = ("client_uri", "logo_uri", "policy_uri", "tos_uri")
_TEXTS = ("software_id", "software_version")


def register(
    s: Session, document: object, *, is_verified: bool, settings: OAuthSettings, client_id: str | None = None
) -> dict[str, Any]:
    """Register a client by its metadata, decoded from JSON; gives the answer of RFC 7591 §3.2.1. `s` is a transaction.

    `is_verified` says that an administrator does it: only such a client may ask for the scopes `account` and `admin`.
    What isn't known is ignored (RFC 7591 §2). Raises OAuthError invalid_redirect_uri, invalid_client_metadata;
    AlreadyExists if there is a client of the `client_id` given.
    """
    if not isinstance(document, dict):
        raise _invalid("The metadata of a client is a JSON object.")
    if not is_verified:
        forget_unused_clients(s, s.now() - UNUSED_SECONDS)
        if count_unused_clients(s) >= MOST_UNUSED:
            raise OAuthError(
                "temporarily_unavailable", "Too many clients have registered and are not used.", status=503
            )
    method = _choice(document, "token_endpoint_auth_method", (*SECRET_METHODS, "none"), SECRET_METHODS[0])
    grant_types = _grant_types(document)
    uris = _redirect_uris(document)
    if AUTHORIZATION_CODE in grant_types and not uris:
        raise OAuthError("invalid_redirect_uri", "There must be redirect_uris for the grant type authorization_code.")
    _check_responses(document, grant_types)
    _choice(document, "subject_type", ("public",), "public")
    _choice(document, "id_token_signed_response_alg", (settings.algorithm,), settings.algorithm)
    more = _more(document)
    application = document.get("application_type")
    if application is not None:
        more["application_type"] = _choice(document, "application_type", ("web", "native"), "web")
        if application == "web" and any(is_native(uri) for uri in uris):
            # OpenID Connect Registration §2
            raise OAuthError("invalid_redirect_uri", "A client of application_type web has redirect_uris of https.")
    if client_id is None:
        client_id = f"c{secrets.token_hex(12)}"
    elif not is_client_id(client_id):
        raise _invalid("A client_id has 1 to 100 visible characters of ASCII.")
    row = ClientRow(
        client_id=client_id,
        name=_name(document) or client_id,
        is_verified=is_verified,
        redirect_uris=uris,
        grant_types=grant_types,
        scope=_scope(document, is_verified),
        metadata={**more, "token_endpoint_auth_method": method},
    )
    secret = None if method == "none" else secrets.token_urlsafe(32)
    return registered(add_client(s, row, secret), secret)


def registered(row: ClientRow, secret: str | None) -> dict[str, Any]:
    """A client's metadata as it is registered. RFC 7591 §3.2.1"""
    answer: dict[str, Any] = {
        **row.metadata,
        "client_id": row.client_id,
        "client_id_issued_at": row.created_at,
        "client_name": row.name,
        "redirect_uris": list(row.redirect_uris),
        "grant_types": list(row.grant_types),
        "response_types": ["code"] if AUTHORIZATION_CODE in row.grant_types else [],
    }
    if row.scope is not None:
        answer["scope"] = " ".join(row.scope)
    if secret is not None:
        answer |= {"client_secret": secret, "client_secret_expires_at": 0}
    return answer


def _grant_types(document: Mapping[str, Any]) -> tuple[str, ...]:
    wanted = _texts(document, "grant_types", [AUTHORIZATION_CODE])
    unknown = [each for each in wanted if each not in GRANT_TYPES]
    if unknown:
        raise _invalid(f"The grant_types that there are here: {', '.join(GRANT_TYPES)}.")
    if not set(wanted) & {AUTHORIZATION_CODE, DEVICE_CODE}:
        raise _invalid(f"The grant_types must have one by which a user agrees, not only {REFRESH_TOKEN}.")
    return tuple(each for each in GRANT_TYPES if each in wanted)


def _redirect_uris(document: Mapping[str, Any]) -> tuple[str, ...]:
    found = document.get("redirect_uris", [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found) or len(found) > _MOST_URIS:
        raise OAuthError("invalid_redirect_uri", f"The redirect_uris are an array of at most {_MOST_URIS} texts.")
    for number, uri in enumerate(found, 1):
        try:
            check_redirect(uri)
        except BadRedirect as error:
            raise OAuthError("invalid_redirect_uri", f"Number {number} of the redirect_uris: {error}.") from error
    return tuple(dict.fromkeys(found))


def _check_responses(document: Mapping[str, Any], grant_types: tuple[str, ...]) -> None:
    wanted = ["code"] if AUTHORIZATION_CODE in grant_types else []
    if _texts(document, "response_types", wanted) != wanted:
        # RFC 7591 §2.1: they go together
        raise _invalid("The response_types are code alone, and none without the grant type authorization_code.")


def _scope(document: Mapping[str, Any], is_verified: bool) -> tuple[str, ...] | None:
    wanted = document.get("scope")
    allowed = None if is_verified else scopes.OF_STRANGERS
    if wanted is None:
        return allowed
    if not isinstance(wanted, str):
        raise _invalid("The scope is a text.")
    try:
        return scopes.parse_scope(wanted, allowed)
    except OAuthError as error:
        raise _invalid(error.description) from error


def _name(document: Mapping[str, Any]) -> str:
    name = document.get("client_name", "")
    # No control or format characters: they could have a page show something else.
    if (
        not isinstance(name, str)
        or len(name) > _MOST_NAME
        or any(unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp") for each in name)
    ):
        raise _invalid(f"The client_name is a text of at most {_MOST_NAME} characters that can be seen.")
    return name.strip()


def _more(document: Mapping[str, Any]) -> dict[str, Any]:
    more: dict[str, Any] = {}
    for name in _URIS:
        if name in document:
            more[name] = _web_page(document[name], name)
    for name in _TEXTS:
        if name in document:
            if not isinstance(document[name], str) or len(document[name]) > _MOST_TEXT:
                raise _invalid(f"The {name} is a text of at most {_MOST_TEXT} characters.")
            more[name] = document[name]
    if "contacts" in document:
        more["contacts"] = _texts(document, "contacts", [])
    if "jwks" in document and "jwks_uri" in document:
        raise _invalid("There can't be both jwks and jwks_uri.")  # RFC 7591 §2
    return more


def _web_page(value: object, name: str) -> str:
    if isinstance(value, str) and len(value) <= _MOST_TEXT and value.isascii() and value.isprintable():
        try:
            parts = urlsplit(value)
        except ValueError:
            parts = None
        if parts is not None and parts.scheme in ("http", "https") and parts.hostname:
            return value
    raise _invalid(f"The {name} is the URL of a web page.")


def _texts(document: Mapping[str, Any], name: str, default: list[str]) -> list[str]:
    found = document.get(name, default)
    if (
        not isinstance(found, list)
        or len(found) > _MOST_URIS
        or not all(isinstance(each, str) and len(each) <= _MOST_TEXT for each in found)
    ):
        raise _invalid(f"The {name} are an array of at most {_MOST_URIS} texts.")
    return found


def _choice(document: Mapping[str, Any], name: str, among: tuple[str, ...], default: str) -> str:
    found = document.get(name, default)
    if found not in among:
        raise _invalid(f"The {name} must be one of: {', '.join(among)}.")
    return str(found)


def _invalid(description: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", description)
