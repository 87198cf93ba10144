"""Certificates and private keys in a configuration: readable, of one pair, in date."""

from __future__ import annotations

import datetime

from twisted.trial.unittest import SynchronousTestCase

from tests.config.support import NOW, Pair, errors_of, load_text


class CertificateTests(SynchronousTestCase):
    """Certificates and their keys."""

    TEXT = '[certificate.main]\ncert = "%{file:cert.pem}%"\nprivate-key = "%{file:/etc/test/key.pem}%"\n'

    def files(self, cert: bytes, key: bytes) -> dict[str, bytes]:
        return {"/etc/test/cert.pem": cert, "/etc/test/key.pem": key}

    def wanted(self, cert: bytes, key: bytes) -> list[tuple[str, str]]:
        errors = errors_of(self.TEXT, files=self.files(cert, key))
        return [(error.key.removeprefix("certificate.main."), error.wanted) for error in errors]

    def test_pair(self) -> None:
        """A certificate with its key is taken as text; the key is a secret."""
        pair = Pair()
        settings = load_text(self.TEXT, files=self.files(pair.cert, pair.key))
        (certificate,) = settings.certificates
        self.assertEqual(certificate.cert, pair.cert.decode().rstrip("\n"))
        self.assertEqual(certificate.private_key.reveal(), pair.key.decode().rstrip("\n"))
        self.assertEqual(settings.warnings, ())
        self.assertNotIn("PRIVATE", repr(settings))

    def test_other_key(self) -> None:
        """A key of another certificate is an error."""
        self.assertEqual(
            self.wanted(Pair().cert, Pair().key),
            [("private-key", "the private key that belongs to the certificate")],
        )

    def test_chain_in_the_wrong_order(self) -> None:
        """The key's certificate must come first in the chain."""
        pair = Pair()
        ((_, wanted),) = self.wanted(Pair().cert + pair.cert, pair.key)
        self.assertIn("first", wanted)
        self.assertEqual(self.wanted(pair.cert + Pair().cert, pair.key), [])

    def test_exchanged(self) -> None:
        """Certificate and key exchanged: both places say so."""
        pair = Pair()
        wanted = self.wanted(pair.key, pair.cert)
        self.assertEqual([key for key, _ in wanted], ["cert", "private-key"])
        self.assertTrue(all("exchanged" in text for _, text in wanted))

    def test_encrypted_key(self) -> None:
        """A key under a passphrase cannot be used."""
        pair = Pair()
        ((_, wanted),) = self.wanted(pair.cert, pair.encrypted_key(b"x"))
        self.assertIn("without a passphrase", wanted)

    def test_damaged(self) -> None:
        """PEM that cannot be decoded is an error of its own half."""
        pair = Pair()
        self.assertEqual([key for key, _ in self.wanted(pair.cert[:200], pair.key)], ["cert"])
        self.assertEqual([key for key, _ in self.wanted(pair.cert, pair.key[:80])], ["private-key"])

    def test_missing_file(self) -> None:
        """A missing file is named with the key that wants it."""
        errors = errors_of(self.TEXT)
        self.assertEqual((errors[0].line, errors[0].found), (2, '"%{file:cert.pem}%"'))
        self.assertIn("/etc/test/cert.pem", errors[0].wanted)
        self.assertEqual(len(errors), 2)

    def test_dates(self) -> None:
        """An expired or future certificate is a warning with the date, not an error."""
        day = datetime.timedelta(days=1)
        for pair, hint in (
            (Pair(start=NOW - 91 * day), "expired on 2029-12-31"),
            (Pair(start=NOW + day), "not valid before 2030-01-02"),
        ):
            settings = load_text(self.TEXT, files=self.files(pair.cert, pair.key))
            (warning,) = settings.warnings
            self.assertIn(hint, str(warning))
            self.assertEqual((warning.line, warning.key), (2, "certificate.main.cert"))

    def test_two_defaults(self) -> None:
        """One certificate can be the default."""
        text = self.TEXT + "default = true\n" + self.TEXT.replace("main", "other") + "default = true\n"
        pair = Pair()
        (error,) = errors_of(text, files=self.files(pair.cert, pair.key))
        self.assertEqual((error.key, error.line), ("certificate.other.default", 8))
