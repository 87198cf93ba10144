"""HTTP/2 connections through any order of requests, bodies, resets, windows and slow reading."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from stalwart.http import Response
from tests.http.bed import Bed
from tests.http.test_http2 import Client, Large

_STREAM = st.integers(0, 9)
_STEP = st.one_of(
    st.tuples(st.just("get"), st.sampled_from(["/hello", "/later", "/large", "/nothing"])),
    st.tuples(st.just("post"), st.sampled_from(["/echo", "/guarded", "/later", "/nothing"])),
    st.tuples(st.just("data"), _STREAM, st.integers(0, 3000), st.booleans()),
    st.tuples(st.just("reset"), _STREAM),
    st.tuples(st.just("window"), _STREAM, st.integers(1, 70_000)),
    st.tuples(st.just("connection window"), st.integers(1, 70_000)),
    st.tuples(st.just("answer"), st.integers(0, 70_000)),
    st.tuples(st.just("pump")),
    st.tuples(st.just("full"), st.booleans()),
    st.tuples(st.just("wait"), st.integers(1, 3)),
)


class Driver:
    """Does the steps of an example, as far as a client may do them."""

    def __init__(self, *, take: bool, window: int) -> None:
        self.bed = Bed(tls=True)
        self.bed.mount("/large", Large())
        self.client = Client(self.bed, window=window)
        self.client.take = take
        self.streams: list[int] = []
        self.open: set[int] = set()
        self._full = False

    def ask(self, method: str, path: str) -> None:
        """Begin a request without sending it off."""
        stream = self.client.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", path)]
        self.client.h2.send_headers(stream, fields, end_stream=method == "GET")
        self.streams.append(stream)
        if method == "POST":
            self.open.add(stream)

    def full(self, full: bool) -> None:
        """The transport's buffer is full, or isn't any more."""
        if full is not self._full and not self.gone:
            self._full = full
            if full:
                self.client.channel.pauseProducing()
            else:
                self.client.channel.resumeProducing()

    def stream(self, number: int) -> int | None:
        """One of the streams so far that the client may still speak on."""
        known = [stream for stream in self.streams if stream not in self.client.ended | self.client.reset.keys()]
        return known[number % len(known)] if known else None

    @property
    def gone(self) -> bool:
        """Whether the server has ended the connection."""
        transport = self.client.transport
        return self.client.gone is not None or transport.disconnecting or transport.aborted

    def do(self, what: str, *details: int | str | bool) -> None:
        """Do one step."""
        client, numbers = self.client, [int(detail) for detail in details if not isinstance(detail, str)]
        stream = self.stream(numbers[0]) if what in ("data", "reset", "window") else None
        if what in ("get", "post"):
            self.ask(what.upper(), str(details[0]))
        elif what == "data" and stream in self.open:
            if numbers[1] <= client.h2.local_flow_control_window(stream):
                client.h2.send_data(stream, b"x" * numbers[1], end_stream=bool(numbers[2]))
            if numbers[2]:
                self.open.discard(stream)
        elif what == "reset" and stream is not None:
            client.h2.reset_stream(stream)
            client.reset[stream] = 0
            self.open.discard(stream)
        elif what == "window" and stream is not None:
            client.h2.increment_flow_control_window(numbers[1], stream)
        elif what == "connection window":
            client.h2.increment_flow_control_window(numbers[0])
        elif what == "answer" and self.bed.later.waiting:
            waiting = self.bed.later.waiting.pop(0)
            if not waiting.called:
                waiting.callback(Response(body=b"z" * numbers[0]))
        elif what == "full":
            self.full(bool(numbers[0]))
        elif what == "wait":
            self.bed.clock.advance(numbers[0])
        elif what == "pump":
            client.pump()


class Sequences(SynchronousTestCase):
    """Any order of what clients do."""

    @settings(max_examples=150, deadline=None)
    @given(st.lists(_STEP, max_size=40), st.booleans(), st.sampled_from([0, 10, 65_535, 200_000]))
    def test_still_answers(self, steps: list[tuple[str, ...]], take: bool, window: int) -> None:
        """Nothing is logged as a fault, and a connection that is still there still answers."""
        log = EventLoggingObserver()
        globalLogPublisher.addObserver(log)
        try:
            driver = Driver(take=take, window=window)
            client = driver.client
            for step in steps:
                if not driver.gone:
                    driver.do(*step)
            driver.full(False)
            if not driver.gone:
                client.pump()
            if not driver.gone:
                client.take = True
                client.h2.increment_flow_control_window(10_000_000)
                for stream in driver.streams:
                    if stream not in client.ended | client.reset.keys():
                        client.h2.increment_flow_control_window(2_000_000, stream)
                client.pump()
                stream = client.ask("/hello")
                if stream not in client.ended:
                    client.h2.increment_flow_control_window(100, stream)
                    client.pump()
                self.assertEqual(client.body.get(stream), b"hello\n")
            client.channel.connectionLost(Failure(ConnectionDone()))
        finally:
            globalLogPublisher.removeObserver(log)
        self.assertEqual([event for event in log if event.get("log_failure")], [])
        self.assertEqual(client.channel.streams, {})
