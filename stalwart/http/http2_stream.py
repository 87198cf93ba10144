"""One request on an HTTP/2 connection: its fields read strictly, its body paced, its answer cut into frames."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from twisted.python.failure import Failure
from twisted.web._http2 import H2Stream

from stalwart.http.exchange import Endpoints, Fields, Upgraded
from stalwart.http.head import SINGLE, TOKEN, more_than_one
from stalwart.http.problem import Problem
from stalwart.http.request import Request

if TYPE_CHECKING:
    from stalwart.http.http2 import Http2Channel
    from stalwart.http.site import Site

_FRAME = 16_384
_FORBIDDEN = b"\x00\r\n"
# RFC 9113 §8.2.2: these belong to HTTP/1.1 connections.
_CONNECTION_FIELDS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))


class Http2Stream(H2Stream):
    """One request on an HTTP/2 connection. Offers `Exchange` to it."""

    site: Site
    can_upgrade = False
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
        if self.ended:
            return method, target, fields, 0
        # A body that is told to be empty ends with a frame of its own, which is still to come.
        return method, target, fields, length or None

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

    def upgrade(self, request: Request, fields: Fields, protocol: Upgraded) -> None:
        """Not in HTTP/2 (RFC 9113 §8.6): endpoints look at `can_upgrade` first."""
        raise TypeError("a stream of HTTP/2 can't be upgraded")

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
