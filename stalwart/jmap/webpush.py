"""Web push without the network: messages encrypted for a client (RFC 8291, RFC 8620 §8.7), signed by VAPID.

The key pair of VAPID (RFC 8292) is made once; clients hand its public half to their push service (RFC 9749).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY_NAME = "vapid"
"""Under which the private key lies in the store: 32 octets, big-endian."""

MAX_PLAINTEXT = 3993
"""Octets that fit into the one record of a message (RFC 8291 §4)."""

_RECORD_SIZE = 4096
_VALID_SECONDS = 12 * 3600  # RFC 8292 §2: no more than 24 hours
_RENEW_SECONDS = 6 * 3600
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*={0,2}", re.ASCII)
_CURVE = ec.SECP256R1()
_PRIVATE_OCTETS = 32
_encode_json = msgspec.json.Encoder().encode


class BadKey(Exception):
    """A key that can't be used. The text says what is wrong with it."""


def decode_base64url(text: str) -> bytes:
    """Octets from base64 in the URL alphabet, padded or not (RFC 4648 §5). Raises BadKey."""
    # JMAP says it is RFC 4648 §5, browsers leave the padding out (RFC 8291): both are taken.
    if not _BASE64URL.fullmatch(text):
        raise BadKey("it is not base64 in the URL and filename safe alphabet")
    bare = text.rstrip("=")
    try:
        return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error:
        raise BadKey("it is not base64: its length is wrong") from None


def encode_base64url(octets: bytes) -> str:
    """Base64 in the URL alphabet without padding."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def check_keys(p256dh: bytes, auth: bytes) -> None:
    """Whether a client's keys are ones that messages can be encrypted with (RFC 8291 §3.1, §3.2). Raises BadKey."""
    if len(auth) != 16:
        raise BadKey("auth must be 16 octets")
    _public_key(p256dh)


def _public_key(p256dh: bytes) -> ec.EllipticCurvePublicKey:
    if len(p256dh) != 65 or p256dh[0] != 4:
        raise BadKey("p256dh must be an uncompressed point of P-256: 65 octets, the first is 4")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, p256dh)
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey("p256dh is not a point on the curve P-256") from None


def encrypt(
    plaintext: bytes,
    p256dh: bytes,
    auth: bytes,
    *,
    random: Callable[[int], bytes] = os.urandom,
    private_key: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """`plaintext` in the content coding aes128gcm for one client (RFC 8291 §3, RFC 8188 §2): header and one record.

    A key pair is made for each message, unless `private_key` is given. Raises BadKey, and ValueError for more than
    `MAX_PLAINTEXT` octets.
    """
    if len(plaintext) > MAX_PLAINTEXT:
        raise ValueError(f"a push message has at most {MAX_PLAINTEXT} octets, not {len(plaintext)}")
    theirs = _public_key(p256dh)
    own = private_key or ec.generate_private_key(_CURVE)
    public = own.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    # RFC 8291 §3.4
    secret = own.exchange(ec.ECDH(), theirs)
    input_key = _derive(secret, salt=auth, info=b"WebPush: info\x00" + p256dh + public, length=32)
    salt = random(16)
    content_key = _derive(input_key, salt=salt, info=b"Content-Encoding: aes128gcm\x00", length=16)
    nonce = _derive(input_key, salt=salt, info=b"Content-Encoding: nonce\x00", length=12)
    # RFC 8188 §2: the delimiter 2 marks the last record
    record = AESGCM(content_key).encrypt(nonce, plaintext + b"\x02", None)
    return salt + _RECORD_SIZE.to_bytes(4, "big") + bytes([len(public)]) + public + record


def _derive(key: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(key)


def make_key() -> bytes:
    """A new private key for VAPID, as it is kept."""
    return ec.generate_private_key(_CURVE).private_numbers().private_value.to_bytes(32, "big")


class Vapid:
    """Signs pushes as those of this server (RFC 8292). A signature is used again for some hours."""

    def __init__(self, private: bytes, contact: str) -> None:
        """`contact` is a mailto: or https: URI where a push service finds whoever runs this (RFC 8292 §2.1).

        Raises BadKey if `private` is not 32 octets that make a key of the curve P-256.
        """
        try:
            if len(private) != _PRIVATE_OCTETS:
                raise ValueError
            self._key = ec.derive_private_key(int.from_bytes(private, "big"), _CURVE)
        except ValueError:
            raise BadKey("it is no private key of the curve P-256") from None
        self._contact = contact
        self._signed: dict[str, tuple[float, str]] = {}
        public = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.application_server_key = encode_base64url(public)
        """The public key as clients get it (RFC 9749 §3)."""

    def authorization(self, url: str, now: float) -> str:
        """The Authorization field for a push to `url` (RFC 8292 §3); `now` is seconds since the epoch."""
        # RFC 8292 §2: the origin of the URL, which has its host in lower case and no default port (RFC 6454 §6.1)
        audience = f"https://{urlsplit(url).netloc.lower().removesuffix(':443')}"
        known = self._signed.get(audience)
        if known is None or now >= known[0]:
            if len(self._signed) >= 256:
                self._signed.clear()
            known = self._signed[audience] = (now + _RENEW_SECONDS, self._sign(audience, int(now)))
        return known[1]

    def _sign(self, audience: str, now: int) -> str:
        claims = {"aud": audience, "exp": now + _VALID_SECONDS, "sub": self._contact}
        signed = ".".join(encode_base64url(_encode_json(part)) for part in ({"typ": "JWT", "alg": "ES256"}, claims))
        r, s = decode_dss_signature(self._key.sign(signed.encode("ascii"), ec.ECDSA(hashes.SHA256())))
        # RFC 7518 §3.4: both halves, 32 octets each
        signature = encode_base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return f"vapid t={signed}.{signature}, k={self.application_server_key}"
