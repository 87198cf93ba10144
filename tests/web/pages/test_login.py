"""Sign-in by the pages: passwords, codes, forgeries, limits, cookies; and signing out."""

from __future__ import annotations

import pyotp
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs

from stalwart import store
from stalwart.auth import GuardRules, Passwords, generate_totp_secret
from stalwart.config import Rate
from stalwart.ops.lanes import Crowded
from stalwart.store import Grants, StoreBusy
from tests.web.pages.bed import ADDRESS, Browser, PagesBed, text_of
from tests.web.test_jmap import PASSWORD

_COOKIE = "__Host-stalwart-session"


class LoginTests(PagesBed):
    """Browsers that sign in."""

    def test_sign_in(self) -> None:
        """The right password signs in; the page then says who it is; signing out ends it."""
        form = self.browser.get("/login")
        self.assertEqual(form.status, 200)
        answer = self.browser.submit(form, username=f" {ADDRESS} ", password=PASSWORD)
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/login"))
        self.assertIn(f"Signed in as {ADDRESS}.", text_of(self.browser.follow(answer)))
        shown = self.browser.session
        question = self.browser.get("/logout")
        self.assertIn("Sign out?", text_of(question))
        self.assertIn("You are signed out", text_of(self.browser.follow(self.browser.submit(question))))
        self.assertNotIn(_COOKIE, self.browser.cookies)
        self.browser.cookies[_COOKIE] = shown
        self.assertIn("Password", text_of(self.browser.get("/login")))

    def test_foreign_sign_out(self) -> None:
        """A form of another site, which comes without the session's cookie, doesn't take it away."""
        self.browser.sign_in()
        self.browser.sends = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        kept, self.browser.cookies = self.browser.cookies, {}
        answer = self.browser.send({}, "/logout")
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/logout"))
        self.assertNotIn("set-cookie", answer.headers)
        self.browser.cookies = kept
        self.assertIn("Signed in as", text_of(self.browser.get("/login")))

    def test_wrong(self) -> None:
        """A wrong password, an unknown name, a disabled account and an app password get the same page."""
        with self.store.write() as s:
            store.add_credential(s, self.ada, "phone", "app-secret")
            store.create_account(s, "dis@example.org", password_hash="x")
            dis = store.find_account(s, "dis@example.org")
            assert dis is not None
            store.enable_principal(s, store.principal_of_account(s, dis.id).id, enabled=False)
        pages = set()
        for name, password in (
            (ADDRESS, "wrong"),
            ("nobody@example.org", PASSWORD),
            ("dis@example.org", PASSWORD),
            (ADDRESS, "app-secret"),
            ("no address", PASSWORD),
        ):
            answer = self.browser.sign_in(password, name)
            self.assertEqual(answer.status, 403)
            self.assertNotIn("set-cookie", {n for n in answer.headers if answer.headers[n].startswith(_COOKIE)})
            pages.add(answer.body.replace(f'value="{name}"'.encode(), b""))
        self.assertEqual(len(pages), 1)
        self.assertIn(b'href="#username"', pages.pop())
        self.assertNotIn(_COOKIE, self.browser.cookies)

    def test_missing(self) -> None:
        """What wasn't typed is asked for, each by a link to its field; the name stays, the password doesn't."""
        answer = self.browser.sign_in("", "")
        self.assertEqual(answer.status, 422)
        for field in (b"username", b"password"):
            self.assertIn(b'href="#%s"' % field, answer.body)
            self.assertIn(b'aria-describedby="%s-error"' % field, answer.body)
        self.assertIn(b"<title>Error: Sign in", answer.body)
        answer = self.browser.sign_in("wrong-password", '"><script>')
        self.assertIn(b'value="&#34;&gt;&lt;script&gt;"', answer.body)
        self.assertNotIn(b"<script>", answer.body)
        self.assertNotIn(b"wrong-password", answer.body)

    def test_renewed(self) -> None:
        """Each sign-in gives the browser another token, and the one before ends: nobody can give somebody a session."""
        self.browser.sign_in()
        before = self.browser.session
        self.browser.submit(self.browser.get("/login/device"), username=ADDRESS, password=PASSWORD)
        self.assertNotEqual(self.browser.session, before)
        other = Browser(self.http)
        other.cookies[_COOKIE] = before
        self.assertIn("Password", text_of(other.get("/login")))
        other.cookies = {_COOKIE: "x" * 43, "__Host-stalwart-form": "y" * 43}
        other.sign_in()
        self.assertNotEqual(other.session, "x" * 43)

    def test_new_password(self) -> None:
        """A new password ends the sign-ins of all browsers."""
        self.browser.sign_in()
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, "x")
        self.assertIn("Password", text_of(self.browser.get("/login")))

    def test_not_allowed(self) -> None:
        """Who may not sign in is told so, once the password was right."""
        with self.store.write() as s:
            store.set_grants(s, self.ada, Grants(disabled=frozenset({"authenticate"})))
        answer = self.browser.sign_in()
        self.assertEqual(answer.status, 403)
        self.assertIn("may not sign in", text_of(answer))
        self.assertNotIn(_COOKIE, self.browser.cookies)

    def test_back(self) -> None:
        """Signing in leads back to the page that needed it, with its query, and to no other."""
        answer = self.browser.sign_in(path="/login/authorize?client_id=a%20b&state=%2F%2Fevil.example")
        self.assertEqual(answer.headers["location"], "/authorize?client_id=a%20b&state=%2F%2Fevil.example")
        for path in ("/login?return=https://evil.example/", "/login?next=//evil.example", "/login//evil.example/"):
            other = Browser(self.http)
            page = other.get(path)
            if page.status == 200:
                answer = other.submit(page, username=ADDRESS, password=PASSWORD)
                self.assertEqual(answer.headers["location"], "/login")
            else:
                self.assertEqual(page.status, 404)

    def test_log(self) -> None:
        """Neither passwords nor tokens are logged."""
        with capturedLogs() as captured:
            self.browser.sign_in("a-wrong-one")
            self.browser.sign_in()
            self.browser.get("/login")
            self.browser.send({"token": "forged"}, "/logout")
        logged = f"{captured}{self.http.log.lines}"
        for secret in (PASSWORD, "a-wrong-one", self.browser.session):
            self.assertNotIn(secret, logged)

    def test_same_work(self) -> None:
        """A name that doesn't exist costs as much work as one that does: one password checked."""
        checked: list[str] = []
        verify = Passwords.verify

        def count(passwords: Passwords, password_hash: str, password: str) -> bool:
            checked.append(password)
            return verify(passwords, password_hash, password)

        self.patch(Passwords, "verify", count)
        for name in (ADDRESS, "nobody@example.org", "not an address"):
            checked.clear()
            self.browser.sign_in("wrong", name)
            self.assertEqual(checked, ["wrong"], name)

    def test_busy(self) -> None:
        """When the store can't answer, a page says when to come back."""

        def busy(key: object, function: object) -> None:
            raise StoreBusy("busy")

        page = self.browser.get("/login")
        self.patch(self.jmap.turns, "run", busy)
        answer = self.browser.submit(page, username=ADDRESS, password=PASSWORD)
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "5"))
        self.assertIn("This didn't work", text_of(answer))

    def test_crowded(self) -> None:
        """When too many sign-ins of an address wait already, a page says so."""

        def crowded(request: object) -> None:
            raise Crowded("100 wait")

        page = self.browser.get("/login")
        self.patch(self.jmap, "sign_ins_of", crowded)
        answer = self.browser.submit(page, username=ADDRESS, password=PASSWORD)
        self.assertEqual((answer.status, answer.headers["retry-after"]), (429, "5"))

    def test_methods(self) -> None:
        """HEAD gives the fields of GET; other methods are refused with those there are."""
        self.assertEqual(self.browser.ask("HEAD", "/login").status, 200)
        self.assertEqual(self.browser.ask("PUT", "/login").headers["allow"], "GET, HEAD, OPTIONS, POST")
        self.assertEqual(self.browser.ask("POST", "/login", b"x" * 8193).status, 413)

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=200), st.sampled_from(["/login", "/logout", "/device", "/authorize", "/login/device"]))
    def test_any_body(self, body: bytes, path: str) -> None:
        """Whatever is sent for a form is refused or asked for again, and signs nobody in."""
        answer = self.browser.ask("POST", path, body)
        self.assertIn(answer.status, (303, 400, 403, 422), answer)
        self.assertNotIn(_COOKIE, self.browser.cookies)


