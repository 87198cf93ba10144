"""Authorization requests and the device flow; revocation, introspection and UserInfo."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from stalwart import store
from stalwart.auth.oauth import authorization, device
from stalwart.auth.oauth.errors import RefusedRequest, UnusableRequest
from stalwart.auth.oauth.parameters import parse_parameters
from stalwart.store import ClientRow
from tests.web.oauth_bed import (
    CHALLENGE,
    DEVICE_GRANT,
    ISSUER,
    MAIL_SCOPE,
    REDIRECT,
    SECRET,
    VERIFIER,
    OAuthBed,
    answer_of,
    basic,
)


class BeginTests(OAuthBed):
    """What is asked of a user. RFC 6749 §4.1.1"""

    def goes_back(self, **parameters: str | None) -> str:
        """The error that the client is told, with its state and who says so. RFC 9207 §2"""
        error = self.assertRaises(RefusedRequest, self.begin, **parameters)
        self.assertTrue(error.redirect.startswith(f"{REDIRECT}?"), error.redirect)
        answer = answer_of(error.redirect)
        self.assertEqual((answer.get("state"), answer["iss"]), ("xyz", ISSUER))
        self.assertEqual(answer["error"], error.code)
        return str(error.code)

    def is_shown(self, **parameters: str | None) -> str:
        """The reason that the user is told, since the client can't be."""
        return str(self.assertRaises(UnusableRequest, self.begin, **parameters).reason)

    def test_read(self) -> None:
        """What pages show, and what they go by."""
        request = self.begin(prompt="login consent", max_age="60", login_hint="ada@example.org", ui_locales="de en")
        self.assertEqual((request.client.name, request.client.is_verified), ("Phone", True))
        self.assertEqual(request.scope, ("openid", "offline_access", MAIL_SCOPE))
        self.assertEqual((request.prompt, request.max_age), ({"login", "consent"}, 60))
        self.assertEqual((request.login_hint, request.ui_locales), ("ada@example.org", ("de", "en")))

    def test_goes_back(self) -> None:
        """What is wrong with a request of a client that can be trusted is told to the client."""
        for code, parameters in (
            ("invalid_request", {"response_type": None}),
            ("unsupported_response_type", {"response_type": "token"}),
            ("unsupported_response_type", {"response_type": "code id_token"}),
            ("invalid_request", {"response_mode": "fragment"}),
            ("invalid_request", {"code_challenge": None, "code_challenge_method": None}),
            ("invalid_request", {"code_challenge_method": "plain"}),
            ("invalid_request", {"code_challenge_method": None}),
            ("invalid_request", {"code_challenge": None}),
            ("invalid_request", {"code_challenge": CHALLENGE + "="}),
            ("invalid_request", {"code_challenge": VERIFIER[:-1]}),
            ("invalid_scope", {"scope": "unknown"}),
            ("invalid_scope", {"scope": "open\\id"}),
            ("invalid_scope", {"scope": "openid  email"}),
            ("invalid_target", {"resource": "https://other.example"}),
            ("invalid_target", {"resource": f"{ISSUER}.evil.example/"}),
            ("invalid_target", {"resource": f"{ISSUER}/#x"}),
            ("invalid_request", {"prompt": "none login"}),
            ("invalid_request", {"prompt": "dance"}),
            ("invalid_request", {"max_age": "-1"}),
            ("invalid_request", {"max_age": "1e3"}),
            ("request_not_supported", {"request": "x"}),
            ("request_uri_not_supported", {"request_uri": "https://app.example/r"}),
            ("registration_not_supported", {"registration": "{}"}),
        ):
            self.assertEqual(self.goes_back(**parameters), code, parameters)

    def test_is_shown(self) -> None:
        """A client that isn't known, or a redirect URI that isn't its own, leads nowhere."""
        for reason, parameters in (
            ("unknown_client", {"client_id": "nobody"}),
            ("malformed", {"client_id": None}),
            ("redirect_uri", {"redirect_uri": None}),
            ("redirect_uri", {"redirect_uri": "https://app.example/cb/"}),
            ("redirect_uri", {"redirect_uri": "https://app.example/cb?x=1"}),
            ("redirect_uri", {"redirect_uri": "https://app.example/cb#"}),
            ("redirect_uri", {"redirect_uri": "https://APP.example/cb"}),
            ("redirect_uri", {"redirect_uri": "https://app.example:443/cb"}),
            ("redirect_uri", {"redirect_uri": "https://app.example@evil.example/cb"}),
            ("redirect_uri", {"redirect_uri": "https://app.example/x/../cb"}),
            ("redirect_uri", {"redirect_uri": "https://app.example/%63b"}),
            ("redirect_uri", {"redirect_uri": "https://app.example.evil.example/cb"}),
            ("redirect_uri", {"redirect_uri": "http://app.example/cb"}),
            ("redirect_uri", {"redirect_uri": "http://localhost/cb"}),
            ("redirect_uri", {"redirect_uri": "http://127.0.0.1/cb2"}),
            ("redirect_uri", {"redirect_uri": "http://127.0.0.1:80@evil.example/cb"}),
            ("redirect_uri", {"redirect_uri": "http://127.0.0.1.evil.example/cb"}),
            ("redirect_uri", {"redirect_uri": "javascript:alert(1)"}),
        ):
            self.assertEqual(self.is_shown(**parameters), reason, parameters)

    def test_loopback(self) -> None:
        """On loopback the port is free. RFC 8252 §7.3"""
        for port in ("", ":0", ":51004"):
            self.assertEqual(self.begin(redirect_uri=f"http://127.0.0.1{port}/cb").client.client_id, "phone")

    def test_repeated(self) -> None:
        """No parameter may be there twice; a client or redirect URI that isn't the only one can't be trusted."""
        query = f"response_type=code&redirect_uri={REDIRECT}&code_challenge={CHALLENGE}&code_challenge_method=S256"
        with self.store.read() as s:
            for octets in (f"{query}&client_id=phone&client_id=phone", f"{query}&client_id=phone&redirect_uri=x"):
                self.assertRaises(
                    UnusableRequest,
                    authorization.begin,
                    s,
                    parse_parameters(octets.encode()),
                    issuer=ISSUER,
                    settings=self.settings,
                )
            for more in ("scope=openid&scope=openid", "state=1&state=2"):
                error = self.assertRaises(
                    RefusedRequest,
                    authorization.begin,
                    s,
                    parse_parameters(f"{query}&client_id=phone&{more}".encode()),
                    issuer=ISSUER,
                    settings=self.settings,
                )
                self.assertEqual(error.code, "invalid_request")
                self.assertNotIn("state", answer_of(error.redirect))

    def test_unauthorized_client(self) -> None:
        """A client that is registered for the device flow only can't ask in this way."""
        with self.store.write() as s:
            row = ClientRow(
                client_id="tv", name="TV", is_verified=True, redirect_uris=(REDIRECT,), grant_types=(DEVICE_GRANT,)
            )
            store.add_client(s, row, None)
        self.assertEqual(self.goes_back(client_id="tv"), "unauthorized_client")

    def test_unregistered(self) -> None:
        """A client that isn't registered is let in by the settings only, and only on the user's own machine."""
        self.with_settings(registered_only=False)
        for uri in ("http://127.0.0.1:1/cb", "http://[::1]/", "http://localhost:9/x", "com.example.app:/cb"):
            request = self.begin(client_id="<b>anything</b>", redirect_uri=uri)
            self.assertEqual((request.client.is_verified, request.client.row_id), (False, None))
        for uri in (REDIRECT, "app:/cb", "http://192.0.2.1/cb"):
            self.assertEqual(self.is_shown(client_id="anything", redirect_uri=uri), "redirect_uri")
        self.assertNotIn("admin", self.begin(client_id="x", redirect_uri="http://[::1]/", scope="admin openid").scope)

    def test_scope_of_client(self) -> None:
        """A client gets no more than what it is registered for."""
        with self.store.write() as s:
            row = ClientRow(
                client_id="who",
                name="Who",
                is_verified=True,
                redirect_uris=(REDIRECT,),
                grant_types=("authorization_code",),
                scope=("openid", "email"),
            )
            store.add_client(s, row, None)
        self.assertEqual(
            self.begin(client_id="who", scope=f"openid email admin {MAIL_SCOPE}").scope, ("openid", "email")
        )
        self.assertEqual(self.goes_back(client_id="who", scope=MAIL_SCOPE), "invalid_scope")

    def test_next_step(self) -> None:
        """Whether the user signs in (again) or is asked at once. OpenID Connect Core §3.1.2.1"""
        now = 1000.0
        for wanted, signed_in_at, fresh, parameters in (
            ("sign-in", None, False, {}),
            ("consent", 900.0, False, {}),
            ("consent", 900.0, False, {"max_age": "100"}),
            ("sign-in", 900.0, False, {"max_age": "99"}),
            ("sign-in", 1000.0, False, {"prompt": "login"}),
            ("consent", 1000.0, True, {"prompt": "login"}),
            ("sign-in", 1000.0, False, {"prompt": "select_account consent"}),
            ("consent", 1000.0, True, {"max_age": "0"}),
        ):
            request = self.begin(**parameters)
            step = authorization.next_step(request, now=now, signed_in_at=signed_in_at, fresh=fresh)
            self.assertEqual(step, wanted, (signed_in_at, fresh, parameters))

    def test_no_page(self) -> None:
        """Whoever wants no page shown gets an error: nobody is let in without being asked for."""
        for code, signed_in_at in (("login_required", None), ("consent_required", 1.0)):
            error = self.assertRaises(
                RefusedRequest,
                authorization.next_step,
                self.begin(prompt="none"),
                now=2.0,
                signed_in_at=signed_in_at,
            )
            self.assertEqual((error.code, answer_of(error.redirect)["error"]), (code, code))

    def test_answer(self) -> None:
        """The answer has a code, the state and the issuer; a query that is there stays."""
        with self.store.write() as s:
            row = ClientRow(
                client_id="q",
                name="Q",
                is_verified=True,
                redirect_uris=("https://app.example/cb?tenant=1",),
                grant_types=("authorization_code",),
            )
            store.add_client(s, row, None)
        answer = self.agree(self.begin(client_id="q", redirect_uri=None, state="a b&c=d#é"))
        self.assertEqual(set(answer), {"tenant", "code", "state", "iss"})
        self.assertEqual((answer["tenant"], answer["state"], answer["iss"]), ("1", "a b&c=d#é", ISSUER))
        denied = answer_of(authorization.deny(self.begin()))
        self.assertEqual(denied, {"error": "access_denied", "state": "xyz", "iss": ISSUER})
        self.assertNotIn("state", answer_of(authorization.deny(self.begin(state=None))))

    def test_permission(self) -> None:
        """Who may not let clients in, or has no mailbox, denies by agreeing."""
        for changes in ({"permissions": frozenset({"authenticate"})}, {"account_id": 0}):
            principal = msgspec.structs.replace(self.ada(), **changes)
            self.assertEqual(self.agree(self.begin(), principal)["error"], "access_denied")


