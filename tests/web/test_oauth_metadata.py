"""What this server says of itself, registration, and the forms in which requests are taken."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart import store
from stalwart.auth import GuardRules
from stalwart.auth.oauth.registration import MOST_UNUSED
from stalwart.auth.oauth.signing import make_key
from stalwart.config import Rate
from stalwart.http import SiteSettings
from tests.http.bed import Answer
from tests.web.oauth_bed import DEVICE_GRANT, ISSUER, REDIRECT, SECRET, OAuthBed, basic

# Forms of names and values that mean something.
_NAMES = [
    "grant_type",
    "client_id",
    "client_secret",
    "code",
    "refresh_token",
    "device_code",
    "token",
    "scope",
    "resource",
]
_VALUES = f"authorization_code refresh_token {DEVICE_GRANT} phone webmail {SECRET} openid x \u00e4".split()
_FORMS = st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from([*_VALUES, ""])), max_size=6).map(
    lambda pairs: urlencode(pairs).encode()
)
WELL_KNOWN = ("oauth-authorization-server", "openid-configuration", "oauth-protected-resource")


class MetadataTests(OAuthBed):
    """The well-known documents and the keys."""

    def document(self, path: str) -> Any:
        """A JSON object, also for pages of other origins."""
        answer = self.get(path, password=None)
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"))
        self.assertEqual(answer.headers["access-control-allow-origin"], "*")
        return json.loads(answer.body)

    def test_server(self) -> None:
        """The issuer is the base URL, every endpoint lies below it and is there, and both documents agree."""
        found = self.document("/.well-known/openid-configuration")
        self.assertEqual(self.document("/.well-known/oauth-authorization-server"), found)
        self.assertEqual(found["issuer"], ISSUER)
        for name, url in found.items():
            if name.endswith(("_endpoint", "_uri")):
                self.assertTrue(url.startswith(f"{ISSUER}/"), url)
                if name != "authorization_endpoint":
                    self.assertEqual(self.get(url.removeprefix(ISSUER), method="OPTIONS", password=None).status, 204)
        self.assertEqual(found["code_challenge_methods_supported"], ["S256"])
        self.assertEqual(found["response_types_supported"], ["code"])
        self.assertEqual(found["id_token_signing_alg_values_supported"], ["ES256"])
        self.assertIs(found["authorization_response_iss_parameter_supported"], True)

    def test_resource(self) -> None:
        """The resource is this server, and so is who gives tokens for it. RFC 9728 §2"""
        found = self.document("/.well-known/oauth-protected-resource")
        self.assertEqual((found["resource"], found["authorization_servers"]), (ISSUER, [ISSUER]))
        challenge = self.get("/jmap/session", password=None).headers["www-authenticate"]
        self.assertIn(f'resource_metadata="{ISSUER}/.well-known/oauth-protected-resource"', challenge)

    def test_configured(self) -> None:
        """What `http.url` says stands in all of them, whatever host the request names."""

        async def url(request: object) -> str:
            return "https://mail.example.net"

        self.http.site.settings = SiteSettings(url=url)
        for name in WELL_KNOWN:
            self.assertNotIn(ISSUER, json.dumps(self.document(f"/.well-known/{name}")))
        found = self.document("/.well-known/openid-configuration")
        self.assertEqual(found["token_endpoint"], "https://mail.example.net/auth/token")

    def test_no_host(self) -> None:
        """Without a host in the request, the server's own name stands for it."""
        answer = self.http.ask(b"GET /.well-known/openid-configuration HTTP/1.0\r\n\r\n")
        self.assertEqual(json.loads(answer.body)["issuer"], "http://fallback.example.org")

    def test_keys(self) -> None:
        """The public halves only, of all keys that are or will be in use."""
        with self.store.write() as s:
            store.rotate_signing_key(s, "ES256", 3600, make_key)
        keys = self.document("/auth/jwks.json")["keys"]
        self.assertEqual(len(keys), 2)
        for key in keys:
            self.assertEqual(set(key), {"kty", "crv", "x", "y", "use", "alg", "kid"})

    def test_rsa_key(self) -> None:
        """Of an RSA key, too, nothing is told but the modulus and the exponent."""
        with self.store.write() as s:
            store.ensure_signing_key(s, "PS256", make_key)
        (key,) = [key for key in self.document("/auth/jwks.json")["keys"] if key["kty"] == "RSA"]
        self.assertEqual(set(key), {"kty", "n", "e", "use", "alg", "kid"})

    def test_preflight(self) -> None:
        """Pages of other origins may send what the endpoints take."""
        answer = self.get("/auth/token", method="OPTIONS", password=None)
        self.assertEqual(answer.headers["access-control-allow-origin"], "*")
        self.assertEqual(answer.headers["access-control-allow-methods"], "OPTIONS, POST")
        self.assertIn("Authorization", answer.headers["access-control-allow-headers"])
        answer = self.get("/auth/introspect", method="OPTIONS", password=None)
        self.assertNotIn("access-control-allow-origin", answer.headers)

    def test_methods(self) -> None:
        """Tokens are asked for by POST alone. RFC 6749 §3.2"""
        for path in ("token", "device", "revoke", "introspect", "register"):
            self.problem(self.get(f"/auth/{path}", password=None), 405)


