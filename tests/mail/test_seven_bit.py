"""Messages made fit for servers that take only 7-bit octets."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.message import Part, parse
from stalwart.mail.seven_bit import NotConvertible, is_seven_bit, to_seven_bit
from stalwart.mail.transfer import decode

HIGH = "über\r\n  trailing \r\n".encode()
TEXT = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + HIGH


def contents(message: bytes) -> list[tuple[str, bytes]]:
    """Type and decoded octets of each leaf, those of messages within, too."""

    def walk(part: Part) -> list[tuple[str, bytes]]:
        if part.sub_parts is not None:
            return [found for child in part.sub_parts for found in walk(child)]
        octets = decode(message[part.body_start : part.body_end], part.encoding)
        return contents(octets) if part.type == "message/rfc822" else [(part.type, octets)]

    return walk(parse(message).structure)


def mixed(*parts: bytes, kind: bytes = b"mixed") -> bytes:
    """A multipart of these parts."""
    inner = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return (
        b"Content-Type: multipart/"
        + kind
        + b"; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        + inner
        + b"--b--\r\n"
    )


class SevenBitTests(SynchronousTestCase):
    """`to_seven_bit`."""

    def test_ascii_is_left_alone(self) -> None:
        """What is 7-bit stays octet for octet."""
        message = b"Subject: x\r\n\r\n.\r\n"
        self.assertIs(to_seven_bit(message), message)

    def test_leaves(self) -> None:
        """RFC 6152 §3: texts and attachments stay what they are, alone, in multiparts and in messages within."""
        binary = b"Content-Type: application/octet-stream\r\n\r\n" + bytes(range(256)).replace(b"\r", b"").replace(
            b"\n", b""
        )
        within = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: in\r\n" + TEXT
        kept = b"Content-Type: text/plain\r\n\r\nplain"
        for message in (TEXT, mixed(TEXT, binary, kept), mixed(within, kept), mixed(mixed(TEXT), kept)):
            message = b"Subject: x\r\n" + message
            converted = to_seven_bit(message)
            self.assertTrue(is_seven_bit(converted))
            self.assertEqual(contents(converted), contents(message))
            self.assertNotIn(b"8bit", converted)
            self.assertLessEqual(max(map(len, converted.split(b"\r\n"))), 998)

    def test_not_convertible(self) -> None:
        """Headers, signed parts, and octets where no encoding may be."""
        for message in (
            "Subject: ü\r\n\r\n".encode(),
            mixed(TEXT, b"\r\nsignature", kind=b"signed"),
            b"Content-Transfer-Encoding: base64\r\n\r\n\xff",
            mixed(TEXT).replace(b"--b\r\n", b"\xff\r\n--b\r\n", 1),
        ):
            with self.assertRaises(NotConvertible):
                to_seven_bit(message)

    @settings(deadline=None, max_examples=100)
    @given(
        st.lists(
            st.sampled_from([TEXT, mixed(TEXT), b"\r\n", b"\xff", b"--b\r\n", b"--b--", b"Content-Type: "]), max_size=8
        )
    )
    def test_any(self, pieces: list[bytes]) -> None:
        """Any octets: a message without octets over 127, or NotConvertible."""
        with contextlib.suppress(NotConvertible):
            self.assertTrue(is_seven_bit(to_seven_bit(b"".join(pieces))))
