"""App passwords, API keys and the fallback administrator against the real daemon, changed by the admin command."""

from __future__ import annotations

import re

import requests
from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import ADDRESS, PASSWORD, Daemon

_CONFIG = """
[authentication.fallback-admin]
user = "admin"
secret = "of last resort"
"""


class SignInTests(SynchronousTestCase):
    """Who gets to the JMAP session, and what they see."""

    def test_all(self) -> None:
        """What a command changes counts with the next request."""
        daemon = Daemon.start(extra_config=_CONFIG)
        self.addCleanup(daemon.close)

        def printed(label: str, *command: str) -> str:
            found = re.search(rf"^{label}: (\S+)$", daemon.admin(*command), re.MULTILINE)
            assert found is not None
            return found[1]

        with requests.Session() as client:
            client.trust_env = False

            def status(secret: str, user: str = ADDRESS) -> int:
                return client.get(f"{daemon.base_url}/jmap/session", auth=(user, secret), timeout=30).status_code

            def by_key(token: str) -> requests.Response:
                fields = {"Authorization": f"Bearer {token}"}
                return client.get(f"{daemon.base_url}/jmap/session", headers=fields, timeout=30)

            app = printed("password", "app-password", "create", ADDRESS, "phone")
            self.assertEqual([status(app), status(app), status(PASSWORD), status("wrong")], [200, 200, 200, 401])
            daemon.admin("account", "totp", "enable", ADDRESS)
            self.assertEqual([status(app), status(PASSWORD)], [200, 401])
            daemon.admin("account", "totp", "disable", ADDRESS)
            daemon.admin("app-password", "revoke", ADDRESS, "phone")
            self.assertEqual([status(app), status(PASSWORD)], [401, 200])

            rights = ("--allow", "authenticate", "--allow", "jmap-quota-get")
            token = printed("token", "apikey", "create", "meter", "--account", ADDRESS, *rights)
            answer = by_key(token).json()
            quota = "urn:ietf:params:jmap:quota"
            self.assertEqual(set(answer["capabilities"]), {"urn:ietf:params:jmap:core", quota})
            self.assertEqual(answer["username"], ADDRESS)
            daemon.admin("account", "rights", "set", ADDRESS, "--deny", "authenticate")
            refused = by_key(token)
            self.assertEqual((refused.status_code, refused.json()["permission"]), (403, "authenticate"))
            self.assertEqual(status(PASSWORD), 403)
            daemon.admin("account", "rights", "set", ADDRESS, "--deny", "none")
            self.assertEqual([by_key(token).status_code, status(PASSWORD)], [200, 200])
            daemon.admin("apikey", "revoke", "meter")
            self.assertEqual(by_key(token).status_code, 401)

            daemon.admin("account", "disable", ADDRESS)
            self.assertEqual(status(PASSWORD), 401)
            self.assertEqual([status("of last resort", "admin"), status("wrong", "admin")], [403, 401])
        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertNotIn("Traceback", daemon.log)
        for secret in (app, token, PASSWORD, "of last resort"):
            self.assertNotIn(secret, daemon.log)