class DeviceTests(OAuthBed):
    """The device flow. RFC 8628"""

    def start(self, **parameters: str | None) -> Any:
        """Begin one."""
        answer = self.form("/auth/device", **{"client_id": "phone", **parameters})
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.headers["cache-control"], "no-store")
        return json.loads(answer.body)

    def test_approved(self) -> None:
        """A device asks, the user types its code, the device gets its tokens once."""
        given = self.start(scope=f"openid {MAIL_SCOPE}", nonce="n")
        self.assertRegex(given["user_code"], r"\A[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}\Z")
        self.assertEqual((given["verification_uri"], given["expires_in"]), (f"{ISSUER}/device", 1800))
        self.assertEqual(given["verification_uri_complete"], f"{ISSUER}/device?user_code={given['user_code']}")
        self.error(self.poll(given["device_code"]), "authorization_pending")
        typed = given["user_code"].lower().replace("-", " ")
        with self.store.read() as s:
            asked = device.pending(s, typed, self.settings)
        assert asked is not None
        self.assertEqual((asked.client.name, asked.user_code), ("Phone", given["user_code"]))
        self.assertEqual(asked.scope, ("openid", MAIL_SCOPE))
        self.assertTrue(self.decide(typed))
        self.assertFalse(self.decide(typed, approved=False))
        self.later(given["interval"])
        tokens = json.loads(self.poll(given["device_code"]).body)
        self.assertEqual(self.session(tokens["access_token"]).status, 200)
        self.assertIn("id_token", tokens)
        self.later(given["interval"])
        self.error(self.poll(given["device_code"]), "invalid_grant")

    def test_denied(self) -> None:
        """The user says no."""
        given = self.start()
        self.assertTrue(self.decide(given["user_code"], approved=False))
        self.error(self.poll(given["device_code"]), "access_denied")

    def test_slow_down(self) -> None:
        """Who asks too often has to wait five seconds longer each time. RFC 8628 §3.5"""
        code = self.start()["device_code"]
        self.error(self.poll(code), "authorization_pending")
        self.later(1)
        self.error(self.poll(code), "slow_down")
        self.later(6)
        self.error(self.poll(code), "slow_down")
        self.later(15)
        self.error(self.poll(code), "authorization_pending")
        self.later(14)
        self.error(self.poll(code), "authorization_pending")

    def test_expires(self) -> None:
        """A code that has expired is told from one that there never was; nothing can be decided about it."""
        given = self.start()
        self.later(1800)
        self.error(self.poll(given["device_code"]), "expired_token")
        with self.store.read() as s:
            self.assertIsNone(device.pending(s, given["user_code"], self.settings))
        self.assertFalse(self.decide(given["user_code"]))
        self.error(self.poll("x" * 43), "invalid_grant")

    def test_refused(self) -> None:
        """Each mistake has its error."""
        for status, code, parameters in (
            (400, "invalid_request", {"client_id": None}),
            (401, "invalid_client", {"client_id": "nobody"}),
            (401, "invalid_client", {"client_id": "webmail"}),
            (400, "invalid_scope", {"scope": "unknown"}),
            (400, "invalid_target", {"resource": "https://other.example"}),
        ):
            self.error(self.form("/auth/device", **{"client_id": "phone", **parameters}), code, status)
        code = self.start()["device_code"]
        self.error(self.form("/auth/token", grant_type=DEVICE_GRANT, client_id="phone"), "invalid_request")
        self.error(self.poll(code, client_id="webmail", client_secret=SECRET), "invalid_grant")
        with self.store.write() as s:
            row = ClientRow(
                client_id="web",
                name="W",
                is_verified=True,
                redirect_uris=(REDIRECT,),
                grant_types=("authorization_code",),
            )
            store.add_client(s, row, None)
        self.error(self.form("/auth/device", client_id="web"), "unauthorized_client")
        self.error(self.poll(code, client_id="web"), "unauthorized_client")

    def test_typed(self) -> None:
        """Letters that look like others, spaces and dashes of all kinds are forgiven; other text finds nothing."""
        for typed, plain in (
            ("bcdf-ghjk", "BCDFGHJK"),
            (" B C D F\u2010G H J K ", "BCDFGHJK"),
            ("8CDFGHJK", "BCDFGHJK"),
            ("\u00e4" * 100, ""),
            ("x" * 1000, "X" * 64),
        ):
            self.assertEqual(device.plain_code(typed), plain)


