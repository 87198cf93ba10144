"""Listeners on real sockets of this machine: TCP, IPv6, Unix, TLS with SNI and HTTP/2, and their graceful end."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import stat
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from stalwart.config import Certificate, Listener, Secret, TcpAddress, UnixAddress
from stalwart.http import ListenerContext, RequestIds, Response, Site
from stalwart.net import ListenerService
from stalwart.ops.metrics import Metrics
from stalwart.tls import Certificates, self_signed
from tests.http.bed import Bed, read_answers

T = TypeVar("T")

_V4 = TcpAddress(host="127.0.0.1", port=0)
_V6 = TcpAddress(host="::1", port=0)
_GET = b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
_SECONDS = 10


def _certificate(*names: str) -> tuple[Certificate, str]:
    cert, key = self_signed(names, now=datetime.datetime.now(datetime.UTC))
    return Certificate(id=names[0], cert=cert, private_key=Secret(key)), cert


def _talk(sock: socket.socket, octets: bytes) -> bytes:
    """Send, and read to the end."""
    with sock:
        sock.settimeout(_SECONDS)
        sock.sendall(octets)
        answer = b""
        while data := sock.recv(65_536):
            answer += data
        return answer


class Real(TestCase):
    """A listener of its own for each test, stopped after it."""

    def setUp(self) -> None:
        """The tree that is served."""
        self.bed = Bed()
        self.metrics = Metrics("0")

    def listen(
        self,
        *bind: TcpAddress | UnixAddress,
        certificates: Certificates | None = None,
        factory: IProtocolFactory | None = None,
        most: int = 100,
    ) -> ListenerService:
        """Start a listener."""
        tls = certificates is not None
        listener = Listener(id="x", protocol="http", bind=bind, tls_implicit=tls, max_connections=most)
        site = Site(
            self.bed.root,
            listener=ListenerContext(id="x", tls=tls),
            metrics=self.metrics,
            reactor=reactor,
            request_ids=RequestIds(b"\xab"),
            access_log=self.bed.log,
        )
        service = ListenerService(
            reactor, listener, metrics=self.metrics, certificates=certificates, factory=factory or site
        )
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def port(self, service: ListenerService) -> int:
        """The port of the first address."""
        address = service.addresses[0]
        assert isinstance(address, TcpAddress)
        return address.port

    def thread(self, function: Callable[[], T]) -> Deferred[T]:
        """Run a blocking client."""
        return deferToThread(function)


class Plain(Real):
    """Without TLS."""

    @inlineCallbacks
    def test_all_families(self) -> Any:
        """One listener serves IPv4, IPv6 and a Unix socket side by side, and the log names each client."""
        path = os.path.abspath(self.mktemp())
        service = self.listen(_V4, _V6, UnixAddress(path=path))
        v4, v6, _ = service.addresses
        assert isinstance(v4, TcpAddress) and isinstance(v6, TcpAddress)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o660)
        unix = socket.socket(socket.AF_UNIX)
        unix.connect(path)
        for sock in (
            socket.create_connection(("127.0.0.1", v4.port)),
            socket.create_connection(("::1", v6.port)),
            unix,
        ):
            octets = yield self.thread(lambda sock=sock: _talk(sock, _GET))  # type: ignore[misc]
            (answer,) = read_answers(octets)
            self.assertEqual(answer.body, b"hello\n")
        self.assertEqual([line["client"] for line in self.bed.log.lines], ["127.0.0.1", "::1", "unix"])
        yield service.stopService()
        self.assertFalse(os.path.exists(path))

    @inlineCallbacks
    def test_dual_stack_client(self) -> Any:
        """An IPv4 client of a dual-stack socket is shown by its IPv4 address."""
        service = self.listen(TcpAddress(host="::", port=0))
        port = self.port(service)
        yield self.thread(lambda: _talk(socket.create_connection(("127.0.0.1", port)), _GET))
        self.assertEqual([line["client"] for line in self.bed.log.lines], ["127.0.0.1"])

    @inlineCallbacks
    def test_too_many(self) -> Any:
        """A connection too many is closed without an answer."""
        service = self.listen(_V4, most=1)
        port = self.port(service)
        with socket.create_connection(("127.0.0.1", port)):
            while not service.connections:
                yield deferLater(reactor, 0.01)
            octets = yield self.thread(lambda: _talk(socket.create_connection(("127.0.0.1", port)), b""))
            self.assertEqual(octets, b"")

    @inlineCallbacks
    def test_refusal_is_read(self) -> Any:
        """A client that is still sending when it is refused can read why."""
        service = self.listen(_V4)
        port = self.port(service)

        def upload() -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as sock:
                sock.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n")
                for _ in range(50):
                    sock.sendall(b"x" * 10_000)
                    time.sleep(0.001)
                return sock.recv(65_536)

        octets = yield self.thread(upload)
        (answer,) = read_answers(octets)
        self.assertEqual(answer.status, 413)

    @inlineCallbacks
    def test_graceful_end(self) -> Any:
        """At the end idle connections are closed, a running request is answered, and no new one is taken."""
        service = self.listen(_V4)
        port = self.port(service)
        idle = socket.create_connection(("127.0.0.1", port))
        self.addCleanup(idle.close)
        running = self.thread(
            lambda: _talk(socket.create_connection(("127.0.0.1", port)), b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
        )
        while not self.bed.later.waiting:
            yield deferLater(reactor, 0.01)
        stopped = service.stopService()
        idle.settimeout(_SECONDS)
        self.assertEqual((yield self.thread(lambda: idle.recv(10))), b"")
        self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", port))
        self.assertNoResult(stopped)
        self.bed.later.waiting[0].callback(Response(body=b"done"))
        (answer,) = read_answers((yield running))
        self.assertEqual((answer.body, answer.headers["connection"]), (b"done", "close"))
        yield stopped
        self.assertEqual(service.connections, 0)

    @inlineCallbacks
    def test_half_closed(self) -> Any:
        """A client that sends no more gets its answer, over TCP and over a Unix socket."""
        path = os.path.abspath(self.mktemp())
        service = self.listen(_V4, UnixAddress(path=path))

        def ask(family: int, address: Any) -> bytes:
            with socket.socket(family) as sock:
                sock.settimeout(_SECONDS)
                sock.connect(address)
                sock.sendall(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
                sock.shutdown(socket.SHUT_WR)
                return _read_to_end(sock)

        for number, (family, address) in enumerate(
            ((socket.AF_INET, ("127.0.0.1", self.port(service))), (socket.AF_UNIX, path))
        ):
            asking = self.thread(lambda family=family, address=address: ask(family, address))  # type: ignore[misc]
            while len(self.bed.later.waiting) == number:
                yield deferLater(reactor, 0.01)
            yield deferLater(reactor, 0.05)
            self.bed.later.waiting[number].callback(Response(body=b"done"))
            (answer,) = read_answers((yield asking))
            self.assertEqual(answer.body, b"done")

    @inlineCallbacks
    def test_half_closed_to_others(self) -> Any:
        """For a protocol that knows nothing of it, a half-closed connection is a lost one."""
        lost: Deferred[None] = Deferred()

        class Waiting(Protocol):
            def connectionLost(self, reason: Failure = connectionDone) -> None:
                lost.callback(None)

        service = self.listen(_V4, factory=Factory.forProtocol(Waiting))
        with socket.create_connection(("127.0.0.1", self.port(service)), timeout=_SECONDS) as sock:
            sock.shutdown(socket.SHUT_WR)
            yield lost
            self.assertEqual((yield self.thread(lambda: sock.recv(100))), b"")
        self.assertEqual(service.connections, 0)

    @inlineCallbacks
    def test_any_factory(self) -> Any:
        """A factory that knows nothing of draining has its connections closed."""

        class Greeter(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(b"220 hello\r\n")

        service = self.listen(_V4, factory=Factory.forProtocol(Greeter))
        port = self.port(service)
        sock = socket.create_connection(("127.0.0.1", port), timeout=_SECONDS)
        self.addCleanup(sock.close)
        self.assertEqual((yield self.thread(lambda: sock.recv(100))), b"220 hello\r\n")
        yield service.stopService()
        self.assertEqual(sock.recv(100), b"")


class Tls(Real):
    """With TLS."""

    def connect(
        self, port: int, name: str, trusted: str, alpn: list[str] | None = None, address: str = "127.0.0.1"
    ) -> ssl.SSLSocket:
        """A client that checks the certificate."""
        context = ssl.create_default_context(cadata=trusted)
        if alpn:
            context.set_alpn_protocols(alpn)
        sock = socket.create_connection((address, port), timeout=_SECONDS)
        return context.wrap_socket(sock, server_hostname=name)

    @inlineCallbacks
    def test_names(self) -> Any:
        """Each name gets its certificate, over IPv4 and IPv6, and new ones when they are swapped."""
        first, first_pem = _certificate("a.example.org")
        second, second_pem = _certificate("*.example.net")
        certificates = Certificates([first, second], "host")
        service = self.listen(_V4, certificates=certificates)
        port = self.port(service)
        for name, pem in (("a.example.org", first_pem), ("b.example.net", second_pem)):
            octets = yield self.thread(
                lambda name=name, pem=pem: _talk(self.connect(port, name, pem), _GET)  # type: ignore[misc]
            )
            self.assertEqual([answer.status for answer in read_answers(octets)], [200])
        renewed, renewed_pem = _certificate("a.example.org")
        certificates.replace([renewed, second])
        octets = yield self.thread(lambda: _talk(self.connect(port, "a.example.org", renewed_pem), _GET))
        self.assertEqual([answer.status for answer in read_answers(octets)], [200])

    @inlineCallbacks
    def test_versions(self) -> Any:
        """TLS 1.2 and 1.3 are spoken."""
        certificate, pem = _certificate("a.example.org")
        service = self.listen(_V4, certificates=Certificates([certificate], "host"))
        port = self.port(service)

        def version(wanted: ssl.TLSVersion) -> str | None:
            context = ssl.create_default_context(cadata=pem)
            context.minimum_version = context.maximum_version = wanted
            sock = socket.create_connection(("127.0.0.1", port), timeout=_SECONDS)
            with context.wrap_socket(sock, server_hostname="a.example.org") as tls:
                return tls.version()

        self.assertEqual((yield self.thread(lambda: version(ssl.TLSVersion.TLSv1_2))), "TLSv1.2")
        self.assertEqual((yield self.thread(lambda: version(ssl.TLSVersion.TLSv1_3))), "TLSv1.3")

    @inlineCallbacks
    def test_http2(self) -> Any:
        """ALPN leads to HTTP/2, and the connection is told goodbye at the end."""
        certificate, pem = _certificate("a.example.org")
        service = self.listen(_V4, certificates=Certificates([certificate], "host"))
        port = self.port(service)
        sock = yield self.thread(lambda: self.connect(port, "a.example.org", pem, ["h2", "http/1.1"]))
        self.addCleanup(sock.close)
        self.assertEqual(sock.selected_alpn_protocol(), "h2")
        self.assertEqual((yield self.thread(lambda: _h2_get(sock, "/hello"))), b"hello\n")
        self.assertEqual([line["protocol"] for line in self.bed.log.lines], ["HTTP/2"])
        reading = self.thread(lambda: _read_to_end(sock, close=True))
        yield service.stopService()
        self.assertIn(b"\x07\x00\x00\x00\x00\x00", (yield reading))  # a GOAWAY frame's head

    @inlineCallbacks
    def test_http1_by_alpn(self) -> Any:
        """A client that asks for HTTP/1.1 gets it."""
        certificate, pem = _certificate("a.example.org")
        service = self.listen(_V4, certificates=Certificates([certificate], "host"))
        port = self.port(service)
        octets = yield self.thread(lambda: _talk(self.connect(port, "a.example.org", pem, ["http/1.1"]), _GET))
        self.assertEqual([answer.status for answer in read_answers(octets)], [200])

    @inlineCallbacks
    def test_silent_at_the_end(self) -> Any:
        """Idle clients that answer nothing, not even close_notify, don't hold up the end, and are told of it."""
        certificate, pem = _certificate("a.example.org")

        def ask(port: int, alpn: str) -> ssl.SSLSocket:
            sock = self.connect(port, "a.example.org", pem, [alpn])
            if alpn == "h2":
                _h2_get(sock, "/hello")
            else:
                sock.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
                answer = b""
                while not answer.endswith(b"hello\n"):
                    answer += sock.recv(65_536)
            return sock

        for alpn in ("h2", "http/1.1"):
            service = self.listen(_V4, certificates=Certificates([certificate], "host"))
            sock = yield self.thread(partial(ask, self.port(service), alpn))
            self.addCleanup(sock.close)
            started = time.monotonic()
            yield service.stopService()
            self.assertLess(time.monotonic() - started, 2)
            # An end without close_notify would be an error here.
            octets = yield self.thread(partial(_read_to_end, sock))
            self.assertEqual(bool(octets), alpn == "h2", octets)

    @inlineCallbacks
    def test_handshake_unfinished_at_the_end(self) -> Any:
        """A client that never speaks TLS doesn't hold up the end."""
        service = self.listen(_V4, certificates=Certificates([], "host"))
        sock = socket.create_connection(("127.0.0.1", self.port(service)))
        self.addCleanup(sock.close)
        while not service.connections:
            yield deferLater(reactor, 0.01)
        started = time.monotonic()
        yield service.stopService()
        self.assertLess(time.monotonic() - started, 5)


def _read_to_end(sock: socket.socket, *, close: bool = False) -> bytes:
    sock.settimeout(_SECONDS)
    octets = b""
    try:
        while data := sock.recv(65_536):
            octets += data
    except ConnectionResetError:
        pass
    if close:
        sock.close()
    return octets


def _h2_get(sock: ssl.SSLSocket, path: str) -> bytes:
    """Ask for a path over HTTP/2."""
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    client.send_headers(
        1, [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", path)], end_stream=True
    )
    body = b""
    while True:
        sock.sendall(client.data_to_send())
        for event in client.receive_data(sock.recv(65_536)):
            if isinstance(event, DataReceived):
                body += event.data or b""
            elif isinstance(event, StreamEnded):
                return body
