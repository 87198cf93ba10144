"""Whatever a client sends: no exception leaves the channel, every connection ends, cuts change nothing."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.http import Limits
from tests.http.bed import Bed, Wire, read_answers, until

_PIECES = st.sampled_from(
    [
        b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /hello HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        b"POST /guarded HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
        b"5\r\nabcde\r\n",
        b"0\r\n\r\n",
        b"\r\n",
        b"\n",
        b":",
        b" ",
        b"x" * 100,
        b"Connection: close\r\n",
        b"Transfer-Encoding: chunked\r\n",
    ]
)
_STREAMS = st.lists(_PIECES | st.binary(max_size=30), max_size=8).map(b"".join)
_LIMITS = Limits(target_size=200, head_size=600, head_fields=5, drain_size=100)


def _send(octets: bytes, cuts: list[int]) -> Wire:
    wire = Bed(limits=_LIMITS).connect()
    edges = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    for start, end in itertools.pairwise(edges):
        # A transport delivers nothing behind loseConnection or abortConnection.
        if start < end and not wire.closed:
            wire.send(octets[start:end])
    return wire


class AnyOctets(SynchronousTestCase):
    """Properties of a connection."""

    @settings(deadline=None, max_examples=300)
    @given(_STREAMS, st.lists(st.integers(0, 2000), max_size=6))
    def test_cuts(self, octets: bytes, cuts: list[int]) -> None:
        """The answers are the same wherever the octets are cut, but for 100 (Continue), which is skipped for a body
        that is there already."""
        whole = _send(octets, []).raw().replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        cut = _send(octets, cuts).raw().replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        self.assertEqual(whole, cut)

    @settings(deadline=None, max_examples=300)
    @given(_STREAMS, st.lists(st.integers(0, 2000), max_size=6))
    def test_ends(self, octets: bytes, cuts: list[int]) -> None:
        """All answers are well formed, and the connection is closed in bounded time."""
        wire = _send(octets, cuts)
        octets_back = wire.raw()
        until(wire.bed.clock, lambda: wire.closed, 200)
        for answer in read_answers(octets_back + wire.raw()):
            if answer.status >= 400:
                answer.problem()
            if answer.status >= 200:
                self.assertIn("x-request-id", answer.headers)
        wire.hang_up()
        self.assertEqual(wire.bed.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])
