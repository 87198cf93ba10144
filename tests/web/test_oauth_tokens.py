"""The token endpoint: what is exchanged for what, and what each mistake is answered with."""

from __future__ import annotations

import json

from joserfc import jwt
from joserfc.jwk import KeySet
from twisted.logger import capturedLogs

from stalwart import store
from stalwart.auth.oauth.signing import token_hash
from stalwart.auth.oauth.tokens import MOST_REFRESHES, RETRY_SECONDS
from tests.web.oauth_bed import (
    CHALLENGE,
    ISSUER,
    MAIL_SCOPE,
    REDIRECT,
    SECRET,
    VERIFIER,
    OAuthBed,
    basic,
)


class CodeTests(OAuthBed):
    """The grant type authorization_code. RFC 6749 §4.1.3"""

    def test_exchange(self) -> None:
        """A code gives an access token that opens JMAP, a refresh token, and an ID token."""
        answer = self.exchange(self.code())
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual((answer.headers["cache-control"], answer.headers["pragma"]), ("no-store", "no-cache"))
        given = json.loads(answer.body)
        self.assertEqual((given["token_type"], given["expires_in"]), ("Bearer", 3600))
        self.assertEqual(given["scope"], f"openid offline_access {MAIL_SCOPE}")
        self.assertGreaterEqual(len(given["access_token"]), 43)
        self.assertEqual(json.loads(self.session(given["access_token"]).body)["username"], "ada@example.org")
        self.assertEqual(set(given), {"access_token", "token_type", "expires_in", "scope", "refresh_token", "id_token"})

    def test_used_twice(self) -> None:
        """A code that is used again gives nothing, and takes back what it gave; the log says so."""
        code = self.code()
        given = json.loads(self.exchange(code).body)
        self.assertEqual(self.session(given["access_token"]).status, 200)
        with capturedLogs() as events:
            self.error(self.exchange(code), "invalid_grant")
        self.assertEqual(len([event for event in events if "used again" in event.get("reason", "")]), 1)
        self.problem(self.session(given["access_token"]), 401)
        self.error(self.refresh(given["refresh_token"]), "invalid_grant")

    def test_refused(self) -> None:
        """Each mistake has its error; none of them uses up the code."""
        code = self.code()
        for code_of_error, parameters in (
            ("invalid_request", {"code": None}),
            ("invalid_grant", {"code": "x" * 43}),
            ("invalid_grant", {"client_id": "webmail", "client_secret": SECRET}),
            ("invalid_grant", {"redirect_uri": "https://app.example/cb2"}),
            ("invalid_grant", {"redirect_uri": None}),
            ("invalid_request", {"code_verifier": None}),
            ("invalid_grant", {"code_verifier": VERIFIER[:-1] + "x"}),
            ("invalid_grant", {"code_verifier": CHALLENGE}),
            ("invalid_grant", {"code_verifier": "short"}),
            ("invalid_grant", {"code_verifier": VERIFIER + "=" * 100}),
            ("invalid_request", {"grant_type": None}),
            ("unsupported_grant_type", {"grant_type": "password"}),
            ("unsupported_grant_type", {"grant_type": "client_credentials"}),
            ("invalid_request", {"client_id": None}),
            ("invalid_target", {"resource": "https://other.example/"}),
        ):
            self.error(self.exchange(**{"code": code, **parameters}), code_of_error)  # type: ignore[arg-type]
        self.assertEqual(self.exchange(code, resource=f"{ISSUER}/jmap").status, 200)

    def test_expires(self) -> None:
        """A code counts for ten minutes, unless the settings say otherwise."""
        code = self.code()
        self.later(600)
        self.error(self.exchange(code), "invalid_grant")
        self.with_settings(auth_code=30.0)
        code = self.code()
        self.later(29)
        self.assertEqual(self.exchange(code).status, 200)

    def test_downgrade(self) -> None:
        """A verifier for a code without a challenge is refused: somebody has taken the challenge out. RFC 9700 §4.8"""
        code = self.code(client_id="webmail", code_challenge=None, code_challenge_method=None)
        as_webmail = {"client_id": "webmail", "client_secret": SECRET}
        self.error(self.exchange(code, **as_webmail), "invalid_grant")
        self.assertEqual(self.exchange(code, code_verifier=None, **as_webmail).status, 200)

    def test_no_redirect_uri(self) -> None:
        """Who left it out of the first request, having one only, may leave it out of the second. RFC 6749 §4.1.3"""
        with self.store.write() as s:
            row = store.ClientRow(
                client_id="one",
                name="One",
                is_verified=True,
                redirect_uris=(REDIRECT,),
                grant_types=("authorization_code",),
            )
            store.add_client(s, row, None)
        for uri, status in ((None, 200), (REDIRECT, 200), ("https://app.example/", 400)):
            code = self.code(client_id="one", redirect_uri=None)
            self.assertEqual(self.exchange(code, client_id="one", redirect_uri=uri).status, status)

    def test_password_changed(self) -> None:
        """A code dies with the password that was typed before it was given."""
        code = self.code()
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, "other")
        self.error(self.exchange(code), "invalid_grant")

    def test_offline_access(self) -> None:
        """There is a refresh token only where it was asked for, and only for a client that may use it."""
        self.assertNotIn("refresh_token", self.tokens(scope=MAIL_SCOPE))
        with self.store.write() as s:
            row = store.ClientRow(
                client_id="short",
                name="Short",
                is_verified=True,
                redirect_uris=(REDIRECT,),
                grant_types=("authorization_code",),
            )
            store.add_client(s, row, None)
        given = json.loads(self.exchange(self.code(client_id="short"), client_id="short").body)
        self.assertNotIn("refresh_token", given)
        self.error(self.refresh("x", client_id="short"), "unauthorized_client")


