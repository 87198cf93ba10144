"""People see to their own account: password, second factor, app passwords, and what is signed in."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from xml.etree import ElementTree

import pyotp
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs

from stalwart import store
from stalwart.auth import GuardRules
from stalwart.config import Rate
from stalwart.store import GrantRow
from stalwart.web.api import account_api
from tests.http.bed import Answer
from tests.web.oauth_bed import basic
from tests.web.pages.bed import ADDRESS, HOST, Browser, PagesBed
from tests.web.test_jmap import PASSWORD

NEW = "a battery of staples"
_BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "code", "locale", "currentPassword", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
OTHERS: dict[str, str] = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}


class ApiBed(PagesBed):
    """The pages and the API over an account, and a browser that is signed in."""

    def setUp(self) -> None:
        """Mount the API and sign in."""
        super().setUp()
        for path, resource in account_api(self.desk, HOST).items():
            self.http.mount(path, resource)
        self.browser.sign_in()

    def rest(self, method: str, path: str, body: object = None, **fields: str) -> Answer:
        """One request by the browser's session, as a page of this server sends it."""
        browser = self.browser
        octets = b"" if body is None else json.dumps(body).encode()
        if method != "GET":
            token = json.loads(browser.get("/api/account").body).get("csrfToken", "")
            fields = {"X-CSRF-Token": token, "Sec-Fetch-Site": "same-origin", **fields}
        return self.raw(browser, method, path, octets, **fields)

    def raw(self, browser: Browser, method: str, path: str, octets: bytes, **fields: str) -> Answer:
        """One request with a body of JSON."""
        if octets:
            fields = {"Content-Type": "application/json", "Content-Length": str(len(octets)), **fields}
        sends, browser.sends = browser.sends, {}
        answer = browser.ask(method, f"/api/account{path}", octets, **fields)
        browser.sends = sends
        return answer

    def by_basic(self, method: str, path: str, body: object = None, secret: str = PASSWORD) -> Answer:
        """One request by name and password."""
        octets = b"" if body is None else json.dumps(body).encode()
        return self.raw(Browser(self.http), method, path, octets, Authorization=basic(ADDRESS, secret))

    def json(self, answer: Answer, status: int = 200) -> Any:
        """The body of an answer that nobody stores."""
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.headers["cache-control"], "no-store")
        return json.loads(answer.body)

    def wrong(self, answer: Answer, member: str, status: int = 422) -> str:
        """The answer says that this member is wrong; gives what it says."""
        self.assertEqual((answer.status, answer.headers["content-type"]), (status, "application/problem+json"))
        (error,) = answer.problem()["errors"]
        self.assertEqual(error["pointer"], f"#/{member}")
        return str(error["detail"])

    def signs_in(self, secret: str) -> bool:
        """Whether this opens the API by Basic."""
        return self.by_basic("GET", "", secret=secret).status == 200


