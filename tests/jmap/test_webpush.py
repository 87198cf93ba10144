"""Encrypting and signing pushes."""

from __future__ import annotations

import base64
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.jmap.webpush import (
    MAX_PLAINTEXT,
    BadKey,
    Vapid,
    check_keys,
    decode_base64url,
    encode_base64url,
    encrypt,
    make_key,
)
from tests.jmap.receiver import Receiver

# RFC 8291 §5 and appendix A
_PLAINTEXT = b"When I grow up, I want to be a watermelon"
_SENDER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
_P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
_AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
_SALT = "DGv6ra1nlYgDCS1FRnbzlw"
_MESSAGE = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
    "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


class EncryptionTests(SynchronousTestCase):
    """`encrypt`."""

    def test_rfc_example(self) -> None:
        """RFC 8620 §8.7, RFC 8291 §5: the example comes out octet by octet."""
        own = ec.derive_private_key(int.from_bytes(decode_base64url(_SENDER), "big"), ec.SECP256R1())
        message = encrypt(
            _PLAINTEXT,
            decode_base64url(_P256DH),
            decode_base64url(_AUTH),
            random=lambda size: decode_base64url(_SALT)[:size],
            private_key=own,
        )
        self.assertEqual(encode_base64url(message), _MESSAGE)

    @given(st.binary(max_size=200))
    @settings(deadline=None, max_examples=20)
    def test_readable_by_the_client(self, plaintext: bytes) -> None:
        """Whoever has the private key reads it; two messages of the same text have nothing in common."""
        receiver = Receiver()
        first, second = (encrypt(plaintext, receiver.p256dh, receiver.auth) for _ in range(2))
        self.assertEqual(receiver.decrypt(first), plaintext)
        self.assertNotEqual(first[:16], second[:16])
        self.assertNotEqual(first[21:86], second[21:86])

    def test_size(self) -> None:
        """RFC 8291 §4: a message of 4096 octets is the largest; more is refused."""
        receiver = Receiver()
        message = encrypt(bytes(MAX_PLAINTEXT), receiver.p256dh, receiver.auth)
        self.assertEqual(len(message), 4096)
        self.assertEqual(receiver.decrypt(message), bytes(MAX_PLAINTEXT))
        self.assertRaises(ValueError, encrypt, bytes(MAX_PLAINTEXT + 1), receiver.p256dh, receiver.auth)

    def test_keys(self) -> None:
        """Keys are taken padded or not; what is no point of the curve, or of another length, is refused."""
        p256dh, auth = decode_base64url(_P256DH), decode_base64url(_AUTH)
        check_keys(p256dh, auth)
        self.assertEqual(decode_base64url(_P256DH + "="), p256dh)
        self.assertEqual(decode_base64url(_AUTH + "=="), auth)
        for bad in (p256dh[:-1], b"\x04" + bytes(64), b"\x02" + p256dh[1:33], p256dh[:-1] + b"\x00", b""):
            self.assertRaises(BadKey, check_keys, bad, auth)
        self.assertRaises(BadKey, check_keys, p256dh, auth + b"x")
        for text in ("a+b/", "a b", "A", "é", "AA===="):
            self.assertRaises(BadKey, decode_base64url, text)


class VapidTests(SynchronousTestCase):
    """`Vapid`."""

    def parts(self, field: str) -> tuple[dict[str, object], dict[str, object], bytes, bytes, str]:
        """Header, claims, what is signed, the signature, and the key of an Authorization field."""
        self.assertTrue(field.startswith("vapid t="), field)
        token, _, key = field.removeprefix("vapid t=").partition(", k=")
        signed, _, signature = token.rpartition(".")
        header, claims = (json.loads(decode_base64url(part)) for part in signed.split("."))
        return header, claims, signed.encode(), decode_base64url(signature), key

    def test_damaged(self) -> None:
        """What is no key is refused with a reason, which ends the start, and not with a fault."""
        for private in (b"", b"\0" * 32, b"\xff" * 32, b"\1" * 33):
            self.assertIn("P-256", str(self.assertRaises(BadKey, Vapid, private, "mailto:a@b.example")))

    def test_field(self) -> None:
        """RFC 8292 §2, §3: a JWT for the origin of the push service, of less than 24 hours, that the key verifies."""
        vapid = Vapid(make_key(), "mailto:postmaster@mail.example.org")
        field = vapid.authorization("https://push.example.net:8443/some/secret?x=y", 1_700_000_000.5)
        header, claims, signed, signature, key = self.parts(field)
        self.assertEqual(header, {"typ": "JWT", "alg": "ES256"})
        self.assertEqual(claims["aud"], "https://push.example.net:8443")
        other = vapid.authorization("https://Push.Example.net:443/", 0.0)
        self.assertEqual(self.parts(other)[1]["aud"], "https://push.example.net")
        self.assertEqual(claims["sub"], "mailto:postmaster@mail.example.org")
        self.assertEqual(claims["exp"], 1_700_000_000 + 12 * 3600)
        self.assertEqual(key, vapid.application_server_key)
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode_base64url(key))
        self.assertEqual(len(signature), 64)
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        public.verify(der, signed, ec.ECDSA(hashes.SHA256()))
        self.assertRaises(InvalidSignature, public.verify, der, signed + b"x", ec.ECDSA(hashes.SHA256()))

    def test_used_again(self) -> None:
        """A signature serves for hours, for one origin; it is renewed long before it expires."""
        vapid = Vapid(make_key(), "mailto:a@b.example")
        first = vapid.authorization("https://a.example/1", 1000.0)
        self.assertEqual(vapid.authorization("https://a.example/2", 1000.0 + 5 * 3600), first)
        self.assertNotEqual(vapid.authorization("https://b.example/1", 1000.0), first)
        self.assertNotEqual(vapid.authorization("https://a.example/1", 1000.0 + 6 * 3600), first)

    def test_key_stays(self) -> None:
        """The public key follows from what is kept of the private one."""
        private = make_key()
        self.assertEqual(len(private), 32)
        keys = {Vapid(private, "mailto:a@b.example").application_server_key for _ in range(2)}
        self.assertEqual(len(keys), 1)
        self.assertEqual(len(base64.urlsafe_b64decode(keys.pop() + "=")), 65)
