"""The account page: password, second factor, app passwords, what is signed in; nothing without the owner."""

from __future__ import annotations

import re
from html import unescape
from typing import ClassVar

import pyotp
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs

from stalwart import store
from stalwart.auth import GuardRules
from stalwart.config import Rate
from stalwart.store import GrantRow, Grants
from stalwart.web.api import account_api
from tests.http.bed import Answer
from tests.web.oauth_bed import basic
from tests.web.pages.bed import ADDRESS, HOST, Browser, PagesBed, text_of
from tests.web.test_jmap import PASSWORD

NEW = "a battery of staples"
_TOKEN = re.compile(r'action="/account">\s*<input type="hidden" name="token" value="([0-9a-f]+)"')


class AccountBed(PagesBed):
    """The pages and the API over an account, and a browser that is signed in."""

    def setUp(self) -> None:
        """Mount the API and sign in."""
        super().setUp()
        for path, resource in account_api(self.desk, HOST).items():
            self.http.mount(path, resource)
        self.browser.sign_in()

    def act(self, action: str, browser: Browser | None = None, **typed: str) -> Answer:
        """Press a button of the account page."""
        browser = browser or self.browser
        found = _TOKEN.search(browser.get("/account").body.decode())
        assert found is not None
        return browser.send({"token": found[1], "action": action, **typed}, "/account")

    def change(self, present: str = PASSWORD, wanted: str = NEW, again: str = NEW) -> Answer:
        """Change the password."""
        return self.act("password", present=present, new_password=wanted, again=again)

    def opens(self, secret: str) -> bool:
        """Whether this signs in to the API by Basic."""
        return Browser(self.http).get("/api/account", Authorization=basic(ADDRESS, secret)).status == 200

    def wrong(self, answer: Answer, field: str, text: str, status: int = 422) -> None:
        """The page says what is wrong, in its summary with a link, and at the field."""
        self.assertEqual(answer.status, status)
        body = unescape(answer.body.decode())
        self.assertIn(f'<a href="#{field}">{text}</a>', body)
        self.assertIn(f'id="{field}"', body)
        self.assertIn(f'<p class="error" id="{field}-error">{text}</p>', body)

    def another(self) -> Browser:
        """Another browser that is signed in."""
        browser = Browser(self.http)
        browser.sign_in()
        self.assertEqual(browser.get("/account").status, 200)
        return browser

    def grant(self, account_id: int, name: str = "Webmail") -> int:
        """An OAuth client that has tokens."""
        with self.store.write() as s:
            version = store.credential_version(s, account_id)
            assert version is not None
            row = GrantRow(
                account_id=account_id,
                credential_version=version,
                client_row_id=None,
                client_id="webmail",
                client_name=name,
                scope=("openid",),
                signed_in_at=s.now(),
                address="198.51.100.7",
            )
            grant = store.add_grant(s, row)
            store.add_token(s, f"swa_{grant}", "access", grant, ("openid",), expires_at=s.now() + 60)
            return grant