class AccountTests(ApiBed):
    """The account as a whole."""

    def test_get(self) -> None:
        """What there is to know; the token for changes is for browsers only."""
        seen = self.json(self.rest("GET", ""))
        self.assertEqual(seen["address"], ADDRESS)
        self.assertEqual(seen["totp"], {"enabled": False, "recoveryCodesLeft": 0})
        self.assertIn("manage-passwords", seen["permissions"])
        self.assertEqual(len(seen["csrfToken"]), 48)
        self.assertNotIn("csrfToken", self.json(self.by_basic("GET", "")))
        self.assertEqual(Browser(self.http).get("/api/account").status, 401)

    def test_patch(self) -> None:
        """What is named changes, null takes away, the rest stays. RFC 7396"""
        seen = self.json(self.rest("PATCH", "", {"description": " Ada's ", "locale": "de"}))
        self.assertEqual((seen["description"], seen["locale"]), ("Ada's", "de"))
        seen = self.json(self.rest("PATCH", "", {"locale": None}, Content_Type="application/merge-patch+json"))
        self.assertEqual((seen["description"], seen["locale"]), ("Ada's", None))
        self.assertEqual(self.json(self.rest("PATCH", "", {"description": None}))["description"], "")
        self.wrong(self.rest("PATCH", "", {"locale": "de_DE"}), "locale")
        self.wrong(self.rest("PATCH", "", {"description": "a\nb"}), "description")
        self.wrong(self.rest("PATCH", "", {"description": "x" * 251}), "description")

    def test_bodies(self) -> None:
        """Each mistake in a body is told, with the member it is in."""
        path, fine = "/password", {"currentPassword": PASSWORD, "newPassword": NEW}
        self.assertEqual(self.wrong(self.rest("POST", path, {"currentPassword": "x"}), "newPassword"), "is missing")
        self.wrong(self.rest("POST", path, {**fine, "newPassword": 1}), "newPassword")
        self.assertEqual(self.wrong(self.rest("POST", path, {**fine, "x": 1}), "x"), "is no member that there is")
        self.assertEqual(self.rest("POST", path, []).status, 422)
        self.assertEqual(self.rest("POST", path, fine, Content_Type="text/plain").status, 415)
        token = json.loads(self.browser.get("/api/account").body)["csrfToken"]
        for octets in (b"{", b"\xff", b'{"a":NaN}'):
            answer = self.raw(self.browser, "POST", path, octets, **{"X-CSRF-Token": token})
            self.assertIn(answer.status, (400, 422), octets)
        self.assertTrue(self.signs_in(PASSWORD))

    @settings(deadline=None, max_examples=25)
    @given(_BODIES)
    def test_any_body(self, body: object) -> None:
        """Whatever JSON comes is refused or done, and is never an error of the server."""
        for method, path in (("PATCH", ""), ("POST", "/totp/confirm"), ("POST", "/app-passwords")):
            self.assertIn(self.by_basic(method, path, body).status, (200, 400, 404, 415, 422), (path, body))

    def test_methods(self) -> None:
        """Other methods are refused with those that there are; what isn't there isn't found."""
        self.assertEqual(self.rest("GET", "/password").headers["allow"], "OPTIONS, POST")
        self.assertEqual(self.rest("POST", "/sessions/1").headers["allow"], "DELETE, OPTIONS")
        for path in ("/nothing", "/sessions/x", "/sessions/0", "/sessions/1/2", "/tokens/" + "9" * 30):
            self.assertEqual(self.rest("DELETE", path).status, 404, path)
        for path in ("/sessions/99", "/tokens/99", "/app-passwords/99"):
            self.assertEqual(self.rest("DELETE", path).status, 404, path)


class CsrfTests(ApiBed):
    """Requests that other sites have a browser send."""

    def test_token(self) -> None:
        """Without the token of this very session nothing changes, nor from another origin."""
        body = json.dumps({"locale": "de"}).encode()
        token = json.loads(self.browser.get("/api/account").body)["csrfToken"]
        other = Browser(self.http)
        other.sign_in()
        theirs = json.loads(other.get("/api/account").body)["csrfToken"]
        tries: tuple[dict[str, str], ...] = (
            {},
            {"X-CSRF-Token": "x"},
            {"X-CSRF-Token": theirs},
            {"X-CSRF-Token": token, **OTHERS},
            {"X-CSRF-Token": token, "Origin": "https://evil.example"},
            {"X-CSRF-Token": token, "Sec-Fetch-Site": "same-site"},
        )
        for fields in tries:
            self.assertEqual(self.raw(self.browser, "PATCH", "", body, **fields).status, 403, fields)
            for method, path in (("DELETE", "/sessions"), ("DELETE", "/tokens"), ("POST", "/totp")):
                self.assertEqual(self.raw(self.browser, method, path, b"", **fields).status, 403, (path, fields))
        self.assertEqual(self.raw(self.browser, "PATCH", "", body, **{"X-CSRF-Token": token}).status, 200)

    def test_permission(self) -> None:
        """App passwords see the account and change nothing; others need manage-passwords."""
        made = self.json(self.rest("POST", "/app-passwords", {"currentPassword": PASSWORD, "name": "phone"}), 201)
        self.assertEqual(self.by_basic("GET", "", secret=made["password"]).status, 200)
        for method, path in (("GET", "/sessions"), ("DELETE", "/tokens"), ("PATCH", ""), ("GET", "/app-passwords")):
            answer = self.by_basic(method, path, secret=made["password"])
            self.assertEqual(answer.problem()["permission"], "manage-passwords")
        with self.store.write() as s:
            store.set_grants(s, self.ada, store.Grants(disabled=frozenset({"manage-passwords"})))
        self.assertEqual(self.rest("GET", "/sessions").status, 403)


