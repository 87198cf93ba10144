"""Sign-in against a real store, and what is remembered of it."""

from __future__ import annotations

import argon2
from argon2.profiles import CHEAPEST, RFC_9106_LOW_MEMORY
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth import Authenticator, AuthMalformed, Passwords, Principal, UnusableHash, generate_password
from stalwart.ops.metrics import Metrics
from stalwart.store import BUILT_IN_ROLES, add_alias, create_account, delete_account, set_password_hash
from tests.auth.test_basic import header
from tests.store.bed import StoreTestCase


class CountingPasswords(Passwords):
    """Cheap passwords that count how often one is checked."""

    def __init__(self) -> None:
        super().__init__(CHEAPEST)
        self.checked = 0

    def verify(self, password_hash: str, password: str) -> bool:
        """Check and count."""
        self.checked += 1
        return super().verify(password_hash, password)


class PasswordTests(SynchronousTestCase):
    """Hashing and making passwords."""

    def test_verify(self) -> None:
        """The password fits its hash, in either normal form; another doesn't; an unreadable hash is said to be one."""
        passwords = Passwords(CHEAPEST)
        made = passwords.hash("caf\u00e9")
        self.assertTrue(passwords.verify(made, "cafe\u0301"))
        self.assertFalse(passwords.verify(made, "cafe"))
        for broken in ("", "x", "$argon2id$v=19$m=8", "{SSHA}abc", made[:-4], "\0"):
            self.assertRaises(UnusableHash, passwords.verify, broken, "x")
        self.assertNotEqual(passwords.hash("x"), passwords.hash("x"))

    def test_any_password(self) -> None:
        """Empty, long, and lone surrogates are passwords too."""
        passwords = Passwords(CHEAPEST)
        for password in ("", "x" * 100_000, "\ud800", "🔑"):
            self.assertTrue(passwords.verify(passwords.hash(password), password))

    def test_profile(self) -> None:
        """By default hashes are argon2id with the low-memory parameters of RFC 9106 §4."""
        parameters = argon2.extract_parameters(Passwords().hash("x"))
        self.assertEqual(parameters, RFC_9106_LOW_MEMORY)
        self.assertEqual((parameters.time_cost, parameters.memory_cost), (3, 65536))

    def test_generated(self) -> None:
        """A made password has four groups of five letters and digits, and is never the same."""
        password = generate_password()
        self.assertRegex(password, r"^([a-km-np-z2-9]{5}-){3}[a-km-np-z2-9]{5}$")
        self.assertEqual(len({generate_password() for _ in range(50)}), 50)