class RevokeTests(OAuthBed):
    """`/auth/revoke`. RFC 7009"""

    def revoke(self, token: str | None, **parameters: str | None) -> Any:
        """Ask for it as `phone`, but for these parameters."""
        return self.form("/auth/revoke", **{"client_id": "phone", "token": token, **parameters})

    def test_access_token(self) -> None:
        """A revoked access token opens nothing, at once; the refresh token goes on."""
        given = self.tokens()
        self.assertEqual(self.session(given["access_token"]).status, 200)
        self.assertEqual(self.revoke(given["access_token"], token_type_hint="refresh_token").status, 200)
        self.problem(self.session(given["access_token"]), 401)
        self.assertEqual(self.refresh(given["refresh_token"]).status, 200)

    def test_refresh_token(self) -> None:
        """A revoked refresh token takes along all that was issued beside it."""
        given = self.tokens()
        self.assertEqual(self.revoke(given["refresh_token"]).status, 200)
        self.problem(self.session(given["access_token"]), 401)
        self.error(self.refresh(given["refresh_token"]), "invalid_grant")

    def test_unknown(self) -> None:
        """What isn't known is revoked already. RFC 7009 §2.2"""
        self.assertEqual(self.revoke("x").status, 200)

    def test_refused(self) -> None:
        """Not for another client, nor without saying which or whose."""
        given = self.tokens()
        self.error(self.revoke(given["access_token"], client_id="webmail", client_secret=SECRET), "invalid_grant")
        self.error(self.revoke(given["access_token"], client_id="webmail"), "invalid_client", 401)
        self.error(self.revoke(given["access_token"], client_id=None), "invalid_request")
        self.error(self.revoke(None), "invalid_request")
        self.assertEqual(self.session(given["access_token"]).status, 200)


