"""What a CA sends, whatever that is."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from stalwart.tls.acme import AcmeError
from stalwart.tls.acme.resources import Authorization, Directory, Order, RenewalInfo, parse, url_of
from stalwart.tls.acme.transport import Answer

_URL = "https://ca.example/x"
_ORDER: dict[str, Any] = {
    "status": "valid",
    "identifiers": [{"type": "dns", "value": "a.example.org"}],
    "authorizations": [_URL],
    "finalize": _URL,
    "certificate": _URL,
}
_KINDS: tuple[Any, ...] = (Directory, Order, Authorization, RenewalInfo)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def answer(body: bytes, status: int = 400) -> Answer:
    """An answer without head."""
    return Answer(url=_URL, status=status, headers=Headers(), body=body, retry_after=None)


class ParseTests(SynchronousTestCase):
    def test_more_than_wanted(self) -> None:
        """Fields that nobody knows are ignored (RFC 8555 §7.1)."""
        order = parse(json.dumps({**_ORDER, "odd": [], "expires": "soon"}).encode(), Order, _URL)
        self.assertEqual(order.certificate, _URL)

    @given(st.sampled_from(sorted(_ORDER)), _VALUES)
    @settings(deadline=None, max_examples=150)
    def test_any_value(self, field: str, value: Any) -> None:
        """A field with any value is taken, or an error that names the field and the URL."""
        try:
            parse(json.dumps({**_ORDER, field: value}).encode(), Order, _URL)
        except AcmeError as error:
            self.assertEqual(error.type, "badAnswer")
            self.assertIn(field, str(error))
            self.assertIn(_URL, str(error))

    @given(st.binary(max_size=60) | _VALUES.map(lambda value: json.dumps(value).encode()), st.sampled_from(_KINDS))
    @settings(deadline=None, max_examples=150)
    def test_any_body(self, body: bytes, kind: Any) -> None:
        """Any octets are an AcmeError."""
        error = self.assertRaises(AcmeError, parse, body, kind, _URL)
        self.assertEqual(error.type, "badAnswer")

    def test_deep_nesting(self) -> None:
        """JSON that nests without end is an error as any other."""
        self.assertRaises(AcmeError, parse, b"[" * 100_000, Directory, _URL)
        self.assertRaises(AcmeError, parse, b'{"meta":' * 100_000, Directory, _URL)
        self.assertEqual(answer(b'{"a":' * 100_000).error().type, "badAnswer")

    def test_windows(self) -> None:
        """A moment without a time zone is none (RFC 9773 §4.2: RFC 3339)."""
        window = {"suggestedWindow": {"start": "2026-01-01T00:00:00", "end": "2026-01-02T00:00:00Z"}}
        error = self.assertRaises(AcmeError, parse, json.dumps(window).encode(), RenewalInfo, _URL)
        self.assertIn("$.suggestedWindow.start", str(error))

    def test_urls(self) -> None:
        """Only https with a host is a URL."""
        for text in ("https://ca", "https://ca:14000/dir?a=b", "https://[::1]:14000/"):
            self.assertEqual(url_of(text, "Location"), text)
        for bad in (
            None,
            "",
            "http://ca/",
            "https://",
            "https://a@b/",
            "https:///a",
            "https://a/\n",
            "/a",
            "https://ä/",
        ):
            self.assertRaises(AcmeError, url_of, bad, "Location")


class ErrorTests(SynchronousTestCase):
    @given(st.binary(max_size=60) | _VALUES.map(lambda value: json.dumps({"detail": value, "type": "x"}).encode()))
    @settings(deadline=None, max_examples=150)
    def test_any_problem(self, body: bytes) -> None:
        """Any answer that isn't a success is an error of one line."""
        text = str(answer(body).error())
        self.assertEqual(text.splitlines(), [text])
        self.assertTrue(text.isprintable())

    def test_line_breaks(self) -> None:
        """The CA can't write lines of its own into a log."""
        problem = {"type": "urn:ietf:params:acme:error:dns", "detail": "a\r\nb\x1b[31m\u2028c"}
        self.assertEqual(str(answer(json.dumps(problem).encode()).error()), f"{_URL}: a b [31m c (dns)")

    def test_long_texts(self) -> None:
        """Nor long ones."""
        problem = {"type": "urn:ietf:params:acme:error:dns", "detail": "x" * 100_000}
        self.assertLess(len(str(answer(json.dumps(problem).encode()).error())), 1200)

    def test_transient(self) -> None:
        """A refusal is final; too many requests and the CA's own failures are not."""
        self.assertFalse(answer(b"{}", 400).error().transient)
        self.assertTrue(answer(b"{}", 429).error().transient)
        self.assertTrue(answer(b"{}", 503).error().transient)