class AccessTests(AccountBed):
    """Who gets to the page."""

    def test_sign_in(self) -> None:
        """Who isn't signed in is led to the sign-in, and back."""
        browser = Browser(self.http)
        answer = browser.get("/account")
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/login/account"))
        answer = browser.submit(browser.follow(answer), username=ADDRESS, password=PASSWORD)
        self.assertEqual(answer.headers["location"], "/account")
        self.assertIn(f"Signed in as {ADDRESS}.", text_of(browser.follow(answer)))

    def test_home(self) -> None:
        """The server's name alone leads who is signed in to their account."""
        for method in ("GET", "POST"):
            answer = self.browser.ask(method, "/")
            self.assertEqual((answer.status, answer.headers["location"]), (303, "/account"))

    def test_sign_out(self) -> None:
        """The page has a button that signs out."""
        page = self.browser.get("/account")
        found = re.search(r'action="/logout">\s*<input type="hidden" name="token" value="(\w+)"', page.body.decode())
        assert found is not None
        self.browser.send({"token": found[1]}, "/logout")
        self.assertEqual(self.browser.get("/account").headers["location"], "/login/account")

    def test_forged(self) -> None:
        """No form of another site does anything, nor one without the page's token, nor one for another purpose."""
        fields = {"action": "password", "present": PASSWORD, "new_password": NEW, "again": NEW}
        other = re.search(r'value="(\w{48})"', self.browser.get("/logout").body.decode())
        assert other is not None
        for token in ("", "x", other[1]):
            answer = self.browser.send({**fields, "token": token}, "/account")
            self.assertEqual(answer.status, 403)
            self.assertIn("This form was open for too long.", text_of(answer))
        self.browser.sends = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        self.assertEqual(self.change().status, 403)
        self.assertEqual(Browser(self.http).send(fields, "/account").headers["location"], "/login/account")
        self.assertTrue(self.opens(PASSWORD))

    def test_permission(self) -> None:
        """Who may not change it sees who they are, and can sign out; their forms are refused."""
        token = _TOKEN.search(self.browser.get("/account").body.decode())
        assert token is not None
        with self.store.write() as s:
            store.set_grants(s, self.ada, Grants(disabled=frozenset({"manage-passwords"})))
        page = self.browser.get("/account")
        self.assertIn("You may not change how you sign in.", text_of(page))
        self.assertIn(b'action="/logout"', page.body)
        self.assertNotIn(b'action="/account"', page.body)
        answer = self.browser.send({"token": token[1], "action": "enrol", "totp_present": PASSWORD}, "/account")
        self.assertEqual(answer.status, 403)

    @settings(max_examples=40, deadline=None)
    @given(
        st.sampled_from(
            ["password", "enrol", "confirm", "codes", "disable", "revoke", "end-browser", "end-client", "x"]
        ),
        st.text(max_size=30),
    )
    def test_any_form(self, action: str, text: str) -> None:
        """Whatever a form holds, nothing fails, and the password stays."""
        self.http.clock.advance(600)
        answer = self.act(action, id=text, code=text, present=text, new_password=text, again=text, totp_present=text)
        self.assertIn(answer.status, (303, 400, 403, 422))

    def test_language(self) -> None:
        """The page is in the language of the account."""
        with self.store.write() as s:
            store.describe_principal(s, self.ada, description="", locale="de")
        self.assertIn("Anmeldung in zwei Schritten", text_of(self.browser.get("/account")))
        self.assertIn(
            "Das neue Passwort muss mindestens 10 Zeichen haben.", text_of(self.change(wanted="a", again="a"))
        )


class PasswordTests(AccountBed):
    """The password."""

    def test_changed(self) -> None:
        """The new one counts, all others are signed out, and the browser goes on; the log says so without either."""
        other, grant = self.another(), self.grant(self.account.id)
        shown = self.browser.session
        with capturedLogs() as events:
            answer = self.change()
        self.assertIn("The password is changed", text_of(answer))
        self.assertTrue(any("has changed the password" in str(event.get("what")) for event in events))
        self.assertFalse([event for event in events if NEW in str(event) or PASSWORD in str(event)])
        self.assertNotEqual(self.browser.session, shown)
        self.assertEqual(self.browser.get("/account").status, 200)
        self.assertEqual(other.get("/account").status, 303)
        self.assertEqual((self.opens(PASSWORD), self.opens(NEW)), (False, True))
        with self.store.read() as s:
            self.assertNotIn(grant, [row.id for row in store.list_grants(s, self.account.id)])

    def test_refused(self) -> None:
        """What can't be taken is said at its field: nothing typed, a wrong present one, one against the rules."""
        self.wrong(self.change(present=""), "present", "Enter your present password.")
        self.wrong(self.change(wanted=""), "new_password", "Enter a new password.")
        self.wrong(self.change(again="other"), "again", "Type the new password twice, the same both times.")
        self.wrong(self.change(present="wrong"), "present", "The present password is wrong.", 403)
        for wanted, text in (
            ("short", "The new password must have at least 10 characters."),
            (ADDRESS, "The new password must not be the name of the account."),
            (PASSWORD, "The new password must"),
        ):
            answer = self.change(wanted=wanted, again=wanted)
            self.assertEqual(answer.status, 422)
            self.assertIn(text, text_of(answer))
            self.assertNotIn(b'type="password" value', answer.body)
        self.assertTrue(self.opens(PASSWORD))

    def test_gone(self) -> None:
        """A form that comes after the sign-in has ended leads to the sign-in."""
        token = _TOKEN.search(self.browser.get("/account").body.decode())
        assert token is not None
        with self.store.write() as s:
            store.remove_browser_sessions(s, self.account.id)
        answer = self.browser.send({"token": token[1], "action": "password"}, "/account")
        self.assertEqual(answer.headers["location"], "/login/account")