class IntrospectionTests(OAuthBed):
    """`/auth/introspect`. RFC 7662"""

    def ask(self, token: str, authorization: str | None) -> Any:
        """Ask about a token."""
        answer = self.form("/auth/introspect", token=token, authorization=authorization)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.headers["cache-control"], "no-store")
        return json.loads(answer.body)

    def of_webmail(self) -> Any:
        """Tokens of the confidential client."""
        code = self.code(client_id="webmail")
        return json.loads(self.exchange(code, client_id="webmail", client_secret=SECRET).body)

    def test_own(self) -> None:
        """A client learns what its own tokens are."""
        given, by_client = self.of_webmail(), basic("webmail", SECRET)
        self.assertEqual(
            self.ask(given["access_token"], by_client),
            {
                "active": True,
                "scope": given["scope"],
                "client_id": "webmail",
                "username": "ada@example.org",
                "token_type": "Bearer",
                "exp": int(self.now) + 3600,
                "iat": int(self.now),
                "sub": f"A{self.account.id}",
                "aud": ISSUER,
                "iss": ISSUER,
            },
        )
        found = self.ask(given["refresh_token"], by_client)
        self.assertEqual((found["active"], "token_type" in found), (True, False))

    def test_inactive(self) -> None:
        """What doesn't count (any more), and what is another's, is inactive and no more is said."""
        nothing, by_client = {"active": False}, basic("webmail", SECRET)
        self.assertEqual(self.ask(self.tokens()["access_token"], by_client), nothing)
        self.assertEqual(self.ask("x", by_client), nothing)
        given = self.of_webmail()
        as_webmail = {"client_id": "webmail", "client_secret": SECRET}
        self.refresh(given["refresh_token"], **as_webmail)
        self.assertEqual(self.ask(given["refresh_token"], by_client), nothing)
        self.later(3600)
        self.assertEqual(self.ask(given["access_token"], by_client), nothing)
        other = self.of_webmail()
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, "other")
        for name in ("access_token", "refresh_token"):
            self.assertEqual(self.ask(other[name], by_client), nothing)

    def test_by_permission(self) -> None:
        """A resource server with the permission learns of any token; without it, of none."""
        given = self.tokens()
        with self.store.write() as s:
            store.set_roles(s, store.principal_of_account(s, self.account.id).id, ("user", "admin"))
        admin = self.tokens(scope="admin")["access_token"]
        self.assertTrue(self.ask(given["access_token"], f"Bearer {admin}")["active"])
        answer = self.form("/auth/introspect", token="x", authorization=f"Bearer {given['access_token']}")
        self.assertEqual(answer.status, 403)
        self.assertIn('error="insufficient_scope", scope="admin"', answer.headers["www-authenticate"])

    def test_refused(self) -> None:
        """Nobody asks without authenticating: neither strangers, nor public clients, nor with a wrong secret."""
        for parameters in (
            {"client_id": "phone"},
            {"client_id": "webmail"},
            {"client_id": "webmail", "client_secret": "wrong"},
        ):
            self.error(self.form("/auth/introspect", token="x", **parameters), "invalid_client", 401)
        self.error(self.form("/auth/introspect", token="x"), "invalid_request")
        self.assertEqual(self.form("/auth/introspect", token="x", authorization="Bearer x").status, 401)


