"""OAuth against the real daemon: a device's tokens, revoked and ended by the admin command beside it."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import requests
from joserfc import jwt
from joserfc.jwk import KeySet
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth import load_principal
from stalwart.auth.oauth import device
from stalwart.config import OAuthSettings
from stalwart.store import FsBlobs, Store, find_account
from tests.live.daemon import ADDRESS, Daemon

_SCOPE = "openid offline_access urn:ietf:params:oauth:scope:mail"


class OAuthTests(SynchronousTestCase):
    """With a client for the device flow."""

    def setUp(self) -> None:
        """A daemon, the client, and what it is told by the metadata."""
        self.daemon = daemon = Daemon.start()
        self.addCleanup(daemon.close)
        self.assertIn("client_id: tv\n", daemon.admin("oauth-client", "create", "TV", "--device", "--id", "tv"))
        self.http = requests.Session()
        self.http.trust_env = False
        self.addCleanup(self.http.close)
        url = f"{daemon.base_url}/.well-known/oauth-authorization-server"
        self.metadata = self.http.get(url, timeout=30).json()
        self.assertEqual(self.metadata["issuer"], daemon.base_url)
        self.store = Store.open(
            str(daemon.database_path), FsBlobs(str(daemon.blobs_path)), clock=time.time, exclusive=False
        )
        self.addCleanup(self.store.close)

    def ask(self, endpoint: str, **parameters: str) -> Any:
        """Send a form to an endpoint of the metadata, as the client."""
        return self.http.post(self.metadata[endpoint], data={"client_id": "tv", **parameters}, timeout=30).json()

    def tokens(self) -> Any:
        """What the client gets once the user has agreed."""
        given = self.ask("device_authorization_endpoint", scope=_SCOPE)
        asked = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": given["device_code"]}
        with self.store.write() as s:
            account = find_account(s, ADDRESS)
            principal = None if account is None else load_principal(s, account.id, None)
            assert principal is not None
            agreed = device.decide(
                s,
                given["user_code"],
                principal,
                True,
                signed_in_at=time.time(),
                address="192.0.2.1",
                settings=OAuthSettings(),
            )
            self.assertTrue(agreed)
        return self.ask("token_endpoint", **asked)

    def status(self, token: str) -> int:
        """What JMAP says to a token."""
        url, fields = f"{self.daemon.base_url}/jmap/session", {"Authorization": f"Bearer {token}"}
        return self.http.get(url, headers=fields, timeout=30).status_code

    def test_all(self) -> None:
        """Tokens open JMAP until they, or what they came from, are taken back, whichever process does it."""
        daemon, given = self.daemon, self.tokens()
        first, refresh = given["access_token"], given["refresh_token"]
        self.assertEqual(self.status(first), 200)
        keys = KeySet.import_key_set(self.http.get(self.metadata["jwks_uri"], timeout=30).json())
        self.assertEqual(jwt.decode(given["id_token"], keys, algorithms=["ES256"]).claims["iss"], daemon.base_url)
        daemon.admin("oauth-key", "rotate", "--overlap", "0")
        again = self.ask("token_endpoint", grant_type="refresh_token", refresh_token=refresh)
        header = json.loads(base64.urlsafe_b64decode(again["id_token"].partition(".")[0] + "=="))
        self.assertNotIn(header["kid"], [key.kid for key in keys.keys])

        (listed,) = json.loads(daemon.admin("token", "list", ADDRESS, "--json"))
        self.assertEqual((listed["client"], listed["address"]), ("tv", "127.0.0.1"))
        self.assertEqual([self.status(first), self.status(again["access_token"])], [200, 200])
        daemon.admin("token", "revoke", str(listed["id"]))
        self.assertEqual([self.status(first), self.status(again["access_token"])], [401, 401])

        other = self.tokens()["access_token"]
        self.assertEqual(self.status(other), 200)
        daemon.admin("account", "passwd", ADDRESS, "--password-stdin", stdin="another one\n")
        self.assertEqual(self.status(other), 401)

        last = self.tokens()["access_token"]
        self.assertEqual(self.status(last), 200)
        daemon.admin("oauth-client", "delete", "tv")
        self.assertEqual(self.status(last), 401)
        self.assertEqual(self.ask("token_endpoint", grant_type="refresh_token")["error"], "invalid_client")

        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertNotIn("Traceback", daemon.log)
        for secret in (first, refresh, given["id_token"], again["refresh_token"], other, last):
            self.assertNotIn(secret, daemon.log)
