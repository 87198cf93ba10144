"""HTTP/2: the same gate, limits, log and metrics for each stream, spoken to by a client on the h2 library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from stalwart.http import Endpoint, Limits, Problem, Request, Response
from stalwart.http.http2 import Http2Channel
from stalwart.http.policy import PolicyRequest
from tests.http.bed import Bed, Transport, until


class Client:
    """A client's end of one HTTP/2 connection."""

    def __init__(self, bed: Bed, *, window: int | None = None) -> None:
        self.bed = bed
        self.transport = Transport(
            hostAddress=IPv4Address("TCP", "192.0.2.1", 443),
            peerAddress=bed.peer,
        )
        self.channel = Http2Channel(bed.site)
        self.channel.makeConnection(self.transport)
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        if window is not None:
            self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.status: dict[int, int] = {}
        self.headers: dict[int, dict[str, str]] = {}
        self.body: dict[int, bytes] = {}
        self.continued: set[int] = set()
        self.ended: set[int] = set()
        self.reset: dict[int, int] = {}
        self.gone: ConnectionTerminated | None = None
        self.take = True
        self.pump()

    def pump(self) -> None:
        """Carry octets both ways until there are none, and let timers of zero seconds run."""
        for _ in range(200):
            to_server = self.h2.data_to_send()
            if to_server and not self.transport.disconnecting:
                self.channel.dataReceived(to_server)
            self.bed.clock.advance(0)
            to_client: bytes = self.transport.value()
            self.transport.clear()
            for event in self.h2.receive_data(to_client):
                if isinstance(event, InformationalResponseReceived):
                    self.continued.add(event.stream_id or 0)
                elif isinstance(event, ResponseReceived):
                    assert event.headers is not None
                    self.headers[event.stream_id] = {str(name): str(value) for name, value in event.headers}
                    self.status[event.stream_id] = int(self.headers[event.stream_id][":status"])
                elif isinstance(event, DataReceived):
                    assert event.data is not None
                    self.body[event.stream_id] = self.body.get(event.stream_id, b"") + event.data
                    if self.take:
                        self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                elif isinstance(event, StreamEnded):
                    self.ended.add(event.stream_id or 0)
                elif isinstance(event, StreamReset):
                    self.reset[event.stream_id or 0] = int(event.error_code or 0)
                elif isinstance(event, ConnectionTerminated):
                    self.gone = event

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        fields: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        end: bool = True,
    ) -> int:
        """Begin a request; returns its stream."""
        stream = self.h2.get_next_available_stream_id()
        headers = [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", path), *fields]
        self.h2.send_headers(stream, headers, end_stream=end and body is None)
        if body is not None:
            for start in range(0, len(body), 16_000):
                self.h2.send_data(stream, body[start : start + 16_000])
            if end:
                self.h2.end_stream(stream)
        self.pump()
        return stream


class Patient:
    """A policy that lets in when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[int]] = []

    def decide(self, request: PolicyRequest) -> Coroutine[Any, Any, int]:
        """What the test gives."""
        waiting: Deferred[int] = Deferred()
        self.waiting.append(waiting)

        async def later() -> int:
            return await waiting

        return later()


class Large(Endpoint):
    """More than a window."""

    async def get(self, request: Request) -> Response:
        """A megabyte."""
        return Response(body=b"x" * 1_000_000)


class Http2(SynchronousTestCase):
    """Requests as streams."""

    def setUp(self) -> None:
        """A bed and a client."""
        self.bed = Bed(tls=True)
        self.client = Client(self.bed)

    def test_get(self) -> None:
        """A GET is answered with the same fields as over HTTP/1.1, counted and logged."""
        stream = self.client.ask("/hello", fields=[("user-agent", "x")])
        self.assertEqual(
            self.client.headers[stream],
            {
                ":status": "200",
                "content-type": "text/plain",
                "date": "Thu, 01 Jan 1970 00:00:00 GMT",
                "x-request-id": "ab-1",
                "content-length": "6",
            },
        )
        self.assertEqual(self.client.body[stream], b"hello\n")
        self.assertIn(stream, self.client.ended)
        self.assertNotIn(stream, self.client.reset)
        self.assertEqual(self.bed.count("hello", "GET", 200), 1)
        (line,) = self.bed.log.lines
        self.assertEqual((line["protocol"], line["agent"], line["octets"]), ("HTTP/2", "x", 6))

    def test_head(self) -> None:
        """HEAD has no content."""
        stream = self.client.ask("/hello", method="HEAD")
        self.assertEqual(self.client.headers[stream]["content-length"], "6")
        self.assertEqual(self.client.body.get(stream, b""), b"")
        self.assertIn(stream, self.client.ended)

    def test_post(self) -> None:
        """A body comes through, with a length and without."""
        for fields in ([("content-length", "900")], []):
            stream = self.client.ask("/echo", method="POST", fields=fields, body=b"x" * 900)
            self.assertEqual(self.client.body[stream], b"x" * 900)

    def test_refusals(self) -> None:
        """Not found, wrong method, bad targets and the like are problem documents, and the connection goes on."""
        for path, method, status in (
            ("/nothing", "GET", 404),
            ("/hello", "PUT", 405),
            ("/../x", "GET", 400),
            ("/a#b", "GET", 400),
            ("x", "GET", 400),
        ):
            stream = self.client.ask(path, method=method)
            self.assertEqual(self.client.status[stream], status)
            self.assertEqual(self.client.headers[stream]["content-type"], "application/problem+json")
            self.assertIn(stream, self.client.ended)
        self.assertEqual(self.client.status[self.client.ask("/hello")], 200)

    def test_limits(self) -> None:
        """Too many fields, too large ones, and expectations are refused."""
        for fields, status in (
            ([("a", "b")] * 101, 431),
            ([("a", "b" * 40_000)], 431),
            ([("expect", "tea")], 417),
        ):
            self.assertEqual(self.client.status[self.client.ask("/hello", fields=fields)], status)

    def test_ambiguous(self) -> None:
        """Fields that would be refused twice over HTTP/1.1 are here, too, and pseudo-fields that are none."""
        basic = ("authorization", "Basic YTpi")
        for method, path, fields in (
            ("GET", "/hello", [basic, basic]),
            ("GET", "/hello", [("content-type", "a/b"), ("content-type", "a/c")]),
            ("GET", "/hello", [("content-length", "5")]),
            ("GET /other HTTP/1.1", "/hello", []),
            ("G\x1bET", "/hello", []),
            ("GET", "http://other/hello", []),
        ):
            stream = self.client.ask(path, method=method, fields=fields)
            self.assertEqual(self.client.status[stream], 400, (method, path, fields))

    def test_told_too_large(self) -> None:
        """A body over the limit is refused at its length, and the rest of it isn't wanted."""
        stream = self.client.ask(
            "/echo", method="POST", fields=[("content-length", "2000")], body=b"x" * 100, end=False
        )
        self.assertEqual(self.client.status[stream], 413)
        self.assertEqual(self.client.reset[stream], ErrorCodes.NO_ERROR)

    def test_grows_too_large(self) -> None:
        """One without a length is refused at the octet that goes over."""
        stream = self.client.ask("/echo", method="POST", body=b"x" * 1000, end=False)
        self.assertNotIn(stream, self.client.status)
        self.client.h2.send_data(stream, b"x")
        self.client.pump()
        self.assertEqual(self.client.status[stream], 413)
        self.assertEqual(self.client.status[self.client.ask("/hello")], 200)

    def test_data_behind_the_answer(self) -> None:
        """What a client sent before it saw its refusal is dropped, and its window given back."""
        for _ in range(8):
            stream = self.client.h2.get_next_available_stream_id()
            headers = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/nothing")]
            self.client.h2.send_headers(stream, headers)
            self.client.h2.send_data(stream, b"x" * 15_000, end_stream=True)
            self.client.pump()
            self.assertEqual(self.client.status[stream], 404)
        self.assertEqual(self.client.status[self.client.ask("/hello")], 200)

    def test_continue(self) -> None:
        """`Expect: 100-continue` is answered once the request is admitted."""
        gate: Deferred[None] = Deferred()
        self.bed.guarded.gate = gate
        stream = self.client.ask(
            "/guarded", method="POST", fields=[("expect", "100-continue"), ("content-length", "3")], end=False
        )
        self.assertEqual(self.client.continued, set())
        gate.callback(None)
        self.client.pump()
        self.assertEqual(self.client.continued, {stream})
        self.client.h2.send_data(stream, b"abc", end_stream=True)
        self.client.pump()
        self.assertEqual(self.client.body[stream], b"3")

    def test_admission(self) -> None:
        """A body that comes before the request is admitted waits; refused, it is dropped."""
        gate: Deferred[None] = Deferred()
        self.bed.guarded.gate = gate
        streams = [self.client.ask("/guarded", method="POST", body=b"x" * 20_000) for _ in range(2)]
        self.assertEqual(self.client.status, {})
        gate.callback(None)
        self.client.pump()
        self.assertEqual([self.client.body[stream] for stream in streams], [b"20000"] * 2)
        self.bed.guarded.error = Problem(401)
        self.assertEqual(self.client.status[self.client.ask("/guarded", method="POST", body=b"x" * 9000)], 401)

    def test_endless_stream(self) -> None:
        """Blocks of a stream go out as they are made; a reset ends it, and others go on beside it."""
        waiting: list[Deferred[bytes]] = []
        closed: list[int] = []

        class Endless(Endpoint):
            async def get(self, request: Request) -> Response:
                async def blocks() -> AsyncIterator[bytes]:
                    try:
                        while True:
                            waiting.append(Deferred())
                            yield await waiting[-1]
                    finally:
                        closed.append(1)

                return Response(stream=blocks())

        self.bed.mount("/endless", Endless())
        stream = self.client.ask("/endless")
        for block in (b"one", b"two"):
            waiting.pop().callback(block)
            self.client.pump()
        self.assertEqual(self.client.body[stream], b"onetwo")
        self.assertEqual(self.client.status[self.client.ask("/hello")], 200)
        self.client.h2.reset_stream(stream)
        self.client.pump()
        self.assertEqual(closed, [1])

    def test_without_body(self) -> None:
        """A request that ends with its head is handled once, and not before it was admitted."""
        later = self.client.ask("/later")
        self.assertEqual(len(self.bed.later.waiting), 1)
        self.bed.later.waiting[0].callback(Response(body=b"x"))
        self.client.pump()
        self.assertEqual(self.client.status[later], 200)
        self.bed.guarded.gate = Deferred()
        held = self.client.ask("/guarded", method="POST")
        self.assertNotIn(held, self.client.status)
        self.bed.guarded.gate.callback(None)
        self.client.pump()
        self.assertEqual((self.client.status[held], self.client.body[held]), (200, b"0"))

    def test_empty_body(self) -> None:
        """A body that is told to be empty and ends later: handled once, when it has ended and was let in."""
        policy = Patient()
        for bed in (Bed(), Bed(policy=policy)):
            client = Client(bed)
            stream = client.ask("/later", method="POST", fields=[("content-length", "0")], end=False)
            self.assertEqual(len(bed.later.waiting), 0)
            client.h2.end_stream(stream)
            client.pump()
            for waiting in policy.waiting:
                self.assertEqual(len(bed.later.waiting), 0)
                waiting.callback(200)
            self.assertEqual(len(bed.later.waiting), 1)
            bed.later.waiting[0].callback(Response(body=b"once"))
            client.pump()
            self.assertEqual((client.status[stream], client.body[stream]), (200, b"once"))

    def test_side_by_side(self) -> None:
        """Streams don't wait for each other."""
        slow = self.client.ask("/later")
        quick = self.client.ask("/hello")
        self.assertEqual(self.client.status, {quick: 200})
        self.bed.later.waiting[0].callback(Response(body=b"x"))
        self.client.pump()
        self.assertEqual(self.client.status[slow], 200)

    def test_large_answer(self) -> None:
        """An answer larger than the window comes as the client takes it."""
        stream = self.client.ask("/later")
        self.bed.later.waiting[0].callback(Response(body=b"x" * 500_000))
        self.client.pump()
        self.assertEqual(len(self.client.body[stream]), 500_000)
        self.assertIn(stream, self.client.ended)

    def test_back_pressure(self) -> None:
        """A stream is read as the client takes it, whether by its window or by what is sensible to hold."""
        for window, most in ((None, 200_000), (10_000_000, 400_000)):
            client = Client(self.bed, window=window)
            read: list[int] = []

            def blocks(read: list[int] = read) -> Iterator[bytes]:
                for number in range(20):
                    read.append(number)
                    yield b"x" * 50_000

            client.take = False
            stream = client.ask("/later")
            self.bed.later.waiting.pop().callback(Response(stream=blocks(), length=1_000_000))
            self.assertLess(len(read) * 50_000, most)
            client.pump()
            client.take = True
            for open_stream in (None, stream):
                client.h2.increment_flow_control_window(2_000_000, open_stream)
            client.pump()
            self.assertEqual(len(client.body[stream]), 1_000_000)
            self.assertIn(stream, client.ended)

    def test_closed_window_is_quiet(self) -> None:
        """While a client's window is closed nothing goes round."""
        self.client.take = False
        self.client.ask("/later")
        self.bed.later.waiting[0].callback(Response(body=b"x" * 200_000))
        self.client.pump()
        self.assertFalse([call for call in self.bed.clock.getDelayedCalls() if call.getTime() <= 0])

    def test_client_resets(self) -> None:
        """A stream that the client resets is cancelled and noted; the others go on."""
        stream = self.client.ask("/later")
        self.client.h2.reset_stream(stream)
        self.client.pump()
        self.assertEqual(self.bed.later.cancelled, 1)
        self.assertEqual([line["status"] for line in self.bed.log.lines], [499])
        self.assertEqual(self.client.status[self.client.ask("/hello")], 200)

    def test_reset_at_once(self) -> None:
        """Requests that are reset in the same read aren't run, and harm no other stream of the connection."""
        later = self.client.ask("/later")
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/hello")]
        for reset in ([], [later]):
            for _ in range(3):
                stream = self.client.h2.get_next_available_stream_id()
                self.client.h2.send_headers(stream, fields, end_stream=True)
                self.client.h2.reset_stream(stream)
            for stream in reset:
                self.client.h2.reset_stream(stream)
            self.client.pump()
            self.assertEqual(self.client.body[self.client.ask("/hello")], b"hello\n")
        self.assertEqual(self.bed.later.cancelled, 1)
        self.assertEqual([line["status"] for line in self.bed.log.lines], [499] * 3 + [200] + [499] * 4 + [200])

    def test_reset_while_sending(self) -> None:
        """A stream with unsent octets that is reset beside a new request doesn't stop the sending."""
        self.bed.mount("/large", Large())
        self.client.take = False
        large = self.client.ask("/large")
        self.client.h2.increment_flow_control_window(100_000)
        self.client.h2.increment_flow_control_window(100_000, large)
        stream = self.client.h2.get_next_available_stream_id()
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/hello")]
        self.client.h2.send_headers(stream, fields, end_stream=True)
        self.client.h2.reset_stream(large)
        self.client.pump()
        self.assertEqual(self.client.body[stream], b"hello\n")

    def test_exactly_a_window(self) -> None:
        """An answer as large as the windows ends when they open, whichever of them opens last."""

        class Exact(Endpoint):
            async def get(self, request: Request) -> Response:
                return Response(stream=[b"x" * 65_535], length=65_535)

        self.bed.mount("/exact", Exact())
        self.client.take = False
        for last in (None, "stream"):
            stream = self.client.ask("/exact")
            other = self.client.ask("/later")
            self.assertEqual(len(self.client.body[stream]), 65_535)
            for which in ("connection", "stream") if last == "stream" else ("stream", "connection"):
                self.client.h2.increment_flow_control_window(65_535, stream if which == "stream" else None)
                self.client.pump()
            self.assertIn(stream, self.client.ended)
            self.bed.later.waiting.pop().callback(Response(body=b"done"))
            self.client.pump()
            self.assertEqual(self.client.body[other], b"done")
            self.client.h2.increment_flow_control_window(4)

    def test_goodbye_with_request(self) -> None:
        """A request in the same read as GOAWAY has no one who waits for it."""
        stream = self.client.h2.get_next_available_stream_id()
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/hello")]
        self.client.h2.send_headers(stream, fields, end_stream=True)
        self.client.h2.close_connection()
        self.client.pump()
        self.assertTrue(self.client.transport.disconnecting)

    def test_many_resets(self) -> None:
        """A client that does nothing but reset is sent away (CVE-2023-44487)."""
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/hello")]
        for _ in range(12):
            for _ in range(100):
                stream = self.client.h2.get_next_available_stream_id()
                self.client.h2.send_headers(stream, fields, end_stream=True)
                self.client.h2.reset_stream(stream)
            self.client.pump()
            if self.client.gone is not None:
                break
        assert self.client.gone is not None
        self.assertEqual(self.client.gone.error_code, ErrorCodes.ENHANCE_YOUR_CALM)
        self.assertEqual(len(self.bed.log.lines), 1001)

    def test_window_of_reset_streams(self) -> None:
        """What came on streams that were reset before they were admitted is given back to the connection."""
        self.bed.guarded.gate = Deferred()
        for _ in range(8):
            stream = self.client.ask("/guarded", method="POST", body=b"x" * 15_000, end=False)
            self.client.h2.reset_stream(stream)
            self.client.pump()
        self.assertGreater(self.client.h2.outbound_flow_control_window, 30_000)

    def test_broken_stream(self) -> None:
        """An answer that breaks off resets its stream alone."""

        class Breaks(Endpoint):
            async def get(self, request: Request) -> Response:
                return Response(stream=[b"x"], length=2)

        self.bed.mount("/breaks", Breaks())
        stream = self.client.ask("/breaks")
        self.assertEqual(self.client.reset[stream], ErrorCodes.INTERNAL_ERROR)
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual(self.client.status[self.client.ask("/hello")], 200)

    def test_lost(self) -> None:
        """When the connection is lost all its requests are cancelled, once."""
        self.client.ask("/later")
        self.client.ask("/later")
        self.client.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.bed.later.cancelled, 2)
        self.assertEqual([line["status"] for line in self.bed.log.lines], [499, 499])


