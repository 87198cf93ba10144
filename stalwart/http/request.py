"""One request on its way through: normalised, let in by the policy, routed, admitted, answered, noted.

The same class serves HTTP/1.1 and HTTP/2; what lies below it is an `Exchange`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http_headers import Headers

from stalwart.http.coroutines import run
from stalwart.http.exchange import Exchange
from stalwart.http.paths import is_authority, parse_target
from stalwart.http.policy import ListenerContext
from stalwart.http.problem import Problem
from stalwart.http.response import Response
from stalwart.http.streams import BodySender, close

if TYPE_CHECKING:
    from stalwart.auth import Principal
    from stalwart.http.endpoint import Branch, Handler
    from stalwart.http.site import Site

T = TypeVar("T")

_CLIENT_LEFT = 499
_BODILESS = (204, 304)
# RFC 9112 §6, §9.6: these say how the answer is framed, which is for the exchange to say.
_FRAMING = frozenset((b"connection", b"content-length", b"transfer-encoding"))
_CONTROL = bytes.maketrans(b"\r\n\x00", b"   ")


class Request(server.Request):
    """A request and its answer.

    Of Twisted's own attributes these hold: `method`, `uri` (the target as sent), `path` (normalised), `prepath`,
    `postpath`, `requestHeaders`, `responseHeaders`, `args`, `content`, `clientproto`, `code`, `sentLength`.
    """

    method: bytes = b"-"
    uri: bytes = b"-"
    path: bytes = b"-"
    clientproto: bytes = b"-"
    channel: Exchange | None  # type: ignore[assignment]
    site: Site
    surface: str = "none"
    principal: Principal | None = None
    """Who sent it, once signed in: see `authenticate`."""

    header_fields: Sequence[tuple[bytes, bytes]] = ()
    _endpoint: Branch | None = None
    _handler: Handler | None = None
    _length: int | None = 0
    _received = 0
    _waiting: Deferred[None] | None = None
    _sender: BodySender | None = None
    _request_headers: Headers | None = None
    _response_headers: Headers | None = None
    _log = Logger(namespace="stalwart.http")

    def __init__(self, channel: Exchange, queued: bool = False) -> None:
        # Twisted's own __init__ asks the transport for its addresses and makes two Headers per request.
        self.channel = channel
        self.site = site = channel.site
        self.request_id = site.request_ids()
        self.notifications: list[Deferred[None]] = []
        self.received_cookies: dict[bytes, bytes] = {}
        self.cookies: list[bytes] = []
        self.queued = queued
        self._endpoints = channel.endpoints
        self._body: list[bytes] = []
        self._query = b""
        self._started = site.monotonic()

    # What a request is.

    @property
    def listener(self) -> ListenerContext:
        """The listener that the request came in by."""
        return self.site.listener

    @property
    def client_address(self) -> str:
        """The client's IP address in canonical form; "unix" for a Unix socket."""
        return self._endpoints.client_address

    @property
    def client_port(self) -> int:
        """The client's port; 0 for a Unix socket."""
        return self._endpoints.client_port

    @property
    def local_address(self) -> str:
        """The IP address that the client connected to, or the path of the Unix socket."""
        return self._endpoints.local_address

    @property
    def local_port(self) -> int:
        """The port that the client connected to; 0 for a Unix socket."""
        return self._endpoints.local_port

    def header(self, name: bytes) -> bytes | None:
        """The first value of a field; `name` in lower case."""
        for field, value in self.header_fields:
            if field == name:
                return value
        return None

    def header_values(self, name: bytes) -> list[bytes]:
        """All values of a field in the order sent; `name` in lower case."""
        return [value for field, value in self.header_fields if field == name]

    @property
    def query_args(self) -> dict[str, list[str]]:
        """The query's parameters, decoded, blank ones kept. Raises Problem 400 for more than 100 or bad UTF-8."""
        try:
            return parse_qs(
                self._query.decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict"
            )
        except ValueError as error:
            raise Problem(400, "The query is not well formed: at most 100 parameters in UTF-8.") from error

    def read_body(self) -> bytes:
        """The request's body, which is complete when an endpoint's coroutine runs."""
        if len(self._body) > 1:
            self._body = [b"".join(self._body)]
        return self._body[0] if self._body else b""

    # What Twisted's resources ask for.

    @property
    def requestHeaders(self) -> Headers:  # type: ignore[override]
        """The request's header fields as Twisted's multi-dictionary."""
        if self._request_headers is None:
            self._request_headers = Headers()
            for name, value in self.header_fields:
                self._request_headers.addRawHeader(name, value)
        return self._request_headers

    @property
    def responseHeaders(self) -> Headers:  # type: ignore[override]
        """Fields that a resource sets for the answer, beside those of its Response."""
        if self._response_headers is None:
            self._response_headers = Headers()
        return self._response_headers

    @property
    def args(self) -> dict[bytes, list[bytes]]:  # type: ignore[override]
        """The query's parameters, percent-decoded to octets."""
        return parse_qs(self._query, keep_blank_values=True, max_num_fields=100)

    @property
    def content(self) -> io.BytesIO:  # type: ignore[override]
        """The body as a file."""
        return io.BytesIO(self.read_body())

    @property
    def client(self) -> IAddress | None:
        """The client's address."""
        return self.channel.getPeer() if self.channel is not None else None

    @property
    def host(self) -> IAddress | None:
        """The local address."""
        return self.channel.getHost() if self.channel is not None else None

    def isSecure(self) -> bool:
        """Whether the connection is encrypted here."""
        return self.channel is not None and self.channel.isSecure()

    # Coming in: called by the exchange.

    def head_received(
        self,
        method: bytes,
        target: bytes,
        version: bytes,
        fields: Sequence[tuple[bytes, bytes]],
        length: int | None,
    ) -> None:
        """The head is in. `length` is the body's: 0 for none, None for one whose size isn't known yet."""
        self.method = method
        self.uri = target
        self.clientproto = version
        self.header_fields = fields
        self._length = length
        try:
            parsed = parse_target(method, target)
            self.path = parsed.path
            self._query = parsed.query
            if parsed.authority is not None:
                # RFC 9112 §3.2.2: the target's host stands in for the field's.
                others = [field for field in fields if field[0] != b"host"]
                self.header_fields = [(b"host", parsed.authority), *others]
            host = self.header(b"host")
            if host is not None and not is_authority(host):
                raise Problem(400, "The Host field names no valid host.")
            status = self.site.policy.decide(self)
            if status != 200:
                raise Problem(status)
            self.prepath = []
            self.postpath = parsed.segments
            self._endpoint = endpoint = self.site.endpoint_for(self)
            self.surface = endpoint.surface
            self._handler = endpoint.handler(method)
            if length is not None and length > endpoint.body_limit:
                raise endpoint.too_large()
        except Exception:  # noqa: BLE001 - becomes the answer
            self._failed(Failure())
            return
        if method != b"OPTIONS" and endpoint.admits:
            self._run(endpoint.admit(self), self._admitted, self._failed)
        else:
            self._admitted(None)

    def head_refused(self, problem: Problem) -> None:
        """The head could not be read."""
        self.respond(problem.response())

    def body_received(self, data: bytes) -> None:
        """A block of the body."""
        if self.finished or self.startedWriting:
            return
        self._received += len(data)
        assert self._endpoint is not None
        if self._received > self._endpoint.body_limit:
            self._body.clear()
            self.respond(self._endpoint.too_large().response())
        else:
            self._body.append(data)

    # What Twisted's HTTP/2 stream calls it.
    handleContentChunk = body_received

    def body_complete(self) -> None:
        """The body is in; the endpoint's turn."""
        if self.finished or self.startedWriting:
            return
        assert self._handler is not None
        self._run(self._handler(self), self._answered, self._failed)

    def body_refused(self, problem: Problem) -> None:
        """The body came too slowly or could not be read."""
        self.respond(problem.response())

    def _run(
        self, coroutine: Coroutine[Any, Any, T], done: Callable[[T], None], failed: Callable[[Failure], None]
    ) -> None:
        """Run what is next for this request; if it waits, `connectionLost` can cancel it."""
        waiting = run(coroutine, done, failed)
        if waiting is not None:
            self._waiting = waiting

    def _admitted(self, _: None) -> None:
        self._waiting = None
        if self.finished or self._disconnected or self.channel is None:
            return
        if self._length == 0:
            self.body_complete()
        else:
            self.channel.accept_body()

    # Going out.

    def _answered(self, response: Response | None) -> None:
        self._waiting = None
        if response is not None:
            self.respond(response)

    def _failed(self, failure: Failure) -> None:
        self._waiting = None
        error = failure.value
        if isinstance(error, Problem):
            self.respond(error.response())
        elif not (self._disconnected and failure.check(CancelledError)):
            self._log.failure(
                "request {request_id} {method} {path} failed",
                failure,
                request_id=self.request_id,
                method=self.method.decode("ascii", "replace"),
                path=self.path.decode("ascii", "replace"),
            )
            self.respond(
                Problem(
                    500,
                    f"This is the server's fault. Its log has the cause under {self.request_id}.",
                    extra={"requestId": self.request_id},
                ).response()
            )

    def respond(self, response: Response) -> None:
        """Send the answer, or what is left of it when the client has gone."""
        channel = self.channel
        if channel is None or self.finished or self.startedWriting:
            if response.stream is not None:
                run(close(response.stream), _ignore, self._failed)
            if channel is not None and not self.finished:
                self._break_off()
            return
        status = self.code = response.status
        fields: list[tuple[bytes, bytes]] = []
        if response.content_type is not None:
            fields.append((b"Content-Type", response.content_type.encode("utf-8").translate(_CONTROL)))
        for name, value in response.headers:
            fields.append((name.encode("ascii"), value.encode("utf-8").translate(_CONTROL)))
        stream = response.stream
        head_only = self.method == b"HEAD" or status in _BODILESS
        if stream is None:
            body = response.body
            self._begin(
                fields, b"" if head_only else body, None if status in _BODILESS else len(body), final=True
            )
            self._end()
        elif head_only:
            self._begin(fields, b"", response.length, final=True)
            run(close(stream), _ignore, self._failed)
            self._end()
        else:
            self._begin(fields, b"", response.length, final=False)
            self._sender = sender = BodySender(self._send, response.length)
            channel.registerProducer(sender, True)
            self._run(sender.send(stream), self._streamed, self._stream_failed)

    def _begin(
        self, fields: list[tuple[bytes, bytes]], body: bytes, length: int | None, *, final: bool
    ) -> None:
        assert self.channel is not None
        self.startedWriting = 1
        if self._response_headers is not None:
            taken = _FRAMING.union(name.lower() for name, _ in fields)
            for name, values in self._response_headers.getAllRawHeaders():
                if name.lower() not in taken:
                    fields += [(name, value) for value in values]
        fields.append((b"Date", self.site.date()))
        fields.append((b"X-Request-Id", self.request_id.encode("ascii")))
        self.sentLength = len(body)
        self.channel.send_head(self, self.code, fields, body=body, length=length, final=final)

    def _send(self, data: bytes) -> None:
        if self.channel is not None:
            self.sentLength += len(data)
            self.channel.send_body(data)

    def _streamed(self, _: None) -> None:
        self._waiting = None
        if self.channel is not None:
            self.channel.unregisterProducer()
            self._end()

    def _stream_failed(self, failure: Failure) -> None:
        self._waiting = None
        if self.channel is None:
            return
        self._log.failure(
            "the answer to request {request_id} broke off after {octets} octets",
            failure,
            request_id=self.request_id,
            octets=self.sentLength,
        )
        self.channel.unregisterProducer()
        self._break_off()

    def _break_off(self) -> None:
        """The status is sent already, so that only the missing end can tell the client."""
        assert self.channel is not None
        self.channel.abort()

    def _end(self) -> None:
        """The answer is out, or in the transport's buffer."""
        channel = self.channel
        assert channel is not None
        self.finished = 1
        self._note(self.code)
        self.channel = None
        notifications, self.notifications = self.notifications, []
        for deferred in notifications:
            deferred.callback(None)
        channel.end(self)

    def connectionLost(self, reason: Failure) -> None:
        """The client left, or the connection was closed, before the answer was complete."""
        if self.finished or self._disconnected:
            return
        self._disconnected = True
        self.channel = None
        self._note(self.code if self.startedWriting else _CLIENT_LEFT)
        self._body.clear()
        if self._waiting is not None:
            self._waiting.cancel()
        notifications, self.notifications = self.notifications, []
        for deferred in notifications:
            deferred.errback(reason)

    def _note(self, status: int) -> None:
        self.site.note(self, status, self.sentLength, self.site.monotonic() - self._started)

    # Twisted's way of answering, for resources that aren't endpoints.

    def write(self, data: bytes) -> None:
        """Send a block of an answer whose status and fields were set on the request."""
        if self.channel is None or self.finished:
            return
        if not self.startedWriting:
            head_only = self.method == b"HEAD" or self.code in _BODILESS
            length = self.responseHeaders.getRawHeaders(b"content-length")
            self.responseHeaders.removeHeader(b"content-length")
            self._begin([], b"", int(length[0]) if length else None, final=head_only)
        if data and self.method != b"HEAD" and self.code not in _BODILESS:
            self._send(data)

    def finish(self) -> None:
        """End an answer that was sent by `write`."""
        if self.channel is None or self.finished:
            return
        if not self.startedWriting:
            self.respond(Response(status=self.code))
            return
        self._end()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have a push producer write the answer."""
        if self.channel is None:
            producer.stopProducing()
        else:
            self.channel.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """The producer has written all."""
        if self.channel is not None:
            self.channel.unregisterProducer()


def _ignore(_: None) -> None:
    """A stream that was not sent has been closed."""
