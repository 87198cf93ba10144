"""The MIME structure of messages (RFC 2046 §5.1, RFC 8621 §4.1.4)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.bodies import decode_part, walk
from stalwart.mail.message import (
    MAX_DEPTH,
    MAX_PARTS,
    Part,
    decode_structure,
    encode_structure,
    parse,
)


def shape(part: Part) -> Any:
    """The types of a structure, nested."""
    if part.sub_parts is None:
        return part.type
    return [part.type, *(shape(one) for one in part.sub_parts)]


def contents(data: bytes, part: Part | None = None) -> list[bytes]:
    """The octets of the parts that are not multipart."""
    part = part or parse(data).structure
    if part.sub_parts is None:
        return [decode_part(data, part)]
    return [octets for one in part.sub_parts for octets in contents(data, one)]


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


MIXED = crlf(
    """Subject: x
Content-Type: multipart/mixed; boundary="b b"

preamble
--b b
Content-Type: text/plain; charset=utf-8

one

--b b\t
Content-Type: application/pdf; name="x.pdf"
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename="y.pdf"

SGVsbG8=
--b b--
epilogue
--b b
ignored
"""
)


class SinglePartTests(SynchronousTestCase):
    def part(self, header: str, body: str = "x\n") -> Part:
        return parse(crlf(header + "\n" + body)).structure

    def test_defaults(self) -> None:
        """Without any Content field a message is text/plain in us-ascii, part "1", and its body the rest."""
        data = b"Subject: x\r\n\r\nbody\r\n"
        part = parse(data).structure
        self.assertEqual(
            part,
            Part(
                part_id="1",
                type="text/plain",
                charset="us-ascii",
                name=None,
                disposition=None,
                cid=None,
                language=None,
                location=None,
                encoding="identity",
                size=6,
                header_start=0,
                body_start=14,
                body_end=20,
                sub_parts=None,
            ),
        )

    def test_charset(self) -> None:
        """As written; us-ascii for text without one; null for other types without one."""
        self.assertEqual(self.part("Content-Type: text/html\n").charset, "us-ascii")
        self.assertEqual(self.part("Content-Type: TEXT/Plain; charset=UTF-8 (x)\n").charset, "UTF-8")
        self.assertIsNone(self.part("Content-Type: image/png\n").charset)
        self.assertEqual(self.part("Content-Type: application/json; charset=utf-8\n").charset, "utf-8")

    def test_invalid_type(self) -> None:
        """RFC 2045 §5.2: what is no type is text/plain."""
        for value in ("text", "/", "text/", "", "té/xt", "; charset=utf-8"):
            self.assertEqual(self.part(f"Content-Type: {value}\n").type, "text/plain", value)

    def test_first_type(self) -> None:
        """Of several Content-Type fields the first counts."""
        self.assertEqual(self.part("Content-Type: text/html\nContent-Type: text/plain\n").type, "text/html")

    def test_name(self) -> None:
        """The file name of the disposition is preferred to the name of the type."""
        both = "Content-Type: image/png; name=a.png\nContent-Disposition: INLINE; filename=b.png\n"
        self.assertEqual((self.part(both).name, self.part(both).disposition), ("b.png", "inline"))
        self.assertEqual(self.part("Content-Type: image/png; name=a.png\nContent-Disposition: inline\n").name, "a.png")
        self.assertEqual(self.part("Content-Disposition: attachment; filename*=utf-8''%C3%BC.txt\n").name, "ü.txt")

    def test_other_fields(self) -> None:
        """Content-Id without brackets and comments, languages as a list, the location unfolded."""
        part = self.part(
            "Content-ID: (c) <foo@bar>\nContent-Language: de (German), en\nContent-Location: http://a/\n b.html\n"
        )
        self.assertEqual((part.cid, part.language, part.location), ("foo@bar", ("de", "en"), "http://a/b.html"))

    def test_unknown_encoding(self) -> None:
        """An unknown transfer encoding is none, and is remembered as unknown."""
        part = self.part("Content-Transfer-Encoding: x-uuencode\n")
        self.assertEqual((part.encoding, part.encoding_known), ("identity", False))

    def test_message_is_a_leaf(self) -> None:
        """An attached message is one part, even when it has parts of its own."""
        data = b"Content-Type: message/rfc822\r\n\r\n" + MIXED
        part = parse(data).structure
        self.assertEqual((part.type, part.sub_parts, part.charset), ("message/rfc822", None, None))
        self.assertEqual(decode_part(data, part), MIXED)

    def test_left_as_is(self) -> None:
        """uuencoded text and format=flowed stay as they are."""
        body = b"begin 644 x\r\n#86)C\r\n`\r\nend\r\nflowed \r\ntext\r\n"
        data = b"Content-Type: text/plain; format=flowed\r\n\r\n" + body
        self.assertEqual(contents(data), [body])

    def test_empty(self) -> None:
        """No octets are a message with an empty part."""
        part = parse(b"").structure
        self.assertEqual((part.type, part.size, part.body_start, part.body_end), ("text/plain", 0, 0, 0))


class MultipartTests(SynchronousTestCase):
    def test_mixed(self) -> None:
        """Parts lie between delimiters; preamble, epilogue and the break before a delimiter are not theirs."""
        root = parse(MIXED).structure
        assert root.sub_parts is not None
        self.assertEqual(shape(root), ["multipart/mixed", "text/plain", "application/pdf"])
        self.assertEqual(contents(MIXED), [b"one\r\n", b"Hello"])
        self.assertEqual([part.part_id for part in (root, *root.sub_parts)], [None, "1", "2"])
        self.assertEqual([part.size for part in root.sub_parts], [5, 5])
        self.assertEqual(root.sub_parts[1].name, "y.pdf")
        self.assertEqual(root.charset, None)

    def test_name_in_raw_octets(self) -> None:
        """8-bit octets of a file name are in the charset that the message's text names, before or after the file."""
        text = b"--b\nContent-Type: text/plain; charset=gb2312\n\nx\n"
        file = b'--b\nContent-Type: a/b; name="%s.txt"\nContent-Disposition: attachment; filename=""\n\nx\n'
        for parts in ((text, file), (file, text)):
            data = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"".join(parts) % "会议".encode("gb2312")
            self.assertIn("会议.txt", [part.name for part in walk(parse(data).structure)])

    def test_line_endings(self) -> None:
        """The same message with LF, or with CR alone, has the same structure."""
        for ending in (b"\n", b"\r"):
            data = MIXED.replace(b"\r\n", ending)
            self.assertEqual(shape(parse(data).structure), shape(parse(MIXED).structure))
            self.assertEqual(contents(data), [b"one" + ending, b"Hello"])

    def test_mixed_line_endings(self) -> None:
        """CRLF and LF may change from line to line."""
        lines = MIXED.split(b"\r\n")
        data = b"".join(line + (b"\n" if index % 2 else b"\r\n") for index, line in enumerate(lines))
        self.assertEqual(shape(parse(data).structure), shape(parse(MIXED).structure))

    def test_nested_and_unclosed(self) -> None:
        """An outer delimiter ends inner multiparts that were not closed; the end of the message ends all."""
        data = crlf(
            """Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: multipart/alternative; boundary=inner

--inner

a
--inner
Content-Type: text/html

b
--outer
Content-Type: image/png

c"""
        )
        self.assertEqual(
            shape(parse(data).structure),
            ["multipart/mixed", ["multipart/alternative", "text/plain", "text/html"], "image/png"],
        )
        self.assertEqual(contents(data), [b"a", b"b", b"c"])

    def test_prefix_boundaries(self) -> None:
        """A boundary that begins with another's is its own, whichever is outside."""
        for outer, inner in (("b", "bb"), ("bb", "b"), ("b", "b--x"), ("x", "x-")):
            data = crlf(
                f"""Content-Type: multipart/mixed; boundary="{outer}"

--{outer}
Content-Type: multipart/related; boundary="{inner}"

--{inner}

a
--{inner}--
--{outer}

b
--{outer}--
"""
            )
            self.assertEqual(contents(data), [b"a", b"b"], (outer, inner))

    def test_same_boundary(self) -> None:
        """With one boundary on two levels the inner one is served until it is closed."""
        data = crlf(
            """Content-Type: multipart/mixed; boundary=b

--b
Content-Type: multipart/alternative; boundary=b

--b

a
--b--
--b

c
--b--
"""
        )
        self.assertEqual(
            shape(parse(data).structure), ["multipart/mixed", ["multipart/alternative", "text/plain"], "text/plain"]
        )

    def test_not_at_line_start(self) -> None:
        """A delimiter counts at the start of a line only, and with nothing but blanks after it."""
        data = crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx --b\n--bc\n--b c\n\n--b--\n")
        self.assertEqual(contents(data), [b"x --b\r\n--bc\r\n--b c\r\n"])

    def test_digest(self) -> None:
        """RFC 2046 §5.1.5: parts of a digest are messages unless they say otherwise."""
        data = crlf(
            "Content-Type: multipart/digest; boundary=b\n\n"
            "--b\n\nSubject: x\n\ny\n--b\nContent-Type: text/plain\n\nz\n--b--\n"
        )
        root = parse(data).structure
        self.assertEqual(shape(root), ["multipart/digest", "message/rfc822", "text/plain"])
        assert root.sub_parts is not None
        self.assertIsNone(root.sub_parts[0].charset)
        self.assertEqual(contents(data), [b"Subject: x\r\n\r\ny", b"z"])

    def test_no_boundary(self) -> None:
        """A multipart without boundary, or whose boundary never comes, is the text that it is."""
        for parameter in ("", "; boundary=", '; boundary=""', "; boundary=b"):
            data = crlf(f"Content-Type: multipart/mixed{parameter}\n\n--x\n\na\n")
            self.assertEqual(shape(parse(data).structure), "text/plain")
            self.assertEqual(contents(data), [b"--x\r\n\r\na\r\n"])

    def test_header_cut_by_delimiter(self) -> None:
        """A delimiter inside the header of a part ends the part there."""
        data = crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n--b\n--b\n\nx\n--b--")
        self.assertEqual(shape(parse(data).structure), ["multipart/mixed", "text/html", "text/plain", "text/plain"])
        self.assertEqual(contents(data), [b"", b"", b"x"])

    def test_part_without_header(self) -> None:
        """A part whose sender forgot the empty line is all body."""
        data = crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\njust text\n--b--\n")
        self.assertEqual(contents(data), [b"just text"])

    def test_eight_bit_boundary(self) -> None:
        """A boundary is compared octet by octet."""
        data = b'Content-Type: multipart/mixed; boundary="\xe9\xff"\n\n--\xe9\xff\n\nx\n--\xe9\xff--\n'
        self.assertEqual(contents(data), [b"x"])

    def test_deep(self) -> None:
        """Multiparts below the limit of depth are text; the structure can be stored."""
        data = b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level)
            for level in range(MAX_DEPTH + 30)
        )
        part, depth = parse(data).structure, 0
        while part.sub_parts:
            part, depth = part.sub_parts[0], depth + 1
        self.assertEqual((depth, part.type), (MAX_DEPTH, "text/plain"))
        root = parse(data).structure
        self.assertEqual(decode_structure(encode_structure(root)), root)

    def test_many_parts(self) -> None:
        """Parts beyond the limit are not read; the last one ends where the next would begin."""
        data = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * (MAX_PARTS + 50)
        root = parse(data).structure
        assert root.sub_parts is not None
        self.assertEqual(len(root.sub_parts), MAX_PARTS - 1)
        self.assertEqual(contents(data)[-1], b"x")
