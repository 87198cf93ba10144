"""The HTTP/1.1 side of a connection: requests come off the wire one by one, answers go back in order.

`head` and `body` read what comes, `Request` answers it, `states` says what may follow what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IPushProducer, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from stalwart.http.body import ChunkedBody, SizedBody
from stalwart.http.exchange import Endpoints, Fields, Upgraded, endpoints_of
from stalwart.http.handover import Handover
from stalwart.http.head import Head, encode_head, find_end, parse_head
from stalwart.http.pacing import Pacing
from stalwart.http.problem import Problem
from stalwart.http.request import Request
from stalwart.http.states import BODY, BUSY, CLOSED, DRAIN, HEAD, HELD, IDLE, LINGER, MOVES, UPGRADED

if TYPE_CHECKING:
    from stalwart.http.site import Site


@implementer(IPushProducer, IHalfCloseableProtocol)
class Http1Channel(Protocol):
    """One connection. Offers `Exchange` to its requests, of which one is under way at a time."""

    transport: ITransport
    endpoints: Endpoints
    can_upgrade = True
    _pacing: Pacing

    def __init__(self, site: Site) -> None:
        self.site = site
        self._limits = site.limits
        self._state: str = IDLE
        self._since = 0.0  # when the state's deadline began to run
        self._buffer = b""
        self._searched = 0
        self._advancing = False
        self._head: Head | None = None
        self._body: SizedBody | ChunkedBody | None = None
        self._request: Request | None = None
        self._received = 0  # octets of this body, or of what lingers
        self._keep_alive = True
        self._refused = False  # the octets behind this can't be trusted to be a request
        self._chunked = False
        self._handover: Handover | None = None  # when UPGRADED

    # The connection.

    def connectionMade(self) -> None:
        """Start the idle deadline."""
        self.endpoints = endpoints_of(self.transport)
        self._pacing = Pacing(self.transport, self, self.site.monotonic)
        self._since = self.site.monotonic()
        self.site.opened(self)

    def dataReceived(self, data: bytes) -> None:
        """Octets from the client."""
        state = self._state
        if state is LINGER:
            self._received += len(data)
            if self._received > 16 * self._limits.drain_size:
                self._close()
            return
        if state is CLOSED:
            return
        if self._handover is not None:
            self._handover.received(data)
            return
        self._buffer = self._buffer + data if self._buffer else data
        self._advance()
        if len(self._buffer) > self._limits.pipeline_size and not self._takes_octets():
            self._pacing.read(False)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, from whichever side."""
        self._state = CLOSED
        self.site.closed(self)
        request, self._request = self._request, None
        if request is not None:
            request.connectionLost(reason)
        self._pacing.stop_producer()
        handover, self._handover = self._handover, None
        if handover is not None:
            handover.lost()

    def readConnectionLost(self) -> None:
        """The client sends no more: what it asked for is answered, then this closes (RFC 9112 §9.6)."""
        self._pacing.read_all = True
        if self._state is BUSY and self._request is not None and self._request.endless:
            self.abort()
            return
        self._end_if_read()

    def writeConnectionLost(self) -> None:
        """This side has closed for sending, to linger."""

    def _end_if_read(self) -> None:
        """Close if the client sends no more and nothing that it asked for is left to answer."""
        if self._pacing.read_all and self._pacing.full_since is None and self._state not in (BUSY, HELD, CLOSED):
            self._close()

    def drain(self) -> None:
        """The server is stopping: an idle connection is closed now, others after their answer."""
        if self._state is IDLE or self._state is HEAD or self._state is DRAIN:
            self._close()
        elif self._state is UPGRADED and self._handover is not None:
            self._handover.drain()

    def sweep(self, now: float) -> None:
        """Look at the deadline of the state."""
        state, limits = self._state, self._limits
        waited = now - self._since
        full_since = self._pacing.full_since
        if full_since is not None and now - full_since > limits.stall_seconds:
            self.abort()
        elif state is UPGRADED and self._handover is not None:
            self._handover.sweep(now)
        elif state is IDLE:
            if waited > limits.idle_seconds:
                self._close()
        elif state is HEAD:
            if waited > limits.head_seconds:
                self._refuse(Problem(408, f"The request's head took more than {limits.head_seconds:g} seconds."))
        elif state is BODY:
            if waited > limits.body_seconds + self._received / limits.body_rate:
                assert self._request is not None
                self._refused = True
                self._request.body_refused(Problem(408, "The request's body comes too slowly."))
        elif state is DRAIN or state is LINGER:
            if waited > limits.linger_seconds:
                self._close()
        elif state is CLOSED and waited > limits.stall_seconds:
            self.abort()

    def _move(self, event: str) -> None:
        self._state = MOVES[self._state][event]

    def _close(self) -> None:
        """Close when all that was written is out; the sweep sees to it that this ends."""
        self._move("close")
        self._since = self.site.monotonic()
        self._let_go()
        self.transport.loseConnection()

    def _linger(self) -> None:
        """Let the client read the answer: closing while it sends would have its system throw the answer away."""
        if self._pacing.read_all:
            self._close()
            return
        self._move("linger")
        self._since = self.site.monotonic()
        self._received = 0
        self._let_go()
        self._pacing.close_sending()

    def _let_go(self) -> None:
        """What comes now is thrown away, and what was written goes out at its own pace."""
        self._buffer = b""
        self._pacing.stop()
        if self._handover is not None:
            self._handover.closing()

    def _takes_octets(self) -> bool:
        """Whether what comes is worked off as it comes."""
        return self._pacing.full_since is None and self._state not in (BUSY, HELD)

    def abort(self) -> None:
        """Break the answer off: the missing end tells the client."""
        self._state = CLOSED
        self.transport.abortConnection()  # type: ignore[attr-defined]

    # Requests coming in.

    def _advance(self) -> None:
        """Go as far as the octets at hand allow. Requests that are answered at once come back here, not deeper."""
        if self._advancing:
            return
        self._advancing = True
        try:
            going = True
            while going and self._buffer and self._pacing.full_since is None:
                state = self._state
                if state is IDLE or state is HEAD:
                    going = self._take_head()
                elif state is BODY or state is DRAIN:
                    self._take_body()
                else:
                    going = False
        finally:
            self._advancing = False
        self._end_if_read()

    def _take_head(self) -> bool:
        """Read a head off the buffer and start its request; False when more octets are needed."""
        if self._state is IDLE:
            self._move("octets")
            self._searched = 0
            self._since = self.site.monotonic()
        buffer = self._buffer
        try:
            if not self._searched:
                # RFC 9112 §2.2: empty lines before a request are ignored.
                while buffer.startswith(b"\r\n"):
                    buffer = self._buffer = buffer[2:]
                if not buffer or buffer == b"\r":
                    return False
            end = find_end(buffer, self._searched, self._limits)
            if not end:
                self._searched = len(buffer)
                return False
            head = parse_head(buffer[:end], self._limits)
        except Problem as problem:
            self._refuse(problem)
            return False
        self._buffer = buffer[end:]
        self._head = head
        self._keep_alive = head.keep_alive and not self.site.draining
        self._refused = self._chunked = False
        length = head.length
        self._request = request = self.site.requestFactory(self)
        if length == 0:
            self._body = None
            self._move("no body")
        else:
            self._body = ChunkedBody() if length is None else SizedBody(length)
            self._received = 0
            self._move("body")
        request.head_received(head.method, head.target, head.version, head.fields, length)
        return True

    def _refuse(self, problem: Problem) -> None:
        """Answer octets that are no request, and close."""
        self._move("refused")
        self._refused = True
        self._keep_alive = False
        self._head = self._body = None
        self._request = request = self.site.requestFactory(self)
        request.head_refused(problem)

    def _take_body(self) -> None:
        """Read what is there of a body off the buffer."""
        assert self._body is not None
        buffer, self._buffer = self._buffer, b""
        request = self._request
        try:
            blocks, rest = self._body.feed(buffer)
        except Problem as problem:
            self._refused = True
            if request is None:
                self._linger()
            else:
                request.body_refused(problem)
            return
        self._received += len(buffer) - len(rest or b"")
        if request is not None:
            for block in blocks:
                request.body_received(block)
        if rest is None:
            if self._state is DRAIN and self._received > self._limits.drain_size:
                self._linger()
            return
        if self._state is LINGER or self._state is CLOSED:
            return
        self._buffer = rest
        if self._state is BODY:
            assert request is not None
            self._move("complete")
            request.body_complete()
        elif self._state is DRAIN:
            self._move("complete")
            self._since = self.site.monotonic()
            self._body = None

    # What a request asks for: `Exchange`.

    def accept_body(self) -> None:
        """Let the body come: sends 100 (Continue) if it is waited for, and reads on."""
        assert self._head is not None
        self._move("accept")
        self._since = self.site.monotonic()
        # RFC 9110 §10.1.1: not needed when the client has begun to send already.
        if self._head.expects_continue and not self._buffer:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._pacing.read(True)
        self._advance()

    def send_head(
        self, request: Request, status: int, fields: Fields, *, body: bytes, length: int | None, final: bool
    ) -> None:
        """Begin the answer: see `Exchange`."""
        if self._state is CLOSED:
            return
        if request.endless and self._pacing.read_all and not final:
            self.abort()  # the client had left already
            return
        framing: list[tuple[bytes, bytes]] = []
        if length is not None:
            framing.append((b"Content-Length", b"%d" % length))
        elif not final:
            if request.clientproto == b"HTTP/1.1":
                self._chunked = True
                framing.append((b"Transfer-Encoding", b"chunked"))
            else:
                self._keep_alive = False  # its end is the connection's end
        if self._keep_alive and (self._refused or self.site.draining or not self._can_go_on()):
            self._keep_alive = False
        if not self._keep_alive:
            framing.append((b"Connection", b"close"))
        self.transport.write(encode_head(status, fields, framing) + body)

    def _can_go_on(self) -> bool:
        """Whether a request that is answered now leaves octets behind that are worth reading."""
        if self._state is BUSY:
            return True
        assert self._head is not None and self._body is not None
        if self._state is HELD and self._head.expects_continue and not self._buffer:
            # RFC 9110 §10.1.1: the client may or may not send the body now.
            return False
        return self._body.left is not None and self._body.left <= self._limits.drain_size

    def send_body(self, data: bytes) -> None:
        """Send a further block of the answer."""
        if self._chunked:
            self.transport.writeSequence((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            self.transport.write(data)

    def upgrade(self, request: Request, fields: Fields, protocol: Upgraded) -> None:
        """Answer 101 and leave the connection to `protocol`: see `Exchange`."""
        if self._state is CLOSED:
            return
        self._move("upgrade")
        self.transport.write(encode_head(101, fields, ((b"Connection", b"Upgrade"),)))
        self._handover = handover = Handover(protocol, self.transport, self._pacing, self._close, self.abort)
        rest, self._buffer = self._buffer, b""
        handover.begin(rest)
        if self.site.draining and self._state is UPGRADED:
            handover.drain()
        self._end_if_read()

    def end(self, request: Request) -> None:
        """The answer is complete: on to the next request, or to the end of the connection."""
        self._request = None
        if self._state is CLOSED:
            return
        if self._chunked:
            self._chunked = False
            self.transport.write(b"0\r\n\r\n")
        if self._keep_alive and not self.site.draining:
            self._move("next" if self._state is BUSY else "drain")
            self._since = self.site.monotonic()
            self._pacing.read(True)
            self._advance()
        elif self._state is BUSY and not self._refused:
            self._close()
        else:
            self._linger()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Pause and resume `producer` with the transport."""
        self._pacing.add_producer(producer)

    def unregisterProducer(self) -> None:
        """The answer needs no more pausing."""
        self._pacing.remove_producer()

    def getPeer(self) -> IAddress:
        """The client's address."""
        return self.transport.getPeer()

    def getHost(self) -> IAddress:
        """The local address."""
        return self.transport.getHost()

    # What the transport asks for, as the one that fills it: `IPushProducer`.

    def pauseProducing(self) -> None:
        """The client takes less than it is sent: no more of this answer, and no further request."""
        self._pacing.full()
        if self._handover is not None:
            self._handover.pause()

    def resumeProducing(self) -> None:
        """What was written is out."""
        self._pacing.emptied()
        if self._handover is not None:
            self._handover.resume()
        if self._takes_octets():
            self._pacing.read(True)
            self._advance()

    def stopProducing(self) -> None:
        """The connection is going; `connectionLost` does the rest."""
