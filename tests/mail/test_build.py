"""Messages built: they read back as what was put in, here and with Python's own reader."""

from __future__ import annotations

import email
import itertools
from collections.abc import Callable, Iterable
from email.message import EmailMessage
from email.policy import default

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.bodies import body_value, decode_part, walk
from stalwart.mail.build import NewPart, build, parameterized_field
from stalwart.mail.build_fields import InvalidValue, text_field
from stalwart.mail.build_transfer import choose, encode, look_at
from stalwart.mail.message import Part, parse
from stalwart.mail.parameters import parse_parameterized

_CASES = settings(deadline=None, max_examples=60)
_OCTETS = st.binary(max_size=400) | st.text("ab=. \t\r\n-_é日\0", max_size=300).map(str.encode)
_BODY = st.text(max_size=300) | st.text("ab=. \t\r\n-_é日", max_size=300)
_TYPES = st.sampled_from(["text/plain", "text/html", "application/pdf", "message/rfc822", "image/png"])


def tokens(*first: str) -> Callable[[], str]:
    """A source of boundaries: these, then others."""
    source = itertools.chain(first, (f"token{number}" for number in itertools.count()))
    return lambda: next(source)


def in_pieces(octets: bytes, size: int = 7) -> Callable[[], Iterable[bytes]]:
    """The octets a few at a time."""
    return lambda: (octets[start : start + size] for start in range(0, len(octets), size))


def octets_of(body: NewPart, *first: str) -> bytes:
    """A message with this body."""
    return b"".join(build([text_field("Subject", "x")], body, tokens(*first)))


def text_as_read(text: str) -> str:
    """What becomes of a body's text: its line breaks are all alike, and it has no NUL."""
    return text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")


def longest_line(octets: bytes) -> int:
    """Octets of the longest line."""
    return max(map(len, octets.split(b"\r\n")))


class LeafTests(SynchronousTestCase):
    """Messages of one part."""

    @_CASES
    @given(_BODY)
    def test_text_comes_back(self, text: str) -> None:
        """RFC 8621 §4.1.4: the text of a body comes back, trailing blanks and long lines too, in 7-bit lines."""
        octets = octets_of(NewPart(type="text/plain", content=text))
        root = parse(octets).structure
        value = body_value(octets[root.body_start : root.body_end], root)
        self.assertEqual((value.value, value.is_encoding_problem), (text_as_read(text), False))
        self.assertEqual(root.charset, "us-ascii" if text.isascii() else "utf-8")
        self.assertLessEqual(longest_line(octets), 998)
        self.assertTrue(octets.isascii())

    def test_escapes_come_back(self) -> None:
        """RFC 8621 §4.6: text that looks like another charset's escapes stays as it is."""
        for text in ("\x1b$B$3$s\x1b(B", "\x1b[31mred\x1b[0m", "~{<:Ky~}", "+AGEAYg-"):
            data = octets_of(NewPart(type="text/plain", content=text))
            part = parse(data).structure
            self.assertEqual(body_value(data[part.body_start : part.body_end], part).value, text)

    @_CASES
    @given(_BODY)
    def test_others_read_the_text(self, text: str) -> None:
        """Python's reader sees the same text."""
        message = email.message_from_bytes(octets_of(NewPart(type="text/plain", content=text)), policy=default)
        assert isinstance(message, EmailMessage)
        octets = message.get_payload(decode=True)
        assert isinstance(octets, bytes)
        found = octets.decode(message.get_content_charset() or "us-ascii")
        self.assertEqual(found.replace("\r\n", "\n"), text_as_read(text))

    @_CASES
    @given(_OCTETS, _TYPES, st.integers(1, 50))
    def test_octets_come_back(self, octets: bytes, media_type: str, size: int) -> None:
        """Attachments come back octet for octet, however their pieces were cut, in lines of at most 998 octets."""
        built = octets_of(NewPart(type=media_type, content=in_pieces(octets, size)))
        message = parse(built)
        self.assertEqual(decode_part(built, message.structure), octets)
        self.assertEqual(message.structure.type, media_type)
        self.assertLessEqual(longest_line(built), 998)
        self.assertNotIn(b"\0", built)
        if media_type != "message/rfc822":
            self.assertTrue(built.isascii())

    def test_choice(self) -> None:
        """RFC 2045 §6: no encoding where none is needed, the one that is shorter elsewhere, never binary."""
        for media_type, octets, encoding in (
            ("text/plain", b"", "7bit"),
            ("text/plain", b"plain\r\nlines \r\n", "7bit"),
            ("text/plain", "Grüße an alle, die heute im Haus geblieben sind".encode(), "quoted-printable"),
            ("text/plain", "日本語".encode(), "base64"),
            ("text/plain", b"x" * 998, "7bit"),
            ("text/plain", b"x" * 999, "quoted-printable"),
            ("text/plain", b"bare\nline", "quoted-printable"),
            ("image/png", b"\x89PNG\r\n", "base64"),
            ("application/pgp-signature", b"-----BEGIN\r\n", "7bit"),
            ("message/rfc822", "Subject: Grüße\r\n\r\n".encode(), "8bit"),
            ("message/rfc822", b"Subject: x\n\n", "base64"),
            ("application/x", b"a\0b", "base64"),
            ("application/x", b"ends in CR\r", "base64"),
        ):
            for size in (1, 2, 3, 1000):
                self.assertEqual(choose(media_type, look_at(in_pieces(octets, size)(), b"mark")), encoding, octets)

    def test_format_flowed_is_kept(self) -> None:
        """RFC 3676 §4.2: the blanks at the ends of lines stay where they are, and so does the parameter."""
        text = "flowed \nlines \n-- \nAda\n"
        octets = octets_of(NewPart(type="text/plain", parameters=(("format", "flowed"),), content=text))
        self.assertIn(b"\r\nflowed \r\nlines \r\n-- \r\nAda\r\n", octets)
        self.assertIn(b"Content-Type: text/plain; charset=us-ascii; format=flowed\r\n", octets)

    def test_long_line_in_pieces(self) -> None:
        """Quoted-printable of a text without line breaks: soft breaks, no line over 76 characters."""
        octets = b"a b=" * 100_000 + b" "
        encoded = b"".join(encode(in_pieces(octets, 8192)(), "quoted-printable"))
        self.assertLessEqual(longest_line(encoded), 76)
        built = octets_of(NewPart(type="text/plain", content=in_pieces(octets, 8192)))
        self.assertEqual(decode_part(built, parse(built).structure), octets)