class SignedInTests(AccountBed):
    """Browsers and OAuth clients."""

    def test_browsers(self) -> None:
        """Each is shown with its last use, and can be signed out; the one that asks is marked."""
        other = self.another()
        words = text_of(self.browser.get("/account"))
        self.assertEqual(words.count("Test/1"), 2)
        self.assertEqual(words.count("this browser"), 1)
        self.assertRegex(words, r"Last used: \d{4}-\d\d-\d\d \d\d:\d\d UTC")
        (number,) = re.findall(r'id="browser-(\d+)"', self._buttons("end-browser"))
        answer = self.act("end-browser", id=number)
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/account"))
        self.assertEqual(other.get("/account").status, 303)
        self.assertEqual(text_of(self.browser.get("/account")).count("Test/1"), 1)

    def test_clients(self) -> None:
        """Each is shown by its name, without what can't be seen, and can be shut out."""
        grant = self.grant(self.account.id, "Web\u202e<mail>")
        words = text_of(self.browser.get("/account"))
        self.assertIn("Web <mail>", words)
        self.assertIn("198.51.100.7", words)
        self.assertEqual(self.act("end-client", id=str(grant)).status, 303)
        self.assertIn("There are none.", text_of(self.browser.get("/account")))

    def test_others(self) -> None:
        """What is another account's, or isn't there, can't be ended."""
        with self.store.write() as s:
            bob = store.create_account(s, "bob@example.org", password_hash="x")
        grant = self.grant(bob.id)
        self.assertEqual(self.act("end-client", id=str(grant)).headers.get("location"), "/account")
        for text in ("0", "", "-1", "\u0663", "9" * 19, "9" * 4000):
            for action in ("end-client", "end-browser", "revoke"):
                self.assertEqual(self.act(action, id=text).headers.get("location"), "/account", (action, text))
        with self.store.read() as s:
            self.assertEqual(len(store.list_grants(s, bob.id)), 1)

    def _buttons(self, action: str) -> str:
        """The entries of the page that have this button."""
        parts = self.browser.get("/account").body.decode().split("<li>")[1:]
        return "".join(part.partition("</li>")[0] for part in parts if f'value="{action}"' in part)


class TotpTests(AccountBed):
    """The second factor."""

    def enrol(self) -> tuple[Answer, pyotp.TOTP]:
        """Begin to set it up."""
        page = self.act("enrol", totp_present=PASSWORD)
        found = re.search(r'<span class="code">([A-Z2-7 ]+)</span>', page.body.decode())
        assert found is not None, text_of(page)
        return page, pyotp.TOTP(found[1].replace(" ", ""))

    def test_set_up(self) -> None:
        """QR code and secret are shown once; the right code switches it on, and recovery codes are shown once."""
        other = self.another()
        page, totp = self.enrol()
        self.assertRegex(page.body.decode(), r"<svg[^>]* viewBox=")
        self.assertNotRegex(page.body.decode(), r"<svg[^>]* width=")
        self.assertNotIn(b"style=", page.body)
        self.assertIn(HOST, page.body.decode())
        self.assertEqual(other.get("/account").status, 200)
        wrong = self.browser.submit(page, code="000000" if totp.at(self.now) != "000000" else "000001")
        self.wrong(
            wrong, "code", "The code is wrong, or it is of another time: the clock of your device may be off.", 403
        )
        self.assertNotIn(b"<svg", wrong.body)
        self.assertNotIn(totp.secret, wrong.body.decode().replace(" ", ""))
        done = self.browser.submit(wrong, code=totp.at(self.now))
        codes = re.findall(r'<li class="code">([^<]+)</li>', done.body.decode())
        self.assertEqual(len(set(codes)), 10)
        self.assertEqual(other.get("/account").status, 303)
        words = text_of(self.browser.get("/account"))
        self.assertIn("Recovery codes that are left: 10.", words)
        self.assertNotIn(codes[0], words)
        fresh = Browser(self.http)
        step = fresh.follow(fresh.sign_in(path="/account"))
        self.assertIn("Enter your code", text_of(step))
        self.assertIn("Signed in as", text_of(fresh.follow(fresh.submit(step, code=codes[0]))))

    def test_no_code(self) -> None:
        """Nothing typed is asked for again; a setting up that has waited too long is begun again."""
        page, totp = self.enrol()
        self.wrong(self.browser.submit(page, code=""), "code", "Enter the code.")
        self.now += 601
        self.assertEqual(self.browser.submit(page, code=totp.at(self.now)).headers["location"], "/account")
        self.assertIn("It is off.", text_of(self.browser.get("/account")))

    def test_new_codes_and_off(self) -> None:
        """The present password makes new recovery codes, and switches it off; a wrong one does neither."""
        page, totp = self.enrol()
        self.browser.submit(page, code=totp.at(self.now))
        for action in ("codes", "disable"):
            self.wrong(self.act(action, totp_present="wrong"), "totp_present", "The present password is wrong.", 403)
            self.wrong(self.act(action), "totp_present", "Enter your present password.")
        self.assertIn("They are shown this once.", text_of(self.act("codes", totp_present=PASSWORD)))
        self.assertIn("Two-step sign-in is off", text_of(self.act("disable", totp_present=PASSWORD)))
        self.assertIn("It is off.", text_of(self.browser.get("/account")))
        self.assertEqual(self.act("codes", totp_present=PASSWORD).headers["location"], "/account")
        self.wrong(self.act("enrol", totp_present="wrong"), "totp_present", "The present password is wrong.", 403)