class PasswordTests(ApiBed):
    """The password."""

    def test_change(self) -> None:
        """The new one counts, the old one doesn't; others are signed out, and the browser that asked goes on."""
        other = Browser(self.http)
        other.sign_in()
        before = self.browser.session
        answer = self.rest("POST", "/password", {"currentPassword": PASSWORD, "newPassword": NEW})
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertEqual([self.signs_in(PASSWORD), self.signs_in(NEW)], [False, True])
        self.assertNotEqual(self.browser.session, before)
        self.assertEqual(self.rest("GET", "").status, 200)
        self.assertEqual(other.get("/api/account").status, 401)
        (only,) = self.json(self.rest("GET", "/sessions"))["items"]
        self.assertTrue(only["current"])
        answer = self.by_basic("POST", "/password", {"currentPassword": NEW, "newPassword": PASSWORD}, NEW)
        self.assertEqual(answer.status, 204)
        self.assertNotIn("set-cookie", answer.headers)
        self.assertEqual(self.rest("GET", "").status, 401)

    def test_refused(self) -> None:
        """The present password must be right, and the new one no name, neither short nor the same."""
        for wanted in ("short", "x" * 1025, ADDRESS, ADDRESS.upper(), "adaadaadaada", PASSWORD):
            answer = self.rest("POST", "/password", {"currentPassword": PASSWORD, "newPassword": wanted})
            self.wrong(answer, "newPassword")
        answer = self.rest("POST", "/password", {"currentPassword": "wrong", "newPassword": NEW})
        self.assertEqual(self.wrong(answer, "currentPassword", 403), "is wrong")
        self.assertEqual(self.rest("GET", "").status, 200)

    def test_log(self) -> None:
        """What is done is logged, and no secret with it."""
        with capturedLogs() as events:
            self.rest("POST", "/password", {"currentPassword": PASSWORD, "newPassword": NEW})
            made = self.json(self.rest("POST", "/app-passwords", {"currentPassword": NEW, "name": "phone"}), 201)
            secret = self.json(self.rest("POST", "/totp", {"currentPassword": NEW}))["secret"]
        logged = repr(events) + repr(vars(self.http.log))
        self.assertIn("has changed the password", logged)
        for each in (PASSWORD, NEW, made["password"], secret):
            self.assertNotIn(each, logged)


class TotpTests(ApiBed):
    """The second factor."""

    def enrol(self) -> tuple[str, list[str]]:
        """Set it up; gives secret and recovery codes."""
        begun = self.json(self.rest("POST", "/totp", {"currentPassword": PASSWORD}))
        code = pyotp.TOTP(begun["secret"]).at(int(self.now))
        return begun["secret"], self.json(self.rest("POST", "/totp/confirm", {"code": code}))["recoveryCodes"]

    def test_enrol(self) -> None:
        """It counts when a code has confirmed it; others are signed out then, and the code isn't taken again."""
        self.assertEqual(self.rest("POST", "/totp/confirm", {"code": "123456"}).status, 404)
        begun = self.json(self.rest("POST", "/totp", {"currentPassword": PASSWORD}))
        self.assertTrue(begun["uri"].startswith("otpauth://totp/"), begun)
        self.assertIn(f"secret={begun['secret']}", begun["uri"])
        self.assertTrue(ElementTree.fromstring(begun["qr"]).tag.endswith("svg"))
        self.assertTrue(self.signs_in(PASSWORD))
        self.wrong(self.rest("POST", "/totp/confirm", {"code": "000000x"}), "code")
        self.assertTrue(self.signs_in(PASSWORD))
        other = Browser(self.http)
        other.sign_in()
        code = pyotp.TOTP(begun["secret"]).at(int(self.now))
        codes = self.json(self.rest("POST", "/totp/confirm", {"code": f"{code[:3]} {code[3:]}"}))["recoveryCodes"]
        self.assertEqual(len(set(codes)), 10)
        self.assertEqual(self.json(self.rest("GET", ""))["totp"], {"enabled": True, "recoveryCodesLeft": 10})
        self.assertEqual(other.get("/api/account").status, 401)
        self.assertEqual([self.signs_in(PASSWORD), self.signs_in(f"{PASSWORD}${code}")], [False, False])
        self.now += 30
        self.assertTrue(self.signs_in(f"{PASSWORD}${pyotp.TOTP(begun['secret']).at(int(self.now))}"))

    def test_too_late(self) -> None:
        """It waits for ten minutes; a second one takes the first one's place."""
        first = self.json(self.rest("POST", "/totp", {"currentPassword": PASSWORD}))["secret"]
        second = self.json(self.rest("POST", "/totp", {"currentPassword": PASSWORD}))["secret"]
        self.wrong(self.rest("POST", "/totp/confirm", {"code": pyotp.TOTP(first).at(int(self.now))}), "code")
        self.now += 600
        code = pyotp.TOTP(second).at(int(self.now))
        self.assertEqual(self.rest("POST", "/totp/confirm", {"code": code}).status, 404)

    def test_recovery(self) -> None:
        """A recovery code signs in once, in place of the app's; new ones end the old ones."""
        _, codes = self.enrol()

        def enters(code: str) -> bool:
            browser = Browser(self.http)
            browser.submit(browser.follow(browser.sign_in()), code=code)
            return browser.get("/api/account").status == 200

        self.assertEqual([enters(codes[0].upper()), enters(codes[0])], [True, False])
        self.assertTrue(enters(codes[1].replace("-", " ")))
        self.assertEqual(self.json(self.rest("GET", ""))["totp"]["recoveryCodesLeft"], 8)
        self.assertEqual(self.rest("POST", "/totp/recovery-codes", {"currentPassword": "wrong"}).status, 403)
        fresh = self.json(self.rest("POST", "/totp/recovery-codes", {"currentPassword": PASSWORD}))["recoveryCodes"]
        self.assertEqual(
            [enters(codes[2]), enters(fresh[2]), enters("x"), enters("000000")], [False, True, False, False]
        )
        with self.store.read() as s:
            kept = repr(s.driver.execute("SELECT * FROM recovery_code").fetchall())
        self.assertNotIn(fresh[3].replace("-", ""), kept)

    def test_disable(self) -> None:
        """Who knows the password takes it away, and its recovery codes with it."""
        self.enrol()
        self.wrong(self.rest("POST", "/totp/disable", {"currentPassword": "wrong"}), "currentPassword", 403)
        self.assertEqual(self.rest("POST", "/totp/disable", {"currentPassword": PASSWORD}).status, 204)
        self.assertEqual(self.json(self.rest("GET", ""))["totp"], {"enabled": False, "recoveryCodesLeft": 0})
        self.assertTrue(self.signs_in(PASSWORD))
        for path in ("/totp/disable", "/totp/recovery-codes"):
            self.assertEqual(self.rest("POST", path, {"currentPassword": PASSWORD}).status, 404)


