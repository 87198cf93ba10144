"""The Basic scheme's header value. RFC 7617."""

from __future__ import annotations

import base64

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth import AuthMalformed, parse_basic


def header(text: str | bytes) -> bytes:
    """The header value for these credentials."""
    return b"Basic " + base64.b64encode(text.encode() if isinstance(text, str) else text)


class BasicTests(SynchronousTestCase):
    """What is read, and what is refused."""

    def read(self, value: bytes) -> tuple[str, str]:
        """User and password."""
        credentials = parse_basic(value)
        return credentials.user, credentials.password.reveal()

    def test_examples(self) -> None:
        """The two examples of the standard, the second in UTF-8. RFC 7617 §2, §2.1"""
        self.assertEqual(self.read(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), ("Aladdin", "open sesame"))
        self.assertEqual(self.read(b"Basic dGVzdDoxMjPCow=="), ("test", "123£"))

    def test_lenient(self) -> None:
        """The scheme's case, spaces around, missing padding and a password with colons are fine."""
        self.assertEqual(self.read(b" bASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ "), ("Aladdin", "open sesame"))
        self.assertEqual(self.read(header(" ada@example.org :a:b: ")), ("ada@example.org", "a:b: "))
        self.assertEqual(self.read(header(":")), ("", ""))

    def test_normal_form(self) -> None:
        """The password's letters are composed."""
        self.assertEqual(self.read(header("u:e\u0301"))[1], "\u00e9")

    def test_malformed(self) -> None:
        """Other schemes, bad base64, bad UTF-8, no colon, control characters: AuthMalformed."""
        for value in (
            b"",
            b"Basic",
            b"Basic ",
            b"Bearer abc",
            b"Basicabc",
            b"Basic a b",
            b"Basic a:b",
            b"Basic !!!!",
            b"Basic A",
            b"Basic QWxh=ZGRpbg==",
            header(b"u:\xff"),
            header("no colon"),
            header("u:a\0b"),
            header("u\n:a"),
            header("u:\x7f"),
            header("u:p") + b"\r\nX: y",
        ):
            self.assertRaises(AuthMalformed, parse_basic, value)

    def test_secret(self) -> None:
        """Neither the value nor an error shows the password."""
        self.assertNotIn("hunter2", repr(parse_basic(header("u:hunter2"))))
        error = self.assertRaises(AuthMalformed, parse_basic, header("hunter2"))
        self.assertNotIn("hunter2", str(error))
        self.assertNotIn(header("hunter2")[6:].decode(), str(error))

    @settings(deadline=None, max_examples=300)
    @given(st.binary() | st.binary().map(lambda tail: b"Basic " + tail) | st.binary().map(header))
    def test_anything(self, value: bytes) -> None:
        """Any octets are read or AuthMalformed."""
        try:
            credentials = parse_basic(value)
        except AuthMalformed:
            return
        self.assertNotIn(":", credentials.user)
