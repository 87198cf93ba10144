"""Which keys sign what leaves."""

from __future__ import annotations

from pathlib import Path

import dkim
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.delivery.queue_signing import Signer, author_domain
from stalwart.store import FsBlobs, KeyPair, Store, create_dkim_keys, create_domain, list_dkim_keys

NOW = 1_700_000_000


class SignerTests(SynchronousTestCase):
    """Over a store with keys for one of two domains."""

    def setUp(self) -> None:
        """Make them."""
        root = Path(self.mktemp())
        root.mkdir()
        self.store = Store.open(str(root / "s.sqlite"), FsBlobs(str(root / "b")), clock=lambda: NOW, exclusive=True)
        self.addCleanup(self.store.close)
        with self.store.write() as s:
            create_domain(s, "example.org")
            create_domain(s, "example.com")
            create_dkim_keys(s, "example.org", KeyPair.generate())
        self.sign = Signer(self.store, lambda: float(NOW))

    def test_both_keys(self) -> None:
        """A message is signed by each key of the domain in From, and a verifier agrees."""
        message = b"From: Jane <jane@EXAMPLE.org>\r\nSubject: x\r\n\r\nhello\r\n"
        signed = self.sign(message) + message
        self.assertEqual(signed.count(b"DKIM-Signature:"), 2)
        with self.store.read() as s:
            records = {f"{key.selector}._domainkey.example.org.".encode(): key for key in list_dkim_keys(s)}

        def ask(name: bytes, timeout: int = 5) -> bytes:
            from stalwart.mail.dkim import record_value

            return record_value(records[name].algorithm, records[name].public_key).encode()

        for index in range(2):
            self.assertTrue(dkim.DKIM(signed).verify(index, dnsfunc=ask))

    def test_without_keys(self) -> None:
        """Domains without keys, unknown ones, and messages without a usable From are left unsigned."""
        for field in (
            b"From: a@example.com",
            b"From: a@example.net",
            b"From: nobody",
            b"X: y",
            b"From: a@-,b@c",
            b"From: a@[192.0.2.1]",
        ):
            self.assertEqual(self.sign(field + b"\r\n\r\nhello\r\n"), b"")

    @given(st.binary(max_size=60))
    @settings(deadline=None, max_examples=100)
    def test_any(self, junk: bytes) -> None:
        """Whatever stands in a message, finding its domain raises nothing."""
        author_domain(b"From:" + junk + b"\r\n\r\nx")
