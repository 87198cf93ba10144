"""Request bodies, as octets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.http.body import ChunkedBody, SizedBody
from stalwart.http.problem import Problem


def _feed(body: SizedBody | ChunkedBody, octets: bytes, step: int) -> tuple[bytes, bytes | None]:
    """All blocks joined, and what is left, when `octets` come in pieces of `step`."""
    content = b""
    for start in range(0, len(octets), step):
        blocks, rest = body.feed(octets[start : start + step])
        content += b"".join(blocks)
        if rest is not None:
            return content, rest + octets[start + step :]
    return content, None


class Sized(SynchronousTestCase):
    """Bodies of known length."""

    def test_cuts(self) -> None:
        """The body ends after its length, however it comes."""
        for step in range(1, 9):
            self.assertEqual(_feed(SizedBody(4), b"abcdefgh", step), (b"abcd", b"efgh"))
            self.assertEqual(_feed(SizedBody(9), b"abcdefgh", step), (b"abcdefgh", None))


class Chunked(SynchronousTestCase):
    """The chunked coding."""

    def test_cuts(self) -> None:
        """Chunks, extensions and trailers are read the same, however they come."""
        octets = b'4\r\nabcd\r\n00A;x="y"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nnext'
        for step in range(1, len(octets) + 1):
            self.assertEqual(_feed(ChunkedBody(), octets, step), (b"abcd0123456789", b"next"), step)

    def test_malformed(self) -> None:
        """What isn't well formed is refused, however it comes."""
        for octets in (
            b"\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"0x1\r\n",
            b"+1\r\n",
            b" 1\r\n",
            b"1_0\r\n",
            b"1\na",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"1\r\na\rb",
            b"1;\x00\r\n",
            b"1" * 16 + b"\r\n",
            b"1;" + b"a" * 2000,
            b"0\r\n" + b"a: b\r\n" * 2000,
            b"0\r\n\n",
        ):
            for step in (1, 2, 3, len(octets)):
                self.assertEqual(self.assertRaises(Problem, _feed, ChunkedBody(), octets, step).status, 400, octets)

    def test_many_small_chunks(self) -> None:
        """A megabyte in chunks of one octet takes no time to speak of."""
        octets = b"1\r\na\r\n" * 170_000 + b"0\r\n\r\n"
        self.assertEqual(_feed(ChunkedBody(), octets, 65_536), (b"a" * 170_000, b""))

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.binary(max_size=20), st.integers(1, 40))
    def test_round_trip(self, blocks: list[bytes], rest: bytes, step: int) -> None:
        """What was chunked comes out, and what follows is left alone."""
        octets = b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks) + b"0\r\n\r\n"
        self.assertEqual(_feed(ChunkedBody(), octets + rest, step), (b"".join(blocks), rest))

    @settings(deadline=None, max_examples=200)
    @given(st.binary(max_size=200), st.integers(1, 50))
    def test_any_octets(self, octets: bytes, step: int) -> None:
        """Any octets are a body, a part of one, or a Problem; the verdict doesn't depend on the cuts."""

        def verdict(step: int) -> object:
            try:
                return _feed(ChunkedBody(), octets, step)
            except Problem as problem:
                return problem.detail

        self.assertEqual(verdict(step), verdict(len(octets) or 1))