class ForgeryTests(PagesBed):
    """Forms of other sites, and cookies of other hosts."""

    def test_origin(self) -> None:
        """A form of another site isn't taken, even if it has a token; one of ours is, as browsers send it."""
        ours: list[dict[str, str]] = [
            {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
            {"Origin": "https://mail.example.org", "Sec-Fetch-Site": "same-origin"},
            {"Origin": "https://mail.example.org"},
            {},
        ]
        others: list[dict[str, str]] = [
            {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
            {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
            {"Origin": "null", "Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "none"},
            {"Origin": "https://evil.example"},
            {"Origin": "http://mail.example.org"},
            {"Origin": "https://mail.example.org.evil.example"},
        ]
        for sends, status in [(each, 303) for each in ours] + [(each, 403) for each in others]:
            self.assertEqual(Browser(self.http, sends=sends).sign_in().status, status, sends)

    def test_token(self) -> None:
        """A form without its token, with another browser's, or with another page's, isn't taken."""
        other = Browser(self.http).get("/login")
        page = self.browser.get("/login")
        typed = {"username": ADDRESS, "password": PASSWORD}
        calls = self.threads.turns
        for token in ("", "x", "\u00e9"):
            self.assertEqual(self.browser.send({"token": token, **typed}).status, 403)
        self.assertEqual(self.browser.submit(other, **typed).status, 403)
        self.assertEqual(self.threads.turns, calls)
        fresh = Browser(self.http)
        fresh.path = "/login"
        self.assertEqual(fresh.submit(page, **typed).status, 403)
        answer = self.browser.submit(page, **typed)
        self.assertEqual(answer.status, 303)
        signed_in = self.browser.follow(answer)
        answer = self.browser.submit(self.browser.get("/login/device"))  # its token is for another purpose
        self.assertEqual(answer.status, 422)
        self.assertEqual(self.browser.send({"token": "x"}, "/logout").status, 403)
        self.assertIn("Signed in", text_of(self.browser.get("/login")))
        self.assertEqual(self.browser.submit(signed_in).status, 303)

    def test_cookies(self) -> None:
        """Of two cookies none counts, nor one without the prefix, nor what isn't like ours: they smuggle nothing."""
        self.browser.sign_in()
        good = self.browser.session
        for cookie, counts in (
            (f"{_COOKIE}={good}", True),
            (f"a=b;{_COOKIE}={good};c", True),
            (f"{_COOKIE}={good}; {_COOKIE}={'x' * 43}", False),
            (f"{_COOKIE}={'x' * 43}; {_COOKIE}={good}", False),
            (f"stalwart-session={good}", False),
            (f"__host-stalwart-session={good}", False),
            (f'{_COOKIE}="{good}"', False),
            (f"{_COOKIE}={good},", False),
            (f"{_COOKIE}={good}\xff", False),
            (f"{_COOKIE}=", False),
            ("=" + good, False),
            (f"{_COOKIE}=" + "y" * 4000, False),
        ):
            other = Browser(self.http)
            answer = other.get("/login", Cookie=cookie)
            self.assertEqual("Signed in as" in text_of(answer), counts, cookie)

    @settings(max_examples=100, deadline=None)
    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200))
    def test_any_cookie(self, cookie: str) -> None:
        """Whatever cookies a request brings, the form comes, and nobody is signed in."""
        answer = Browser(self.http).get("/login", Cookie=cookie)
        self.assertEqual(answer.status, 200)
        self.assertNotIn("Signed in as", text_of(answer))

    def test_fields(self) -> None:
        """Every page forbids scripts, frames and being stored, and tells no other site where the user was."""
        for path in ("/login", "/logout", "/authorize", "/login?x"):
            headers = self.browser.get(path).headers
            self.assertEqual(headers["cache-control"], "no-store")
            self.assertEqual(headers["referrer-policy"], "no-referrer")
            self.assertEqual(headers["x-frame-options"], "DENY")
            policy = headers["content-security-policy"]
            for part in ("default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
                self.assertIn(part, policy)
            self.assertNotIn("unsafe", policy)
            self.assertNotIn("script-src", policy)

    def test_repeated(self) -> None:
        """A form with a field twice is refused."""
        token = self.browser.get("/login").body.split(b'name="token" value="')[1][:48].decode()
        for extra in ("username=a&username=b", "password=a&password=a", f"token={token}", "resource=x"):
            body = f"token={token}&{extra}".encode()
            answer = self.browser.ask("POST", "/login", body)
            self.assertEqual(answer.status, 400, extra)


class CodeTests(PagesBed):
    """An account with a second factor."""

    def setUp(self) -> None:
        """Set it up."""
        super().setUp()
        self.secret = generate_totp_secret()
        with self.store.write() as s:
            store.set_totp(s, self.ada, self.secret)

    def code(self) -> str:
        """The code of this moment."""
        return pyotp.TOTP(self.secret).at(int(self.store.clock()))

    def test_code(self) -> None:
        """After the password the code is asked for, and signs in; spaces in it don't matter."""
        answer = self.browser.sign_in(path="/login/device")
        self.assertEqual(answer.headers["location"], "/login/device")
        page = self.browser.follow(answer)
        self.assertIn("Enter your code", text_of(page))
        before = self.browser.session
        code = self.code()
        answer = self.browser.submit(page, code=f"{code[:3]} {code[3:]}")
        self.assertEqual(answer.headers["location"], "/device")
        self.assertNotEqual(self.browser.session, before)
        self.assertIn("Connect a device", text_of(self.browser.follow(answer)))

    def test_half(self) -> None:
        """With the password alone nobody is signed in anywhere."""
        self.browser.sign_in()
        for path, status in (("/device", 303), ("/logout", 200), ("/login", 200)):
            answer = self.browser.get(path)
            self.assertEqual(answer.status, status)
            self.assertNotIn("Signed in as", text_of(answer))

    def test_wrong_code(self) -> None:
        """Of wrong codes there may be five; then the password is asked for again. A right one doesn't count twice."""
        page = self.browser.follow(self.browser.sign_in())
        self.assertEqual(self.browser.submit(page, code="").status, 422)
        for _ in range(5):
            page = self.browser.submit(page, code="abc123")
            self.assertEqual(page.status, 403)
            self.assertIn("The code is wrong", text_of(page))
        answer = self.browser.submit(page, code=self.code())
        self.assertIn("Too many wrong codes", text_of(answer))
        page = self.browser.follow(self.browser.sign_in())
        code = self.code()
        self.assertEqual(self.browser.submit(page, code=code).status, 303)
        other = Browser(self.http)
        page = other.follow(other.sign_in())
        self.assertEqual(other.submit(page, code=code).status, 403)

    def test_restart(self) -> None:
        """Who isn't the one whose password was typed begins anew."""
        page = self.browser.follow(self.browser.sign_in(path="/login/device"))
        page = self.browser.follow(self.browser.submit(page, action="restart"))
        self.assertIn("Password", text_of(page))
        self.assertEqual(self.browser.path, "/login/device")

    def test_wrong_password(self) -> None:
        """Whether there is a second factor can't be seen without the password."""
        self.assertIn("The name or the password is wrong.", text_of(self.browser.sign_in("wrong")))


class GuardedTests(PagesBed):
    """Clients that try many passwords."""

    rules = GuardRules(failed_sign_ins=Rate(count=3, period=3600), anonymous=Rate(count=30, period=60))

    def test_banned(self) -> None:
        """Wrong passwords and codes count as those of Basic do: at some time the address is kept out."""
        for _ in range(3):
            self.assertEqual(self.browser.sign_in("wrong").status, 403)
        page = self.browser.get("/login")
        if page.status == 200:
            self.browser.submit(page, username=ADDRESS, password="wrong")
            page = self.browser.get("/login")
        self.assertEqual(page.status, 403)
        self.assertIn("kept out", page.problem()["detail"])

    def test_rate(self) -> None:
        """Too many requests without a sign-in are refused on a page, with when to come back."""
        statuses = [self.browser.get("/login").status for _ in range(31)]
        self.assertEqual(statuses, [200] * 30 + [429])
        answer = self.browser.get("/login")
        self.assertIn("retry-after", answer.headers)
        self.assertIn("This didn't work", text_of(answer))


class PlainTests(PagesBed):
    """Without TLS."""

    tls = False

    def test_loopback(self) -> None:
        """On loopback it works, by cookies without the prefix, which browsers take over https only."""
        for host in ("localhost:8080", "127.0.0.1", "[::1]:80", "mail.localhost"):
            browser = Browser(self.http, host=host)
            self.assertEqual(browser.sign_in().status, 303, host)
            self.assertEqual(set(browser.cookies), {"stalwart-form", "stalwart-session"})

    def test_elsewhere(self) -> None:
        """Elsewhere no password is asked for, and a session doesn't count."""
        for host in ("mail.example.org", "127.0.0.1.example.org", "localhost.example.org", "192.0.2.1"):
            answer = Browser(self.http, host=host).get("/login")
            self.assertEqual(answer.status, 403)
            self.assertIn("https", text_of(answer))
