"""Every error that OAuth's RFCs name, with a request that causes it; docs/oauth.md has the same table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from stalwart import store
from stalwart.auth.oauth import authorization
from stalwart.auth.oauth.errors import RefusedRequest
from stalwart.store import ClientRow
from tests.http.bed import Answer
from tests.web.oauth_bed import REDIRECT, SECRET, OAuthBed, answer_of, basic

_DOCS = Path(__file__).resolve().parents[2] / "docs" / "oauth.md"
_ROW = re.compile(r"\| (RFC \d+ §[\d.]+) \| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|")


class Case(msgspec.Struct, frozen=True):
    """An error of a standard: where it comes, with which status, and from what, in words and as requests."""

    standard: str
    error: str
    where: str
    status: str
    """Of HTTP; 303 where the browser is sent back to the client."""

    cause: str
    make: Callable[[ErrorTableTests], Answer | RefusedRequest]


class ErrorTableTests(OAuthBed):
    """Each error in the table."""

    def setUp(self) -> None:
        """A client that may use no other grant than codes, and one that only a device uses."""
        super().setUp()
        self.with_settings(anonymous_registration=True)
        with self.store.write() as s:
            for client_id, grant_type in (("codes", "authorization_code"), ("tv", "refresh_token")):
                row = ClientRow(
                    client_id=client_id,
                    name=client_id,
                    is_verified=True,
                    redirect_uris=(REDIRECT,),
                    grant_types=(grant_type,),
                )
                store.add_client(s, row, None)

    def goes_back(self, **parameters: str | None) -> RefusedRequest:
        """An authorization request that goes back to the client."""
        error = self.assertRaises(RefusedRequest, self.begin, **parameters)
        assert isinstance(error, RefusedRequest)
        return error

    def denied(self) -> RefusedRequest:
        """What is answered for a user who doesn't agree."""
        url = authorization.deny(self.begin())
        return RefusedRequest(url, answer_of(url)["error"])

    def register(self, **document: object) -> Answer:
        """Register a public client for devices, but for these members."""
        wanted = {"token_endpoint_auth_method": "none", "redirect_uris": [REDIRECT], **document}
        return self.octets("/auth/register", json.dumps(wanted).encode(), kind="application/json")

    def device(self, **parameters: str | None) -> str:
        """Start a device flow; gives the device code."""
        return str(json.loads(self.form("/auth/device", client_id="phone", **parameters).body)["device_code"])

    def asked(self, decision: bool | None, *, after: float = 0.0, times: int = 1) -> Answer:
        """The answer to a device's question, the last of so many; the user has decided, or not."""
        started = json.loads(self.form("/auth/device", client_id="phone").body)
        if decision is not None:
            self.assertTrue(self.decide(started["user_code"], decision))
        self.later(after)
        for _ in range(times):
            answer = self.poll(started["device_code"])
        return answer

    def test_all(self) -> None:
        """The requests of the table get its errors, with its status."""
        for case in CASES:
            found = case.make(self)
            if isinstance(found, RefusedRequest):
                self.assertEqual((found.code, "303"), (case.error, case.status), case.cause)
            elif case.standard.startswith("RFC 6750"):
                self.assertIn(f'error="{case.error}"', found.headers["www-authenticate"], case.cause)
                self.assertEqual(str(found.status), case.status, case.cause)
            else:
                self.error(found, case.error, int(case.status))
            if case.status == "401":
                self.assertIn("www-authenticate", found.headers)  # type: ignore[union-attr]

    def test_documented(self) -> None:
        """The table of the documentation is this one."""
        text = _DOCS.read_text()
        documented = [match.groups() for match in _ROW.finditer(text)]
        wanted = [(case.standard, case.error, case.where, case.status, case.cause) for case in CASES]
        self.assertEqual(documented, wanted, table())

    def test_complete(self) -> None:
        """No error of the standards is missing."""
        for standard, names in _NAMED.items():
            self.assertEqual({case.error for case in CASES if case.standard == standard}, names, standard)


