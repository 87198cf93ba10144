"""Who gets in: by passwords with and without a code, app passwords, API keys, and as the fallback administrator."""

from __future__ import annotations

import base64
import hashlib

import pyotp

from stalwart import store
from stalwart.auth import (
    Authenticator,
    CodeNeeded,
    FallbackAdmin,
    Principal,
    api_key_token,
    authenticator,
    generate_totp_secret,
    load_principal,
)
from stalwart.auth.loading import NOT_BY_APP_PASSWORDS
from stalwart.config.secret import Secret
from stalwart.store import ALL_PERMISSIONS, BUILT_IN_ROLES, Grants
from tests.auth.test_authenticator import CountingPasswords
from tests.auth.test_basic import header
from tests.store.bed import NOW, StoreTestCase

USER = BUILT_IN_ROLES["user"]


class SignInTestCase(StoreTestCase):
    """A test with an authenticator, and an account with the password "secret"."""

    def setUp(self) -> None:
        """Set the password."""
        super().setUp()
        self.passwords = CountingPasswords()
        self.troubles: list[str] = []
        self.auth = Authenticator(self.store, self.passwords, clock=lambda: self.now, on_trouble=self.troubles.append)
        with self.store.write() as s:
            self.set_password(s, "secret")
            self.ada = store.principal_of_account(s, self.account_id).id

    def set_password(self, s: store.Session, password: str) -> None:
        """Give the account a password."""
        store.set_password_hash(s, self.account_id, self.passwords.hash(password))

    def basic(self, secret: str, user: str = "ada@example.org") -> Principal | None:
        """Who signs in by Basic."""
        return self.auth.verify(header(f"{user}:{secret}"))

    def app_password(self, secret: str = "app-secret", expires_at: int | None = None) -> int:
        """An app password; gives its id."""
        with self.store.write() as s:
            return store.add_credential(s, self.ada, "phone", secret, expires_at=expires_at).id

    def api_key(self, *permissions: str, owner: bool = False, networks: tuple[str, ...] = ()) -> bytes:
        """An API key called backup; gives the value of the Authorization field."""
        with self.store.write() as s:
            key = store.create_principal(s, "apiKey", "backup", owner_id=self.ada if owner else None)
            store.set_grants(s, key.id, Grants(enabled=frozenset(permissions)))
            store.add_credential(s, key.id, "backup", "key-secret", networks=networks)
        return f"Bearer {api_key_token('backup', 'key-secret')}".encode()

    def valid(self, principal: Principal) -> bool:
        """Whether it still counts, as a request would ask."""
        with self.store.read() as s:
            return self.auth.still_valid(s, principal)


