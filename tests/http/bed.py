"""A site on a fake clock and connections made of strings, for tests of anything that is served over HTTP."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from stalwart.auth import Guard, GuardRules
from stalwart.http import (
    AllowAll,
    Branch,
    Endpoint,
    Limits,
    ListenerContext,
    Policy,
    Problem,
    Request,
    RequestIds,
    Response,
    ResponseHeaders,
    Site,
    SiteSettings,
    TrustedProxies,
)
from stalwart.http.channel import Http1Channel
from stalwart.ops.log import AccessLog, LogOutput
from stalwart.ops.metrics import Metrics
from stalwart.web.root import mount

PEER = IPv4Address("TCP", "192.0.2.7", 40000)


class Lines(AccessLog):
    """Keeps what would be logged."""

    def __init__(self) -> None:
        super().__init__(LogOutput(io.StringIO(), "text", "info"), Clock())
        self.lines: list[dict[str, Any]] = []

    def request(self, **fields: Any) -> None:
        """Note one request."""
        self.lines.append(fields)


class Transport(StringTransport):
    """A string transport that knows how a half-close and an abort went."""

    half_closed = False
    aborted = False

    def abortConnection(self) -> None:
        """Note it."""
        self.aborted = True
        super().abortConnection()

    def unregisterProducer(self) -> None:
        """As real transports, forgive that there is none."""
        if self.producer is not None:
            super().unregisterProducer()


class Answer(msgspec.Struct, frozen=True):
    """One answer as it was on the wire."""

    version: str
    status: int
    reason: str
    headers: dict[str, str]
    body: bytes

    def problem(self) -> dict[str, Any]:
        """The body as a problem document; fails if it isn't one."""
        assert self.headers["content-type"] == "application/problem+json", self
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status, self
        assert {"type", "title", "detail"} <= document.keys(), self
        return document


def read_answers(octets: bytes, methods: Sequence[str] = ()) -> list[Answer]:
    """Take a stream of answers apart; `methods` says which of them answer HEAD."""
    answers: list[Answer] = []
    while octets:
        head, mark, octets = octets.partition(b"\r\n\r\n")
        assert mark, head
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, status, reason = status_line.split(" ", 2)
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            if name.lower() == "www-authenticate" and name.lower() in headers:
                value = f"{headers.pop(name.lower())}, {value}"  # RFC 9110 §11.6.1: a list
            assert name.lower() not in headers, line
            headers[name.lower()] = value
        body = b""
        method = methods[len(answers)] if len(answers) < len(methods) else "GET"
        if status == "100" or status == "204" or status == "304" or method == "HEAD":
            pass
        elif "content-length" in headers:
            length = int(headers["content-length"])
            body, octets = octets[:length], octets[length:]
            assert len(body) == length, (headers, body)
        elif headers.get("transfer-encoding") == "chunked":
            while True:
                size, _, octets = octets.partition(b"\r\n")
                chunk, octets = octets[: int(size, 16)], octets[int(size, 16) :]
                assert octets.startswith(b"\r\n")
                octets = octets[2:]
                if not chunk:
                    break
                body += chunk
        else:
            body, octets = octets, b""
        answers.append(Answer(version, int(status), reason, headers, body))
    return answers


class Hello(Endpoint):
    """Answers GET at once."""

    surface = "hello"

    async def get(self, request: Request) -> Response:
        """A greeting."""
        return Response(body=b"hello\n", content_type="text/plain")


class Echo(Endpoint):
    """Gives back the body that it was sent."""

    surface = "echo"
    body_limit = 1000

    async def post(self, request: Request) -> Response:
        """The same octets."""
        return Response(body=request.read_body(), content_type="application/octet-stream")


class Later(Endpoint):
    """Answers when the test says so."""

    surface = "later"
    body_limit = 100_000

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Deferred[Response]] = []
        self.cancelled = 0

    async def get(self, request: Request) -> Response:
        """What the test gives."""
        waiting: Deferred[Response] = Deferred(lambda _: self._cancel())
        self.waiting.append(waiting)
        return await waiting

    post = get

    def _cancel(self) -> None:
        self.cancelled += 1