class ClientTests(OAuthBed):
    """How clients authenticate. RFC 6749 §2.3"""

    def ask(self, authorization: str | None = None, **parameters: str | None) -> object:
        """Ask for a refresh that is refused at the latest because of its token; gives status and error."""
        answer = self.form(
            "/auth/token", authorization=authorization, grant_type="refresh_token", refresh_token="x", **parameters
        )
        if answer.status == 401:
            self.assertIn("Basic", answer.headers["www-authenticate"])
        return answer.status, json.loads(answer.body)["error"]

    def test_known(self) -> None:
        """By the form or by Basic, a public client by its name alone."""
        known = (400, "invalid_grant")
        self.assertEqual(self.ask(client_id="phone"), known)
        self.assertEqual(self.ask(client_id="webmail", client_secret=SECRET), known)
        self.assertEqual(self.ask(basic("webmail", SECRET)), known)
        self.assertEqual(self.ask(basic("web%6Dail", SECRET)), known)
        self.assertEqual(self.ask(basic("webmail", SECRET), client_id="webmail"), known)

    def test_unknown(self) -> None:
        """What isn't right is invalid_client with 401, said in two ways invalid_request."""
        unknown, malformed = (401, "invalid_client"), (400, "invalid_request")
        for wanted, value, parameters in (
            (unknown, None, {"client_id": "nobody"}),
            (unknown, None, {"client_id": "webmail"}),
            (unknown, None, {"client_id": "webmail", "client_secret": "wrong"}),
            (unknown, None, {"client_id": "phone", "client_secret": SECRET}),
            (unknown, basic("webmail", "wrong"), {}),
            (unknown, basic("webmail", ""), {}),
            (unknown, basic("phone", "x"), {}),
            (unknown, "Basic !!!", {}),
            (unknown, "Basic " + "d2VibWFpbA==", {}),
            (unknown, "Bearer x", {"client_id": "phone"}),
            (malformed, None, {}),
            (malformed, basic("webmail", SECRET), {"client_secret": SECRET}),
            (malformed, basic("webmail", SECRET), {"client_id": "phone"}),
        ):
            self.assertEqual(self.ask(value, **parameters), wanted, (value, parameters))

    def test_unregistered(self) -> None:
        """Where the settings let them in, clients that aren't registered are public ones."""
        self.with_settings(registered_only=False)
        self.assertEqual(self.ask(client_id="anything"), (400, "invalid_grant"))
        self.assertEqual(self.ask(client_id="anything", client_secret="x"), (401, "invalid_client"))
        self.assertEqual(self.ask(client_id="ä"), (401, "invalid_client"))