# What can't happen here is told below the table: server_error and temporarily_unavailable at /authorize, statements
# about software, types of tokens that can't be revoked, and requests with two tokens that are still HTTP.
_NAMED = {
    "RFC 6749 §4.1.2.1": {
        "invalid_request",
        "unauthorized_client",
        "access_denied",
        "unsupported_response_type",
        "invalid_scope",
    },
    "RFC 6749 §5.2": {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    },
    "RFC 7636 §4.4.1": {"invalid_request"},
    "RFC 8628 §3.5": {"authorization_pending", "slow_down", "access_denied", "expired_token"},
    "RFC 7591 §3.2.2": {"invalid_redirect_uri", "invalid_client_metadata"},
    "RFC 6750 §3.1": {"invalid_token", "insufficient_scope"},
    "RFC 7009 §2.2.1": {"invalid_request", "invalid_client", "invalid_grant"},
}


def table() -> str:
    """The table as the documentation has it."""
    return "\n".join(
        f"| {case.standard} | `{case.error}` | {case.where} | {case.status} | {case.cause} |" for case in CASES
    )


_AUTHORIZE = "`/authorize`"
_TOKEN = "`/auth/token`"
_REVOKE = "`/auth/revoke`"
_OF_6749 = "RFC 6749 §4.1.2.1"
_TOKENS = "RFC 6749 §5.2"
_PKCE = "RFC 7636 §4.4.1"
_DEVICE = "RFC 8628 §3.5"
_REGISTER = "RFC 7591 §3.2.2"
_BEARER = "RFC 6750 §3.1"
_REVOCATION = "RFC 7009 §2.2.1"

