"""Refusals of the server as people see them, and as programs do; and what lies at `/`."""

from __future__ import annotations

import json

from stalwart.http import Endpoint, Problem, Request, Response
from tests.web.pages.bed import PagesBed, text_of

# What browsers send where a person goes to.
NAVIGATION = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class _Broken(Endpoint):
    async def get(self, request: Request) -> Response:
        """A fault."""
        raise RuntimeError("something of the inside")


class _Uncached(Endpoint):
    async def get(self, request: Request) -> Response:
        """A refusal with fields."""
        raise Problem(503, headers=(("Cache-Control", "no-cache"), ("Retry-After", "5")))


class ProblemTests(PagesBed):
    """What stands where there is nothing to see."""

    def test_page(self) -> None:
        """A person sees a page in their language, under the fields of all pages; the status and its fields stay."""
        self.browser.language = "de"
        for path in ("/nothing", "/login/nothing", "/device/", "/jmap/nothing"):
            answer = self.browser.get(path, Accept=NAVIGATION)
            self.assertEqual((answer.status, answer.headers["content-type"]), (404, "text/html; charset=utf-8"))
            self.assertIn("Das hat nicht geklappt Unter dieser Adresse gibt es nichts.", text_of(answer))
            self.assertIn("default-src 'none'", answer.headers["content-security-policy"])
            self.assertEqual(answer.headers["cache-control"], "no-store")
        answer = self.browser.ask("DELETE", "/login", Accept=NAVIGATION)
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, OPTIONS, POST"))
        self.assertIn("<h1>", answer.body.decode())
        self.assertEqual(self.browser.ask("HEAD", "/nothing", Accept=NAVIGATION).body, b"")

    def test_too_large(self) -> None:
        """So is a form that is too large."""
        answer = self.browser.ask("POST", "/login", b"a" * 9000, Accept=NAVIGATION)
        self.assertEqual((answer.status, answer.headers["content-type"]), (413, "text/html; charset=utf-8"))

    def test_fault(self) -> None:
        """A fault of the server is a page with what to look for in the log, and not with the cause."""
        self.http.mount("/broken", _Broken())
        answer = self.browser.get("/broken", Accept=NAVIGATION)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(answer.status, 500)
        self.assertIn(answer.headers["x-request-id"], text_of(answer))
        self.assertNotIn("something of the inside", answer.body.decode())

    def test_fields(self) -> None:
        """A field that a refusal has of its own, and all pages have, is there once."""
        self.http.mount("/stale", _Uncached())
        answer = self.browser.get("/stale", Accept=NAVIGATION)
        self.assertEqual((answer.headers["cache-control"], answer.headers["retry-after"]), ("no-store", "5"))

    def test_document(self) -> None:
        """Programs and scripts, which take anything or name JSON, get a problem document."""
        for accept in ("", "*/*", "application/json", "application/problem+json, */*;q=0.1"):
            answer = self.browser.get("/nothing", Accept=accept)
            self.assertEqual(answer.headers["content-type"], "application/problem+json", accept)
            self.assertEqual(json.loads(answer.body)["status"], 404)

    def test_home(self) -> None:
        """Who types the server's name alone is led to the sign-in."""
        answer = self.browser.get("/", Accept=NAVIGATION)
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/login"))
        self.assertIn("Sign in", text_of(self.browser.follow(answer)))
