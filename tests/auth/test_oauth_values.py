"""The pure parts of OAuth: parameters, scopes, redirect URIs, resources."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth.oauth import scopes
from stalwart.auth.oauth.errors import OAuthError
from stalwart.auth.oauth.parameters import parse_parameters
from stalwart.auth.oauth.redirects import BadRedirect, check_redirect, is_native, matches, with_parameters
from stalwart.auth.oauth.resources import is_ours

_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20)


class ParameterTests(SynchronousTestCase):
    """Queries and forms."""

    def test_read(self) -> None:
        """Values by name; what is there twice is not among them; resources may be there more than once."""
        found = parse_parameters(b"a=1&b=%C3%A4+%2B&c&d=&e=1&e=2&e=3&resource=x&resource=y&=z")
        self.assertEqual(found.values, {"a": "1", "b": "ä +", "": "z"})
        self.assertEqual((found.repeated, found.resources), ({"e"}, ("x", "y")))
        self.assertRaises(OAuthError, found.refuse_repeated)
        self.assertRaises(OAuthError, found.require, "c")

    @settings(deadline=None, max_examples=200)
    @given(st.dictionaries(_TEXT.filter(lambda name: name != "resource"), _TEXT.filter(bool), max_size=8))
    def test_round_trip(self, values: dict[str, str]) -> None:
        """What a client encodes is what is read."""
        found = parse_parameters(urlencode(values).encode())
        self.assertEqual((found.values, found.repeated), (values, frozenset()))

    @settings(deadline=None, max_examples=300)
    @given(st.one_of(st.binary(max_size=60), st.text("ab=&%+0Ff\xe4", max_size=60).map(str.encode)))
    def test_any_octets(self, octets: bytes) -> None:
        """Any octets are read, or refused as invalid_request."""
        try:
            found = parse_parameters(octets)
        except OAuthError as error:
            self.assertEqual(error.code, "invalid_request")
        else:
            self.assertFalse(found.repeated & found.values.keys())


class RedirectTests(SynchronousTestCase):
    """Redirect URIs."""

    def test_may_be(self) -> None:
        """https anywhere, http on loopback, private-use schemes with a dot. RFC 8252 §7"""
        for uri in (
            "https://app.example/",
            "https://app.example",
            "https://app.example:8443/cb?x=y%20z",
            "https://[2001:db8::1]/cb",
            "https://xn--bcher-kva.example/cb",
        ):
            check_redirect(uri)
            self.assertFalse(is_native(uri), uri)
        for uri in (
            "http://127.0.0.1/",
            "http://127.0.0.1:8080/cb",
            "http://[::1]:1/cb",
            "http://localhost/cb",
            "org.example.app:/cb",
            "org.example.app:cb",
            "org.example.app://cb",
        ):
            check_redirect(uri)
            self.assertTrue(is_native(uri), uri)

    def test_may_not_be(self) -> None:
        """Anything that could lead elsewhere than it seems to."""
        for uri in (
            "",
            "/cb",
            "//app.example/cb",
            "app.example/cb",
            "http://app.example/cb",
            "http://127.0.0.2/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1@evil.example/cb",
            "http://127.0.0.1:80@evil.example/cb",
            "http://localhost.evil.example/cb",
            "HTTP://127.0.0.1/cb",
            "https://",
            "https:///cb",
            "https://user@app.example/cb",
            "https://user:pass@app.example/cb",
            "https://app.example/cb#fragment",
            "https://app.example/cb#",
            "https://app.example/a/../cb",
            "https://app.example/a/%2e%2E/cb",
            "https://app.example/./cb",
            "https://app.example\\@evil.example/",
            "https://app.example/c b",
            "https://app.example/c\tb",
            "https://app.example/%zz",
            "https://app.example:x/",
            "https://app.example:99999/",
            "https://app.*/",
            "https://b\u00fccher.example/",
            "https://app.example/" + "x" * 2000,
            "javascript:alert(1)",
            "data:text/html,x",
            "app:/cb",
            "org.example.app://evil/cb\r\n",
            "org.example.app:/a/../b",
            "org.example.app:///cb",
            "org.example.app:",
        ):
            self.assertRaises(BadRedirect, check_redirect, uri)

    def test_matches(self) -> None:
        """To the character, but for the port of loopback."""
        registered = ("https://app.example/cb", "http://127.0.0.1:1/cb?a=b")
        for uri in (*registered, "http://127.0.0.1/cb?a=b", "http://127.0.0.1:65535/cb?a=b"):
            self.assertTrue(matches(registered, uri), uri)
        for uri in (
            "https://app.example/cb/",
            "https://app.example:443/cb",
            "https://app.example/CB",
            "https://app.example/cb?",
            "http://localhost:1/cb?a=b",
            "http://[::1]:1/cb?a=b",
            "http://127.0.0.1:1/cb",
            "http://127.0.0.1:1/cb?a=c",
        ):
            self.assertFalse(matches(registered, uri), uri)

    @settings(deadline=None, max_examples=300)
    @given(st.text(max_size=40).map(lambda rest: "https://app.example" + rest))
    def test_stays(self, uri: str) -> None:
        """A URI that begins with a host and may be used leads to a host that begins so, and nowhere else."""
        try:
            check_redirect(uri)
        except BadRedirect:
            return
        host = urlsplit(uri).hostname or ""
        self.assertTrue(host.startswith("app.example"), uri)
        self.assertNotIn("@", urlsplit(uri).netloc)

    @settings(deadline=None, max_examples=100)
    @given(st.dictionaries(st.sampled_from(["code", "state", "error"]), _TEXT.filter(bool), min_size=1))
    def test_answer(self, values: dict[str, str]) -> None:
        """An answer can be read from the query, and changes nothing else of the URI."""
        for uri in ("https://app.example/cb", "https://app.example/cb?x=1", "org.example.app:/cb"):
            found = urlsplit(with_parameters(uri, values))
            self.assertEqual(dict(parse_qsl(found.query)) | {"x": "1"}, values | {"x": "1"})
            self.assertEqual((found.netloc, found.fragment), (urlsplit(uri).netloc, ""))


class OtherTests(SynchronousTestCase):
    """Scopes and resources."""

    def test_scope(self) -> None:
        """Known ones, each once, in a fixed order; those that aren't known or allowed are left out."""
        self.assertEqual(scopes.parse_scope("email openid email x"), ("openid", "email"))
        self.assertEqual(scopes.parse_scope(None), scopes.DEFAULT)
        self.assertEqual(scopes.parse_scope("openid email", ("email",)), ("email",))
        for text in ("", " ", "openid ", 'a"b', "a\\b", "ä", "x"):
            error = self.assertRaises(OAuthError, scopes.parse_scope, text)
            self.assertEqual(error.code, "invalid_scope")
        self.assertRaises(OAuthError, scopes.parse_scope, None, ("email",))

    def test_resource(self) -> None:
        """This server and what lies below it. RFC 8707 §2"""
        issuer = "https://mail.example.org"
        for resource in (issuer, f"{issuer}/", f"{issuer}/jmap?x"):
            self.assertTrue(is_ours(resource, issuer))
        for resource in (
            "",
            f"{issuer}.evil.example",
            f"{issuer}:8443",
            f"{issuer}/#x",
            "http://mail.example.org",
            quote(issuer),
        ):
            self.assertFalse(is_ours(resource, issuer))