class RefreshTests(OAuthBed):
    """The grant type refresh_token. RFC 6749 §6, RFC 9700 §4.14.2"""

    def test_rotates(self) -> None:
        """Each use gives a new refresh token, and an access token; the former access token goes on."""
        first = self.tokens()
        second = json.loads(self.refresh(first["refresh_token"]).body)
        third = json.loads(self.refresh(second["refresh_token"]).body)
        self.assertEqual(len({each["refresh_token"] for each in (first, second, third)}), 3)
        for each in (first, second, third):
            self.assertEqual(self.session(each["access_token"]).status, 200)

    def test_reuse(self) -> None:
        """A refresh token that is used again ends all that belongs to it."""
        first = self.tokens()
        second = json.loads(self.refresh(first["refresh_token"]).body)
        self.later(RETRY_SECONDS + 1)
        self.error(self.refresh(first["refresh_token"]), "invalid_grant")
        self.error(self.refresh(second["refresh_token"]), "invalid_grant")
        for each in (first, second):
            self.problem(self.session(each["access_token"]), 401)

    def test_lost_answer(self) -> None:
        """Who didn't get the answer may ask again at once; the lost token counts as used, and is noticed later."""
        first = self.tokens()
        lost = json.loads(self.refresh(first["refresh_token"]).body)
        self.later(RETRY_SECONDS)
        again = json.loads(self.refresh(first["refresh_token"]).body)
        self.later(RETRY_SECONDS + 1)
        self.error(self.refresh(lost["refresh_token"]), "invalid_grant")
        self.error(self.refresh(again["refresh_token"]), "invalid_grant")

    def test_one_at_a_time(self) -> None:
        """However a stolen token and the client's are used by turns, one of the two is noticed in the end."""
        stolen = own = self.tokens()["refresh_token"]
        for _ in range(3):
            stolen = json.loads(self.refresh(stolen).body)["refresh_token"]
            own = json.loads(self.refresh(own).body)["refresh_token"]
            self.later(RETRY_SECONDS - 1)
        self.later(RETRY_SECONDS)
        self.error(self.refresh(stolen), "invalid_grant")
        self.error(self.refresh(own), "invalid_grant")

    def test_expires(self) -> None:
        """It counts for 30 days from its last use."""
        given = self.tokens()
        for _ in range(3):
            self.later(29 * 86400)
            given = json.loads(self.refresh(given["refresh_token"]).body)
        self.later(30 * 86400)
        self.error(self.refresh(given["refresh_token"]), "invalid_grant")

    def test_too_many(self) -> None:
        """A client in a loop is told to wait, and its token stays good; others, and its own reuse, are as ever."""
        first = given = self.tokens()
        for _ in range(MOST_REFRESHES - 1):
            self.later(1)
            given = json.loads(self.refresh(given["refresh_token"]).body)
        other = self.tokens()
        refused = self.refresh(given["refresh_token"])
        self.error(refused, "temporarily_unavailable", 429)
        self.assertEqual(refused.headers["retry-after"], str(3600 - (MOST_REFRESHES - 1)))
        self.assertEqual(self.refresh(other["refresh_token"]).status, 200)
        self.later(3600 - (MOST_REFRESHES - 1))
        again = json.loads(self.refresh(given["refresh_token"]).body)
        self.error(self.refresh(again["refresh_token"]), "temporarily_unavailable", 429)
        self.error(self.refresh(first["refresh_token"]), "invalid_grant")
        self.error(self.refresh(again["refresh_token"]), "invalid_grant")

    def test_short_tokens(self) -> None:
        """Where access tokens live for two minutes, four refreshes in each are answered."""
        self.with_settings(token=120.0)
        given = self.tokens()
        for _ in range(4 * 30 - 1):
            given = json.loads(self.refresh(given["refresh_token"]).body)
        self.error(self.refresh(given["refresh_token"]), "temporarily_unavailable", 429)

    def test_scope(self) -> None:
        """Less may be asked for, and holds for the access token only; more may not."""
        given = self.tokens()
        less = json.loads(self.refresh(given["refresh_token"], scope="openid").body)
        self.assertEqual(less["scope"], "openid")
        self.problem(self.session(less["access_token"]), 403)
        whole = json.loads(self.refresh(less["refresh_token"]).body)
        self.assertEqual(whole["scope"], given["scope"])
        self.error(self.refresh(whole["refresh_token"], scope="openid admin"), "invalid_scope")
        self.error(self.refresh(whole["refresh_token"], scope="unknown"), "invalid_scope")
        self.assertEqual(self.refresh(whole["refresh_token"], scope="openid unknown").status, 200)

    def test_password_changed(self) -> None:
        """It dies with the password."""
        token = self.tokens()["refresh_token"]
        with self.store.write() as s:
            store.set_password_hash(s, self.account.id, "other")
        self.error(self.refresh(token), "invalid_grant")

    def test_others(self) -> None:
        """Of another client, of another kind, or unknown: invalid_grant, and the token itself is not harmed."""
        given = self.tokens()
        for token, parameters in (
            (given["refresh_token"], {"client_id": "webmail", "client_secret": SECRET}),
            (given["access_token"], {}),
            ("x", {}),
        ):
            self.error(self.refresh(token, **parameters), "invalid_grant")
        self.error(self.refresh(given["refresh_token"], refresh_token=None), "invalid_request")
        self.assertEqual(self.refresh(given["refresh_token"]).status, 200)