class TreeTests(SynchronousTestCase):
    """Multiparts."""

    @_CASES
    @given(
        st.recursive(
            _OCTETS,
            lambda below: st.lists(below, min_size=1, max_size=4),
            max_leaves=12,
        ).filter(lambda tree: isinstance(tree, list))
    )
    def test_trees_come_back(self, tree: object) -> None:
        """RFC 2046 §5.1: parts come back in their order and nesting, empty ones and those like boundaries too."""

        def new(node: object) -> NewPart:
            if isinstance(node, list):
                return NewPart(type="multipart/mixed", sub_parts=tuple(map(new, node)))
            assert isinstance(node, bytes)
            return NewPart(type="application/x-test", content=in_pieces(node, 50))

        def seen(part: Part) -> object:
            return decode_part(built, part) if part.sub_parts is None else [seen(one) for one in part.sub_parts]

        built = octets_of(new(tree))
        self.assertEqual(seen(parse(built).structure), tree)

        def read(message: email.message.Message) -> object:
            if message.is_multipart():
                return [read(one) for one in message.get_payload() if isinstance(one, email.message.Message)]
            return message.get_payload(decode=True)

        self.assertEqual(read(email.message_from_bytes(built)), tree)

    def test_boundary_is_not_inside(self) -> None:
        """RFC 2046 §5.1: a boundary that is in the content, even across two pieces, is not taken."""
        text = b"x\r\n--=_1.first--\r\ny"
        body = NewPart(
            type="multipart/mixed",
            sub_parts=(NewPart(type="text/plain", content=in_pieces(text, 9)), NewPart(type="text/plain")),
        )
        octets = octets_of(body, "first", "second")
        self.assertIn(b'boundary="=_1.second"', octets)
        self.assertEqual(decode_part(octets, walk(parse(octets).structure)[0]), text)
        self.assertRaises(RuntimeError, lambda: b"".join(build([], body, lambda: "first")))

    def test_eight_bit_containers(self) -> None:
        """RFC 2045 §6.4: what contains 8-bit data says so, up to the message itself."""
        attached = NewPart(type="message/rfc822", content=in_pieces("Subject: é\r\n\r\nx".encode()))
        inner = NewPart(type="multipart/mixed", sub_parts=(attached,))
        octets = octets_of(NewPart(type="multipart/mixed", sub_parts=(inner,)))
        self.assertEqual(octets.count(b"Content-Transfer-Encoding: 8bit\r\n"), 3)

    def test_header(self) -> None:
        """RFC 2045 §4: MIME-Version is there, once."""
        self.assertEqual(
            octets_of(NewPart(type="text/plain", content="x")),
            b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nx",
        )
        given_one = b"".join(build([text_field("mime-version", "1.0")], NewPart(type="text/plain"), tokens()))
        self.assertEqual(given_one.lower().count(b"mime-version"), 1)


class ParameterTests(SynchronousTestCase):
    """Parameters of Content-Type and Content-Disposition."""

    @_CASES
    @given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=200))
    def test_come_back(self, value: str) -> None:
        """RFC 2231: any text comes back, in lines of at most 78 characters; line breaks begin no new field."""
        field = parameterized_field("Content-Disposition", "attachment", [("filename", value), ("size", "7")])
        found = parse_parameterized(field.raw)
        self.assertEqual((found.value, found.parameters), ("attachment", {"filename": value, "size": "7"}))
        lines = (b"Content-Disposition:" + field.raw).split(b"\r\n")
        self.assertTrue(all(line[:1] == b" " for line in lines[1:]))
        self.assertLessEqual(max(map(len, lines)), 78)

    @_CASES
    @given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=200))
    def test_others_read_them(self, value: str) -> None:
        """Python's reader sees the same file name."""
        field = parameterized_field("Content-Disposition", "attachment", [("filename", value)])
        message = email.message_from_bytes(b"Content-Disposition:" + field.raw + b"\r\n\r\n")
        self.assertEqual(message.get_filename(), value.strip())

    def test_names(self) -> None:
        """What is no name of a parameter is refused."""
        for name in ("", "a b", "a*", "a=b", "a;b", "é"):
            self.assertRaises(InvalidValue, parameterized_field, "Content-Type", "a/b", [(name, "x")])
