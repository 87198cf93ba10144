"""Consent: what the user is shown, what becomes of the answer, and where a browser is never sent."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, urlencode, urlsplit

from stalwart import store
from stalwart.auth.oauth.clients import GRANT_TYPES
from stalwart.auth.oauth.scopes import PERMISSIONS_OF
from stalwart.store import ClientRow, Grants
from stalwart.web.pages.asking import SCOPE_TEXTS
from tests.http.bed import Answer
from tests.web.pages.bed import ADDRESS, Browser, PagesBed, text_of
from tests.web.test_jmap import PASSWORD

CALLBACK = "https://webmail.example.net/callback"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(b"v" * 43).digest()).rstrip(b"=").decode()


class AuthorizeTests(PagesBed):
    """A registered client, one that registered itself, and a user."""

    def setUp(self) -> None:
        """Make the clients."""
        super().setUp()
        with self.store.write() as s:
            for client_id, name, verified in (
                ("webmail", "Webmail", True),
                ("itself", 'Bank\u202e</dd><script>alert(1)</script> "', False),
            ):
                row = ClientRow(
                    client_id=client_id,
                    name=name,
                    is_verified=verified,
                    redirect_uris=(CALLBACK, "org.example.app:/back", "http://127.0.0.1/back"),
                    grant_types=GRANT_TYPES,
                )
                store.add_client(s, row, None)

    def path(self, **changes: str | None) -> str:
        """The path of a request; None leaves a parameter out."""
        values: dict[str, str | None] = {
            "response_type": "code",
            "client_id": "webmail",
            "redirect_uri": CALLBACK,
            "scope": "openid urn:ietf:params:oauth:scope:mail",
            "state": "a state",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        return "/authorize?" + urlencode({name: value for name, value in values.items() if value is not None})

    def ask(self, **changes: str | None) -> Answer:
        """Open the page, and sign in where that is needed."""
        return self.open(self.path(**changes))

    def open(self, path: str) -> Answer:
        """Open a path."""
        answer = self.browser.follow(self.browser.get(path))
        if b'name="password"' in answer.body:
            answer = self.browser.follow(self.browser.submit(answer, username=ADDRESS, password=PASSWORD))
        return answer

    def sent_to(self, answer: Answer, uri: str = CALLBACK) -> dict[str, str]:
        """The parameters that a client is sent."""
        self.assertEqual(answer.status, 303, answer.body)
        location = answer.headers["location"]
        self.assertEqual(location.partition("?")[0], uri)
        self.assertEqual(
            (answer.headers["cache-control"], answer.headers["referrer-policy"]), ("no-store", "no-referrer")
        )
        return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}

    def grants(self) -> int:
        """How many clients the account lets in."""
        with self.store.read() as s:
            return int(s.driver.execute("SELECT count(*) FROM oauth_grant").fetchone()[0])

    def test_allowed(self) -> None:
        """Signed in on the way, the user is shown who asks for what; agreeing sends the client a code."""
        answer = self.ask()
        words = text_of(answer)
        for part in ("Webmail", "webmail.example.net", ADDRESS, "Know who you are", "send mail in your name"):
            self.assertIn(part, words)
        self.assertNotIn("Not verified", words)
        sent = self.sent_to(self.browser.submit(answer, decision="allow"))
        self.assertEqual((sent["state"], sent["iss"]), ("a state", "https://mail.example.org"))
        with self.store.read() as s:
            self.assertIsNotNone(store.find_code(s, sent["code"]))
        self.assertEqual(self.grants(), 1)

    def test_refused(self) -> None:
        """Refusing sends the client access_denied, and lets nobody in."""
        sent = self.sent_to(self.browser.submit(self.ask(), decision="deny"))
        self.assertEqual((sent["error"], sent["state"]), ("access_denied", "a state"))
        self.assertNotIn("code", sent)
        self.assertEqual(self.grants(), 0)

    def test_unverified(self) -> None:
        """A client that named itself is marked, and its name is shown as text."""
        answer = self.ask(client_id="itself")
        self.assertIn("Not verified.", text_of(answer))
        self.assertIn(b"Bank &lt;/dd&gt;&lt;script&gt;", answer.body)
        self.assertNotIn(b"<script", answer.body)
        self.assertNotIn("\u202e".encode(), answer.body)

    def test_destinations(self) -> None:
        """Where the answer goes is told, and the page's forms may lead to its scheme beside this server only."""
        for uri, shown, sources in (
            (CALLBACK, "webmail.example.net", "'self' https:"),
            ("org.example.app:/back", "the app for org.example.app on this device", "'self' org.example.app:"),
            ("http://127.0.0.1:4711/back", "a program on this device (127.0.0.1:4711)", "'self' http:"),
        ):
            answer = self.ask(redirect_uri=uri)
            self.assertIn(shown, text_of(answer))
            self.assertIn(f"form-action {sources};", answer.headers["content-security-policy"])
            self.sent_to(self.browser.submit(answer, decision="allow"), uri)

    def test_unusable(self) -> None:
        """What can't be trusted is told on a page, and leads nowhere, signed in or not."""
        for changes in (
            {"client_id": None},
            {"client_id": "\u00fc"},
            {"redirect_uri": None},
            {"redirect_uri": CALLBACK + "/"},
            {"redirect_uri": "https://evil.example/"},
            {"redirect_uri": "//evil.example"},
            {"redirect_uri": "javascript:alert(1)"},
            {"redirect_uri": "https://webmail.example.net@evil.example/callback"},
            {"client_id": "unknown", "redirect_uri": "https://evil.example/"},
        ):
            answer = self.browser.get(self.path(**changes))
            self.assertEqual(answer.status, 400, changes)
            self.assertNotIn("location", answer.headers)
            self.assertIn("This didn't work", text_of(answer))
            self.assertNotIn(b"evil.example", answer.body)
        for query in ("client_id=a&client_id=b", "%zz", "a=%ff", "&".join(f"a{n}=1" for n in range(65)), ""):
            self.assertEqual(self.browser.get(f"/authorize?{query}").status, 400)

    def test_errors(self) -> None:
        """Other errors go back to the client, before anybody has to sign in."""
        for changes, code in (
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
            ({"code_challenge_method": "plain"}, "invalid_request"),
            ({"scope": "nothing known"}, "invalid_scope"),
            ({"prompt": "none"}, "login_required"),
        ):
            self.assertEqual(self.sent_to(self.browser.get(self.path(**changes)))["error"], code)
        self.ask()
        self.assertEqual(self.sent_to(self.browser.get(self.path(prompt="none")))["error"], "consent_required")

    def test_login_again(self) -> None:
        """A client that wants the password typed gets that, once for its request; so does one with a short max_age."""
        for changes in ({"prompt": "login"}, {"max_age": "0"}):
            self.browser = Browser(self.http)
            self.ask()
            self.now += 10
            answer = self.browser.get(self.path(**changes))
            self.assertTrue(answer.headers["location"].startswith("/login/authorize?"), changes)
            page = self.browser.follow(answer)
            self.assertIn(f'value="{ADDRESS}"'.encode(), page.body)
            page = self.browser.follow(self.browser.submit(page, password=PASSWORD))
            self.assertIn("Let this application in?", text_of(page))
            self.sent_to(self.browser.submit(page, decision="allow"))
            self.now += 1
            other = self.browser.get(self.path(**changes, state="another"))
            self.assertTrue(other.headers["location"].startswith("/login/authorize?"), changes)

    def test_login_hint(self) -> None:
        """The name that the client expects is filled in, escaped."""
        page = self.browser.follow(self.browser.get(self.path(login_hint='a"b@example.org')))
        self.assertIn(b'value="a&#34;b@example.org"', page.body)

    def test_forged(self) -> None:
        """Without the form of this very request nothing is agreed to: not by another site, nor by another's form."""
        page = self.ask()
        for sends in (
            {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            self.browser.sends = sends
            answer = self.browser.submit(page, decision="allow")
            self.assertIn("Let this application in?", text_of(answer))
        self.browser.sends = {"Sec-Fetch-Site": "same-origin"}
        self.assertEqual(self.browser.send({"decision": "allow", "token": "x"}).status, 200)
        # What was shown for one request is not agreed to for another.
        self.browser.path = self.path(scope="admin")
        self.assertIn("Administer this server", text_of(self.browser.submit(page, decision="allow")))
        other = Browser(self.http)
        other.path = self.path()
        self.assertTrue(other.submit(page, decision="allow").headers["location"].startswith("/login/"))
        self.assertEqual(self.grants(), 0)

    def test_signed_out_meanwhile(self) -> None:
        """Who isn't signed in any more when agreeing has to sign in, and nothing is let in."""
        page = self.ask()
        with self.store.write() as s:
            store.remove_browser_sessions(s, self.account.id)
        answer = self.browser.submit(page, decision="allow")
        self.assertTrue(answer.headers["location"].startswith("/login/authorize?"))
        self.assertEqual(self.grants(), 0)

    def test_not_permitted(self) -> None:
        """Whoever may not let clients in doesn't."""
        page = self.ask()
        with self.store.write() as s:
            store.set_grants(s, self.ada, Grants(disabled=frozenset({"authenticate-oauth"})))
        self.assertEqual(self.sent_to(self.browser.submit(page, decision="allow"))["error"], "access_denied")

    def test_posted(self) -> None:
        """A client may send its request as a form, which becomes a page's query; nothing else does."""
        query = self.path().partition("?")[2]
        cross = {"Origin": "https://webmail.example.net", "Sec-Fetch-Site": "cross-site"}
        self.browser.sends = cross
        answer = self.browser.ask("POST", "/authorize", query.encode())
        self.assertEqual((answer.status, answer.headers["location"]), (303, f"/authorize?{query}"))
        for body in (b"a\r\nb", b"a b", b"a#b", b"\xff", b"a\x00"):
            self.assertEqual(self.browser.ask("POST", "/authorize", body).status, 400)

    def test_texts(self) -> None:
        """Each scope there is is told in words of its own."""
        self.assertEqual(SCOPE_TEXTS.keys(), PERMISSIONS_OF.keys())
        self.assertEqual(len(set(SCOPE_TEXTS.values())), len(SCOPE_TEXTS))