class AppPasswordTests(AccountBed):
    """App passwords."""

    def test_made_and_revoked(self) -> None:
        """It is shown once, opens the account, and is revoked by its name's button."""
        page = self.act("add", app_name=" Phone <1> ", app_present=PASSWORD)
        found = re.search(r'<dd class="code">([^<]+)</dd>', page.body.decode())
        assert found is not None, text_of(page)
        self.assertTrue(self.opens(found[1]))
        shown = self.browser.get("/account")
        self.assertIn("Phone <1>", text_of(shown))
        self.assertNotIn(found[1], shown.body.decode())
        (number,) = re.findall(r'id="app-(\d+)"', shown.body.decode())
        self.assertEqual(self.act("revoke", id=number).status, 303)
        self.assertFalse(self.opens(found[1]))

    def test_refused(self) -> None:
        """A name is needed that can be seen and isn't taken, and the present password."""
        for name in ("", "  ", "x" * 101, "a\u202eb"):
            answer = self.act("add", app_name=name, app_present=PASSWORD)
            self.wrong(answer, "app_name", "Enter a name of at most 100 characters.")
        self.wrong(self.act("add", app_name="a"), "app_present", "Enter your present password.")
        answer = self.act("add", app_name="a", app_present="wrong")
        self.wrong(answer, "app_present", "The present password is wrong.", 403)
        self.assertEqual(self.act("add", app_name="a", app_present=PASSWORD).status, 200)
        text = "There is an app password of this name already, or there are too many: revoke one first."
        self.wrong(self.act("add", app_name="a", app_present=PASSWORD), "app_name", text, 409)


class GuessTests(AccountBed):
    """The present password isn't to be guessed by who has only the session."""

    rules: ClassVar[GuardRules | None] = GuardRules(failed_sign_ins=Rate(count=3, period=3600))

    def test_counted(self) -> None:
        """Wrong ones count as those of sign-in do."""
        self.change(present="wrong")
        self.assertEqual(sum(tries.count for tries in self.http.guard._failures._tries.values()), 1)

    def test_limited(self) -> None:
        """After ten wrong ones there is a wait, here and in the API, whichever of them they were typed for."""
        for number in range(10):
            self.assertEqual(self.act("enrol", totp_present=f"guess {number}").status, 403)
        answer = self.change()
        self.assertEqual(answer.status, 429)
        self.assertGreater(int(answer.headers["retry-after"]), 0)
        rest = self.browser.ask(
            "POST",
            "/api/account/totp",
            b'{"currentPassword": "wrong"}',
            Authorization=basic(ADDRESS, PASSWORD),
            Content_Type="application/json",
        )
        self.assertEqual(rest.status, 429)
        self.http.clock.advance(600)
        self.assertEqual(self.change().status, 200)
