"""Attacks on sign-in, over the pages and the endpoints together: what others try, and what they get."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import argon2
import pyotp
from twisted.internet.address import IPv4Address
from twisted.logger import capturedLogs

from stalwart import store
from stalwart.auth import GuardRules, Passwords
from stalwart.auth.oauth.clients import GRANT_TYPES
from stalwart.auth.oauth.signing import make_key
from stalwart.config import OAuthSettings, Rate
from stalwart.store import ClientRow
from stalwart.web.oauth import resources
from stalwart.web.oauth_surface import OAuth
from tests.http.bed import Answer
from tests.web.oauth_bed import CHALLENGE, SECRET, VERIFIER, answer_of, basic
from tests.web.pages.bed import ADDRESS, HOST, Browser, PagesBed
from tests.web.test_jmap import PASSWORD

CALLBACK = "https://app.example/cb"
ISSUER = f"https://{HOST}"


class AttackBed(PagesBed):
    """The pages and the endpoints, a public client, a confidential one, and a user."""

    oauth = OAuthSettings()

    def setUp(self) -> None:
        """Mount the endpoints beside the pages."""
        super().setUp()
        endpoints = OAuth(
            self.store,
            self.authenticator,
            self.threads,
            self.jmap.sign_ins_of,
            hostname=HOST,
            threads=3,
            settings=self.oauth,
        )
        for path, resource in {**resources(endpoints), **self.jmap.resources(self.streams)}.items():
            self.http.mount(path, resource)
        with self.store.write() as s:
            store.ensure_signing_key(s, "ES256", make_key)
            for client_id, secret in (("phone", None), ("webmail", SECRET)):
                row = ClientRow(
                    client_id=client_id,
                    name=client_id.title(),
                    is_verified=True,
                    redirect_uris=(CALLBACK, "http://127.0.0.1/cb", "org.example.app:/cb"),
                    grant_types=GRANT_TYPES,
                )
                store.add_client(s, row, secret)

    def asks(self, **changes: str | None) -> str:
        """The path of an authorization request of `phone`."""
        values: dict[str, str | None] = {
            "response_type": "code",
            "client_id": "phone",
            "redirect_uri": CALLBACK,
            "scope": "openid offline_access urn:ietf:params:oauth:scope:mail",
            "state": "xyz",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        return "/authorize?" + urlencode({name: value for name, value in values.items() if value is not None})

    def agreed(self, browser: Browser, decision: str = "allow", **changes: str | None) -> dict[str, str]:
        """What a client is told for a request that a browser's user has decided about."""
        page = browser.follow(browser.get(self.asks(**changes)))
        return answer_of(browser.submit(page, decision=decision).headers["location"])

    def form(self, path: str, authorization: str = "", **parameters: str) -> Answer:
        """Send a form, as a client."""
        return Browser(self.http, sends={"Authorization": authorization}).send(parameters, path)

    def exchange(self, code: str, **parameters: str) -> Answer:
        """Exchange a code, as `phone` but for these parameters."""
        wanted = {"grant_type": "authorization_code", "client_id": "phone", "redirect_uri": CALLBACK, "code": code}
        return self.form("/auth/token", **{**wanted, "code_verifier": VERIFIER, **parameters})

    def status(self, **fields: str) -> int:
        """What JMAP says to a request with these fields."""
        return Browser(self.http).get("/jmap/session", **fields).status