CASES = (
    Case(
        _OF_6749, "invalid_request", _AUTHORIZE, "303", "no `response_type`", lambda t: t.goes_back(response_type=None)
    ),
    Case(
        _OF_6749,
        "invalid_request",
        _AUTHORIZE,
        "303",
        "`response_mode=fragment`",
        lambda t: t.goes_back(response_mode="fragment"),
    ),
    Case(
        _OF_6749,
        "unauthorized_client",
        _AUTHORIZE,
        "303",
        "a client that isn't registered for `authorization_code`",
        lambda t: t.goes_back(client_id="tv"),
    ),
    Case(
        _OF_6749,
        "access_denied",
        _AUTHORIZE,
        "303",
        "the user refuses, or may not let clients in",
        lambda t: t.denied(),
    ),
    Case(
        _OF_6749,
        "unsupported_response_type",
        _AUTHORIZE,
        "303",
        "`response_type=token`",
        lambda t: t.goes_back(response_type="token"),
    ),
    Case(
        _OF_6749,
        "invalid_scope",
        _AUTHORIZE,
        "303",
        "a `scope` with two spaces, or with no scope that there is",
        lambda t: t.goes_back(scope="openid  email"),
    ),
    Case(
        _PKCE,
        "invalid_request",
        _AUTHORIZE,
        "303",
        "a public client without `code_challenge`",
        lambda t: t.goes_back(code_challenge=None, code_challenge_method=None),
    ),
    Case(
        _PKCE,
        "invalid_request",
        _AUTHORIZE,
        "303",
        "`code_challenge_method=plain`, or none, which means that",
        lambda t: t.goes_back(code_challenge_method="plain"),
    ),
    Case(
        _TOKENS,
        "invalid_request",
        _TOKEN,
        "400",
        "no `code`",
        lambda t: t.form("/auth/token", grant_type="authorization_code", client_id="phone"),
    ),
    Case(
        _TOKENS,
        "invalid_request",
        _TOKEN,
        "400",
        "no `code_verifier`, and there was a `code_challenge`",
        lambda t: t.exchange(t.code(), code_verifier=None),
    ),
    Case(
        _TOKENS,
        "invalid_request",
        _TOKEN,
        "400",
        "a parameter twice",
        lambda t: t.octets("/auth/token", b"client_id=phone&client_id=phone"),
    ),
    Case(
        _TOKENS,
        "invalid_request",
        _TOKEN,
        "400",
        "`client_secret` beside Basic",
        lambda t: t.exchange("x", client_id="webmail", client_secret=SECRET, authorization=basic("webmail", SECRET)),
    ),
    Case(
        _TOKENS,
        "invalid_client",
        _TOKEN,
        "401",
        "a client that isn't registered",
        lambda t: t.exchange("x", client_id="nobody"),
    ),
    Case(
        _TOKENS,
        "invalid_client",
        _TOKEN,
        "401",
        "a wrong `client_secret`, or none",
        lambda t: t.exchange("x", client_id=None, authorization=basic("webmail", "wrong")),
    ),
    Case(
        _TOKENS, "invalid_grant", _TOKEN, "400", "a code that is unknown or has expired", lambda t: t.exchange("x" * 43)
    ),
    Case(
        _TOKENS,
        "invalid_grant",
        _TOKEN,
        "400",
        "a code of another client",
        lambda t: t.exchange(t.code(client_id="codes")),
    ),
    Case(
        _TOKENS,
        "invalid_grant",
        _TOKEN,
        "400",
        "another `redirect_uri` than `/authorize` got",
        lambda t: t.exchange(t.code(), redirect_uri="http://127.0.0.1/cb"),
    ),
    Case(
        _TOKENS,
        "invalid_grant",
        _TOKEN,
        "400",
        "a `code_verifier` that doesn't fit the `code_challenge`",
        lambda t: t.exchange(t.code(), code_verifier="x" * 43),
    ),
    Case(
        _TOKENS,
        "invalid_grant",
        _TOKEN,
        "400",
        "a refresh token that is unknown, revoked, or of another client",
        lambda t: t.refresh("swr_x"),
    ),
    Case(
        _TOKENS,
        "unauthorized_client",
        _TOKEN,
        "400",
        "a client that isn't registered for this `grant_type`",
        lambda t: t.refresh("swr_x", client_id="codes"),
    ),
    Case(
        _TOKENS,
        "unsupported_grant_type",
        _TOKEN,
        "400",
        "`grant_type=password`",
        lambda t: t.exchange("x", grant_type="password"),
    ),
    Case(
        _TOKENS,
        "invalid_scope",
        _TOKEN,
        "400",
        "a refresh for more than the user agreed to",
        lambda t: t.refresh(t.tokens()["refresh_token"], scope="openid account"),
    ),
    Case(
        _DEVICE, "authorization_pending", _TOKEN, "400", "the user hasn't decided yet", lambda t: t.asked(decision=None)
    ),
    Case(
        _DEVICE,
        "slow_down",
        _TOKEN,
        "400",
        "a second question before `interval` is over",
        lambda t: t.asked(decision=None, times=2),
    ),
    Case(_DEVICE, "access_denied", _TOKEN, "400", "the user has refused", lambda t: t.asked(decision=False)),
    Case(
        _DEVICE,
        "expired_token",
        _TOKEN,
        "400",
        "a question after `expires_in`",
        lambda t: t.asked(decision=None, after=3000),
    ),
    Case(
        _REGISTER,
        "invalid_redirect_uri",
        "`/auth/register`",
        "400",
        "a redirect URI of `http` elsewhere than on loopback",
        lambda t: t.register(redirect_uris=["http://app.example/cb"]),
    ),
    Case(
        _REGISTER,
        "invalid_redirect_uri",
        "`/auth/register`",
        "400",
        "none, for the grant type `authorization_code`",
        lambda t: t.register(redirect_uris=[]),
    ),
    Case(
        _REGISTER,
        "invalid_client_metadata",
        "`/auth/register`",
        "400",
        "`grant_types` with one that there isn't",
        lambda t: t.register(grant_types=["password"]),
    ),
    Case(
        _REGISTER,
        "invalid_client_metadata",
        "`/auth/register`",
        "400",
        "what is no JSON object",
        lambda t: t.octets("/auth/register", b"[]", kind="application/json"),
    ),
    Case(
        _BEARER,
        "invalid_token",
        "JMAP",
        "401",
        "an access token that is unknown, has expired or was revoked",
        lambda t: t.session("swa_x"),
    ),
    Case(
        _BEARER,
        "insufficient_scope",
        "JMAP",
        "403",
        "an access token whose scopes don't reach so far",
        lambda t: t.session(t.tokens(scope="openid")["access_token"]),
    ),
    Case(
        _REVOCATION,
        "invalid_request",
        _REVOKE,
        "400",
        "no `token`",
        lambda t: t.form("/auth/revoke", client_id="phone"),
    ),
    Case(
        _REVOCATION,
        "invalid_client",
        _REVOKE,
        "401",
        "a client that doesn't authenticate, and has a secret",
        lambda t: t.form("/auth/revoke", client_id="webmail", token="x"),
    ),
    Case(
        _REVOCATION,
        "invalid_grant",
        _REVOKE,
        "400",
        "a token of another client",
        lambda t: t.form("/auth/revoke", client_id="codes", token=t.tokens()["access_token"]),
    ),
)