class AuthenticatorTests(StoreTestCase):
    """Who a header stands for."""

    def setUp(self) -> None:
        """An account with a password."""
        super().setUp()
        self.passwords = CountingPasswords()
        self.metrics = Metrics("test")
        self.auth = Authenticator(
            self.store, self.passwords, clock=lambda: self.now, metrics=self.metrics, ttl=300, most=3
        )
        with self.store.write() as s:
            set_password_hash(s, self.account_id, self.passwords.hash("secret"))
        self.header = header("ada@example.org:secret")
        self.principal = Principal(
            account_id=self.account_id,
            address="ada@example.org",
            name="Ada",
            credential_version=2,
            permissions=BUILT_IN_ROLES["user"],
            principal_id=3,
        )

    def signed_in(self, outcome: str) -> float | None:
        """The metric of sign-ins."""
        return self.metrics.registry.get_sample_value("stalwart_sign_ins_total", {"outcome": outcome})

    def test_verified(self) -> None:
        """User and password give the principal; the address is compared as addresses are."""
        self.assertEqual(self.auth.verify(self.header), self.principal)
        self.assertEqual(self.auth.verify(header(" Ada@EXAMPLE.org :secret")), self.principal)
        self.assertEqual(self.signed_in("ok"), 2)

    def test_refused(self) -> None:
        """A wrong password, an unknown user, an alias, and what is no address are refused; nothing is remembered."""
        with self.store.write() as s:
            add_alias(s, self.account_id, "alias@example.org")
        wrong = [
            "ada@example.org:Secret",
            "ada@example.org:",
            "bob@example.org:secret",
            "alias@example.org:secret",
            "ada:secret",
            ":",
            "ada@example.org+x:secret",
        ]
        for text in wrong:
            self.assertIsNone(self.auth.verify(header(text)), text)
            self.assertIsNone(self.auth.cached(header(text)))
        self.assertEqual(self.signed_in("failed"), len(wrong))

    def test_same_cost(self) -> None:
        """An unknown user costs one check of a password, as a wrong password does."""
        for text in ("ada@example.org:wrong", "nobody@example.org:wrong", "no address:wrong"):
            self.passwords.checked = 0
            self.auth.verify(header(text))
            self.assertEqual(self.passwords.checked, 1, text)

    def test_malformed(self) -> None:
        """Other schemes are AuthMalformed, and never cached."""
        self.assertRaises(AuthMalformed, self.auth.verify, b"Bearer a b")
        self.assertIsNone(self.auth.cached(b"Bearer abc"))

    def test_cached(self) -> None:
        """Once verified, a header is known without a check for the time to live, and then no longer."""
        self.assertIsNone(self.auth.cached(self.header))
        self.auth.verify(self.header)
        self.passwords.checked = 0
        self.now += 299
        self.assertEqual(self.auth.cached(self.header), self.principal)
        self.assertEqual(self.auth.verify(self.header), self.principal)
        self.assertEqual(self.passwords.checked, 0)
        self.now += 1
        self.assertIsNone(self.auth.cached(self.header))
        self.assertEqual(self.signed_in("cached"), 1)

    def test_bounded(self) -> None:
        """No more than so many are remembered; the oldest go first."""
        headers = [header(f"{' ' * n}ada@example.org:secret") for n in range(5)]
        for value in headers:
            self.auth.verify(value)
        self.assertEqual([self.auth.cached(value) is not None for value in headers], [False, False, True, True, True])

    def test_forgotten(self) -> None:
        """What is remembered of one account can be dropped; another's stays."""
        with self.store.write() as s:
            other = create_account(s, "bob@example.org", password_hash=self.passwords.hash("x")).id
        self.auth.verify(self.header)
        self.auth.verify(header("bob@example.org:x"))
        self.auth.forget(other)
        self.assertIsNotNone(self.auth.cached(self.header))
        self.assertIsNone(self.auth.cached(header("bob@example.org:x")))

    def test_forgotten_meanwhile(self) -> None:
        """A check that was under way while things were forgotten is not remembered."""
        real = self.passwords.verify

        def verify(password_hash: str, password: str) -> bool:
            self.auth.forget(self.account_id)
            return real(password_hash, password)

        self.patch(self.passwords, "verify", verify)
        self.assertEqual(self.auth.verify(self.header), self.principal)
        self.assertIsNone(self.auth.cached(self.header))

    def test_still_valid(self) -> None:
        """A new password, or the end of the account, ends what was verified before, in the same moment."""
        principal = self.auth.verify(self.header)
        assert principal is not None
        with self.store.read() as s:
            self.assertTrue(self.auth.still_valid(s, principal))
        with self.store.write() as s:
            set_password_hash(s, self.account_id, self.passwords.hash("new"))
            self.assertFalse(self.auth.still_valid(s, principal))
        with self.store.write() as s:
            delete_account(s, self.account_id)
            self.assertFalse(self.auth.still_valid(s, principal))

    def test_nothing_in_clear(self) -> None:
        """The memory of verified headers holds neither header nor password."""
        self.auth.verify(self.header)
        held = repr(vars(self.auth))
        for secret in ("secret", self.header.decode()[6:]):
            self.assertNotIn(secret, held)
