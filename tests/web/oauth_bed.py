"""What the tests of OAuth share: the endpoints over a store, a client of each kind, and a user who agrees."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from stalwart import store
from stalwart.auth import Authenticator, Passwords, Principal, load_principal
from stalwart.auth.oauth import authorization, device
from stalwart.auth.oauth.authorization import AuthorizationRequest
from stalwart.auth.oauth.clients import GRANT_TYPES
from stalwart.auth.oauth.parameters import parse_parameters
from stalwart.auth.oauth.signing import make_key
from stalwart.config import OAuthSettings
from stalwart.store import ClientRow
from stalwart.web.oauth import resources
from stalwart.web.oauth_surface import OAuth
from tests.http.bed import Answer
from tests.jmap.bed import NOW
from tests.web.test_jmap import WebBed

ISSUER = "http://mail.example.org:8443"
REDIRECT = "https://app.example/cb"
SECRET = "s3cret"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
MAIL_SCOPE = "urn:ietf:params:oauth:scope:mail"


class OAuthBed(WebBed):
    """A public client `phone`, a confidential one `webmail`, and `ada@example.org`, who lets them in."""

    settings = OAuthSettings()

    def setUp(self) -> None:
        """Mount the surface; time passes by `self.later`."""
        super().setUp()
        self.now = float(NOW)
        self.store.clock = lambda: self.now
        self.authenticator = self.jmap.authenticator = Authenticator(
            self.store, Passwords(), clock=lambda: self.now - NOW
        )
        self.oauth = self.mount(self.settings)
        with self.store.write() as s:
            store.ensure_signing_key(s, "ES256", make_key)
            for client_id, secret in (("phone", None), ("webmail", SECRET)):
                row = ClientRow(
                    client_id=client_id,
                    name=client_id.title(),
                    is_verified=True,
                    redirect_uris=(REDIRECT, "http://127.0.0.1/cb"),
                    grant_types=GRANT_TYPES,
                )
                store.add_client(s, row, secret)

    def mount(self, settings: OAuthSettings) -> OAuth:
        """Put the endpoints into the tree, with these settings."""
        self.settings = settings
        oauth = OAuth(
            self.store,
            self.authenticator,
            self.threads,
            self.jmap.sign_ins_of,
            hostname="fallback.example.org",
            threads=3,
            settings=settings,
        )
        for path, resource in resources(oauth).items():
            self.http.mount(path, resource)
        return oauth

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def form(self, path: str, *, authorization: str | None = None, **parameters: str | None) -> Answer:
        """Send a form; what is None is left out."""
        body = urlencode({name: value for name, value in parameters.items() if value is not None}).encode()
        return self.octets(path, body, authorization=authorization)

    def octets(
        self,
        path: str,
        body: bytes,
        *,
        authorization: str | None = None,
        kind: str = "application/x-www-form-urlencoded",
        **fields: str,
    ) -> Answer:
        """Send a body."""
        if authorization is not None:
            fields["Authorization"] = authorization
        return self.post(path, body, password=None, Content_Type=kind, **fields)

    def token(self, *, authorization: str | None = None, **parameters: str | None) -> Any:
        """Ask for tokens; there must be some."""
        answer = self.form("/auth/token", authorization=authorization, **parameters)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.headers["cache-control"], "no-store")
        return json.loads(answer.body)

    def error(self, answer: Answer, code: str, status: int = 400) -> str:
        """There must be this error; gives its description."""
        document = json.loads(answer.body)
        self.assertEqual((answer.status, document["error"]), (status, code), document)
        self.assertEqual(answer.headers["cache-control"], "no-store")
        self.assertEqual(answer.headers["content-type"], "application/json")
        # RFC 6749 §5.2: of printable ASCII without quotes and backslashes
        self.assertRegex(document["error_description"], r"\A[\x20-\x21\x23-\x5b\x5d-\x7e]+\Z")
        return str(document["error_description"])

    def ada(self) -> Principal:
        """The user, signed in by her password."""
        with self.store.read() as s:
            found = load_principal(s, self.account.id, None)
        assert found is not None
        return found

    def begin(self, **parameters: str | None) -> AuthorizationRequest:
        """Read an authorization request of `phone` that is right but for these parameters. As `authorization.begin`."""
        query = {
            "client_id": "phone",
            "response_type": "code",
            "redirect_uri": REDIRECT,
            "scope": f"openid offline_access {MAIL_SCOPE}",
            "state": "xyz",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **parameters,
        }
        octets = urlencode({name: value for name, value in query.items() if value is not None}).encode()
        with self.store.read() as s:
            return authorization.begin(s, parse_parameters(octets), issuer=ISSUER, settings=self.settings)

    def agree(self, request: AuthorizationRequest, principal: Principal | None = None) -> dict[str, str]:
        """Have the user agree; gives the parameters that the client is answered with."""
        with self.store.write() as s:
            url = authorization.approve(
                s,
                request,
                principal or self.ada(),
                signed_in_at=self.now - 7,
                address="192.0.2.9",
                settings=self.settings,
            )
        self.assertTrue(url.startswith(request.redirect_uri), url)
        return answer_of(url)

    def code(self, **parameters: str | None) -> str:
        """A code for a request that the user agreed to."""
        return self.agree(self.begin(**parameters))["code"]

    def exchange(self, code: str, **parameters: str | None) -> Answer:
        """Send the code as `phone` does, but for these parameters."""
        wanted = {
            "grant_type": "authorization_code",
            "client_id": "phone",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": VERIFIER,
            **parameters,
        }
        return self.form("/auth/token", **wanted)

    def tokens(self, **parameters: str | None) -> Any:
        """The tokens of `phone` for a request that the user agreed to."""
        answer = self.exchange(self.code(**parameters))
        self.assertEqual(answer.status, 200, answer.body)
        return json.loads(answer.body)

    def refresh(self, token: str, **parameters: str | None) -> Answer:
        """Use a refresh token as `phone`, but for these parameters."""
        wanted = {"grant_type": "refresh_token", "client_id": "phone", "refresh_token": token, **parameters}
        return self.form("/auth/token", **wanted)

    def poll(self, device_code: str, **parameters: str | None) -> Answer:
        """Ask for a device's tokens as `phone`, but for these parameters."""
        wanted = {"grant_type": DEVICE_GRANT, "client_id": "phone", "device_code": device_code, **parameters}
        return self.form("/auth/token", **wanted)

    def decide(self, user_code: str, approved: bool = True) -> bool:
        """Have the user decide about a device."""
        with self.store.write() as s:
            return device.decide(
                s,
                user_code,
                self.ada(),
                approved,
                signed_in_at=self.now,
                address="192.0.2.9",
                settings=self.settings,
            )

    def session(self, access_token: str) -> Answer:
        """Ask for the JMAP session with a token."""
        return self.bearer("/jmap/session", access_token)

    def bearer(self, path: str, access_token: str, **fields: str) -> Answer:
        """Ask for a path with a token."""
        return self.get(path, password=None, Authorization=f"Bearer {access_token}", **fields)

    def with_settings(self, **changes: Any) -> None:
        """Serve with other settings from now on."""
        self.mount(msgspec.structs.replace(self.settings, **changes))


def answer_of(url: str) -> dict[str, str]:
    """The parameters in the query of a URL, each there once."""
    found = parse_qs(urlsplit(url).query, strict_parsing=True)
    assert all(len(values) == 1 for values in found.values()), url
    return {name: values[0] for name, values in found.items()}


def basic(user: str, password: str) -> str:
    """An Authorization field's value."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