class RedirectTests(AttackBed):
    """Codes that should go elsewhere."""

    def test_tricks(self) -> None:
        """Whatever seems to lead to the client and doesn't is shown on a page, whoever is signed in."""
        tricks = (
            "https://app.example/cbx",
            "https://app.example/cb.evil.example",
            "https://app.example.evil.example/cb",
            "https://app.example:443/cb",
            "https://app.example:8443/cb",
            "https://app.example@evil.example/cb",
            "https://evil.example\\@app.example/cb",
            "https://evil.example/https://app.example/cb",
            "https://user:pw@app.example/cb",
            "https://app.example/cb#",
            "https://app.example/cb#@evil.example",
            "https://app.example/cb?",
            "https://app.example/cb?code=x",
            "https://app.example/x/../cb",
            "https://app.example/cb/..",
            "https://app.example/cb/%2e%2e/evil",
            "https://app.example/cb/..%2fevil",
            "https://app.example%2fcb",
            "https://app.example%2f.evil.example/cb",
            "https://app.example//cb",
            "https://app.example/cb/",
            "https:///app.example/cb",
            "https:app.example/cb",
            "//app.example/cb",
            "HTTPS://app.example/cb",
            "https://APP.example/cb",
            "https://app.example/Cb",
            "https://\u0430pp.example/cb",  # Cyrillic
            "https://xn--pp-6kc.example/cb",
            "https://app\u3002example/cb",
            "https://app.example\u2044cb",
            "https://app.example/c\u200bb",
            "https://app.example./cb",
            " https://app.example/cb",
            "https://app.example/cb ",
            "https://app.example/cb\x00",
            "http://app.example/cb",
            "http://localhost/cb",
            "http://LOCALHOST/cb",
            "http://[::1]/cb",
            "http://127.1/cb",
            "http://2130706433/cb",
            "http://127.0.0.1:80:80/cb",
            "http://127.0.0.1:1@evil.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1/cb/",
            "http://127.0.0.1/cb#x",
            "org.example.app://cb",
            "org.example.app:/cb/../x",
            "org.example.APP:/cb",
            "javascript:/cb",
        )
        self.browser.sign_in()
        for uri in tricks:
            for browser in (self.browser, Browser(self.http)):
                answer = browser.get(self.asks(redirect_uri=uri))
                self.assertEqual(answer.status, 400, uri)
                self.assertNotIn("location", answer.headers)

    def test_loopback(self) -> None:
        """On loopback only the port is free; the code goes to the very URI that was asked for."""
        self.browser.sign_in()
        uri = "http://127.0.0.1:65535/cb"
        page = self.browser.get(self.asks(redirect_uri=uri))
        location = self.browser.submit(page, decision="allow").headers["location"]
        self.assertTrue(location.startswith(f"{uri}?code="), location)
        # RFC 6749 §4.1.3: what the token endpoint is told must be the same
        answer = self.exchange(answer_of(location)["code"], redirect_uri="http://127.0.0.1/cb")
        self.assertEqual(json.loads(answer.body)["error"], "invalid_grant")

    def test_open_redirect(self) -> None:
        """Nothing in the URL of a page of ours makes it lead to another site, before or after signing in."""
        evil = quote("https://evil.example/")
        names = ("next", "return_to", "redirect", "redirect_uri", "url", "post_logout_redirect_uri", "RelayState")
        for path in ("/login", "/login/device", "/logout", *(f"/login?{name}={evil}" for name in names)):
            browser = Browser(self.http)
            answer = browser.get(path)
            while answer.status == 303:
                self.assertRegex(answer.headers["location"], r"\A/[a-z]")
                answer = browser.get(answer.headers["location"])
            if b'name="password"' in answer.body:
                location = browser.submit(answer, username=ADDRESS, password=PASSWORD).headers["location"]
                self.assertRegex(location, r"\A/[a-z]", path)
        for path in (
            "//evil.example/login",
            "/login//evil.example",
            "/login/authorize//evil.example",
            "/\\evil.example",
        ):
            answer = self.browser.get(path)
            self.assertNotIn("evil.example", answer.headers.get("location", ""), path)

    def test_split(self) -> None:
        """What a request says ends up in no field of the answer but the query of the client's own URI."""
        self.browser.sign_in()
        for text in ("x\r\nSet-Cookie: a=b", "x\nLocation: https://evil.example", "\x00", "\u2028"):
            for name in ("state", "redirect_uri", "client_id", "nonce", "login_hint"):
                answer = self.browser.get(self.asks(**{name: text}))
                self.assertNotIn("a=b", answer.headers.get("set-cookie", ""))
                self.assertNotIn("evil.example", answer.headers.get("location", ""))
        state = "a&code=evil&iss=https://evil.example#?%00"
        for decision in ("allow", "deny"):
            told = self.agreed(self.browser, decision, state=state)  # each parameter is there once
            self.assertEqual((told["state"], told["iss"]), (state, ISSUER))


