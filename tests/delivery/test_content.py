"""Where a message ends after DATA, and its stuffed dots."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.delivery.content import ContentDecoder

# Rich in what matters here: a dot, line ends whole and broken.
_OCTETS = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\x00", b"\xff"]), max_size=40).map(b"".join)


def decode(pieces: list[bytes]) -> tuple[bytes, bytes | None]:
    """Feed the pieces; the content, and what followed its end (None if it didn't end)."""
    decoder = ContentDecoder()
    content = b""
    for number, piece in enumerate(pieces):
        octets, rest = decoder.feed(piece)
        content += octets
        if rest is not None:
            return content, rest + b"".join(pieces[number + 1 :])
    return content, None


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces, cut at these places (modulo its length)."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


def stuff(content: bytes) -> bytes:
    """What a client sends for content that ends with CR LF (RFC 5321 §4.5.2)."""
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


class ContentTests(SynchronousTestCase):
    """`ContentDecoder`."""

    def test_plain(self) -> None:
        """A message ends at the line with a lone dot; what follows is given back."""
        self.assertEqual(decode([b"Subject: x\r\n\r\nhi\r\n.\r\nNOOP\r\n"]), (b"Subject: x\r\n\r\nhi\r\n", b"NOOP\r\n"))

    def test_empty(self) -> None:
        """A lone dot at once is an empty message."""
        self.assertEqual(decode([b".\r\n"]), (b"", b""))

    def test_stuffed_dots(self) -> None:
        """One dot at the start of a line is taken away, other dots stay."""
        self.assertEqual(decode([b"..\r\n...\r\n.x\r\na.\r\n.\r\n"]), (b".\r\n..\r\nx\r\na.\r\n", b""))

    def test_only_cr_lf_ends(self) -> None:
        """No broken line end makes a dot the end of the message, nor a stuffed dot: nothing can be smuggled."""
        for fake in (
            b"\n.\n",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\r\r\n",
            b"\r\n.\x00\r\n",
        ):
            content, rest = decode([b"x" + fake + b"MAIL FROM:<a@b>\r\n.\r\n"])
            self.assertEqual(rest, b"")
            self.assertEqual(content, b"x" + fake.replace(b"\r\n.", b"\r\n") + b"MAIL FROM:<a@b>\r\n")

    @settings(deadline=None, max_examples=300)
    @given(_OCTETS, st.lists(st.integers(min_value=0, max_value=100), max_size=8))
    def test_cut_anywhere(self, data: bytes, places: list[int]) -> None:
        """However the octets are cut, the content and what follows are the same."""
        self.assertEqual(decode(cut(data, places)), decode([data]))

    @settings(deadline=None, max_examples=300)
    @given(_OCTETS)
    def test_round_trip(self, content: bytes) -> None:
        """Whatever a client stuffs as the standard says comes out as it was."""
        content += b"\r\n"
        self.assertEqual(decode([stuff(content) + b"QUIT\r\n"]), (content, b"QUIT\r\n"))
