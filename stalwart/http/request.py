"""One request on its way through: normalised, let in by the policy, routed, admitted, answered, noted.

The same class serves HTTP/1.1 and HTTP/2; what lies below it is an `Exchange`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.http.coroutines import run
from stalwart.http.exchange import Exchange
from stalwart.http.finishing import may_redirect, redirect_target
from stalwart.http.guarding import charge_anonymous, note_failure, note_garbled, refuse_banned
from stalwart.http.incoming import Incoming
from stalwart.http.problem import Problem
from stalwart.http.response import Response
from stalwart.http.streams import BodySender, close

if TYPE_CHECKING:
    from stalwart.http.endpoint import Branch, Handler

T = TypeVar("T")

_log = Logger(namespace="stalwart.http")
_CLIENT_LEFT = 499
_BLOCK = 65_536  # octets of an answer that are sent at once
_BODILESS = (204, 304)
# RFC 9112 §6, §9.6: these say how the answer is framed, which is for the exchange to say.
_FRAMING = frozenset((b"connection", b"content-length", b"transfer-encoding"))
_CONTROL = bytes.maketrans(b"\r\n\x00", b"   ")


class Request(Incoming):
    """A request and its answer."""

    endless = False
    """Whether the answer goes on for as long as the client is there: one that sends no more has left."""

    _endpoint: Branch | None = None
    _handler: Handler | None = None
    _length: int | None = 0
    _received = 0
    _waiting: Deferred[None] | None = None

    def __init__(self, channel: Exchange, queued: bool = False) -> None:
        super().__init__(channel, queued)
        self._started = self.site.monotonic()

    @property
    def unrouted(self) -> bool:
        """Whether the policy let the request in and nothing serves its path."""
        return self._endpoint is not None and self._handler is None

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
        settings = self.settings
        try:
            parsed = self.read_target(settings.forwarded)
            if self.site.guard is not None:
                refuse_banned(self.site.guard, self)
            self._query = parsed.query
            self.prepath = []
            self.postpath = parsed.segments
            status = settings.policy.decide(self)
        except Exception:  # noqa: BLE001 - becomes the answer
            self._failed(Failure())
            return
        if isinstance(status, int):
            self._decided(status)
        else:
            self._run(status, self._decided, self._failed)

    def _decided(self, status: int) -> None:
        """The policy has spoken: on to routing, or to the refusal."""
        self._waiting = None
        if self.finished or self._disconnected:
            return
        settings, length = self.settings, self._length
        try:
            if status != 200:
                if not 200 < status < 600:
                    raise ValueError(f"the policy gave {status}, which is no final status")
                raise Problem(status)
            if settings.redirect_port is not None and self.scheme == "http" and may_redirect(self.path):
                self._redirect(settings.redirect_port)
                return
            self._endpoint = endpoint = self.site.endpoint_for(self)
            self.surface = endpoint.surface
            self.administers = endpoint.administers
            self._handler = endpoint.handler(self.method)
            if endpoint.charged and self.site.guard is not None:
                charge_anonymous(self.site.guard, self)
            if length is not None and length > endpoint.body_limit:
                raise endpoint.too_large()
        except Exception:  # noqa: BLE001 - becomes the answer
            self._failed(Failure())
            return
        if self.method != b"OPTIONS" and endpoint.admits:
            self._run(endpoint.admit(self), self._admitted, self._failed)
        else:
            self._admitted(None)

    def _redirect(self, port: int) -> None:
        """Send the client to https, with its method and body."""
        authority = self.authority
        if not authority:
            raise Problem(400, "This is served over https only, and the request names no host to ask there.")
        url = redirect_target(authority, self.path, self._query, port)
        self.respond(Response(status=308, headers=(("Location", url),)))

    def head_refused(self, problem: Problem) -> None:
        """The head could not be read."""
        if self.site.guard is not None:
            note_garbled(self.site.guard, self, problem)
        self.respond(problem.response())

    def body_received(self, data: bytes) -> None:
        """A block of the body."""
        if self.finished or self.startedWriting:
            return
        self._received += len(data)
        assert self._endpoint is not None
        if self._received > self._endpoint.body_limit:
            self._body = b""
            self._refuse(self._endpoint.too_large())
        elif self._take_block is not None:
            self._take_block(data)
        else:
            self._body += data

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
        if self.site.guard is not None:
            note_garbled(self.site.guard, self, problem)
        self._refuse(problem)

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
            try:
                self.respond(response)
            except Exception:  # noqa: BLE001 - a field that can't be sent is a fault of the endpoint
                self._failed(Failure())

    def _failed(self, failure: Failure) -> None:
        self._waiting = None
        error = failure.value
        if isinstance(error, Problem):
            if self.site.guard is not None:
                note_failure(self.site.guard, self, error)
            self._refuse(error)
        elif not (self._disconnected and failure.check(CancelledError)):
            _log.failure(
                "request {request_id} {method} {path} failed",
                failure,
                request_id=self.request_id,
                method=self.method.decode("ascii", "replace"),
                path=self.path.decode("ascii", "replace"),
            )
            self._refuse(
                Problem(
                    500,
                    f"This is the server's fault. Its log has the cause under {self.request_id}.",
                    extra={"requestId": self.request_id},
                )
            )

    def _refuse(self, problem: Problem) -> None:
        """Send a refusal: as a page to whoever asks for one by name, else as a problem document. RFC 9110 §12.5.1

        Of what can be asked for here, browsers name `text/html` where a person goes to, and scripts and programs don't.
        """
        page = self.site.problem_page
        if page is not None and b"text/html" in (self.header(b"accept") or b"").lower():
            self.respond(page(self, problem))
        else:
            self.respond(problem.response())

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
        if response.upgrade is not None:
            self.startedWriting = 1
            channel.upgrade(self, self._finished(fields), response.upgrade)
            return
        stream, length, body = response.stream, response.length, response.body
        head_only = self.method == b"HEAD" or status in _BODILESS
        if stream is None and len(body) > _BLOCK and not head_only:
            # In blocks, so that a slow client is seen to take them, and the transport holds no second copy.
            stream, length = _blocks(body), len(body)
        if stream is None:
            self._begin(fields, b"" if head_only else body, None if status in _BODILESS else len(body), final=True)
            self._end()
        elif head_only:
            self._begin(fields, b"", length, final=True)
            run(close(stream), _ignore, self._failed)
            self._end()
        else:
            self._begin(fields, b"", length, final=False)
            sender = BodySender(self._send, length)
            channel.registerProducer(sender, True)
            self._run(sender.send(stream), self._streamed, self._stream_failed)

    def _begin(self, fields: list[tuple[bytes, bytes]], body: bytes, length: int | None, *, final: bool) -> None:
        assert self.channel is not None
        self.startedWriting = 1
        self.sentLength = len(body)
        self.channel.send_head(self, self.code, self._finished(fields), body=body, length=length, final=final)

    def _finished(self, fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """With the fields that every answer gets."""
        if self._response_headers is not None:
            taken = _FRAMING.union(name.lower() for name, _ in fields)
            for name, values in self._response_headers.getAllRawHeaders():
                if name.lower() not in taken:
                    fields += [(name, value) for value in values]
        fields += self.rate_fields
        finishing = self.settings.finishing
        if finishing is not None:
            fields = finishing.finish(self, fields)
        fields.append((b"Date", self.site.date()))
        fields.append((b"X-Request-Id", self.request_id.encode("ascii")))
        return fields

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
        _log.failure(
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
        self._body = b""
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


def _blocks(body: bytes) -> Iterator[bytes]:
    return (body[start : start + _BLOCK] for start in range(0, len(body), _BLOCK))


def _ignore(_: None) -> None:
    """A stream that was not sent has been closed."""
