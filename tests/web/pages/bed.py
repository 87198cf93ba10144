"""A site with the pages over an account, and browsers that keep cookies and fill in forms."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import ClassVar
from urllib.parse import urlencode, urlsplit

import msgspec

from stalwart import store
from stalwart.auth import GuardRules
from stalwart.config import OAuthSettings
from stalwart.web.pages import Desk, pages, problem_page
from tests.http.bed import Answer
from tests.http.bed import Bed as HttpBed
from tests.web.test_jmap import PASSWORD, WebBed

HOST = "mail.example.org"
ADDRESS = "ada@example.org"


class Field(msgspec.Struct, frozen=True):
    """An input or button."""

    name: str
    value: str
    kind: str


class FormReader(HTMLParser):
    """Finds the fields of a page's form, and where it goes."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[Field] = []
        self.action = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = found.get("action", "")
        elif tag in ("input", "button") and "name" in found:
            kind = "button" if tag == "button" else found.get("type", "text")
            self.fields.append(Field(found["name"], found.get("value", ""), kind))


class Browser:
    """Keeps cookies, sends what browsers send, and fills in the form of the last page."""

    def __init__(self, http: HttpBed, *, host: str = HOST, language: str = "", sends: dict[str, str] | None = None):
        self.http = http
        self.host = host
        self.scheme = "https" if http.site.listener.tls else "http"
        self.cookies: dict[str, str] = {}
        self.language = language
        self.sends = {"Origin": "null", "Sec-Fetch-Site": "same-origin"} if sends is None else sends
        self.path = "/"

    def ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> Answer:
        """One request; a field that is '' is left out."""
        lines = {"Host": self.host, "User-Agent": "Test/1"}
        if self.language:
            lines["Accept-Language"] = self.language
        if self.cookies:
            lines["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if method == "POST":
            lines |= {
                "Content-Type": "application/x-www-form-urlencoded",
                "Content-Length": str(len(body)),
                **self.sends,
            }
        lines |= {name.replace("_", "-"): value for name, value in fields.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        answer = self.http.ask(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body, method=method)
        self._keep(answer)
        self.path = path
        return answer

    def get(self, path: str, **fields: str) -> Answer:
        """Open a page."""
        return self.ask("GET", path, b"", **fields)

    def follow(self, answer: Answer) -> Answer:
        """Go where an answer leads, as far as that is here."""
        while answer.status == 303 and answer.headers["location"].startswith("/"):
            answer = self.get(answer.headers["location"])
        return answer

    def submit(self, answer: Answer, **typed: str) -> Answer:
        """Send the form of a page with what was typed, or the button that was pressed; not following."""
        reader = FormReader()
        reader.feed(answer.body.decode())
        values = {field.name: field.value for field in reader.fields if field.kind != "button"}
        assert typed.keys() <= {field.name for field in reader.fields}, (typed, reader.fields)
        return self.send({**values, **typed}, reader.action)

    def send(self, values: dict[str, str], action: str = "", **fields: str) -> Answer:
        """Send these fields."""
        return self.ask("POST", action or self.path, urlencode(values).encode(), **fields)

    def sign_in(self, password: str = PASSWORD, name: str = ADDRESS, path: str = "/login") -> Answer:
        """Type name and password."""
        return self.submit(self.follow(self.get(path)), username=name, password=password)

    @property
    def session(self) -> str:
        """The token of the session."""
        return next(value for name, value in self.cookies.items() if name.endswith("stalwart-session"))

    def _keep(self, answer: Answer) -> None:
        line = answer.headers.get("set-cookie")
        if line is None:
            return
        pair, *attributes = line.split("; ")
        name, _, value = pair.partition("=")
        wanted = {"Path=/", "HttpOnly", "SameSite=Lax"} | ({"Secure"} if self.scheme == "https" else set())
        assert wanted <= set(attributes) <= wanted | {"Max-Age=0"}, line
        assert name.startswith("__Host-") == (self.scheme == "https"), line
        if "Max-Age=0" in attributes:
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value


def text_of(answer: Answer) -> str:
    """The words of a page."""
    body = re.sub(r"<(style|title)>.*?</\1>", "", answer.body.decode(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def query_of(url: str) -> str:
    """The query of a URL."""
    return urlsplit(url).query


class PagesBed(WebBed):
    """An account with a password, and the pages over https."""

    rules: ClassVar[GuardRules | None] = None
    oauth = OAuthSettings(registered_only=False)
    tls = True

    def setUp(self) -> None:
        """Mount the pages."""
        super().setUp()
        self.now = self.store.clock()
        self.store.clock = lambda: self.now
        self.http = HttpBed(tls=self.tls, rules=self.rules, problem_page=problem_page)
        self.http.clock.advance(1000)
        self.desk = Desk(self.jmap, self.metrics, self.oauth)
        for path, resource in pages(self.desk, HOST).items():
            self.http.mount(path, resource)
        with self.store.read() as s:
            self.ada = store.principal_of_account(s, self.account.id).id
        self.browser = Browser(self.http)
