"""The device flow: codes for what has no browser, and what the user says about them elsewhere. RFC 8628"""

from __future__ import annotations

import secrets

import msgspec

from stalwart.auth.oauth import scopes
from stalwart.auth.oauth.clients import DEVICE_CODE, Client, lookup_client
from stalwart.auth.oauth.errors import OAuthError
from stalwart.auth.oauth.granting import grant_access
from stalwart.auth.oauth.parameters import Parameters
from stalwart.auth.oauth.resources import is_ours
from stalwart.auth.principal import Principal
from stalwart.config.oauth_settings import OAuthSettings
from stalwart.store import (
    AlreadyExists,
    DeviceRow,
    Session,
    add_device,
    decide_device,
    expire_devices,
    find_device_by_user_code,
)

INTERVAL = 5
"""Seconds between two questions of a client, at first. RFC 8628 §3.2"""

# RFC 8628 §6.1: no vowels, so that no words come out, and nothing that looks like something else.
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
_LENGTH = 8
# What people type for these letters.
_CONFUSED = {ord("8"): "B", ord("0"): "D", ord("6"): "G", ord("5"): "S", ord("2"): "Z", ord("1"): "L"}
_ATTEMPTS = 5
# For so long a client is told that its code has expired, and not that there was none.
_EXPIRED_SECONDS = 3600


class DeviceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the client is told; times in seconds. RFC 8628 §3.2"""

    device_code: str
    user_code: str
    expires_in: int
    interval: int

    def __repr__(self) -> str:
        return f"DeviceAnswer(expires_in={self.expires_in})"


class PendingDevice(msgspec.Struct, frozen=True, kw_only=True):
    """What the user is asked about."""

    user_code: str
    """As it is shown: `BCDF-GHJK`."""

    client: Client
    scope: tuple[str, ...]
    address: str
    """Where the device asked from."""

    expires_at: int


def start(
    s: Session, client: Client, parameters: Parameters, *, issuer: str, address: str, settings: OAuthSettings
) -> DeviceAnswer:
    """Begin a device flow for an authenticated client; `s` is a transaction. Raises OAuthError. RFC 8628 §3.1"""
    if not client.may_use(DEVICE_CODE):
        raise OAuthError("unauthorized_client", "The client is not registered for the device flow.")
    if not all(is_ours(resource, issuer) for resource in parameters.resources):
        raise OAuthError("invalid_target", "The resource is not one of this server.")
    scope = scopes.parse_scope(parameters.get("scope"), client.scope)
    expire_devices(s, s.now() - _EXPIRED_SECONDS)
    device_code = secrets.token_urlsafe(32)
    expires_in = int(settings.user_code)
    for attempt in range(_ATTEMPTS):
        user_code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        row = DeviceRow(
            user_code=user_code,
            client_row_id=client.row_id,
            client_id=client.client_id,
            scope=scope,
            nonce=parameters.get("nonce"),
            address=address,
            interval=INTERVAL,
            expires_at=s.now() + expires_in,
        )
        try:
            add_device(s, device_code, row)
        except AlreadyExists:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            break
    return DeviceAnswer(device_code=device_code, user_code=_shown(user_code), expires_in=expires_in, interval=INTERVAL)


def pending(s: Session, user_code: str, settings: OAuthSettings) -> PendingDevice | None:
    """What waits for an answer under a code as somebody typed it; None if nothing does (any more)."""
    row = find_device_by_user_code(s, plain_code(user_code))
    client = None if row is None else lookup_client(s, row.client_id, settings)
    if row is None or client is None:
        return None
    return PendingDevice(
        user_code=_shown(row.user_code), client=client, scope=row.scope, address=row.address, expires_at=row.expires_at
    )


def decide(
    s: Session,
    user_code: str,
    principal: Principal,
    approved: bool,
    *,
    signed_in_at: float,
    address: str,
    settings: OAuthSettings,
) -> bool:
    """The user agrees or doesn't; `s` is a transaction. False if there is nothing to decide (any more).

    Whoever may not let clients in denies.
    """
    row = find_device_by_user_code(s, plain_code(user_code))
    client = None if row is None else lookup_client(s, row.client_id, settings)
    if row is None or client is None:
        return False
    grant_id = None
    if approved:
        grant_id = grant_access(s, client, principal, row.scope, signed_in_at=signed_in_at, address=address)
    return decide_device(s, row.user_code, grant_id)


def plain_code(typed: str) -> str:
    """A user code as it was typed in, without what stands between its letters. RFC 8628 §6.1"""
    upper = typed[:64].upper().translate(_CONFUSED)
    return "".join(letter for letter in upper if letter.isascii() and letter.isalnum())


def _shown(user_code: str) -> str:
    return f"{user_code[:4]}-{user_code[4:]}"