class CodeTests(AttackBed):
    """Codes and answers in wrong hands."""

    def test_replay(self) -> None:
        """A code that comes twice gives nothing, and what it gave is gone; another client's request takes nothing."""
        self.browser.sign_in()
        code = self.agreed(self.browser)["code"]
        given = json.loads(self.exchange(code).body)
        self.assertEqual(self.status(Authorization=f"Bearer {given['access_token']}"), 200)
        other = self.exchange(code, client_id="webmail", client_secret=SECRET)
        self.assertEqual(json.loads(other.body)["error"], "invalid_grant")
        self.assertEqual(self.status(Authorization=f"Bearer {given['access_token']}"), 200)
        self.assertEqual(json.loads(self.exchange(code).body)["error"], "invalid_grant")
        self.assertEqual(self.status(Authorization=f"Bearer {given['access_token']}"), 401)

    def test_downgrade(self) -> None:
        """PKCE can't be left out, weakened, or taken out of a request on its way."""
        self.browser.sign_in()
        tricks: tuple[tuple[str, dict[str, str | None]], ...] = (
            ("phone", {"code_challenge": None, "code_challenge_method": None}),
            ("phone", {"code_challenge": ""}),
            ("phone", {"code_challenge_method": None}),
            ("phone", {"code_challenge_method": "plain", "code_challenge": VERIFIER}),
            ("phone", {"code_challenge_method": "s256"}),
            ("webmail", {"code_challenge": None}),
            ("webmail", {"code_challenge_method": None}),
            ("webmail", {"code_challenge_method": "plain", "code_challenge": VERIFIER}),
        )
        for client_id, changes in tricks:
            answer = self.browser.get(self.asks(client_id=client_id, **changes))
            self.assertEqual(answer_of(answer.headers["location"])["error"], "invalid_request", changes)
        # The confidential client may do without; then no verifier is taken for right. RFC 9700 §4.8.2
        told = self.agreed(self.browser, client_id="webmail", code_challenge=None, code_challenge_method=None)
        answer = self.exchange(told["code"], client_id="webmail", client_secret=SECRET)
        self.assertEqual(json.loads(answer.body)["error"], "invalid_grant")

    def test_mix_up(self) -> None:
        """Every answer says who gives it, as the metadata do. RFC 9207 §2.4"""
        metadata = json.loads(self.browser.get("/.well-known/oauth-authorization-server").body)
        self.assertEqual(metadata["issuer"], ISSUER)
        self.assertIs(metadata["authorization_response_iss_parameter_supported"], True)
        silent = self.browser.get(self.asks(prompt="none"))
        self.browser.sign_in()
        wrong = self.browser.get(self.asks(response_type="token"))
        told = [answer_of(each.headers["location"]) for each in (silent, wrong)]
        told += [self.agreed(self.browser, decision) for decision in ("allow", "deny")]
        self.assertEqual([each["iss"] for each in told], [ISSUER] * 4)
        self.assertEqual(["code" in each for each in told], [False, False, True, False])

    def test_log(self) -> None:
        """No password, cookie, code, verifier, token or secret is in an access line or another event."""
        with capturedLogs() as events:
            self.browser.sign_in("wrong horse")
            self.browser.sign_in()
            code = self.agreed(self.browser)["code"]
            given = json.loads(self.exchange(code).body)
            self.exchange(code)
            token = given["access_token"]
            self.status(Authorization=f"Bearer {token}")
            self.browser.get(f"/jmap/session?access_token={token}")
            self.form(f"/auth/token?refresh_token={given['refresh_token']}", client_id="phone")
            self.form("/auth/revoke", basic("webmail", "not the secret"), token=given["refresh_token"])
            self.form("/auth/introspect", basic("webmail", SECRET), token=token)
            self.browser.get("/nowhere", Cookie=f"x={token}", Referer=f"https://x.example/?{token}")
        logged = repr(events) + repr(vars(self.http.log))
        self.assertIn("/auth/token", logged)
        for secret in (
            *(PASSWORD, "wrong horse", code, VERIFIER, token, given["refresh_token"], given["id_token"]),
            *(self.browser.session, "not the secret", basic("webmail", SECRET)),
        ):
            self.assertNotIn(secret, logged)


class CookieTests(AttackBed):
    """What the cookie of a session opens, and what it doesn't."""

    def test_no_sign_in(self) -> None:
        """JMAP and the endpoints of OAuth don't look at the cookie: no other site can use them by it."""
        self.browser.sign_in()
        cookie = "; ".join(f"{name}={value}" for name, value in self.browser.cookies.items())
        self.assertEqual(self.status(Cookie=cookie), 401)
        self.assertEqual(self.browser.get("/auth/userinfo").status, 401)
        self.assertEqual(self.browser.send({"token": "x"}, "/auth/introspect").status, 400)
        for value in (f"Bearer {self.browser.session}", f"Cookie {cookie}"):
            self.assertEqual(self.status(Authorization=value), 401)
        self.assertEqual(self.status(Authorization=basic(ADDRESS, self.browser.session)), 401)

    def test_smuggling(self) -> None:
        """Nothing in a cookie becomes another field or another cookie, and nothing in another becomes the session."""
        self.browser.sign_in()
        name, token = "__Host-stalwart-session", self.browser.session
        good = basic(ADDRESS, PASSWORD)
        for cookie in (
            f"{name}={token}\r\n Authorization: {good}",  # an obsolete fold: RFC 9112 §5.2
            f"{name}={token}%0d%0aAuthorization:%20{quote(good)}",
            f"{name}={token}; Authorization={good}",
            f"{name}={token}\x0bAuthorization: {good}",
        ):
            self.assertIn(self.status(Cookie=cookie), (400, 401), cookie)
        stranger = Browser(self.http)
        for fields in (
            {"Cookie": f"other={name}={token}"},
            {"Cookie": f"other=1,{name}={token}"},
            {"Cookie2": f"{name}={token}"},
            {"X-Cookie": f"{name}={token}"},
            {"Cookie": f"{name} ={token}"},
            {"Cookie": f"{quote(name)}%3D{token}"},
            {"Cookie": f"{name.upper()}={token}"},
            {"Cookie": f"{name}={token}\tx"},
        ):
            answer = stranger.get("/login", **fields)
            self.assertNotIn(b"Signed in as", answer.body, fields)
        self.assertIn(b"Signed in as", stranger.get("/login", Cookie=f"other=1; {name}={token}").body)

    def test_fixed(self) -> None:
        """A session that somebody else has put into the browser isn't the one that its user signs in to."""
        attacker = Browser(self.http)
        attacker.sign_in()
        self.browser.cookies = dict(attacker.cookies)
        self.browser.submit(self.browser.get("/login/device"), username=ADDRESS, password=PASSWORD)
        self.assertNotEqual(self.browser.session, attacker.session)
        self.assertNotIn(b"Signed in as", attacker.get("/login").body)


