"""Content-Type and Content-Disposition values (RFC 2045 §5.1, RFC 2231)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.parameters import file_name, parse_parameterized, token


class ParameterTests(SynchronousTestCase):
    def parameters(self, raw: bytes) -> dict[str, str]:
        return parse_parameterized(raw).parameters

    def test_value(self) -> None:
        """The value is in lower case, without comments and blanks."""
        self.assertEqual(parse_parameterized(b" Text/HTML (a page) ; x=y").value, "text/html")
        self.assertEqual(parse_parameterized(b'attachment;filename="x"').value, "attachment")
        self.assertEqual(parse_parameterized(b"").value, "")

    def test_quoting(self) -> None:
        """Quoted strings may hold semicolons and quoted pairs; names are in any case."""
        self.assertEqual(
            self.parameters(b'a/b; NAME="x;\\"y\\""; Charset = utf-8 ;q=1'),
            {"name": 'x;"y"', "charset": "utf-8", "q": "1"},
        )

    def test_unquoted_blanks(self) -> None:
        """A name with blanks that should have been quoted is whole."""
        self.assertEqual(
            self.parameters(b"a/b; name=This is a test.txt; x=y"), {"name": "This is a test.txt", "x": "y"}
        )

    def test_missing_semicolons(self) -> None:
        """Semicolons that were forgotten are thought in; superfluous ones don't count."""
        self.assertEqual(
            self.parameters(b'text/plain charset="utf-8" format=flowed'), {"charset": "utf-8", "format": "flowed"}
        )
        self.assertEqual(self.parameters(b"text/plain;; charset=utf-8;"), {"charset": "utf-8"})

    def test_unclosed_quote(self) -> None:
        """A quoted string that isn't closed ends with the field."""
        self.assertEqual(self.parameters(b'a/b; name="x; y'), {"name": "x; y"})

    def test_junk(self) -> None:
        """What is no parameter is passed over."""
        self.assertEqual(self.parameters(b'a/b; junk; "x"; =y; a=b'), {"a": "b"})

    def test_first_wins(self) -> None:
        """Of two parameters of one name the first counts."""
        self.assertEqual(self.parameters(b"a/b; x=1; x=2"), {"x": "1"})

    def test_continuations(self) -> None:
        """RFC 2231 §3: pieces join in the order of their numbers."""
        self.assertEqual(
            self.parameters(b'm/x; URL*1="cs.utk.edu/pub"; URL*0="ftp://"'), {"url": "ftp://cs.utk.edu/pub"}
        )

    def test_charset(self) -> None:
        """RFC 2231 §4: charset and language, percent-encoded octets; a mark may be missing."""
        self.assertEqual(
            self.parameters(b"a/x; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A"),
            {"title": "This is ***fun***"},
        )
        self.assertEqual(self.parameters(b"a/x; f*=iso-8859-1''na%EFve"), {"f": "naïve"})
        self.assertEqual(self.parameters(b"a/x; f*=na%C3%AFve"), {"f": "naïve"})

    def test_both(self) -> None:
        """RFC 2231 §4.1: encoded and plain pieces together; the extended form beats the plain one."""
        raw = (
            b"a/x; t=no; t*0*=us-ascii'en'This%20is%20even%20more%20; t*1*=%2A%2A%2Afun%2A%2A%2A%20; t*2=\"isn't it!\""
        )
        self.assertEqual(self.parameters(raw), {"t": "This is even more ***fun*** isn't it!"})

    def test_file_names(self) -> None:
        """Encoded words count in file names, quoted or not; raw octets are read as header text is."""
        for value, name in {
            "=?utf-8?B?w7wudHh0?=": "ü.txt",
            "a =?utf-8?q?=C3=BC?= =?utf-8?q?=2Etxt?=": "a ü.txt",
            "\udce9t\udce9.txt": "été.txt",
            "  x\r\n.txt ": "x.txt",
        }.items():
            self.assertEqual(file_name(value, None), name)
        self.assertIsNone(file_name(" ", None))
        self.assertIsNone(file_name(None, None))

    def test_token(self) -> None:
        """A token ends at a blank or comment, and has no quotes."""
        self.assertEqual(token("us-ascii (Plain text)"), "us-ascii")
        self.assertEqual(token("'utf-8'"), "utf-8")
        self.assertIsNone(token(" "))
