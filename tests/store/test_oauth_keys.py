"""The keys of ID tokens: made once, replaced with an overlap."""

from __future__ import annotations

from stalwart.auth.oauth.signing import make_key
from stalwart.store import (
    PUBLISHED_SECONDS,
    AlreadyExists,
    ensure_signing_key,
    find_signing_key,
    published_keys,
    rotate_signing_key,
)
from tests.store.bed import StoreTestCase


class SigningKeyTests(StoreTestCase):
    """With a clock of its own."""

    def setUp(self) -> None:
        """Time passes by `self.seconds`."""
        super().setUp()
        self.seconds = 1_700_000_000.0
        self.store.clock = lambda: self.seconds

    def signing(self, algorithm: str = "ES256") -> str | None:
        """Which key signs now."""
        with self.store.read() as s:
            found = find_signing_key(s, algorithm)
        return None if found is None else found.kid

    def published(self) -> list[str]:
        """Which keys clients are told of."""
        with self.store.read() as s:
            return [row.kid for row in published_keys(s)]

    def test_made_once(self) -> None:
        """The first time it is made, after that it is there; its secret isn't shown."""
        with self.store.write() as s:
            first = ensure_signing_key(s, "ES256", make_key)
            self.assertEqual(ensure_signing_key(s, "ES256", make_key), first)
        self.assertEqual((self.signing(), self.published()), (first.kid, [first.kid]))
        self.assertNotIn(repr(first.private_key), repr(first))

    def test_rotated(self) -> None:
        """A new key is published at once and signs later; the old one is published for some time after."""
        with self.store.write() as s:
            first = ensure_signing_key(s, "ES256", make_key).kid
            second = rotate_signing_key(s, "ES256", 3600, make_key).kid
            self.assertRaises(AlreadyExists, rotate_signing_key, s, "ES256", 3600, make_key)
        self.assertEqual((self.signing(), self.published()), (first, [first, second]))
        self.seconds += 3600
        self.assertEqual((self.signing(), self.published()), (second, [first, second]))
        self.seconds += PUBLISHED_SECONDS
        self.assertEqual(self.published(), [second])

    def test_at_once(self) -> None:
        """Without an overlap all old keys are gone, whatever their algorithm, and with them what they signed."""
        with self.store.write() as s:
            ensure_signing_key(s, "ES384", make_key)
            ensure_signing_key(s, "ES256", make_key)
            rotate_signing_key(s, "ES256", 3600, make_key)
            third = rotate_signing_key(s, "ES256", 0, make_key).kid
        self.assertEqual((self.signing(), self.published()), (third, [third]))

    def test_none_yet(self) -> None:
        """Where there is none to take the place of, a new key signs at once."""
        with self.store.write() as s:
            made = rotate_signing_key(s, "ES256", 3600, make_key).kid
        self.assertEqual(self.signing(), made)

    def test_other_algorithm(self) -> None:
        """A key of another algorithm takes the place of those that there are."""
        with self.store.write() as s:
            first = ensure_signing_key(s, "ES256", make_key).kid
            second = ensure_signing_key(s, "ES384", make_key).kid
        self.assertEqual((self.signing(), self.signing("ES384")), (None, second))
        self.assertEqual(self.published(), [first, second])
