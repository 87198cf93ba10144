"""The account's key and what is signed with it (RFC 8555 §6.2; RFC 7515, RFC 7638)."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64decode, b64encode
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from stalwart.config import Secret
from stalwart.tls.acme.errors import BAD_ANSWER, BAD_EXTERNAL_ACCOUNT, AcmeError

# RFC 8555 §8.3: base64url without padding, and at least 128 bits of entropy. The bound above is ours.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,128}")


class ExternalAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What binds the ACME account to one that the CA knows already; `hmac_key` is in base64url, as CAs hand it out."""

    kid: str
    hmac_key: Secret

    def mac_key(self) -> bytes:
        """The key itself. Raises AcmeError. The usual alphabet of base64 and its padding are accepted too."""
        text = self.hmac_key.reveal().strip().rstrip("=").replace("+", "-").replace("/", "_")
        # An octet takes two characters at least: one left over belongs to nothing.
        if not re.fullmatch(r"[A-Za-z0-9_-]+", text) or len(text) % 4 == 1:
            raise AcmeError(BAD_EXTERNAL_ACCOUNT, "the HMAC key of the external account has to be in base64url")
        return b64decode(text)


def thumbprint(key: ec.EllipticCurvePrivateKey) -> str:
    """The thumbprint of an account key (RFC 7638), in base64url."""
    return _text(b64encode(JWKEC(key=key).thumbprint()))


def key_authorization(token: str | None, key: ec.EllipticCurvePrivateKey) -> str:
    """What answers a challenge (RFC 8555 §8.1). Raises AcmeError if the CA's token isn't one."""
    if token is None or not _TOKEN.fullmatch(token):
        raise AcmeError(BAD_ANSWER, "the CA sent a challenge without a usable token", repr(token)[:200])
    return f"{token}.{thumbprint(key)}"


def sign(
    key: ec.EllipticCurvePrivateKey, url: str, nonce: str, payload: object | None, *, account_url: str | None
) -> bytes:
    """A request's body in flattened JSON (RFC 8555 §6.2), signed with ES256.

    `payload` of None is the empty text of POST-as-GET (RFC 8555 §6.3). Without `account_url` the key itself is sent.
    """
    whose: dict[str, Any] = {"jwk": _public(key)} if account_url is None else {"kid": account_url}
    header = {"alg": "ES256", **whose, "nonce": nonce, "url": url}
    octets = b"" if payload is None else msgspec.json.encode(payload)
    return msgspec.json.encode(_flattened(header, octets, lambda signed: ES256.sign(key, signed)))


def external_account_binding(
    account: ExternalAccount, key: ec.EllipticCurvePrivateKey, new_account_url: str
) -> Mapping[str, str]:
    """The `externalAccountBinding` of a new account (RFC 8555 §7.3.4). Raises AcmeError."""
    mac_key = account.mac_key()
    header = {"alg": "HS256", "kid": account.kid, "url": new_account_url}
    octets = msgspec.json.encode(_public(key))
    return _flattened(header, octets, lambda signed: hmac.digest(mac_key, signed, hashlib.sha256))


def _flattened(header: Mapping[str, Any], payload: bytes, signature: Callable[[bytes], bytes]) -> Mapping[str, str]:
    """RFC 7515 §7.2.2."""
    protected, encoded = b64encode(msgspec.json.encode(header)), b64encode(payload)
    return {
        "protected": _text(protected),
        "payload": _text(encoded),
        "signature": _text(b64encode(signature(protected + b"." + encoded))),
    }


def _public(key: ec.EllipticCurvePrivateKey) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = JWKEC(key=key).public_key().to_partial_json()
    return fields


def _text(octets: bytes) -> str:
    return octets.decode("ascii")