class PasswordSignInTests(SignInTestCase):
    """By the password of an account."""

    def test_upgraded(self) -> None:
        """A hash of another scheme lets in and becomes argon2id, which ends nothing; a wrong password doesn't."""
        dated = "{SHA256}" + base64.b64encode(hashlib.sha256(b"secret").digest()).decode()
        with self.store.write() as s:
            store.set_password_hash(s, self.account_id, dated)
        self.assertIsNone(self.basic("wrong"))
        with self.store.read() as s:
            self.assertEqual(store.get_account(s, self.account_id).password_hash, dated)
        principal = self.basic("secret")
        assert principal is not None
        with self.store.read() as s:
            self.assertTrue(store.get_account(s, self.account_id).password_hash.startswith("$argon2id$"))
        self.assertTrue(self.valid(principal))
        self.assertEqual(self.basic(" secret".strip(), user=" ADA@example.org"), principal)

    def test_full_disk(self) -> None:
        """What isn't needed for a sign-in doesn't stop one when nothing can be written; the operator hears of it."""
        self.app_password()
        dated = "{SHA256}" + base64.b64encode(hashlib.sha256(b"secret").digest()).decode()
        with self.store.write() as s:
            store.set_password_hash(s, self.account_id, dated)

        def full() -> None:
            raise store.DiskFull("no room")

        self.patch(self.store, "write", full)
        self.assertIsNotNone(self.basic("app-secret"))
        self.assertIsNotNone(self.basic("secret"))
        self.assertEqual(len(self.troubles), 2)
        self.assertIn("no room", self.troubles[0])

    def test_unusable_hash(self) -> None:
        """A hash that can't be read lets nobody in and tells the operator what to do, never the hash."""
        with self.store.write() as s:
            store.set_password_hash(s, self.account_id, "$6$broken")
        self.assertIsNone(self.basic("secret"))
        (text,) = self.troubles
        self.assertIn("stalwart account passwd ada@example.org", text)
        self.assertNotIn("broken", text)

    def test_same_cost(self) -> None:
        """Unknown, disabled, without a code, a group, a wrong fallback: each costs at least one check of argon2."""
        self.auth.set_fallback(FallbackAdmin(user="admin", secret=Secret("let me in")))
        with self.store.write() as s:
            store.create_account(s, "team@example.org", password_hash="", kind="group")
            made = store.create_account(s, "off@example.org", password_hash=self.passwords.hash("secret"))
            store.enable_principal(s, store.principal_of_account(s, made.id).id, enabled=False)
            store.set_totp(s, self.ada, generate_totp_secret())
        self.basic("x")  # so that the hash of nobody is there
        for user in (
            "ada@example.org",
            "off@example.org",
            "team@example.org",
            "who@example.org",
            "admin",
            "x",
            "backup",
        ):
            self.passwords.checked = 0
            self.assertIsNone(self.basic("secret", user=user), user)
            self.assertEqual(self.passwords.checked, 1, user)

    def test_changed_meanwhile(self) -> None:
        """A password that was changed while it was checked lets nobody in."""
        real = self.passwords.verify

        def verify(password_hash: str, password: str) -> bool:
            with self.store.write() as s:
                store.set_password_hash(s, self.account_id, "x")
            return real(password_hash, password)

        self.patch(self.passwords, "verify", verify)
        self.assertIsNone(self.basic("secret"))
        self.assertIsNone(self.auth.cached(header("ada@example.org:secret")))

    def test_disabled(self) -> None:
        """A disabled account is out with the next request, by every credential, and in again when it is enabled."""
        self.app_password()
        found = [self.basic("secret"), self.basic("app-secret")]
        for enabled in (False, True):
            with self.store.write() as s:
                store.enable_principal(s, self.ada, enabled=enabled)
            for principal in found:
                assert principal is not None
                self.assertIs(self.valid(principal), enabled)
        with self.store.write() as s:
            store.enable_principal(s, self.ada, enabled=False)
        self.auth.forget(self.account_id)
        self.assertEqual([self.basic("secret"), self.basic("app-secret")], [None, None])

    def test_permissions_noticed(self) -> None:
        """Another role is noticed with the next request, without a check of the password."""
        principal = self.basic("secret")
        assert principal is not None
        self.assertEqual(principal.permissions, USER)
        with self.store.write() as s:
            store.set_roles(s, self.ada, ["admin"])
        self.assertFalse(self.valid(principal))
        self.passwords.checked = 0
        renewed = self.auth.recheck(header("ada@example.org:secret"))
        assert renewed is not None
        self.assertEqual((renewed.permissions, renewed.is_admin), (ALL_PERMISSIONS, True))
        self.assertTrue(self.valid(renewed))
        self.assertEqual(self.auth.cached(header("ada@example.org:secret")), renewed)
        self.assertEqual(self.passwords.checked, 0)

    def test_recheck_of_ended(self) -> None:
        """What has ended is not brought up to date, but verified."""
        self.basic("secret")
        with self.store.write() as s:
            self.set_password(s, "new")
        self.assertIsNone(self.auth.recheck(header("ada@example.org:secret")))
        self.assertIsNone(self.auth.cached(header("ada@example.org:secret")))
        self.assertIsNotNone(self.auth.recheck(header("ada@example.org:new")))

    def test_others_changes(self) -> None:
        """What changes about others ends nothing, and isn't asked for again and again."""
        principal = self.basic("secret")
        assert principal is not None
        with self.store.write() as s:
            store.create_account(s, "bob@example.org", password_hash="x")
        self.assertTrue(self.valid(principal))
        self.patch(self.auth, "_store", None)
        loaded: list[object] = []
        self.patch(authenticator, "load_principal", loaded.append)
        self.assertTrue(self.valid(principal))
        self.assertEqual(loaded, [])

    def test_in_a_transaction(self) -> None:
        """In a transaction that is undone nothing is remembered of what it saw."""
        principal = self.basic("secret")
        assert principal is not None
        valid: list[bool] = []

        def undone() -> None:
            with self.store.write() as s:
                store.set_roles(s, self.ada, [])
                valid.append(self.auth.still_valid(s, principal))
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, undone)
        self.assertEqual(valid, [False])
        self.assertTrue(self.valid(principal))