class Guarded(Endpoint):
    """Lets a body in when the test says so."""

    surface = "guarded"
    body_limit = 100_000

    def __init__(self) -> None:
        super().__init__()
        self.gate: Deferred[None] | None = None
        self.error: Exception | None = None

    async def admit(self, request: Request) -> None:
        """Wait for the gate, then refuse or go on."""
        if self.gate is not None:
            await self.gate
        if self.error is not None:
            raise self.error

    async def post(self, request: Request) -> Response:
        """How much came."""
        return Response(body=b"%d" % len(request.read_body()))


class Bed:
    """A site with a few endpoints, and connections to it."""

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        limits: Limits | None = None,
        tls: bool = False,
        forwarded: TrustedProxies | None = None,
        finishing: ResponseHeaders | None = None,
        redirect_port: int | None = None,
        rules: GuardRules | None = None,
        peer: IAddress = PEER,
        problem_page: Callable[[Request, Problem], Response] | None = None,
    ) -> None:
        self.peer = peer
        self.clock = Clock()
        self.root = Branch()
        self.later = Later()
        self.guarded = Guarded()
        self.mount("/hello", Hello())
        self.mount("/echo", Echo())
        self.mount("/later", self.later)
        self.mount("/guarded", self.guarded)
        self.metrics = Metrics("0")
        self.log = Lines()
        self.guard = Guard(
            rules or GuardRules(), monotonic=self.clock.seconds, wall=self.clock.seconds, metrics=self.metrics
        )
        self.site = Site(
            self.root,
            listener=ListenerContext(id="test", tls=tls),
            metrics=self.metrics,
            reactor=self.clock,
            request_ids=RequestIds(b"\xab"),
            settings=SiteSettings(
                policy=policy or AllowAll(), forwarded=forwarded, finishing=finishing, redirect_port=redirect_port
            ),
            access_log=self.log,
            limits=limits,
            guard=None if rules is None else self.guard,
            problem_page=problem_page,
            monotonic=self.clock.seconds,
            wall=self.clock.seconds,
        )

    def mount(self, path: str, resource: IResource) -> None:
        """Put something into the tree."""
        mount(self.root, path, resource)

    def connect(self) -> Wire:
        """A new HTTP/1.1 connection."""
        return Wire(self)

    def ask(self, octets: bytes, *, method: str = "GET") -> Answer:
        """Send the octets of one request on a connection of its own; there must be one answer."""
        wire = self.connect()
        wire.send(octets)
        (answer,) = wire.answers(method)
        return answer

    def get(self, path: str, *, method: str = "GET", headers: str = "") -> Answer:
        """Ask for a path."""
        return self.ask(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode(), method=method)

    def count(self, surface: str, method: str, status: int) -> float:
        """How many requests were counted under these labels."""
        labels = {"listener": "test", "surface": surface, "method": method, "status": str(status)}
        return self.metrics.registry.get_sample_value("stalwart_http_requests_total", labels) or 0.0


class Wire:
    """One HTTP/1.1 connection, seen from the client's end."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.transport = Transport(
            hostAddress=IPv4Address("TCP", "192.0.2.1", 8080),
            peerAddress=bed.peer,
        )
        channel = Http1Channel(bed.site)
        self.channel = channel
        channel.makeConnection(self.transport)

    def send(self, *parts: bytes) -> None:
        """Octets from the client, each part in a read of its own."""
        for part in parts:
            self.channel.dataReceived(part)

    def raw(self) -> bytes:
        """What came back since the last look."""
        octets: bytes = self.transport.value()
        self.transport.clear()
        return octets

    def answers(self, *methods: str) -> list[Answer]:
        """The answers that came back since the last look."""
        return read_answers(self.raw(), methods)

    @property
    def closed(self) -> bool:
        """Whether the server has closed, or would when all is out."""
        return bool(self.transport.disconnecting or self.transport.aborted)

    def seconds_until_closed(self, most: float) -> float:
        """Let time pass until the server closes."""
        return until(self.bed.clock, lambda: self.closed, most)

    def hang_up(self) -> None:
        """The client is gone."""
        self.channel.connectionLost(Failure(ConnectionDone()))


def until(clock: Clock, done: Callable[[], bool], most: float) -> float:
    """Let time pass, a second at a time, until `done`; fails after `most` seconds. Returns the seconds it took."""
    start = clock.seconds()
    while not done():
        assert clock.seconds() - start < most, "it never happened"
        clock.advance(1.0)
    return clock.seconds() - start
