"""OAuth clients that nobody here wrote get their tokens from the real daemon: Authlib and openid-client."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path
from typing import Any

from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import Daemon
from tests.live.oauth_user import BrowserUser

_CLIENTS = Path(__file__).parent / "clients"
_SECONDS = 60
_CALLBACK = "http://127.0.0.1:9/cb"
_SCOPE = "openid profile email offline_access urn:ietf:params:oauth:scope:mail"
_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
_VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
_CONFIG = """
[oauth.client-registration]
anonymous = true
"""


class OAuthClientTests(SynchronousTestCase):
    """With a confidential client, a public one, and a user."""

    def setUp(self) -> None:
        """A daemon with the clients."""
        self.daemon = daemon = Daemon.start(extra_config=_CONFIG)
        self.addCleanup(daemon.close)
        self.user = BrowserUser(daemon.base_url)
        self.addCleanup(self.user.close)
        uris = ("--redirect-uri", _CALLBACK)
        made = daemon.admin("oauth-client", "create", "Webmail", "--id", "webmail", "--confidential", "--device", *uris)
        found = re.search(r"^client_secret: (\S+)$", made, re.MULTILINE)
        assert found is not None
        self.secret = found[1]
        daemon.admin("oauth-client", "create", "Phone", "--id", "phone", *uris)
        self.seen: list[str] = []

    def finish(self) -> None:
        """The daemon met nothing unexpected, and logged no secret."""
        self.assertEqual(self.daemon.stop(), 0, self.daemon.log)
        self.assertNotIn("Traceback", self.daemon.log)
        for secret in (self.secret, *self.seen):
            self.assertNotIn(secret, self.daemon.log)

    def session(self, client_id: str, secret: str | None = None, **more: Any) -> Any:
        """Authlib as a client."""
        method = more.pop("token_endpoint_auth_method", "client_secret_basic" if secret else "none")
        session = OAuth2Session(
            client_id,
            secret,
            token_endpoint_auth_method=method,
            revocation_endpoint_auth_method=method,
            scope=_SCOPE,
            redirect_uri=_CALLBACK,
            code_challenge_method="S256",
            **more,
        )
        session.trust_env = False
        self.addCleanup(session.close)
        return session

    def test_authlib(self) -> None:
        """Codes with PKCE, refresh, introspection, revocation; by Basic, by the form, and as a public client."""
        base = self.daemon.base_url
        for session in (
            self.session("webmail", self.secret),
            self.session("webmail", self.secret, token_endpoint_auth_method="client_secret_post"),
            self.session("phone"),
        ):
            url, state = session.create_authorization_url(f"{base}/authorize", code_verifier=_VERIFIER)
            self.assertIn(f"code_challenge={create_s256_code_challenge(_VERIFIER)}", url)
            landed = self.user.visit(url)
            token = session.fetch_token(
                f"{base}/auth/token", authorization_response=landed, state=state, code_verifier=_VERIFIER
            )
            self.seen += [token["access_token"], token["refresh_token"], token["id_token"]]
            self.assertEqual(session.get(f"{base}/jmap/session").status_code, 200)
            self.assertEqual(session.get(f"{base}/auth/userinfo").json()["email"], self.daemon.address)

            fresh = session.refresh_token(f"{base}/auth/token")
            self.seen += [fresh["access_token"], fresh["refresh_token"]]
            self.assertNotEqual(fresh["refresh_token"], token["refresh_token"])
            self.assertEqual(session.get(f"{base}/jmap/session").status_code, 200)
            if session.client_secret:
                answer = session.introspect_token(f"{base}/auth/introspect", token=fresh["access_token"])
                self.assertEqual((answer.json()["active"], answer.json()["client_id"]), (True, "webmail"))
            answer = session.revoke_token(f"{base}/auth/revoke", fresh["refresh_token"], "refresh_token")
            self.assertEqual(answer.status_code, 200, answer.text)
            error = self.assertRaises(
                OAuthError, session.refresh_token, f"{base}/auth/token", refresh_token=fresh["refresh_token"]
            )
            self.assertEqual(error.error, "invalid_grant")

            again, _ = session.create_authorization_url(f"{base}/authorize", code_verifier=_VERIFIER)
            self.assertIn("error=access_denied", self.user.visit(again, decision="deny"))
        self.finish()

    def test_authlib_device(self) -> None:
        """A registration, and the device flow of who has registered; and by the client of an administrator."""
        base = self.daemon.base_url
        stranger = self.session("")
        document = {
            "client_name": "Television",
            "grant_types": [_DEVICE, "refresh_token"],
            "response_types": [],
            "token_endpoint_auth_method": "none",
        }
        made = stranger.post(f"{base}/auth/register", json=document, withhold_token=True)
        self.assertEqual(made.status_code, 201, made.text)
        for session in (self.session(made.json()["client_id"]), self.session("webmail", self.secret)):
            form = {"client_id": session.client_id, "scope": _SCOPE}
            if session.client_secret:
                form["client_secret"] = session.client_secret
            asked = session.post(f"{base}/auth/device", data=form, withhold_token=True).json()
            self.seen.append(asked["device_code"])
            # The first question may be asked at once.
            wanted = {"grant_type": _DEVICE, "device_code": asked["device_code"]}
            error = self.assertRaises(OAuthError, session.fetch_token, f"{base}/auth/token", **wanted)
            self.assertEqual(error.error, "authorization_pending")
            error = self.assertRaises(OAuthError, session.fetch_token, f"{base}/auth/token", **wanted)
            self.assertEqual(error.error, "slow_down")

            asked = session.post(f"{base}/auth/device", data=form, withhold_token=True).json()
            self.user.visit(asked["verification_uri_complete"])
            token = session.fetch_token(f"{base}/auth/token", **{**wanted, "device_code": asked["device_code"]})
            self.seen += [token["access_token"], token["refresh_token"]]
            self.assertEqual(session.get(f"{base}/jmap/session").status_code, 200)
            fresh = session.refresh_token(f"{base}/auth/token")
            self.assertEqual(fresh["token_type"], "Bearer")
        self.finish()

    def test_openid_client(self) -> None:
        """openid-client for Node walks through all that it knows; see tests/live/clients/openid.mjs."""
        program = subprocess.Popen(
            ["node", str(_CLIENTS / "openid.mjs"), self.daemon.base_url, "webmail", self.secret, _CALLBACK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert program.stdin is not None and program.stdout is not None and program.stderr is not None
        end = threading.Timer(_SECONDS, program.kill)
        end.start()
        try:
            printed = ""
            for line in program.stdout:
                printed = line.rstrip("\n")
                word, _, url = printed.partition(" ")
                if word == "open":
                    decision = "deny" if "login_hint=deny" in url else "allow"
                    program.stdin.write(self.user.visit(url, decision=decision) + "\n")
                    program.stdin.flush()
            errors = program.stderr.read()
            self.assertEqual((program.wait(), printed), (0, "walked"), errors + self.daemon.log)
        finally:
            end.cancel()
            program.kill()
            program.wait()
            for stream in (program.stdin, program.stdout, program.stderr):
                stream.close()
        self.finish()