class AppPasswordTests(ApiBed):
    """Passwords for single programs."""

    def make(self, name: str = "phone", **more: object) -> Answer:
        """Make one."""
        return self.rest("POST", "/app-passwords", {"currentPassword": PASSWORD, "name": name, **more})

    def test_walk(self) -> None:
        """Shown once, it signs in until it is revoked, and its use is noted."""
        answer = self.make()
        made = self.json(answer, 201)
        self.assertEqual(answer.headers["location"], f"/api/account/app-passwords/{made['id']}")
        (listed,) = self.json(self.rest("GET", "/app-passwords"))["items"]
        self.assertEqual((listed["name"], listed["lastUsed"], listed["expires"]), ("phone", None, None))
        self.assertNotIn("password", listed)
        self.assertTrue(self.signs_in(made["password"]))
        (listed,) = self.json(self.rest("GET", "/app-passwords"))["items"]
        self.assertRegex(listed["lastUsed"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
        self.assertEqual(self.rest("DELETE", f"/app-passwords/{made['id']}").status, 204)
        self.assertFalse(self.signs_in(made["password"]))
        self.assertEqual(self.rest("DELETE", f"/app-passwords/{made['id']}").status, 404)

    def test_expires(self) -> None:
        """It counts until its time."""
        made = self.json(self.make(expires="2999-01-01T00:00:00+01:00"), 201)
        self.assertEqual(made["expires"], "2998-12-31T23:00:00Z")
        self.assertEqual(self.wrong(self.make("b", expires="1999-01-01T00:00:00Z"), "expires"), "must be in the future")
        self.wrong(self.make("b", expires="2999-01-01T00:00:00"), "expires")
        self.wrong(self.make("b", expires=5), "expires")

    def test_refused(self) -> None:
        """Names are text, and of one app password only; the present password is asked for."""
        self.json(self.make(), 201)
        self.assertEqual(self.make().status, 409)
        for name in ("", " ", "x" * 101, "a\u202eb", "a\nb"):
            self.wrong(self.make(name), "name")
        self.wrong(self.make("b", currentPassword="wrong"), "currentPassword", 403)

    def test_others(self) -> None:
        """Nobody sees or revokes those of another."""
        with self.store.write() as s:
            store.create_account(s, "bob@example.org", password_hash="x")
            bob = store.find_account(s, "bob@example.org")
            assert bob is not None
            row = store.add_credential(s, store.principal_of_account(s, bob.id).id, "his", "secret")
            grant = store.add_grant(s, self.grant(bob.id))
        self.assertEqual(self.rest("DELETE", f"/app-passwords/{row.id}").status, 404)
        self.assertEqual(self.rest("DELETE", f"/tokens/{grant}").status, 404)
        self.assertEqual(self.json(self.rest("GET", "/app-passwords"))["items"], [])

    def grant(self, account_id: int) -> GrantRow:
        """What an account lets a client do."""
        return GrantRow(
            account_id=account_id,
            credential_version=0,
            client_row_id=None,
            client_id="tv",
            client_name="TV",
            scope=("openid",),
            signed_in_at=0,
            address="192.0.2.9",
        )


class SignedInTests(ApiBed):
    """Browsers and OAuth clients."""

    def test_browsers(self) -> None:
        """Listed with use and address, signed out one by one, or all but the one that asks."""
        others = [Browser(self.http) for _ in range(3)]
        for browser in others:
            browser.sign_in()
        items = self.json(self.rest("GET", "/sessions"))["items"]
        self.assertEqual([each["current"] for each in items].count(True), 1)
        self.assertEqual({each["address"] for each in items}, {self.http.peer.host})  # type: ignore[attr-defined]
        self.assertEqual({each["userAgent"] for each in items}, {"Test/1"})
        gone = next(each for each in items if not each["current"])
        self.assertEqual(self.rest("DELETE", f"/sessions/{gone['id']}").status, 204)
        self.assertEqual(sorted(browser.get("/api/account").status for browser in others), [200, 200, 401])
        self.assertEqual(self.rest("DELETE", "/sessions").status, 204)
        self.assertEqual({browser.get("/api/account").status for browser in others}, {401})
        (own,) = self.json(self.rest("GET", "/sessions"))["items"]
        self.assertEqual(self.rest("DELETE", f"/sessions/{own['id']}").status, 204)
        self.assertEqual(self.rest("GET", "").status, 401)

    def test_tokens(self) -> None:
        """Listed with client, scope, use and address; revoked one by one, or all."""
        with self.store.write() as s:
            version = store.credential_version(s, self.account.id)
            assert version is not None
            for number in range(3):
                row = GrantRow(
                    account_id=self.account.id,
                    credential_version=version,
                    client_row_id=None,
                    client_id=f"tv{number}",
                    client_name="TV",
                    scope=("openid", "account"),
                    signed_in_at=0,
                    address="192.0.2.9",
                )
                grant = store.add_grant(s, row)
                store.add_token(s, f"swa_{number}", "access", grant, ("account",), expires_at=s.now() + 60)
        items = self.json(self.rest("GET", "/tokens"))["items"]
        self.assertEqual({each["clientId"] for each in items}, {"tv0", "tv1", "tv2"})
        self.assertEqual((items[0]["scope"], items[0]["address"]), ("openid account", "192.0.2.9"))
        token = {"Authorization": "Bearer swa_1"}
        seen = self.json(self.raw(Browser(self.http), "GET", "/tokens", b"", **token))["items"]
        self.assertEqual([each["clientId"] for each in seen if each["current"]], ["tv1"])
        first = next(each["id"] for each in items if each["clientId"] == "tv1")
        self.assertEqual(self.rest("DELETE", f"/tokens/{first}").status, 204)
        self.assertEqual(self.raw(Browser(self.http), "GET", "/tokens", b"", **token).status, 401)
        self.assertEqual(self.rest("DELETE", "/tokens").status, 204)
        self.assertEqual(self.json(self.rest("GET", "/tokens"))["items"], [])


class GuessTests(ApiBed):
    """The present password isn't to be guessed by who has only the session."""

    rules: ClassVar[GuardRules | None] = GuardRules(failed_sign_ins=Rate(count=3, period=3600))

    def test_counted(self) -> None:
        """Wrong ones count as those of sign-in do."""
        self.rest("POST", "/totp", {"currentPassword": "wrong"})
        self.assertEqual(sum(tries.count for tries in self.http.guard._failures._tries.values()), 1)

    def test_limited(self) -> None:
        """After ten wrong ones of an account there is a wait, also where its owner works."""
        guesses = [self.rest("POST", "/totp", {"currentPassword": f"guess {number}"}) for number in range(12)]
        self.assertEqual([each.status for each in guesses], [403] * 10 + [429] * 2)
        self.assertGreater(int(guesses[-1].headers["retry-after"]), 0)
        self.assertEqual(self.rest("POST", "/totp", {"currentPassword": PASSWORD}).status, 429)
        self.http.clock.advance(600)
        self.assertEqual(self.rest("POST", "/totp", {"currentPassword": PASSWORD}).status, 200)