class WorkTests(AttackBed):
    """What can be learnt from the time that a refusal takes."""

    def setUp(self) -> None:
        """Count what takes time; more accounts."""
        super().setUp()
        self.count = 0
        real = argon2.PasswordHasher.verify

        def verify(hasher: argon2.PasswordHasher, *args: Any) -> Any:
            self.count += 1
            return real(hasher, *args)

        self.patch(argon2.PasswordHasher, "verify", verify)
        hashed = Passwords(argon2.profiles.CHEAPEST).hash(PASSWORD)
        with self.store.write() as s:
            for name in ("gone", "factor"):
                store.create_account(s, f"{name}@example.org", password_hash=hashed)
            gone = store.find_account(s, "gone@example.org")
            factor = store.find_account(s, "factor@example.org")
            assert gone is not None and factor is not None
            store.enable_principal(s, store.principal_of_account(s, gone.id).id, enabled=False)
            store.set_totp(s, store.principal_of_account(s, factor.id).id, pyotp.random_base32())
        self.status(Authorization=basic("nobody@example.org", "x"))  # makes the hash that stands in for nobody's
        self.count = 0

    def test_unknown(self) -> None:
        """A wrong password costs one hash, whether the name exists, is disabled, has a second factor, or not."""
        names = (ADDRESS, "nobody@example.org", "gone@example.org", "factor@example.org", "x@elsewhere.example")
        shown = set()
        for name in names:
            self.count = 0
            answer = Browser(self.http).sign_in("wrong", name)
            self.assertEqual((answer.status, self.count), (403, 1), name)
            shown.add(len(answer.body.replace(name.encode(), b"")))
            self.count = 0
            self.assertEqual(self.status(Authorization=basic(name, "wrong")), 401)
            self.assertEqual(self.count, 1, name)
        self.assertLessEqual(max(shown) - min(shown), 2 * 64)

    def test_tokens(self) -> None:
        """What is random costs none, so that nobody can make the server work by guessing at it."""
        for value in ("Bearer swa_x", "Bearer x", "Basic x"):
            self.status(Authorization=value)
        self.form("/auth/token", basic("webmail", "wrong"), grant_type="refresh_token", refresh_token="x")
        self.exchange("x")
        self.browser.get("/login", Cookie=f"__Host-stalwart-session={'x' * 43}")
        self.assertEqual(self.count, 0)


class ManyAddressesTests(AttackBed):
    """One password guessed at from many addresses."""

    rules: ClassVar[GuardRules | None] = GuardRules(failed_sign_ins=Rate(count=5, period=86_400))

    def come_from(self, address: str) -> None:
        """The next requests come from there."""
        self.http.peer = IPv4Address("TCP", address, 40_000)

    def guess(self, number: int) -> int:
        """Try once, by the page or by Basic."""
        if number % 2:
            return self.status(Authorization=basic(ADDRESS, f"guess {number}"))
        return Browser(self.http).sign_in(f"guess {number}").status

    def test_owner(self) -> None:
        """The addresses that guess are kept out, all of them; the owner comes in from theirs, and from a new one."""
        self.come_from("198.51.100.1")
        self.assertEqual(self.browser.sign_in().status, 303)
        bots = [f"203.0.113.{number}" for number in range(1, 31)]
        tried = 0
        for round_number in range(4):
            for bot in bots:
                self.come_from(bot)
                page = self.browser.http.get("/login")
                if page.status != 403:
                    tried += self.guess(round_number) in (401, 403)
        out = []
        for bot in bots:
            self.come_from(bot)
            out.append(self.status(Authorization=basic(ADDRESS, PASSWORD)) == 403)
        self.assertTrue(all(out), out)
        self.assertLessEqual(tried, 4 * len(bots))
        for home in ("198.51.100.1", "192.0.2.77"):
            self.come_from(home)
            self.assertEqual(Browser(self.http).sign_in().status, 303, home)
            self.assertEqual(self.status(Authorization=basic(ADDRESS, PASSWORD)), 200, home)
