"""A user at a browser, who signs in and decides about clients by the forms of the daemon's pages."""

from __future__ import annotations

from urllib.parse import urljoin

import requests

from tests.live.daemon import ADDRESS, PASSWORD
from tests.web.pages.bed import FormReader


class BrowserUser:
    """Keeps cookies between its visits, so that the password is typed once."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self.http = requests.Session()
        self.http.trust_env = False

    def close(self) -> None:
        """Leave the browser."""
        self.http.close()

    def visit(self, url: str, *, decision: str = "allow") -> str:
        """Open a link and fill in the forms on the way; gives where the browser ends up.

        That is the client's redirect URI with its answer, which isn't opened, or the page that says it is done.
        """
        answer = self.http.get(url, allow_redirects=False, timeout=30)
        for _ in range(10):
            if answer.is_redirect:
                url = urljoin(url, answer.headers["Location"])
                if not url.startswith(f"{self._base_url}/"):
                    return url
                answer = self.http.get(url, allow_redirects=False, timeout=30)
                continue
            assert answer.status_code == 200, (url, answer.status_code, answer.text)
            form = FormReader()
            form.feed(answer.text)
            values = {field.name: field.value for field in form.fields if field.kind != "button"}
            if "password" in values:
                values |= {"username": ADDRESS, "password": PASSWORD}
            elif any(field.name == "decision" for field in form.fields):
                values["decision"] = decision
            elif "user_code" not in values:
                return url
            url = urljoin(url, form.action)
            answer = self.http.post(url, data=values, allow_redirects=False, timeout=30)
        raise AssertionError(f"{url} leads in a circle")