class IdTokenTests(OAuthBed):
    """OpenID Connect Core §2."""

    def claims(self, id_token: str) -> dict[str, object]:
        """The claims, verified with the published keys."""
        keys = KeySet.import_key_set(json.loads(self.get("/auth/jwks.json", password=None).body))
        token = jwt.decode(id_token, keys, algorithms=["ES256"])
        self.assertEqual(token.header["alg"], "ES256")
        return token.claims

    def test_claims(self) -> None:
        """It says who signed in, when, for whom, and belongs to the request and to the access token."""
        given = self.tokens(nonce="n-0S6", scope="openid profile email")
        claims = self.claims(given["id_token"])
        now = int(self.now)
        at_hash = claims.pop("at_hash")
        self.assertEqual(
            claims,
            {
                "iss": ISSUER,
                "sub": f"A{self.account.id}",
                "aud": "phone",
                "exp": now + 900,
                "iat": now,
                "auth_time": now - 7,
                "nonce": "n-0S6",
            },
        )
        self.assertEqual(len(str(at_hash)), 22)

    def test_only_openid(self) -> None:
        """There is none without the scope openid."""
        self.assertNotIn("id_token", self.tokens(scope=f"profile {MAIL_SCOPE}"))

    def test_refresh(self) -> None:
        """A refresh gives a new one, without the nonce; the user signed in when they did. OIDC Core §12.2"""
        given = self.tokens(nonce="n")
        signed_in_at = self.claims(given["id_token"])["auth_time"]
        self.later(100)
        claims = self.claims(json.loads(self.refresh(given["refresh_token"]).body)["id_token"])
        self.assertNotIn("nonce", claims)
        self.assertEqual((claims["auth_time"], claims["iat"]), (signed_in_at, int(self.now)))

    def test_at_hash(self) -> None:
        """The left half of the access token's hash, as in the example of OIDC Core §A.3."""
        self.assertEqual(token_hash("RS256", "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"), "77QmUPtjPfzWtF2AnpK9RQ")