class FormTests(OAuthBed):
    """In which form requests are taken. RFC 6749 §3.2, appendix B"""

    def test_refused(self) -> None:
        """Other types, repeated parameters, odd encodings and parameters in the URL are invalid_request."""
        fine = b"grant_type=refresh_token&client_id=phone&refresh_token=x"
        self.error(self.octets("/auth/token", fine), "invalid_grant")
        self.error(
            self.octets("/auth/token", fine, kind="application/x-www-form-urlencoded; charset=UTF-8"), "invalid_grant"
        )
        for body in (
            fine + b"&client_id=phone",
            fine + b"&refresh_token=x",
            fine + b"&unknown=1&unknown=2",
            fine + b"&scope=%zz",
            fine + b"&scope=%",
            fine + b"&scope=%ff",
            fine + b"&scope=%00",
            fine + b"&scope=%0d%0a",
            fine + b"&scope=\xc3\xa4",
            fine + b"&a" * 100,
            b"",
        ):
            self.error(self.octets("/auth/token", body), "invalid_request")
        for kind in ("application/json", "multipart/form-data", "text/plain", "application/x-www-form-urlencodedx"):
            self.error(self.octets("/auth/token", fine, kind=kind), "invalid_request")
        self.error(self.octets("/auth/token?client_id=phone", fine), "invalid_request")

    @settings(deadline=None, max_examples=60)
    @given(
        st.sampled_from(["token", "device", "revoke", "introspect", "register"]),
        st.one_of(st.binary(max_size=80), _FORMS),
        st.sampled_from([None, "Basic x", "Bearer x", basic("webmail", SECRET), basic("phone", "")]),
    )
    def test_any_octets(self, page: str, body: bytes, authorization: str | None) -> None:
        """Whatever is sent is answered, or refused in good order."""
        answer = self.octets(f"/auth/{page}", body, authorization=authorization)
        self.assertIn(answer.status, (200, 400, 401), answer.body)
        json.loads(answer.body)

    def test_empty(self) -> None:
        """A parameter without a value counts as left out; unknown ones are ignored. RFC 6749 §3.1"""
        body = b"grant_type=refresh_token&client_id=phone&refresh_token=x&scope=&scope&code=&x=y&&"
        self.error(self.octets("/auth/token", body), "invalid_grant")
        self.error(
            self.octets("/auth/token", b"grant_type=refresh_token&client_id=phone&refresh_token="), "invalid_request"
        )

    def test_too_large(self) -> None:
        """A body has 8 KiB at most."""
        self.assertEqual(self.octets("/auth/token", b"x" * 8193).status, 413)

    def test_two_authorizations(self) -> None:
        """One Authorization field at most."""
        head = self.head("POST", "/auth/token", None, Content_Type="application/x-www-form-urlencoded")
        fields = f"Authorization: {basic('webmail', SECRET)}\r\n".encode() * 2 + b"Content-Length: 0\r\n\r\n"
        self.problem(self.http.ask(head[:-2] + fields, method="POST"), 400)

    def test_rates(self) -> None:
        """Attempts that fail are held to the limit of clients that haven't signed in; those that succeed are not."""
        token = self.tokens()["refresh_token"]
        self.http.guard.configure(GuardRules(anonymous=Rate(count=3, period=60.0)))
        self.http.site.guard = self.http.guard
        for _ in range(5):
            token = json.loads(self.refresh(token).body)["refresh_token"]
        self.assertEqual([self.refresh("x").status for _ in range(4)], [400, 400, 400, 429])

    def test_rates_of_anybody(self) -> None:
        """What anybody is answered who knows the name of a public client counts, too."""
        self.http.guard.configure(GuardRules(anonymous=Rate(count=2, period=60.0)))
        self.http.site.guard = self.http.guard
        self.assertEqual([self.form("/auth/device", client_id="phone").status for _ in range(3)], [200, 200, 429])
        self.http.clock.advance(60)
        statuses = [self.form("/auth/revoke", client_id="phone", token="x").status for _ in range(3)]
        self.assertEqual(statuses, [200, 200, 429])

    def test_busy(self) -> None:
        """A store that is busy is temporarily_unavailable, with the time to try again."""

        def busy() -> None:
            raise store.StoreBusy("somebody writes")

        self.patch(self.store, "write", busy)
        answer = self.refresh("x")
        self.error(answer, "temporarily_unavailable", 503)
        self.assertEqual(answer.headers["retry-after"], "5")


