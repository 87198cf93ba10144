"""Request targets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.http.paths import is_authority, parse_target
from stalwart.http.problem import Problem


class Targets(SynchronousTestCase):
    """Paths in their one form."""

    def path(self, target: bytes) -> tuple[bytes, list[bytes]]:
        """The canonical path and its segments."""
        parsed = parse_target(b"GET", target)
        return parsed.path, parsed.segments

    def test_canonical(self) -> None:
        """Each target has one path, in which only what must be is percent-encoded."""
        for target, path, segments in (
            (b"/", b"/", [b""]),
            (b"/a/b", b"/a/b", [b"a", b"b"]),
            (b"/a/", b"/a/", [b"a", b""]),
            (b"//a", b"/a", [b"a"]),
            (b"/a///b//", b"/a/b/", [b"a", b"b", b""]),
            (b"/%61%2d", b"/a-", [b"a-"]),
            (b"/a%2Fb", b"/a%2Fb", [b"a/b"]),
            (b"/a%2fb", b"/a%2Fb", [b"a/b"]),
            (b"/%c3%a4", b"/%C3%A4", ["ä".encode()]),
            (b"/a/./b", b"/a/b", [b"a", b"b"]),
            (b"/a/../b", b"/b", [b"b"]),
            (b"/a/%2e%2E/b", b"/b", [b"b"]),
            (b"/a/..", b"/", [b""]),
            (b"/a/b/..", b"/a/", [b"a", b""]),
            (b"/a/.", b"/a/", [b"a", b""]),
            (b"/.well-known/jmap", b"/.well-known/jmap", [b".well-known", b"jmap"]),
            (b"/a%25b", b"/a%25b", [b"a%b"]),
            (b"/a%3fb", b"/a%3Fb", [b"a?b"]),
        ):
            self.assertEqual(self.path(target), (path, segments), target)

    def test_query(self) -> None:
        """The query is no part of the path and is left as it is."""
        parsed = parse_target(b"GET", b"/a?b=/../%zz?c")
        self.assertEqual((parsed.path, parsed.query), (b"/a", b"b=/../%zz?c"))

    def test_absolute(self) -> None:
        """The absolute form names the host (RFC 9112 §3.2.2)."""
        parsed = parse_target(b"GET", b"http://example.org:80/a")
        self.assertEqual((parsed.path, parsed.authority), (b"/a", b"example.org:80"))
        self.assertEqual(parse_target(b"GET", b"HTTPS://[::1]?q").path, b"/")

    def test_asterisk(self) -> None:
        """The asterisk is for OPTIONS alone."""
        self.assertEqual(parse_target(b"OPTIONS", b"*").path, b"*")
        self.assertRaises(Problem, parse_target, b"GET", b"*")

    def test_refused(self) -> None:
        """What has no one meaning is refused with 400."""
        for target in (
            b"a",
            b"",
            b"/..",
            b"/a/../../b",
            b"/%2e%2e/b",
            b"/%",
            b"/%g1",
            b"/%00",
            b"/%0a",
            b"/%ff",
            b"/\xc3\xa4",
            b"/a#b",
            b"example.org:443",
            b"ftp://example.org/",
            b"http:///a",
            b"http://user@example.org/",
            b"http://ex ample/",
        ):
            self.assertEqual(self.assertRaises(Problem, parse_target, b"GET", target).status, 400, target)

    def test_authorities(self) -> None:
        """A Host is a host and perhaps a port."""
        for good in (b"", b"example.org", b"example.org:8080", b"[2001:db8::1]:443", b"192.0.2.1", b"a_b"):
            self.assertTrue(is_authority(good), good)
        for bad in (b"a b", b"a/b", b"a@b", b"a:b", b"a:123456", b"[::1", b"a,b", b"a?b"):
            self.assertFalse(is_authority(bad), bad)

    @settings(deadline=None, max_examples=500)
    @given(st.lists(st.sampled_from(["a", "..", ".", "", "%2e", "%2F", "%25", "%C3%A4", "~", "b;c"]), max_size=6))
    def test_stable(self, parts: list[str]) -> None:
        """The canonical path is its own canonical path: nothing is decoded twice."""
        try:
            parsed = parse_target(b"GET", ("/" + "/".join(parts)).encode())
        except Problem:
            return
        again = parse_target(b"GET", parsed.path)
        self.assertEqual((again.path, again.segments), (parsed.path, parsed.segments))
        self.assertNotIn(b"..", parsed.segments)

    @settings(deadline=None, max_examples=500)
    @given(st.binary(max_size=100))
    def test_any_octets(self, octets: bytes) -> None:
        """Any octets are a target or a Problem."""
        for target in (octets, b"/" + octets):
            try:
                parsed = parse_target(b"GET", target)
            except Problem:
                continue
            self.assertTrue(parsed.path.isascii())
