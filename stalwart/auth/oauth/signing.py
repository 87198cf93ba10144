"""The keys of ID tokens as JSON Web Keys, and ID tokens themselves. RFC 7517, RFC 7519, OpenID Connect Core §2"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from stalwart.store import KeyRow, Session, published_keys

_CURVES = {"ES256": "P-256", "ES384": "P-384"}
_RSA_BITS = 3072


def make_key(algorithm: str) -> KeyRow:
    """A new key for an algorithm such as `ES256` (RFC 7518 §3.1)."""
    curve = _CURVES.get(algorithm)
    key = RSAKey.generate_key(_RSA_BITS) if curve is None else ECKey.generate_key(curve)
    return KeyRow(kid=key.thumbprint(), algorithm=algorithm, private_key=key.as_der(private=True))


def key_set(s: Session) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """The public halves of the keys in use, as a JWK Set. RFC 7517 §5"""
    return {"keys": [_public(row) for row in published_keys(s)]}


def sign(row: KeyRow, claims: Mapping[str, Any]) -> str:
    """A signed JWT with these claims, in its compact form."""
    header = {"alg": row.algorithm, "kid": row.kid, "typ": "JWT"}
    return jwt.encode(header, dict(claims), _load(row), algorithms=[row.algorithm])


def token_hash(algorithm: str, token: str) -> str:
    """The `at_hash` of an access token. OpenID Connect Core §3.1.3.6"""
    digest = hashlib.new(f"sha{algorithm[2:]}", token.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode("ascii")


def _public(row: KeyRow) -> Mapping[str, Any]:
    return {**_load(row).as_dict(private=False), "use": "sig", "alg": row.algorithm, "kid": row.kid}


def _load(row: KeyRow) -> ECKey | RSAKey:
    kind = ECKey if row.algorithm in _CURVES else RSAKey
    return kind.import_key(row.private_key)
