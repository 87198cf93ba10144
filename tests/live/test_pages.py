"""Chromium walks through sign-in, second factor, consent, device approval and sign-out, with scripts and without."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pyotp
import requests
from twisted.trial.unittest import SynchronousTestCase

from tests.live.browser import Browser, Keys, chromium
from tests.live.daemon import ADDRESS, PASSWORD, Daemon

_CONFIG = """
[oauth.client-registration]
require = false
"""
_VERIFIER = "v" * 43
_NEW = "a battery of staples"
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
# `make screenshots` sets it: where the pictures of the documentation go.
_PICTURES = os.environ.get("STALWART_SCREENSHOTS")


class _Callback(BaseHTTPRequestHandler):
    """A client's web server: where answers arrive, it sends the browser on to a page of another origin."""

    def do_GET(self) -> None:
        """`/back` leads to `/arrived` under another host's name."""
        path = urlsplit(self.path).path
        self.send_response(302 if path == "/back" else 200)
        if path == "/back":
            assert isinstance(self.server, ThreadingHTTPServer)
            self.send_header(
                "Location", f"http://localhost:{self.server.server_port}/arrived?{urlsplit(self.path).query}"
            )
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<h1>arrived</h1>")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Keep quiet."""


@contextmanager
def _client() -> Iterator[str]:
    """A client's redirect URI on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Callback)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/back"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class PagesTests(SynchronousTestCase):
    """The real daemon, a real browser, a client, a device."""

    def setUp(self) -> None:
        """A daemon, a user with a second factor, and an HTTP client."""
        self.daemon = Daemon.start(extra_config=_CONFIG)
        self.addCleanup(self.daemon.close)
        found = re.search(r"secret=([A-Z2-7]+)", self.daemon.admin("account", "totp", "enable", ADDRESS))
        assert found is not None
        self.totp = pyotp.TOTP(found[1])
        self.http = requests.Session()
        self.addCleanup(self.http.close)
        self.http.trust_env = False

    def post(self, path: str, **fields: str) -> Any:
        """What an endpoint of OAuth answers."""
        return self.http.post(self.daemon.base_url + path, data=fields, timeout=30).json()

    def authorize(self, redirect_uri: str) -> str:
        """The URL that a client sends its user to."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(_VERIFIER.encode()).digest()).rstrip(b"=").decode()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": "Thunderbird",
                "redirect_uri": redirect_uri,
                "scope": "openid offline_access urn:ietf:params:oauth:scope:mail",
                "state": "s",
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            }
        )
        return f"{self.daemon.base_url}/authorize?{query}"

    def exchange(self, browser: Browser, redirect_uri: str) -> None:
        """The client has its answer, and gets to the mail with it."""
        self.assertEqual(browser.heading, "arrived")
        answer = {name: values[0] for name, values in parse_qs(urlsplit(browser.url).query).items()}
        self.assertEqual((answer["state"], answer["iss"]), ("s", self.daemon.base_url))
        tokens = self.post(
            "/auth/token",
            grant_type="authorization_code",
            client_id="Thunderbird",
            code=answer["code"],
            redirect_uri=redirect_uri,
            code_verifier=_VERIFIER,
        )
        self.check(tokens)

    def check(self, tokens: Any) -> None:
        """The access token opens the account."""
        self.assertIn("access_token", tokens)
        fields = {"Authorization": f"Bearer {tokens['access_token']}"}
        session = self.http.get(f"{self.daemon.base_url}/jmap/session", headers=fields, timeout=30).json()
        self.assertEqual(session["username"], ADDRESS)

    def see_to(self, browser: Browser) -> list[str]:
        """Change what the account page has; gives what axe finds on the way."""
        found = []
        browser.field("present").send_keys("wrong")
        browser.field("new_password").send_keys(_NEW)
        browser.field("again").send_keys(_NEW)
        browser.press("Change the password")
        self.assertEqual(browser.focused.get_attribute("class"), "errors")
        found += browser.look("account-error")
        browser.field("totp_present").send_keys(PASSWORD)
        browser.press("Switch it off")
        self.assertEqual(browser.heading, "Two-step sign-in is off")
        browser.open(f"{self.daemon.base_url}/account")
        browser.field("totp_present").send_keys(PASSWORD)
        browser.press("Set it up")
        found += browser.look("account-totp")
        secret = re.search(r"secret there: ([A-Z2-7 ]+)", browser.text)
        assert secret is not None
        browser.field("code").send_keys(pyotp.TOTP(secret[1].replace(" ", "")).now())
        browser.press("Switch it on")
        self.assertEqual(browser.heading, "Your recovery codes")
        found += browser.look("account-codes")
        browser.open(f"{self.daemon.base_url}/account")
        browser.field("app_name").send_keys("Phone")
        browser.field("app_present").send_keys(PASSWORD)
        browser.press("Make an app password")
        self.assertEqual(browser.heading, "Your new app password")
        found += browser.look("account-app-password")
        browser.open(f"{self.daemon.base_url}/.well-known/change-password")
        self.assertEqual(browser.heading, "Your account")
        self.assertIn("Phone", browser.text)
        browser.field("present").send_keys(PASSWORD)
        browser.field("new_password").send_keys(_NEW)
        browser.field("again").send_keys(_NEW)
        browser.press("Change the password")
        self.assertEqual(browser.heading, "The password is changed")
        found += browser.look("account-done")
        return found

    def end(self) -> None:
        """The daemon met nothing unexpected, and has logged no secret."""
        self.assertEqual(self.daemon.stop(), 0, self.daemon.log)
        self.assertNotIn("Traceback", self.daemon.log)
        self.assertNotIn(PASSWORD, self.daemon.log)
        self.assertNotIn(_NEW, self.daemon.log)

    def test_without_scripts(self) -> None:
        """Without scripts everything works, here in German and with the mouse."""
        with _client() as redirect_uri, chromium(scripts=False, language="de") as browser:
            self.assertFalse(browser.runs_scripts())
            browser.open(self.authorize(redirect_uri))
            self.assertEqual(browser.heading, "Anmelden")
            browser.field("username").send_keys(ADDRESS)
            browser.field("password").send_keys(PASSWORD)
            browser.press("Anmelden")
            self.assertEqual(browser.heading, "Code eingeben")
            browser.field("code").send_keys(self.totp.now())
            browser.press("Anmelden")
            self.assertEqual(browser.heading, "Dieser Anwendung Zugang geben?")
            browser.press("Erlauben")
            self.exchange(browser, redirect_uri)

            device = self.post("/auth/device", client_id="TV")
            browser.open(device["verification_uri_complete"])
            browser.press("Weiter")
            self.assertIn(device["user_code"], browser.text)
            browser.press("Erlauben")
            self.assertEqual(browser.heading, "Das Gerät ist verbunden")
            self.check(
                self.post("/auth/token", grant_type=_DEVICE_GRANT, client_id="TV", device_code=device["device_code"])
            )
            browser.open(f"{self.daemon.base_url}/account")
            for left in (1, 0):
                browser.press("Zugang zurücknehmen")
                self.assertEqual(browser.text.count("Zugang zurücknehmen"), left)
            browser.open(f"{self.daemon.base_url}/logout")
            browser.press("Abmelden")
            self.assertEqual(browser.heading, "Sie sind abgemeldet")
        self.end()

    def test_accessible(self) -> None:
        """With the keyboard alone; the focus is where one goes on; axe finds nothing on any page, light or dark."""
        pictures = None if _PICTURES is None else Path(_PICTURES)
        found: list[str] = []
        with _client() as redirect_uri, chromium(pictures=pictures) as browser:
            self.assertTrue(browser.runs_scripts())
            browser.open(self.authorize("https://evil.example/"))
            self.assertEqual(browser.heading, "This didn't work")
            found += browser.look("error")
            browser.open(self.authorize(redirect_uri))
            found += browser.look("sign-in")
            browser.enter(ADDRESS, Keys.TAB, "wrong")
            self.assertEqual(browser.focused.get_attribute("class"), "errors")
            found += browser.look("sign-in-error")
            browser.type(Keys.TAB, Keys.ENTER)  # the link to the field
            self.assertEqual(browser.focused.get_attribute("name"), "username")
            browser.enter(Keys.TAB, PASSWORD)
            self.assertEqual(browser.heading, "Enter your code")
            found += browser.look("code")
            browser.enter("abc123")
            self.assertEqual(browser.focused.get_attribute("class"), "errors")
            found += browser.look("code-error")
            browser.type(Keys.TAB, Keys.ENTER)
            browser.enter(self.totp.now())
            self.assertEqual(browser.heading, "Let this application in?")
            found += browser.look("consent")
            browser.press("Allow")
            self.exchange(browser, redirect_uri)

            device = self.post("/auth/device", client_id="Living-room-TV")
            browser.open(device["verification_uri"])
            found += browser.look("device")
            browser.enter("bbbb-bbbb")
            self.assertIn("This code isn't known", browser.text)
            found += browser.look("device-error")
            browser.open(device["verification_uri"])
            browser.enter(device["user_code"].lower().replace("-", ""))
            self.assertEqual(browser.heading, "Let this application in?")
            found += browser.look("device-consent")
            browser.press("Refuse")
            self.assertEqual(browser.heading, "The device was refused")
            found += browser.look("device-refused")
            answer = self.post(
                "/auth/token", grant_type=_DEVICE_GRANT, client_id="Living-room-TV", device_code=device["device_code"]
            )
            self.assertEqual(answer["error"], "access_denied")

            browser.open(f"{self.daemon.base_url}/login")
            found += browser.look("signed-in")
            browser.open(f"{self.daemon.base_url}/account")
            self.assertEqual(browser.heading, "Your account")
            found += browser.look("account")
            found += self.see_to(browser)
            browser.open(f"{self.daemon.base_url}/logout")
            found += browser.look("sign-out")
            browser.press("Sign out")
            self.assertEqual(browser.heading, "You are signed out")
            found += browser.look("signed-out")
            complaints = [text for text in browser.complaints() if "status of 4" not in text]
        self.assertEqual((found, complaints), ([], []))
        self.end()
