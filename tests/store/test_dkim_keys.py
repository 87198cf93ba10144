"""The keys that mail is signed with, and their rotation."""

from __future__ import annotations

import dkim

from stalwart.mail.dkim import record_name, record_value, sign
from stalwart.store import (
    RECORD_SECONDS,
    AlreadyExists,
    KeyPair,
    NoSuchDomain,
    NotFound,
    create_dkim_keys,
    create_domain,
    delete_domain,
    dkim_signing_keys,
    list_dkim_keys,
    rotate_dkim_keys,
)
from tests.store.bed import StoreTestCase

_DOMAIN = "example.org"
_PAIR = KeyPair.generate()
_MAIL = b"From: ada@example.org\r\nSubject: x\r\n\r\nbody\r\n"


class DkimKeyTests(StoreTestCase):
    """`create_dkim_keys`, `rotate_dkim_keys`, `dkim_signing_keys`."""

    def create(self) -> list[str]:
        """Keys for the domain; their selectors."""
        with self.store.write() as s:
            return [key.selector for key in create_dkim_keys(s, _DOMAIN, _PAIR)]

    def rotate(self, overlap: int) -> list[str]:
        """New keys; their selectors."""
        with self.store.write() as s:
            return [key.selector for key in rotate_dkim_keys(s, _DOMAIN, _PAIR, overlap)]

    def signing(self) -> list[str]:
        """The selectors that sign now."""
        with self.store.read() as s:
            return [key.selector for key in dkim_signing_keys(s, _DOMAIN)]

    def known(self) -> set[str]:
        """The selectors that have a record."""
        with self.store.read() as s:
            return {key.selector for key in list_dkim_keys(s, _DOMAIN)}

    def test_signatures_verify(self) -> None:
        """What the keys sign verifies with the records that are shown for them."""
        self.create()
        with self.store.read() as s:
            keys = dkim_signing_keys(s, _DOMAIN)
            records = {
                record_name(key.domain, key.selector) + ".": record_value(key.algorithm, key.public_key)
                for key in list_dkim_keys(s, _DOMAIN)
            }
        self.assertEqual({key.algorithm for key in keys}, {"rsa-sha256", "ed25519-sha256"})
        verifier = dkim.DKIM(sign(_MAIL, keys, int(self.now)) + _MAIL)
        for index in range(2):
            self.assertTrue(verifier.verify(index, lambda name, timeout: records[name.decode()].encode()))

    def test_rotation(self) -> None:
        """The old keys sign until the overlap is over, then the new ones; the records of the old stay for a week."""
        old = self.create()
        self.assertEqual(self.signing(), old)
        new = self.rotate(3600)
        self.assertEqual(len({*old, *new}), 4)
        self.assertEqual(self.signing(), old)
        self.assertRaises(AlreadyExists, self.rotate, 3600)
        self.now += 3600
        self.assertEqual(self.signing(), new)
        newer = self.rotate(60)
        self.assertEqual(self.known(), {*old, *new, *newer})
        self.now += RECORD_SECONDS + 61
        newest = self.rotate(60)
        self.assertEqual(self.known(), {*newer, *newest})

    def test_at_once(self) -> None:
        """Without overlap only the newest keys sign, also while others were yet to take over."""
        self.create()
        self.rotate(3600)
        new = self.rotate(0)
        self.assertEqual(self.signing(), new)
        self.now += 7200
        self.assertEqual(self.signing(), new)

    def test_refused(self) -> None:
        """Errors name the domain and the command that helps."""
        with self.store.write() as s:
            self.assertRaises(NoSuchDomain, create_dkim_keys, s, "example.com", _PAIR)
            self.assertRaises(NoSuchDomain, rotate_dkim_keys, s, "example.com", _PAIR, 0)
        error = self.assertRaises(NotFound, self.rotate, 0)
        self.assertIn("stalwart dkim create example.org", str(error))
        self.create()
        error = self.assertRaises(AlreadyExists, self.create)
        self.assertIn("stalwart dkim rotate example.org", str(error))

    def test_other_domains(self) -> None:
        """A domain without keys signs nothing, and keys go with their domain."""
        with self.store.write() as s:
            self.assertEqual(list(dkim_signing_keys(s, "example.com")), [])
        with self.store.write() as s:
            create_domain(s, "example.net")
            create_dkim_keys(s, "example.net", _PAIR)
            self.assertEqual(len(list_dkim_keys(s)), 2)
            delete_domain(s, "example.net")
            self.assertEqual(list_dkim_keys(s), [])
