"""HTTP/2 on Twisted's engine, brought under the rules of this server: one gate, limits, deadlines and draining.

Twisted's `H2Connection` sends and receives frames; what is overridden here says why.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from hyperframe.frame import GoAwayFrame
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web._http2 import H2Connection, H2Stream
from zope.interface import implementer

from stalwart.http.exchange import Endpoints, Fields, endpoints_of
from stalwart.http.head import SINGLE, TOKEN, more_than_one
from stalwart.http.problem import Problem
from stalwart.http.request import Request

if TYPE_CHECKING:
    from stalwart.http.site import Site

_log = Logger(namespace="stalwart.http")
_FRAME = 16_384
_MOST_QUEUED = 262_144
_FORBIDDEN = b"\x00\r\n"
# RFC 9113 §8.2.2: these belong to HTTP/1.1 connections.
_CONNECTION_FIELDS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))


@implementer(IPushProducer)
class Http2Channel(H2Connection):
    """One HTTP/2 connection."""

    timeOut = None
    transport: Any
    site: Site  # type: ignore[assignment]
    endpoints: Endpoints
    streams: dict[int, Http2Stream]

    def __init__(self, site: Site) -> None:
        super().__init__(reactor=site.reactor)
        self.site = site
        self.factory = site  # type: ignore[assignment]
        self.requestFactory = site.requestFactory
        self._log = _log
        self._limits = site.limits
        self._since = site.monotonic()  # when the last stream ended, or this side closed
        self._stuck_since: float | None = None
        self._sent = self._sent_before = 0
        self._going_away = False
        self._paced = True

    # The connection.

    def connectionMade(self) -> None:
        """Send the settings and have the transport pace what is sent."""
        self.endpoints = endpoints_of(self.transport)
        self.transport.registerProducer(self, True)
        super().connectionMade()
        self.site.opened(self)
        if self.site.draining:
            self.drain()

    def dataReceived(self, data: bytes) -> None:
        """Frames, or parts of them."""
        if not self._stillProducing:
            return
        try:
            events = self.conn.receive_data(data)
        except ProtocolError:
            if self.site.guard is not None:
                self.site.guard.garbled(self.endpoints.client_address)
            self._terminate(Failure())
            return
        if any(isinstance(event, ConnectionTerminated) for event in events):
            self.transport.loseConnection()
            self.connectionLost(Failure(ConnectionLost("the client sent GOAWAY")), _cancelTimeouts=False)
            return
        # h2 has read all these frames before the first is acted on, and sends nothing more on streams they reset.
        reset = {event.stream_id: event for event in events if isinstance(event, StreamReset)}
        for stream_id in sorted(reset.keys() & self.streams.keys()):
            self._requestAborted(reset[stream_id])
        for event in events:
            self._act_on(event, reset)
        self._tryToWriteControlData()
        self._wake()

    def _act_on(self, event: Event, reset: Mapping[int, StreamReset]) -> None:
        if not self._stillProducing:
            return
        if isinstance(event, RequestReceived):
            self._requestReceived(event, reset.get(event.stream_id))
        elif isinstance(event, DataReceived):
            if event.stream_id in self.streams:
                self._requestDataReceived(event)
            elif event.flow_controlled_length:
                self.openStreamWindow(event.stream_id, event.flow_controlled_length)
        elif isinstance(event, StreamEnded):
            stream = self.streams.get(event.stream_id or 0)
            # One that ended with its head was told so when it started.
            if stream is not None and not stream.ended:
                self._requestEnded(event)

    def connectionLost(self, reason: Failure = connectionDone, _cancelTimeouts: bool = True) -> None:
        """The connection is gone, or (without `_cancelTimeouts`) no more is sent on it."""
        self._since = self.site.monotonic()
        super().connectionLost(reason, _cancelTimeouts=_cancelTimeouts)
        if _cancelTimeouts:
            self.site.closed(self)
        else:
            self._stop_pacing()

    def setTimeout(self, period: float | None) -> None:
        """One sweep looks at all deadlines; there is no timer per connection."""

    def resetTimeout(self) -> None:
        """Twisted calls this when frames arrive or are sent; only `sweep` decides what counts."""

    def sweep(self, now: float) -> None:
        """Look at the deadlines of the connection and of its streams."""
        if not self._stillProducing:
            if now - self._since > self._limits.stall_seconds:
                self.transport.abortConnection()
            return
        if not self.streams:
            # PING and SETTINGS frames don't keep a connection: only requests do.
            if now - self._since > self._limits.idle_seconds:
                self._say_goodbye()
            return
        if self._sent != self._sent_before or not self._has_unsent():
            self._sent_before = self._sent
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        elif now - self._stuck_since > self._limits.stall_seconds:
            self.transport.abortConnection()
            return
        for stream in list(self.streams.values()):
            stream.sweep(now)

    def drain(self) -> None:
        """The server is stopping: take no new streams (RFC 9113 §6.8), close when the last one has ended."""
        if self._going_away or not self._stillProducing:
            return
        self._going_away = True
        if not self.streams:
            self._say_goodbye()
            return
        # Not h2's close_connection, after which nothing can be sent on the open streams.
        frame = GoAwayFrame(0, last_stream_id=self.conn.highest_inbound_stream_id, error_code=ErrorCodes.NO_ERROR)
        self.transport.write(frame.serialize())

    def _say_goodbye(self) -> None:
        self._going_away = True
        self._stillProducing = False
        self._since = self.site.monotonic()
        self.conn.close_connection()
        self._tryToWriteControlData()
        self._stop_pacing()
        self.transport.loseConnection()

    def _stop_pacing(self) -> None:
        """TLS waits with its end for a producer to unregister."""
        if self._paced:
            self._paced = False
            self.transport.unregisterProducer()

    # Streams.

    def _requestReceived(self, event: RequestReceived, reset: StreamReset | None = None) -> None:
        stream_id = event.stream_id
        if self._going_away:
            if reset is None:
                self.conn.reset_stream(stream_id, error_code=ErrorCodes.REFUSED_STREAM)
            return
        stream = Http2Stream(stream_id, self, event.headers, self.requestFactory, self.site, self.factory)
        self.streams[stream_id] = stream
        self._streamCleanupCallbacks[stream_id] = Deferred()
        self._outboundStreamQueues[stream_id] = deque()
        self.priority.insert_stream(stream_id)
        self.priority.block(stream_id)
        if reset is None:
            stream.start(ended=event.stream_ended is not None)
        else:
            self._requestAborted(reset)

    def _requestDone(self, streamID: int) -> None:
        stream = self.streams.get(streamID)
        if stream is None:
            return
        super()._requestDone(streamID)
        if not self._stillProducing:
            return
        unread = sum(length or 0 for _, length in stream._inboundDataBuffer)
        if unread:
            # Else the window of the whole connection would stay smaller by it.
            self.openStreamWindow(streamID, unread)
        if not stream.ended:
            # RFC 9113 §8.1: the answer is complete, the rest of the request isn't wanted.
            self.reset(streamID, ErrorCodes.NO_ERROR)
        if not self.streams:
            self._since = self.site.monotonic()
            if self._going_away:
                self._say_goodbye()

    def reset(self, stream_id: int, code: ErrorCodes) -> None:
        """End a stream from this side."""
        try:
            self.conn.reset_stream(stream_id, error_code=code)
        except ProtocolError:
            return  # the client was faster
        self._tryToWriteControlData()

    # Sending. Twisted goes round without a pause while a client's window is closed, and queues as much as an open
    # one allows.

    def remainingOutboundWindow(self, streamID: int) -> int:
        """Room for this stream: never more than is sensible to hold in memory."""
        window: int = super().remainingOutboundWindow(streamID)
        queued = self.conn.local_flow_control_window(streamID) - window
        return min(window, _MOST_QUEUED - queued)

    def _sendPrioritisedData(self, *args: object) -> None:
        super()._sendPrioritisedData(*args)
        self._sent += 1
        for stream_id, stream in list(self.streams.items()):
            if stream_id not in self.streams:
                continue  # one that went on has ended it
            if self._outboundStreamQueues[stream_id] and self.conn.local_flow_control_window(stream_id) <= 0:
                self.priority.block(stream_id)
            elif stream.producer is not None:
                stream.windowUpdated()

    def _wake(self) -> None:
        """Go on sending what a window was closed for."""
        if not self._stillProducing:
            return
        for stream_id, stream in list(self.streams.items()):
            if stream_id in self.streams:  # one that went on may have ended another
                stream.windowUpdated()
        going = False
        for stream_id, queue in self._outboundStreamQueues.items():
            if queue and self.conn.local_flow_control_window(stream_id) > 0:
                self.priority.unblock(stream_id)
                going = True
        if going and self._sendingDeferred is not None:
            sending, self._sendingDeferred = self._sendingDeferred, None
            sending.callback(None)

    def _has_unsent(self) -> bool:
        return any(self._outboundStreamQueues.values()) or any(
            stream.producer is not None and not stream._producerProducing for stream in self.streams.values()
        )


class Http2Stream(H2Stream):
    """One request on an HTTP/2 connection. Offers `Exchange` to it."""

    site: Site
    ended = False
    """Whether the client has sent the whole request."""

    _conn: Http2Channel
    _request: Request
    _received = 0
    _expects = False
    _body_since: float | None = None

    @property
    def endpoints(self) -> Endpoints:
        """The two ends of the connection."""
        return self._conn.endpoints

    def _convertHeaders(self, headers: Fields) -> None:
        """Twisted calls this while it makes the stream; `start` reads the fields when the stream is in place."""
        self._fields = headers

    def start(self, *, ended: bool) -> None:
        """The header section is in; h2 has checked its form (RFC 9113 §8.3)."""
        self.ended = ended
        request = self._request
        limits = self.site.limits
        try:
            if len(self._fields) > limits.head_fields + 4:
                raise Problem(431, f"A request may have at most {limits.head_fields} header fields.")
            if sum(len(name) + len(value) + 4 for name, value in self._fields) > limits.head_size:
                raise Problem(431, f"The header fields may have at most {limits.head_size} octets.")
            method, target, fields, length = self._read_fields()
        except Problem as problem:
            request.clientproto = b"HTTP/2"
            request.head_refused(problem)
            return
        if length != 0:
            self.pauseProducing()
        request.head_received(method, target, b"HTTP/2", fields, length)

    def _read_fields(self) -> tuple[bytes, bytes, list[tuple[bytes, bytes]], int | None]:
        pseudo: dict[bytes, bytes] = {}
        fields: list[tuple[bytes, bytes]] = []
        length: int | None = None
        single: set[bytes] = set()
        for name, value in self._fields:
            if value.translate(None, _FORBIDDEN) != value:
                raise Problem(400, "There is a control character in a header field.")
            if name.startswith(b":"):
                pseudo[name] = value
                continue
            if name in SINGLE:
                if name in single:
                    raise more_than_one(name)
                single.add(name)
            if name == b"content-length":
                if not value.isdigit():
                    raise Problem(400, "Content-Length must be a decimal number.")
                length = int(value[:19])
            elif name == b"expect":
                if value.lower() != b"100-continue":
                    raise Problem(417, "The only expectation that this server meets is 100-continue.")
                self._expects = True
            fields.append((bytes(name), bytes(value)))
        authority = pseudo.get(b":authority")
        if b"host" not in single:
            if not authority:
                raise Problem(400, "A request must name its host.")
            fields.insert(0, (b"host", bytes(authority)))
        method, target = bytes(pseudo[b":method"]), bytes(pseudo.get(b":path", b""))
        if not method or method.translate(None, TOKEN):
            raise Problem(400, "The method has a character that is not allowed in one.")
        # RFC 9113 §8.3.1. CONNECT (§8.5) has no path.
        if not target.startswith(b"/") and target != b"*":
            raise Problem(400, "The request target must be a path that starts with a slash.")
        if self.ended and length:
            # RFC 9113 §8.1.1
            raise Problem(400, "Content-Length tells of a body, and there is none.")
        return method, target, fields, 0 if self.ended else length

    def sweep(self, now: float) -> None:
        """Look at the pace of the request's body."""
        if self._body_since is None or self.ended:
            return
        limits = self.site.limits
        if now - self._body_since > limits.body_seconds + self._received / limits.body_rate:
            self._request.body_refused(Problem(408, "The request's body comes too slowly."))

    # What Twisted's connection calls.

    def receiveDataChunk(self, data: bytes, flowControlledLength: int) -> None:
        """A block of the body."""
        self._received += len(data)
        if not self.producing and not self._request.finished:
            self._inboundDataBuffer.append((data, flowControlledLength))
            return
        if data:
            self._request.body_received(data)
        self._conn.openStreamWindow(self.streamID, flowControlledLength)

    def requestComplete(self) -> None:
        """The client has sent all."""
        self.ended = True
        if self.producing:
            self._request.body_complete()
        else:
            super().requestComplete()

    # `Exchange`.

    def accept_body(self) -> None:
        """Let the body come: sends 100 (Continue) if it is waited for, and reads on."""
        if self._expects and not self._inboundDataBuffer:
            self._send100Continue()
        self._body_since = self.site.monotonic()
        self.resumeProducing()

    def send_head(
        self, request: Request, status: int, fields: Fields, *, body: bytes, length: int | None, final: bool
    ) -> None:
        """Begin the answer: see `Exchange`."""
        headers = [(name.lower(), value) for name, value in fields if name.lower() not in _CONNECTION_FIELDS]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        self._conn.writeHeaders(b"", b"%d" % status, b"", headers, self.streamID)
        if body:
            self.send_body(body)

    def send_body(self, data: bytes) -> None:
        """Send a further block of the answer, in pieces of a frame's size: Twisted copies the rest at each frame."""
        if self.streamID in self._conn.streams:
            for start in range(0, len(data), _FRAME):
                self.write(data[start : start + _FRAME])

    def end(self, request: Request) -> None:
        """The answer is complete."""
        if self.streamID in self._conn.streams:
            self._conn.endRequest(self.streamID)

    def abort(self) -> None:
        """Break the answer off with RST_STREAM."""
        if self.streamID in self._conn.streams:
            self._conn.reset(self.streamID, ErrorCodes.INTERNAL_ERROR)
            self.ended = True
            self.connectionLost(Failure(ConnectionAbortedError("the answer broke off")))
            self._conn._requestDone(self.streamID)
