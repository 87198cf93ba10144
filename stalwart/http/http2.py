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
from twisted.web._http2 import H2Connection
from zope.interface import implementer

from stalwart.http.exchange import Endpoints, endpoints_of
from stalwart.http.http2_stream import Http2Stream

if TYPE_CHECKING:
    from stalwart.http.site import Site

_log = Logger(namespace="stalwart.http")
_MOST_QUEUED = 262_144


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