class SecondFactorTests(SignInTestCase):
    """With a code beside the password."""

    def setUp(self) -> None:
        """Set a second factor up."""
        super().setUp()
        self.secret = generate_totp_secret()
        with self.store.write() as s:
            store.set_totp(s, self.ada, self.secret)

    def code(self, steps: int = 0) -> str:
        """The code of a time step near."""
        return pyotp.TOTP(self.secret).generate_otp(int(self.now) // 30 + steps)

    def test_code(self) -> None:
        """Password and code let in; either alone, an old code, and a wrong password don't."""
        for secret in ("secret", f"${self.code()}", f"secret${self.code(2)}", f"wrong${self.code()}", "secret$000000x"):
            self.assertIsNone(self.basic(secret), secret)
        self.assertIsNotNone(self.basic(f"secret${self.code(-1)}"))
        self.assertIsNotNone(self.basic(f"secret${self.code(1)}"))

    def test_replay(self) -> None:
        """A code is taken once; the one before it isn't taken any more, either."""
        self.assertIsNotNone(self.basic(f"secret${self.code()}"))
        self.auth.forget(self.account_id)
        self.assertIsNone(self.basic(f"secret${self.code()}"))
        self.assertIsNone(self.basic(f"secret${self.code(-1)}"))
        self.now += 30
        self.assertIsNotNone(self.basic(f"secret${self.code()}"))

    def test_wrong_password_uses_no_code(self) -> None:
        """Somebody who doesn't know the password can't use up a code."""
        self.assertIsNone(self.basic(f"wrong${self.code()}"))
        self.assertIsNotNone(self.basic(f"secret${self.code()}"))

    def test_app_password(self) -> None:
        """An app password needs no code."""
        self.app_password()
        self.assertIsNotNone(self.basic("app-secret"))

    def test_malformed(self) -> None:
        """A secret that is none lets nobody in, and the operator is told what to do."""
        with self.store.write() as s:
            store.set_totp(s, self.ada, "1!")
        self.assertIsNone(self.basic("secret$123456"))
        self.assertIn("stalwart account totp disable ada@example.org", self.troubles[0])

    def test_not_asked_for(self) -> None:
        """Without a second factor a password may end like a code."""
        with self.store.write() as s:
            store.remove_totp(s, self.ada)
            self.set_password(s, "secret$123456")
        self.assertIsNotNone(self.basic("secret$123456"))

    def test_check_password(self) -> None:
        """Pages learn of the second factor when the password is right, and take no app passwords."""
        self.app_password()
        check = self.auth.checker.check_password
        self.assertRaises(CodeNeeded, check, "ada@example.org", "secret")
        for user, password in (("ada@example.org", "wrong"), ("ada@example.org", "app-secret"), ("x@example.org", "y")):
            self.assertIsNone(check(user, password), password)
        self.assertIsNone(check("ada@example.org", "secret", "000000"))
        self.assertIsNotNone(check("ada@example.org", "secret", self.code()))


class SecretTests(SignInTestCase):
    """By app passwords and API keys."""

    def test_app_password(self) -> None:
        """It lets in for no check of a password, may not make others, outlives a new password, and its use is noted."""
        credential = self.app_password()
        self.passwords.checked = 0
        principal = self.basic("app-secret")
        assert principal is not None
        self.assertEqual(self.passwords.checked, 0)
        self.assertEqual((principal.account_id, principal.credential_id), (self.account_id, credential))
        self.assertEqual(USER - principal.permissions, NOT_BY_APP_PASSWORDS)
        with self.store.write() as s:
            self.set_password(s, "new")
            self.assertEqual(store.get_credential(s, credential).last_used_at, NOW)
        self.assertTrue(self.valid(principal))

    def test_revoked(self) -> None:
        """Revoked, it is out with the next request; what was signed in by the password stays."""
        self.app_password()
        by_app, by_password = self.basic("app-secret"), self.basic("secret")
        assert by_app is not None
        assert by_password is not None
        with self.store.write() as s:
            store.remove_credential(s, self.ada, "phone")
        self.assertFalse(self.valid(by_app))
        self.assertTrue(self.valid(by_password))
        self.auth.forget(self.account_id)
        self.assertIsNone(self.basic("app-secret"))

    def test_expires(self) -> None:
        """It ends in the second that was said, remembered or not."""
        self.app_password(expires_at=NOW + 10)
        principal = self.basic("app-secret")
        assert principal is not None
        value = header("ada@example.org:app-secret")
        self.now += 9
        self.assertEqual((self.auth.cached(value), self.valid(principal)), (principal, True))
        self.now += 1
        self.assertEqual((self.auth.cached(value), self.valid(principal)), (None, False))
        self.assertIsNone(self.basic("app-secret"))

    def test_api_key(self) -> None:
        """It has the permissions that it was given, no mailbox, and networks; a wrong one costs no argon2."""
        value = self.api_key("logs-view", networks=("192.0.2.0/24",))
        self.passwords.checked = 0
        principal = self.auth.verify(value)
        assert principal is not None
        self.assertEqual((principal.account_id, principal.address), (0, "backup"))
        self.assertEqual(principal.permissions, {"logs-view"})
        self.assertTrue(principal.may_come_from("192.0.2.7"))
        self.assertFalse(principal.may_come_from("198.51.100.1"))
        self.assertFalse(principal.may_come_from("unix"))
        for client, found in (("198.51.100.1", None), ("192.0.2.7", principal), ("198.51.100.1", None)):
            self.assertEqual([self.auth.verify(value, client), self.auth.recheck(value, client)], [found, found])
        self.assertIsNone(self.auth.verify(f"Bearer {api_key_token('backup', 'wrong')}".encode()))
        self.assertIsNone(self.auth.verify(f"Bearer {api_key_token('nobody', 'wrong')}".encode()))
        self.assertEqual(self.passwords.checked, 0)
        self.assertEqual(self.basic("key-secret", user="backup"), principal)

    def test_use_from_elsewhere(self) -> None:
        """A key that was refused for where it comes from was not used."""
        value = self.api_key("logs-view", networks=("192.0.2.0/24",))
        self.assertIsNone(self.auth.verify(value, "198.51.100.1"))
        self.assertIsNone(self.auth.cached(value))
        with self.store.read() as s:
            key = store.find_principal(s, "apiKey", "backup")
            assert key is not None
            [row] = store.list_credentials(s, key.id)
        self.assertIsNone(row.last_used_at)

    def test_api_key_of_account(self) -> None:
        """It signs in for its account, may do what both may, and goes with it."""
        value = self.api_key("jmap-email-get", "logs-view", owner=True)
        principal = self.auth.verify(value)
        assert principal is not None
        self.assertEqual((principal.account_id, principal.address), (self.account_id, "ada@example.org"))
        self.assertEqual(principal.permissions, {"jmap-email-get"})
        with self.store.write() as s:
            store.set_grants(s, self.ada, Grants(disabled=frozenset({"jmap-email-get"})))
        self.assertFalse(self.valid(principal))
        with self.store.write() as s:
            store.delete_account(s, self.account_id)
        self.assertFalse(self.valid(principal))
        self.auth.forget(self.account_id)
        self.assertIsNone(self.auth.verify(value))

    def test_password_is_no_api_key(self) -> None:
        """A Bearer token with an account's name and password is no API key."""
        self.assertIsNone(self.auth.verify(f"Bearer {api_key_token('ada@example.org', 'secret')}".encode()))

    def test_loaded(self) -> None:
        """What doesn't exist any more stands for nobody."""
        with self.store.read() as s:
            self.assertIsNone(load_principal(s, 999, None))
            self.assertIsNone(load_principal(s, self.account_id, 999))


class FallbackTests(SignInTestCase):
    """The administrator of the configuration."""

    def test_in_clear_and_hashed(self) -> None:
        """They have all permissions and no mailbox; the name's case doesn't matter."""
        for secret in ("let me in", self.passwords.hash("let me in")):
            self.auth.set_fallback(FallbackAdmin(user="Admin", secret=Secret(secret)))
            principal = self.basic("let me in", user="admin")
            assert principal is not None
            self.assertEqual((principal.account_id, principal.permissions), (0, ALL_PERMISSIONS))
            self.assertTrue(self.valid(principal))
            self.assertIsNone(self.basic("wrong", user="admin"))

    def test_replaced(self) -> None:
        """Another secret, or none, ends at once what the old one let in; the same one again doesn't."""
        old = FallbackAdmin(user="admin", secret=Secret("old"))
        self.auth.set_fallback(old)
        principal = self.basic("old", user="admin")
        assert principal is not None
        self.auth.set_fallback(FallbackAdmin(user="admin", secret=Secret("old")))
        self.assertTrue(self.valid(principal))
        self.assertEqual(self.auth.cached(header("admin:old")), principal)
        for other in (FallbackAdmin(user="admin", secret=Secret("new")), None, old):
            self.auth.set_fallback(other)
            self.assertFalse(self.valid(principal))
            self.assertIsNone(self.auth.cached(header("admin:old")))

    def test_account_first(self) -> None:
        """An account of that address is who signs in, and its password is the one that counts."""
        self.auth.set_fallback(FallbackAdmin(user="ada@example.org", secret=Secret("let me in")))
        self.assertIsNone(self.basic("let me in"))
        found = self.basic("secret")
        assert found is not None
        self.assertFalse(found.is_admin)

    def test_unusable(self) -> None:
        """A secret that looks like a hash and is none lets nobody in, and the operator is told."""
        self.auth.set_fallback(FallbackAdmin(user="admin", secret=Secret("$6$x")))
        self.assertIsNone(self.basic("$6$x", user="admin"))
        self.assertIn("authentication.fallback-admin.secret", self.troubles[0])
