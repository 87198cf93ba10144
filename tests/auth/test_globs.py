"""Patterns of paths."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth.globs import PathGlobs
from stalwart.config.guard_settings import SCAN_PATHS


class GlobTests(SynchronousTestCase):
    """`PathGlobs`."""

    CASES = (
        ("*.php*", "/a/index.PHP5", True),
        ("*.php*", "*.php", True),
        ("*.php*", "/php", False),
        ("*.php*", "/xphp", False),
        ("/a", "/a", True),
        ("/a", "/a/b", False),
        ("/a", "/b/a", False),
        ("/a*", "/A/b/c", True),
        ("*a", "/b/A", True),
        ("*a", "/b/ab", False),
        ("/?", "/x", True),
        ("/?", "/", False),
        ("/?", "/xy", False),
        ("/a*b*c", "/a/b/x/c", True),
        ("/a*b*c", "/acb", False),
        ("/[a]", "/[A]", True),
        ("/[a]", "/a", False),
        ("/a|b", "/a", False),
        ("/ä*", "/Äb", True),
        ("/*", "/a\nb", True),
    )

    def test_table(self) -> None:
        """`*` is anything, slashes too, `?` is one character, case doesn't matter, the rest stands for itself."""
        for pattern, path, wanted in self.CASES:
            self.assertEqual(PathGlobs([pattern]).match(path), wanted, (pattern, path))

    def test_several(self) -> None:
        """One of several is enough; none match nothing."""
        globs = PathGlobs(["/a", "/b*"])
        self.assertEqual([globs.match(path) for path in ("/a", "/bc", "/c")], [True, True, False])
        self.assertFalse(PathGlobs([]).match(""))

    def test_defaults(self) -> None:
        """The built-in patterns know what scanners ask for, and leave alone what mail clients do."""
        globs = PathGlobs(SCAN_PATHS)
        for path in ("/wp-login.php", "/x/wp-admin/", "/phpMyAdmin/", "/cgi-bin/a", "/XMLRPC", "/a/../b", "/..;/b"):
            self.assertTrue(globs.match(path), path)
        for path in ("/", "/jmap", "/.well-known/caldav", "/autodiscover/autodiscover.xml", "/favicon.ico", "/dav/cal"):
            self.assertFalse(globs.match(path), path)

    @settings(deadline=None, max_examples=100)
    @given(st.text(), st.text())
    def test_any_text(self, pattern: str, path: str) -> None:
        """Any pattern can be made, and matches the path that it spells when it has no wildcards."""
        self.assertIn(PathGlobs([pattern]).match(path), (True, False))
        if not set(pattern) & set("*?"):
            self.assertTrue(PathGlobs([pattern]).match(pattern))
