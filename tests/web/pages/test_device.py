"""Device codes: typed in any way, shown with who asks, decided about, and not to be guessed."""

from __future__ import annotations

from stalwart import store
from stalwart.auth.oauth import device
from stalwart.auth.oauth.clients import lookup_client
from stalwart.auth.oauth.parameters import parse_parameters
from tests.http.bed import Answer
from tests.web.pages.bed import ADDRESS, PagesBed, text_of
from tests.web.test_jmap import PASSWORD


class DeviceTests(PagesBed):
    """A device that shows a code, and a user who types it."""

    def setUp(self) -> None:
        """Sign in."""
        super().setUp()
        self.browser.sign_in()

    def start(self) -> tuple[str, str]:
        """A device asks; gives its own code and the user's."""
        with self.store.write() as s:
            client = lookup_client(s, "TV<i>", self.oauth)
            assert client is not None
            parameters = parse_parameters(b"scope=urn:ietf:params:oauth:scope:mail")
            answer = device.start(
                s, client, parameters, issuer="https://mail.example.org", address="198.51.100.9", settings=self.oauth
            )
        return answer.device_code, answer.user_code

    def type(self, code: str) -> Answer:
        """Type a code."""
        return self.browser.submit(self.browser.get("/device"), user_code=code)

    def decided(self, device_code: str) -> tuple[bool, int | None]:
        """Whether the user has decided, and what for."""
        with self.store.read() as s:
            row = store.find_device(s, device_code)
        assert row is not None
        return row.is_decided, row.grant_id

    def test_allowed(self) -> None:
        """The user sees who asks from where for what, agrees, and the device gets in; once."""
        device_code, code = self.start()
        page = self.type(code)
        words = text_of(page)
        for part in ("TV<i>", "Not verified.", "198.51.100.9", code, ADDRESS, "Read, change and delete your mail"):
            self.assertIn(part, words)
        self.assertNotIn(b"<i>", page.body)
        answer = self.browser.submit(page, decision="allow")
        self.assertIn("The device is connected", text_of(answer))
        is_decided, grant_id = self.decided(device_code)
        self.assertTrue(is_decided and grant_id)
        self.assertEqual(self.browser.submit(page, decision="allow").status, 404)

    def test_refused(self) -> None:
        """Refused, it gets nothing."""
        device_code, code = self.start()
        self.assertIn("refused", text_of(self.browser.submit(self.type(code), decision="deny")))
        self.assertEqual(self.decided(device_code), (True, None))

    def test_typed(self) -> None:
        """Hyphen, spaces and letter case don't matter, nor digits for the letters that they look like."""
        _, code = self.start()
        plain = code.replace("-", "")
        for typed in (plain.lower(), f" {plain[:4]} {plain[4:]} ", plain.replace("B", "8").replace("S", "5"), code):
            self.assertIn("Let this application in?", text_of(self.type(typed)), typed)

    def test_not_typed(self) -> None:
        """Nothing, or what can't be a code, is asked for again; the page says how, next to the field."""
        for typed in ("", "--", "\u0430\u0432"):
            answer = self.type(typed)
            self.assertEqual(answer.status, 422)
            self.assertIn(b'href="#user_code"', answer.body)

    def test_link(self) -> None:
        """A link with the code fills it in, and doesn't decide; whoever isn't signed in comes back to it."""
        device_code, code = self.start()
        self.browser.cookies.clear()
        page = self.browser.follow(self.browser.get(f"/device?user_code={code}"))
        page = self.browser.follow(self.browser.submit(page, username=ADDRESS, password=PASSWORD))
        self.assertIn(f'value="{code}"'.encode(), page.body)
        self.assertEqual(self.decided(device_code), (False, None))
        self.assertIn("Let this application in?", text_of(self.browser.submit(page)))
        for query in ('user_code="><script>', "user_code=%zz", "user_code=a&user_code=b", "x" * 3000):
            page = self.browser.get("/device?" + query.replace("<", "%3C").replace(">", "%3E").replace('"', "%22"))
            self.assertEqual(page.status, 200)
            self.assertNotIn(b"<script>", page.body)

    def test_guessed(self) -> None:
        """Whoever types ten codes that don't exist has to wait, also with a right one; right ones aren't counted."""
        _, code = self.start()
        for _ in range(20):
            self.assertEqual(self.type(code).status, 200)
        for _ in range(10):
            answer = self.type("BBBB-BBBB")
            self.assertEqual(answer.status, 404)
        answer = self.type(code)
        self.assertEqual(answer.status, 429)
        self.http.clock.advance(int(answer.headers["retry-after"]))
        self.assertEqual(self.type(code).status, 200)

    def test_expired(self) -> None:
        """A code that has expired is as good as none."""
        _, code = self.start()
        self.now += self.oauth.user_code
        self.browser.cookies.clear()
        self.browser.sign_in()
        self.assertEqual(self.type(code).status, 404)

    def test_forged(self) -> None:
        """No other site can type or agree."""
        device_code, code = self.start()
        page = self.type(code)
        self.browser.sends = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        self.assertEqual(self.browser.submit(page, decision="allow").status, 403)
        self.browser.sends = {}
        answer = self.browser.send({"user_code": code, "decision": "allow", "token": ""}, "/device")
        self.assertEqual(answer.status, 403)
        self.assertEqual(self.decided(device_code), (False, None))