class Deadlines(SynchronousTestCase):
    """What takes too long."""

    def test_idle(self) -> None:
        """A connection without requests is told goodbye and closed; pings don't keep it."""
        bed = Bed(limits=Limits(idle_seconds=60))
        client = Client(bed)
        client.ask("/hello")

        def closed() -> bool:
            if not client.transport.disconnecting:
                client.h2.ping(b"12345678")
                client.pump()
            return bool(client.transport.disconnecting)

        self.assertEqual(until(bed.clock, closed, 70), 61)
        client.pump()
        assert client.gone is not None
        self.assertEqual(client.gone.error_code, ErrorCodes.NO_ERROR)
        self.assertEqual(until(bed.clock, lambda: client.transport.aborted, 70), 61)

    def test_running(self) -> None:
        """A request that is being answered has no deadline here."""
        bed = Bed()
        client = Client(bed)
        client.ask("/later")
        bed.clock.pump([1.0] * 1000)
        self.assertFalse(client.transport.disconnecting or client.transport.aborted)

    def test_slow_body(self) -> None:
        """A body has some seconds and then a least rate."""
        bed = Bed(limits=Limits(body_seconds=10, body_rate=100))
        client = Client(bed)
        stream = client.ask("/guarded", method="POST", body=b"x" * 1000, end=False)

        def answered() -> bool:
            client.pump()
            return stream in client.status

        self.assertEqual(until(bed.clock, answered, 30), 21)
        self.assertEqual(client.status[stream], 408)

    def test_taken_too_slowly(self) -> None:
        """A client that takes nothing of what is waiting for it is cut off."""
        bed = Bed(limits=Limits(stall_seconds=60))
        client = Client(bed)
        client.take = False
        client.ask("/later")
        bed.later.waiting[0].callback(Response(body=b"x" * 200_000))
        client.pump()
        until(bed.clock, lambda: client.transport.aborted, 70)