class UserInfoTests(OAuthBed):
    """`/auth/userinfo`. OpenID Connect Core §5.3"""

    def test_claims(self) -> None:
        """What the scopes give, and no more; by GET and POST."""
        subject = {"sub": f"A{self.account.id}"}
        profile = {"name": "Ada", "preferred_username": "ada@example.org"}
        email = {"email": "ada@example.org", "email_verified": True}
        for scope, claims in (
            ("openid", subject),
            ("openid profile", {**subject, **profile}),
            (f"openid email {MAIL_SCOPE}", {**subject, **email}),
        ):
            token = self.tokens(scope=scope)["access_token"]
            answer = self.bearer("/auth/userinfo", token)
            self.assertEqual((answer.status, json.loads(answer.body)), (200, claims))
            self.assertEqual(answer.headers["access-control-allow-origin"], "*")
            self.assertEqual(self.octets("/auth/userinfo", b"", authorization=f"Bearer {token}").body, answer.body)

    def test_refused(self) -> None:
        """Without openid 403 insufficient_scope; without a token, or with one that ended, 401. RFC 6750 §3.1"""
        answer = self.bearer("/auth/userinfo", self.tokens(scope=MAIL_SCOPE)["access_token"])
        self.assertEqual(answer.status, 403)
        self.assertIn('error="insufficient_scope", scope="openid"', answer.headers["www-authenticate"])
        answer = self.get("/auth/userinfo", password=None)
        self.assertEqual(answer.status, 401)
        self.assertNotIn("error=", answer.headers["www-authenticate"])
        token = self.tokens()["access_token"]
        self.assertEqual(self.bearer("/auth/userinfo", token).status, 200)
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, "other")
        answer = self.bearer("/auth/userinfo", token)
        self.assertEqual(answer.status, 401)
        self.assertIn('error="invalid_token"', answer.headers["www-authenticate"])
        self.assertEqual(self.get("/auth/userinfo").status, 401)
