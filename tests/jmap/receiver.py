"""The client's side of RFC 8291: keys for a subscription, and reading what is pushed."""

from __future__ import annotations

import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from stalwart.jmap.webpush import encode_base64url


class Receiver:
    """A client with a key pair and an authentication secret."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.p256dh = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.auth = os.urandom(16)

    def keys(self) -> dict[str, str]:
        """As a PushSubscription has them."""
        return {"p256dh": encode_base64url(self.p256dh), "auth": encode_base64url(self.auth)}

    def decrypt(self, message: bytes) -> bytes:
        """What was encrypted (RFC 8291 §3, RFC 8188 §2), written down apart from the code that encrypts."""
        salt, size, length = message[:16], int.from_bytes(message[16:20], "big"), message[20]
        sender, record = message[21 : 21 + length], message[21 + length :]
        assert len(record) <= size
        secret = self._private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))

        def derive(key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
            return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(key)

        key = derive(secret, self.auth, b"WebPush: info\0" + self.p256dh + sender, 32)
        plain = AESGCM(derive(key, salt, b"Content-Encoding: aes128gcm\0", 16)).decrypt(
            derive(key, salt, b"Content-Encoding: nonce\0", 12), record, None
        )
        text, delimiter, padding = plain.rpartition(b"\x02")
        assert delimiter and not padding.strip(b"\0")
        return text