class Draining(SynchronousTestCase):
    """The end of the service."""

    def test_idle(self) -> None:
        """An idle connection is told goodbye."""
        bed = Bed()
        client = Client(bed)
        bed.site.drain()
        client.pump()
        self.assertTrue(client.transport.disconnecting)
        self.assertIsNotNone(client.gone)

    def test_running(self) -> None:
        """Running streams are answered after GOAWAY, and then the connection closed."""
        bed = Bed()
        client = Client(bed)
        stream = client.ask("/later")
        drained = bed.site.drain()
        to_client: bytes = client.transport.value()
        self.assertEqual(to_client[3:4], b"\x07")  # GOAWAY, which h2 takes for the end of everything
        client.transport.clear()
        self.assertFalse(client.transport.disconnecting)
        bed.later.waiting[0].callback(Response(body=b"done"))
        client.pump()
        self.assertEqual((client.body[stream], client.transport.disconnecting), (b"done", True))
        self.assertNoResult(drained)
        client.channel.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(drained)

    def test_new_stream(self) -> None:
        """A stream that was begun too late is refused, so that it can be tried elsewhere (RFC 9113 §8.7)."""
        bed = Bed()
        client = Client(bed)
        client.ask("/later")
        bed.site.drain()
        client.transport.clear()
        late = client.ask("/hello")
        self.assertEqual(client.reset[late], ErrorCodes.REFUSED_STREAM)


class AnyOctets(SynchronousTestCase):
    """Whatever a client sends."""

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=200), st.booleans())
    def test_ends(self, octets: bytes, preface: bool) -> None:
        """No exception leaves the channel, and the connection is closed in bounded time."""
        bed = Bed()
        channel = Http2Channel(bed.site)
        transport = Transport()
        channel.makeConnection(transport)
        channel.dataReceived((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if preface else b"") + octets)
        until(bed.clock, lambda: bool(transport.disconnecting or transport.aborted), 200)
        channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.flushLoggedErrors(), [])
