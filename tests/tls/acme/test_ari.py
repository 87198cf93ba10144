"""How a CA knows a certificate."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from twisted.trial.unittest import SynchronousTestCase

from stalwart.tls.acme import certificate_id
from tests.tls.acme.fake_root import new_key


def certificate(serial: int, *extensions: x509.ExtensionType) -> x509.Certificate:
    """A certificate with this serial number."""
    key, name = new_key(), x509.Name([])
    now = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, now, now + datetime.timedelta(days=1))
    for extension in extensions:
        builder = builder.add_extension(extension, False)
    return builder.sign(key, hashes.SHA256())


class CertificateIdTests(SynchronousTestCase):
    def test_example(self) -> None:
        """RFC 9773 §4.1: its example, whose serial number needs a zero before it."""
        issuer = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
        found = certificate_id(certificate(0x87654321, x509.AuthorityKeyIdentifier(issuer, None, None)))
        self.assertEqual(found, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")

    def test_serial_numbers(self) -> None:
        """They are the octets that DER has."""
        issuer = x509.AuthorityKeyIdentifier(b"\0", None, None)
        for serial, expected in ((1, "AQ"), (127, "fw"), (128, "AIA"), (255, "AP8"), (256, "AQA")):
            self.assertEqual(certificate_id(certificate(serial, issuer)), f"AA.{expected}")

    def test_without_a_key_identifier(self) -> None:
        """A certificate that names no key of its issuer has no such identifier."""
        for extensions in self._nameless():
            self.assertIsNone(certificate_id(certificate(1, *extensions)))

    def _nameless(self) -> Iterator[list[x509.ExtensionType]]:
        yield []
        yield [x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(x509.Name([]))], 1)]
