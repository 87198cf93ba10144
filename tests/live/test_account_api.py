"""One's own account over REST against the real daemon, by a browser's session and by Basic."""

from __future__ import annotations

import pyotp
import requests
from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import ADDRESS, PASSWORD, Daemon
from tests.live.oauth_user import BrowserUser

_NEW = "a battery of staples"


class AccountApiTests(SynchronousTestCase):
    """From the present password to another one with a second factor."""

    def test_all(self) -> None:
        """A browser changes its password and goes on; the second factor counts with the next request."""
        daemon = Daemon.start()
        self.addCleanup(daemon.close)
        user = BrowserUser(daemon.base_url)
        self.addCleanup(user.close)
        user.visit(f"{daemon.base_url}/login")

        def ask(method: str, path: str, **body: str) -> requests.Response:
            token = user.http.get(f"{daemon.base_url}/api/account", timeout=30).json()["csrfToken"]
            url, fields = f"{daemon.base_url}/api/account{path}", {"X-CSRF-Token": token}
            return user.http.request(method, url, json=body or None, headers=fields, timeout=30)

        def status(secret: str) -> int:
            with requests.Session() as client:
                client.trust_env = False
                return client.get(f"{daemon.base_url}/api/account", auth=(ADDRESS, secret), timeout=30).status_code

        self.assertEqual([status(PASSWORD), status(_NEW)], [200, 401])
        changed = ask("POST", "/password", currentPassword=PASSWORD, newPassword=_NEW)
        self.assertEqual(changed.status_code, 204, changed.text)
        self.assertEqual([status(PASSWORD), status(_NEW)], [401, 200])
        made = ask("POST", "/app-passwords", currentPassword=_NEW, name="phone").json()
        secret = ask("POST", "/totp", currentPassword=_NEW).json()["secret"]
        confirmed = ask("POST", "/totp/confirm", code=pyotp.TOTP(secret).now())
        self.assertEqual(confirmed.status_code, 200, confirmed.text)
        codes = confirmed.json()["recoveryCodes"]
        self.assertEqual([status(_NEW), status(made["password"])], [401, 200])
        self.assertEqual(ask("DELETE", f"/app-passwords/{made['id']}").status_code, 204)
        self.assertEqual(status(made["password"]), 401)
        self.assertEqual(ask("POST", "/totp/disable", currentPassword=_NEW).status_code, 204)
        self.assertEqual(status(_NEW), 200)
        (session,) = ask("GET", "/sessions").json()["items"]
        self.assertEqual((session["current"], session["address"]), (True, "127.0.0.1"))

        self.assertEqual(daemon.stop(), 0, daemon.log)
        self.assertNotIn("Traceback", daemon.log)
        for each in (PASSWORD, _NEW, made["password"], secret, codes[0]):
            self.assertNotIn(each, daemon.log)