class RegistrationTests(OAuthBed):
    """`/auth/register`. RFC 7591"""

    def register(self, authorization: str | None = None, /, **document: object) -> Answer:
        """Ask for it."""
        return self.octets(
            "/auth/register", json.dumps(document).encode(), authorization=authorization, kind="application/json"
        )

    def admit_all(self) -> None:
        """Let clients register themselves."""
        self.with_settings(anonymous_registration=True)

    def test_anonymous_off(self) -> None:
        """By default nobody registers without signing in, and is told what to do."""
        answer = self.register(redirect_uris=[REDIRECT])
        self.assertEqual(answer.status, 401)
        document = json.loads(answer.body)
        self.assertEqual(document["error"], "invalid_token")
        self.assertIn("oauth.client-registration.anonymous", document["detail"])
        self.assertEqual(self.register(basic("ada@example.org", "correct horse"), redirect_uris=[REDIRECT]).status, 403)

    def test_public(self) -> None:
        """A public client gets an id, and what it said, as it was understood."""
        self.admit_all()
        answer = self.register(
            client_name="Käsemail",
            redirect_uris=["http://127.0.0.1/cb", "org.example.app:/cb"],
            token_endpoint_auth_method="none",
            grant_types=["refresh_token", "authorization_code"],
            client_uri="https://example.org/",
            unknown="ignored",
        )
        self.assertEqual((answer.status, answer.headers["cache-control"]), (201, "no-store"))
        made = json.loads(answer.body)
        self.assertNotIn("client_secret", made)
        self.assertNotIn("unknown", made)
        self.assertEqual((made["client_name"], made["client_uri"]), ("Käsemail", "https://example.org/"))
        self.assertEqual(made["grant_types"], ["authorization_code", "refresh_token"])
        self.assertNotIn("admin", made["scope"].split())
        request = self.begin(client_id=made["client_id"], redirect_uri="http://127.0.0.1:999/cb")
        self.assertEqual((request.client.is_verified, request.client.uri), (False, "https://example.org/"))

    def test_confidential(self) -> None:
        """A confidential client gets a secret that works, and is kept as a hash."""
        self.admit_all()
        made = json.loads(self.register(redirect_uris=[REDIRECT]).body)
        self.assertEqual(made["client_secret_expires_at"], 0)
        self.assertEqual(made["token_endpoint_auth_method"], "client_secret_basic")
        code = self.code(client_id=made["client_id"])
        answer = self.form(
            "/auth/token",
            authorization=basic(made["client_id"], made["client_secret"]),
            grant_type="authorization_code",
            code=code,
            redirect_uri=REDIRECT,
            code_verifier="dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        )
        self.assertEqual(answer.status, 200, answer.body)
        with self.store.read() as s:
            rows = s.connection.exec_driver_sql("SELECT * FROM oauth_client").fetchall()
        self.assertNotIn(made["client_secret"], repr(rows))

    def test_by_permission(self) -> None:
        """Who has the permission registers clients that count as verified, which may ask for admin."""
        with self.store.write() as s:
            store.set_roles(s, store.principal_of_account(s, self.account.id).id, ("user", "admin"))
        answer = self.register(basic("ada@example.org", "correct horse"), redirect_uris=[REDIRECT], scope="admin")
        made = json.loads(answer.body)
        self.assertEqual((answer.status, made["scope"]), (201, "admin"))
        self.assertTrue(self.begin(client_id=made["client_id"], scope="admin").client.is_verified)

    def test_refused(self) -> None:
        """Each mistake has its error. RFC 7591 §3.2.2"""
        self.admit_all()
        mistakes: list[tuple[str, dict[str, object]]] = [
            ("invalid_redirect_uri", {}),
            ("invalid_redirect_uri", {"redirect_uris": []}),
            ("invalid_redirect_uri", {"redirect_uris": REDIRECT}),
            ("invalid_redirect_uri", {"redirect_uris": [1]}),
            ("invalid_redirect_uri", {"redirect_uris": ["http://app.example/cb"]}),
            ("invalid_redirect_uri", {"redirect_uris": ["https://app.example/cb#x"]}),
            ("invalid_redirect_uri", {"redirect_uris": ["javascript:alert(1)"]}),
            ("invalid_redirect_uri", {"redirect_uris": ["http://127.0.0.1/"], "application_type": "web"}),
            ("invalid_client_metadata", {"token_endpoint_auth_method": "private_key_jwt"}),
            ("invalid_client_metadata", {"grant_types": ["implicit"]}),
            ("invalid_client_metadata", {"grant_types": ["refresh_token"]}),
            ("invalid_client_metadata", {"grant_types": "authorization_code"}),
            ("invalid_client_metadata", {"response_types": ["token"]}),
            ("invalid_client_metadata", {"response_types": []}),
            ("invalid_client_metadata", {"client_name": "a\u202eb"}),
            ("invalid_client_metadata", {"client_name": "x" * 101}),
            ("invalid_client_metadata", {"client_name": 1}),
            ("invalid_client_metadata", {"client_uri": "javascript:alert(1)"}),
            ("invalid_client_metadata", {"logo_uri": "https://[x"}),
            ("invalid_client_metadata", {"scope": "admin account"}),
            ("invalid_client_metadata", {"scope": ["openid"]}),
            ("invalid_client_metadata", {"contacts": "ada@example.org"}),
            ("invalid_client_metadata", {"subject_type": "pairwise"}),
            ("invalid_client_metadata", {"id_token_signed_response_alg": "none"}),
            ("invalid_client_metadata", {"application_type": "toy"}),
            ("invalid_client_metadata", {"software_id": {}}),
            ("invalid_client_metadata", {"jwks": {}, "jwks_uri": "https://app.example/jwks"}),
        ]
        for code, document in mistakes:
            wanted = document if code == "invalid_redirect_uri" else {"redirect_uris": [REDIRECT], **document}
            self.error(self.register(**wanted), code)
        for body in (b"", b"[]", b"{", b'"x"', b"\xff"):
            self.error(self.octets("/auth/register", body, kind="application/json"), "invalid_client_metadata")
        self.error(self.octets("/auth/register", b"{}"), "invalid_client_metadata")

    def test_too_many(self) -> None:
        """Clients that register and get no token are kept for a day, and only so many of them."""
        self.admit_all()
        with self.store.write() as s:
            for number in range(MOST_UNUSED):
                row = store.ClientRow(
                    client_id=f"c{number}", name="C", is_verified=False, redirect_uris=(), grant_types=()
                )
                store.add_client(s, row, None)
        self.error(self.register(redirect_uris=[REDIRECT]), "temporarily_unavailable", 503)
        self.later(86_401)
        self.assertEqual(self.register(redirect_uris=[REDIRECT]).status, 201)
        with self.store.read() as s:
            self.assertEqual(len(store.list_clients(s)), 3)
