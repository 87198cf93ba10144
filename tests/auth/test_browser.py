"""Sessions of browsers: how long they last, what ends them, and the step where a code is missing."""

from __future__ import annotations

import pyotp

from stalwart import store
from stalwart.auth import CodeNeeded, generate_totp_secret
from stalwart.auth.browser import (
    CODE_SECONDS,
    IDLE_SECONDS,
    LIFETIME_SECONDS,
    BrowserSession,
    CodeStep,
    begin_session,
    end_session,
    find_session,
    form_token,
    purpose_of,
    resume_session,
)
from stalwart.store import Grants, NotFound
from tests.auth.test_checking import SignInTestCase


class BrowserTests(SignInTestCase):
    """An account with a password, and browsers."""

    def begin(self, *, needs_code: bool = False, agent: str = "Firefox") -> str:
        """A session, as after the right password."""
        with self.store.write() as s:
            version = store.get_account(s, self.account_id).credential_version
            return begin_session(
                s,
                self.account_id,
                version,
                address="192.0.2.1",
                agent=agent,
                purpose=purpose_of("/device"),
                needs_code=needs_code,
            )

    def resume(self, token: str, address: str = "192.0.2.1") -> BrowserSession | CodeStep | None:
        """Who shows this token."""
        return resume_session(self.store, token, address=address)

    def test_session(self) -> None:
        """A token stands for who signed in; another for nobody; the store has only its hash."""
        token = self.begin()
        found = self.resume(token)
        assert isinstance(found, BrowserSession)
        self.assertEqual((found.principal.account_id, found.signed_in_at), (self.account_id, int(self.now)))
        self.assertEqual(found.purpose, purpose_of("/device"))
        for wrong in ("", token[:-1], token + "x", "x" * 5000, "\udc80"):
            self.assertIsNone(self.resume(wrong))
        for name in (self.path, f"{self.path}-wal"):
            with open(name, "rb") as file:
                self.assertNotIn(token.encode(), file.read())
        self.assertNotEqual(token, self.begin())

    def test_idle(self) -> None:
        """It ends when it wasn't used for half an hour, and each use counts."""
        used, unused = self.begin(), self.begin()
        for _ in range(4):
            self.now += IDLE_SECONDS - 1
            self.assertIsInstance(self.resume(used), BrowserSession)
        self.assertIsNone(self.resume(unused))
        self.now += IDLE_SECONDS
        self.assertIsNone(self.resume(used))

    def test_lifetime(self) -> None:
        """It ends after twelve hours, however much it is used, and its row goes."""
        token, began = self.begin(), self.now
        while self.now - began < LIFETIME_SECONDS - IDLE_SECONDS:
            self.now += IDLE_SECONDS - 1
            self.assertIsInstance(self.resume(token), BrowserSession)
        self.now = began + LIFETIME_SECONDS
        self.assertIsNone(self.resume(token))
        with self.store.write() as s:
            self.assertEqual(store.expire_browser_sessions(s), 1)
            self.assertEqual(store.list_browser_sessions(s, self.account_id), [])

    def test_new_password(self) -> None:
        """It ends with the password, with the account, and with the right to sign in."""
        token = self.begin()
        with self.store.write() as s:
            self.set_password(s, "another")
        self.assertIsNone(self.resume(token))
        token = self.begin()
        with self.store.write() as s:
            store.set_grants(s, self.ada, Grants(disabled=frozenset({"authenticate"})))
        self.assertIsNone(self.resume(token))
        with self.store.write() as s:
            store.set_grants(s, self.ada, Grants())
        self.assertIsInstance(self.resume(token), BrowserSession)
        with self.store.write() as s:
            store.enable_principal(s, self.ada, enabled=False)
        self.assertIsNone(self.resume(token))

    def test_sign_out(self) -> None:
        """Who signs out ends this session only; ended once, it is ended."""
        token, other = self.begin(), self.begin()
        with self.store.write() as s:
            self.assertTrue(end_session(s, token))
            self.assertFalse(end_session(s, token))
            self.assertFalse(end_session(s, "x" * 5000))
        self.assertIsNone(self.resume(token))
        self.assertIsInstance(self.resume(other), BrowserSession)

    def test_code_step(self) -> None:
        """Before the code was typed a session is nobody's sign-in, and it ends after five minutes."""
        token = self.begin(needs_code=True)
        found = self.resume(token)
        assert isinstance(found, CodeStep)
        with self.store.write() as s:
            tries = [store.use_code_attempt(s, found.id, most=2) for _ in range(3)]
        self.assertEqual(tries, [True, True, False])
        self.now += CODE_SECONDS
        self.assertIsNone(self.resume(token))

    def test_check_code(self) -> None:
        """A code counts for the password that was right before, once; not for another, nor without a second factor."""
        secret = generate_totp_secret()
        with self.store.write() as s:
            store.set_totp(s, self.ada, secret)
        needed = self.assertRaises(CodeNeeded, self.auth.checker.check_password, "ada@example.org", "secret")
        code = pyotp.TOTP(secret).at(self.now)
        check = self.auth.checker.check_code
        for wrong in ("", "abcdef", code + "0", "\uff11\uff12\uff13\uff14\uff15\uff16"):
            self.assertIsNone(check(needed.account_id, needed.credential_version, wrong))
        self.assertIsNone(check(needed.account_id, needed.credential_version + 1, code))
        self.assertIsNone(check(needed.account_id + 1, needed.credential_version, code))
        principal = check(needed.account_id, needed.credential_version, code)
        assert principal is not None
        self.assertEqual(principal.account_id, self.account_id)
        self.assertIsNone(check(needed.account_id, needed.credential_version, code))
        with self.store.write() as s:
            store.remove_totp(s, self.ada)
        self.now += 30
        code = pyotp.TOTP(secret).at(self.now)
        self.assertIsNone(check(needed.account_id, needed.credential_version, code))

    def test_list(self) -> None:
        """An account's sessions are listed with their last use and address, and end one by one or all but one."""
        first, second, third = (self.begin(agent=name * 300) for name in "abc")
        self.now += 61
        self.resume(first, "2001:db8::1")
        with self.store.write() as s:
            rows = store.list_browser_sessions(s, self.account_id)
            self.assertEqual([row.agent[0] for row in rows], ["a", "c", "b"])
            self.assertEqual(
                (rows[0].address, rows[0].used_at, len(rows[0].agent)), ("2001:db8::1", int(self.now), 200)
            )
            store.remove_browser_session(s, self.account_id, rows[1].id)
            self.assertRaises(NotFound, store.remove_browser_session, s, self.account_id, rows[1].id)
            self.assertRaises(NotFound, store.remove_browser_session, s, self.account_id + 1, rows[2].id)
            self.assertEqual(store.remove_browser_sessions(s, self.account_id, but=rows[0].id), 1)
            self.assertIsInstance(find_session(s, first), BrowserSession)
            self.assertEqual([find_session(s, token) for token in (second, third)], [None, None])

    def test_most(self) -> None:
        """An account has fifty at most: the least recently used one makes room."""
        tokens = []
        for _ in range(51):
            tokens.append(self.begin())
            self.now += 1
        self.assertIsNone(self.resume(tokens[0]))
        self.assertTrue(all(self.resume(token) for token in tokens[1:]))

    def test_form_token(self) -> None:
        """A form's token depends on the browser's token and on what the form is for."""
        tokens = {form_token(token, purpose) for token in ("a", "b") for purpose in ("x", "y")}
        self.assertEqual(len(tokens), 4)
        self.assertEqual(form_token("a", "x"), form_token("a", "x"))
