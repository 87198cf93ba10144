"""DKIM signatures, verified by dkimpy."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import dkim
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.dkim import InvalidKey, SigningKey, load_key, public_key, record_name, record_value, sign

NOW = 1_700_000_000
MAIL = (
    b"Received: from a by b;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"From: Ada Lovelace <ada@example.org>\r\n"
    b"To: bob@example.net, carol@example.net, dave@example.net\r\n"
    b"Subject: A rather long subject that somebody on the way may want to\r\n fold once more\r\n"
    b"Date: Thu, 30 Oct 2014 14:12:00 +0800\r\n"
    b"Message-ID: <a@example.org>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"List-Id: <l.example.org>\r\n"
    b"\r\n"
    b"Hello  there, \t \r\n\r\nbye\r\n\r\n\r\n"
)
_CASES = settings(deadline=None, max_examples=60)


@functools.cache
def keys() -> tuple[SigningKey, SigningKey]:
    """An RSA key and an Ed25519 key."""
    return (
        SigningKey(domain="example.org", selector="r1", private=rsa.generate_private_key(65537, 2048)),
        SigningKey(domain="example.org", selector="e1", private=ed25519.Ed25519PrivateKey.generate()),
    )


def look_up(name: bytes, timeout: int = 5) -> bytes | None:
    """The DNS with the records of the keys."""
    records = {record_name(k.domain, k.selector): record_value(k.algorithm, public_key(k.private)) for k in keys()}
    found = records.get(name.decode().rstrip("."))
    return None if found is None else found.encode()


def verified(message: bytes) -> list[bool]:
    """What dkimpy says of each signature."""
    found = message.lower().count(b"dkim-signature:")
    verifier = dkim.DKIM(message, minkey=1024)
    return [verifier.verify(idx=index, dnsfunc=look_up) for index in range(found)]


def is_good(message: bytes) -> bool:
    """Whether both signatures hold; dkimpy raises for some that are malformed."""
    try:
        return verified(message) == [True, True]
    except dkim.DKIMException:
        return False


class SignTests(SynchronousTestCase):
    """`sign`."""

    def signed(self, message: bytes, which: Sequence[SigningKey] | None = None) -> bytes:
        """The message with its signatures."""
        return sign(message, keys() if which is None else which, NOW) + message

    def test_both_verify(self) -> None:
        """RFC 6376, RFC 8463: an RSA and an Ed25519 signature, each in lines of at most 78 characters."""
        signed = self.signed(MAIL)
        self.assertEqual(verified(signed), [True, True])
        fields = signed.removesuffix(MAIL)
        self.assertEqual(fields.count(b"DKIM-Signature:"), 2)
        self.assertLessEqual(max(map(len, fields.split(b"\r\n"))), 78)
        self.assertIn(b"a=rsa-sha256; c=relaxed/relaxed; d=example.org;", fields)
        self.assertIn(b"a=ed25519-sha256;", fields)
        self.assertNotIn(b"received", fields.lower())

    def test_no_keys(self) -> None:
        """Without keys there is no signature."""
        self.assertEqual(sign(MAIL, (), NOW), b"")

    def test_relay_folds(self) -> None:
        """A relay that folds header fields, changes white space in them and adds its own breaks nothing."""
        signed = self.signed(MAIL)
        relayed = (
            b"Received: from us by them; now\r\n"
            + signed.replace(b"may want to\r\n fold", b"may\r\n\twant to fold")
            .replace(b"bob@example.net, carol", b"bob@example.net,\r\n        carol")
            .replace(b"Subject: ", b"SUBJECT:   ")
            .replace(b"there, \t \r\n", b"there,\r\n")
            + b"\r\n\r\n"
        )
        self.assertNotEqual(relayed.count(b"\r\n\t"), signed.count(b"\r\n\t"))
        self.assertEqual(verified(relayed), [True, True])

    def test_forged(self) -> None:
        """Each field that is signed, the body and a second From are protected."""
        signed = self.signed(MAIL)
        for old, new in (
            (b"From: Ada", b"From: Eve"),
            (b"To: bob@", b"To: eve@"),
            (b"Subject: A", b"Subject: B"),
            (b"Date: Thu", b"Date: Fri"),
            (b"Message-ID: <a@", b"Message-ID: <b@"),
            (b"Content-Type: text/plain", b"Content-Type: text/html"),
            (b"List-Id: <l", b"List-Id: <m"),
            (b"bye", b"by"),
            (b"From: Ada", b"From: eve@example.net\r\nFrom: Ada"),
        ):
            with self.subTest(new):
                forged = signed.replace(old, new, 1)
                self.assertNotEqual(forged, signed)
                self.assertFalse(is_good(forged))

    def test_repeated_fields(self) -> None:
        """RFC 6376 §5.4.2: of a field that is there more than once, every one is signed."""
        message = b"List-Post: <a:1>\r\nFrom: a@example.org\r\nList-Post: <a:2>\r\n\r\nx\r\n"
        signed = self.signed(message)
        self.assertEqual(verified(signed), [True, True])
        self.assertFalse(is_good(signed.replace(b"<a:1>", b"<a:3>")))

    def test_line_ends(self) -> None:
        """What comes with LF alone is signed as it will be on the wire, with CRLF."""
        fields = sign(MAIL.replace(b"\r\n", b"\n"), keys(), NOW)
        self.assertEqual(verified(fields + MAIL), [True, True])

    @_CASES
    @given(
        st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\r\n\r\n", b"  \r\n", b"\xc3\xa9", b"."]), max_size=30)
    )
    def test_any_body(self, pieces: list[bytes]) -> None:
        """Blanks and empty lines in any place are canonicalized as dkimpy does it; on the wire the last line ends."""
        message = b"From: a@example.org\r\nSubject:  x \t y \r\n\r\n" + b"".join(pieces)
        signed = self.signed(message)
        self.assertEqual(verified(signed if signed.endswith(b"\r\n") else signed + b"\r\n"), [True, True])

    @_CASES
    @given(st.binary(max_size=300))
    def test_any_octets(self, octets: bytes) -> None:
        """Any octets can be signed."""
        self.assertTrue(sign(octets, keys()[1:], NOW).startswith(b"DKIM-Signature: v=1;"))


class KeyTests(SynchronousTestCase):
    """Keys as octets, and their records."""

    def test_comes_back(self) -> None:
        """A key in PKCS #8 is read again, and signs the same."""
        for key in keys():
            octets = key.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            self.assertEqual(sign(MAIL, [load_key("example.org", key.selector, octets)], NOW), sign(MAIL, [key], NOW))

    def test_invalid(self) -> None:
        """Anything else is an InvalidKey that names selector and domain."""
        other = ec.generate_private_key(ec.SECP256R1())
        for octets in (
            b"",
            b"nonsense",
            other.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        ):
            error = self.assertRaises(InvalidKey, load_key, "example.org", "s1", octets)
            self.assertIn("s1 of example.org", str(error))

    def test_record(self) -> None:
        """RFC 8463 §4.2: the record of an Ed25519 key has its 32 octets."""
        value = record_value("ed25519-sha256", bytes(32))
        self.assertEqual(value, "v=DKIM1; k=ed25519; p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        self.assertEqual(record_name("example.org", "s1"), "s1._domainkey.example.org")
