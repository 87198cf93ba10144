"""Connections that begin with a PROXY header: in memory, and on real sockets with TLS, HTTP/2, Unix and LMTP."""

from __future__ import annotations

import json
import os
import socket
import ssl
from functools import partial
from ipaddress import ip_network
from itertools import count
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import inlineCallbacks
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IProtocolFactory, ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from stalwart.config import Listener, TcpAddress, UnixAddress
from stalwart.delivery.lmtp_server import LmtpFactory
from stalwart.delivery.memory import MessageMemory
from stalwart.http import Endpoint, ListenerContext, Request, RequestIds, Response, Site, SiteSettings, TrustedProxies
from stalwart.net import ListenerService
from stalwart.net.gate import ConnectionGate, Counted
from stalwart.net.proxied import ProxiedConnection, ProxiedFactory
from stalwart.ops.metrics import Metrics
from stalwart.ops.networks import IPNetwork, Networks
from stalwart.tls import Certificates
from tests.delivery.test_session import OPENING, Room
from tests.http.bed import Bed, Transport, read_answers
from tests.net.test_gate import Note
from tests.net.test_listeners import _certificate, _h2_get, _talk
from tests.net.test_proxy_header import BAD, SIGNATURE, binary, v4_block

_PROXY = IPv4Address("TCP", "10.0.0.1", 40_000)
_HOST = IPv4Address("TCP", "10.0.0.2", 443)
_LINE = b"PROXY TCP4 192.0.2.9 198.51.100.1 4711 443\r\n"
_LOCAL = binary(0x00, b"", 0x20)
_LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
_GET = b"GET /where HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
_SECONDS = 10


class Memory(SynchronousTestCase):
    """On transports in memory."""

    def setUp(self) -> None:
        """A listener's gate, with trusted balancers in 10.0.0.0/8."""
        self.clock = Clock()
        self.factory = ProxiedFactory(
            Factory.forProtocol(Note),
            Networks([ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32")]),
            self.clock,
            listener="x",
            seconds=10.0,
            closes=lambda address: address == "192.0.2.66",
        )
        self.gate = ConnectionGate("x", "http", 100, Metrics("0"), self.clock.seconds)
        self.gate.factory = self.factory
        self._captured = self.enterContext(capturedLogs())

    def test_banned_client(self) -> None:
        """A connection for a client that is banned is closed, and nothing is made for it; for others it goes on."""
        for line, closed in ((_LINE.replace(b"192.0.2.9", b"192.0.2.66"), True), (_LINE, False)):
            connection, transport = self.connect()
            connection.dataReceived(line + b"x")
            self.assertEqual((transport.disconnecting, self.inside(connection) is None), (closed, closed))

    def test_banned_peer(self) -> None:
        """A banned peer that sends no header is closed before anything is made for it, however it is written."""
        for peer in (IPv4Address("TCP", "192.0.2.66", 1), IPv6Address("TCP", "::ffff:192.0.2.66", 1)):
            self.assertIsNone(self.gate.buildProtocol(peer))
        self.assertEqual(self.gate.connections, set())
        self.assertIsNotNone(self.gate.buildProtocol(UNIXAddress(None)))
        # A balancer must send one: whom it names is looked at then.
        self.factory.closes = lambda address: True
        self.connect(_PROXY)
        self.assertIsNone(self.gate.buildProtocol(IPv4Address("TCP", "192.0.2.7", 1)))

    def connect(self, peer: IAddress = _PROXY) -> tuple[Counted, Transport]:
        """A connection from `peer`."""
        connection = self.gate.buildProtocol(peer)
        assert connection is not None
        transport = Transport(hostAddress=_HOST, peerAddress=peer)
        connection.makeConnection(transport)
        return connection, transport

    def inside(self, connection: Counted) -> Note | None:
        """What was made for the client, if it was."""
        outer = connection.protocol
        assert isinstance(outer, ProxiedConnection)
        note = outer.protocol
        assert note is None or isinstance(note, Note)
        return note

    def logged(self) -> list[str]:
        """What was logged, as reasons."""
        return [str(event["reason"]) for event in self._captured if event.get("log_namespace") == "stalwart.net"]

    def test_every_cut(self) -> None:
        """However a header is cut, the protocol inside sees the client's addresses and the octets behind."""
        for octets in (_LINE, binary(0x11, v4_block() + b"\x20\x00\x01x")):
            whole = octets + b"hello"
            for cut in range(1, len(whole)):
                connection, transport = self.connect()
                for part in (whole[:cut], whole[cut:]):
                    connection.dataReceived(part)
                note = self.inside(connection)
                assert note is not None and note.transport is not None
                self.assertEqual(note.events[0], "made")
                self.assertEqual(b"".join(part for part in note.events[1:] if isinstance(part, bytes)), b"hello")
                self.assertEqual(note.transport.getPeer(), IPv4Address("TCP", "192.0.2.9", 4711))
                self.assertEqual(note.transport.getHost(), IPv4Address("TCP", "198.51.100.1", 443))
                self.assertIs(getattr(note.transport, "socket_peer", None), _PROXY)
                self.assertEqual(transport.value(), b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.logged(), [])

    def test_local_and_unknown(self) -> None:
        """LOCAL leaves the connection as it is; UNKNOWN too, but it isn't the balancer's own."""
        for octets, own in ((_LOCAL, True), (b"PROXY UNKNOWN\r\n", False), (binary(0x00, b"abc"), False)):
            connection, transport = self.connect()
            connection.dataReceived(octets)
            note = self.inside(connection)
            assert note is not None and note.transport is not None
            self.assertEqual((note.transport.getPeer(), note.transport.getHost()), (_PROXY, _HOST))
            self.assertIs(note.transport is transport, own)

    def test_families(self) -> None:
        """IPv6 and Unix ends."""
        for octets, peer in (
            (b"PROXY TCP6 2001:db8::9 2001:db8::1 1 2\r\n", IPv6Address("TCP", "2001:db8::9", 1)),
            (b"PROXY TCP6 ::ffff:192.0.2.9 ::1 1 2\r\n", IPv4Address("TCP", "192.0.2.9", 1)),
            (binary(0x31, b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0")), UNIXAddress(b"/a")),
        ):
            connection, _ = self.connect()
            connection.dataReceived(octets)
            note = self.inside(connection)
            assert note is not None and note.transport is not None
            self.assertEqual(note.transport.getPeer(), peer)

    def test_strangers(self) -> None:
        """From others no header is looked for: theirs is data like any other."""
        connection, _ = self.connect(IPv4Address("TCP", "192.0.2.1", 1))
        connection.dataReceived(_LINE)
        note = connection.protocol
        assert isinstance(note, Note)
        self.assertEqual(note.events, ["made", _LINE])

    def test_unix_peers(self) -> None:
        """Peers of a Unix socket must send one where loopback is trusted, and mapped addresses are IPv4."""
        for peer in (UNIXAddress(None), IPv6Address("TCP", "::ffff:10.0.0.1", 1)):
            connection, _ = self.connect(peer)
            self.assertIsNone(self.inside(connection))
        self.factory.trusted = Networks([ip_network("10.0.0.0/8")])
        self.assertIsInstance(self.gate.buildProtocol(UNIXAddress(None)).protocol, Note)  # type: ignore[union-attr]

    def test_bad(self) -> None:
        """What is no header ends the connection at once, unanswered, with one line that says who and why."""
        for octets, reason in BAD:
            connection, transport = self.connect()
            for at in range(len(octets)):
                connection.dataReceived(octets[at : at + 1])
            self.assertTrue(transport.aborted, octets)
            self.assertEqual(transport.value(), b"")
            connection.connectionLost(Failure(ConnectionDone()))
            self.assertIsNone(self.inside(connection))
            self.assertIn(reason, self.logged()[-1])
        self.assertEqual(len(self.logged()), len(BAD))
        self.assertFalse(self.gate.connections)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_late(self) -> None:
        """The whole header must be there in time, however it drips."""
        connection, transport = self.connect()
        for octet in _LINE[:9]:
            self.clock.advance(1)
            connection.dataReceived(bytes([octet]))
        self.assertFalse(transport.aborted)
        self.clock.advance(1)
        self.assertTrue(transport.aborted)
        connection.dataReceived(_LINE[9:])
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertIsNone(self.inside(connection))
        self.assertEqual(self.logged(), ["it was not there after 10 seconds"])

    def test_gone(self) -> None:
        """A balancer that only looks whether the port is open is no news; one that leaves inside its header is."""
        self.connect()[0].connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.logged(), [])
        connection, _ = self.connect()
        connection.dataReceived(_LINE[:5])
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.logged(), ["the connection ended inside it"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_half_closed(self) -> None:
        """A peer that stops sending is lost to a protocol that doesn't care, and before the header is whole."""
        for octets in (b"", _LINE):
            connection, transport = self.connect()
            transport.connectionLost = connection.connectionLost  # type: ignore[attr-defined]
            connection.dataReceived(octets)
            connection.writeConnectionLost()
            connection.readConnectionLost()
            self.assertFalse(self.gate.connections)

    def test_refused_inside(self) -> None:
        """A factory inside that makes no protocol has the connection closed."""

        class Refusing(Factory[Protocol]):
            def buildProtocol(self, addr: IAddress | None) -> None:
                return None

        self.factory.inside = Refusing()
        connection, transport = self.connect()
        connection.dataReceived(_LINE + b"x")
        connection.dataReceived(b"y")
        self.assertTrue(transport.disconnecting)

    def test_interfaces(self) -> None:
        """The transport inside can what the real one can."""
        connection, transport = self.connect()
        connection.dataReceived(_LINE)
        note = self.inside(connection)
        assert note is not None
        inner: Any = note.transport
        self.assertEqual(ITCPTransport.providedBy(inner), ITCPTransport.providedBy(transport))
        inner.write(b"a")
        inner.writeSequence([b"b"])
        self.assertEqual(transport.value(), b"ab")
        inner.loseConnection()
        self.assertTrue(transport.disconnecting)
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(note.events, ["made", "lost"])


class Where(Endpoint):
    """Tells where a request comes from."""

    async def get(self, request: Request) -> Response:
        """As JSON."""
        seen = {
            "client": [request.client_address, request.client_port],
            "local": [request.local_address, request.local_port],
            "peer": request.peer_address,
            "loopback": request.peer_is_loopback,
        }
        return Response(body=json.dumps(seen).encode())


class Real(TestCase):
    """On real sockets."""

    def setUp(self) -> None:
        """The tree that is served."""
        self.bed = Bed()
        self.bed.mount("/where", Where())

    def listen(
        self,
        bind: TcpAddress | UnixAddress,
        *,
        networks: list[IPNetwork] = _LOOPBACK,
        certificates: Certificates | None = None,
        factory: IProtocolFactory | None = None,
        protocol: Any = "http",
    ) -> ListenerService:
        """Start a listener."""
        tls = certificates is not None
        site = Site(
            self.bed.root,
            listener=ListenerContext(id="x", tls=tls),
            metrics=self.bed.metrics,
            reactor=reactor,
            request_ids=RequestIds(b"\xab"),
            access_log=self.bed.log,
            settings=SiteSettings(forwarded=TrustedProxies([ip_network("198.51.100.0/24")])),
        )
        service = ListenerService(
            reactor,
            Listener(id="x", protocol=protocol, bind=(bind,), tls_implicit=tls, max_connections=10),
            metrics=Metrics("0"),
            certificates=certificates,
            factory=factory or site,
            proxy_networks=networks,
        )
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def connect(self, service: ListenerService, octets: bytes) -> socket.socket:
        """A connection that begins with `octets`, each a segment of its own."""
        address = service.addresses[0]
        if isinstance(address, UnixAddress):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(_SECONDS)
            sock.connect(address.path)
        else:
            sock = socket.create_connection((address.host, address.port), timeout=_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in octets:
            sock.sendall(bytes([octet]))
        return sock

    def thread(self, function: Any) -> Any:
        """Run a blocking client."""
        return deferToThread(function)

    @inlineCallbacks
    def test_plain(self) -> Any:
        """Over TCP and Unix sockets, both versions: the endpoint and the log see the client, and the balancer."""
        path = os.path.abspath(self.mktemp())
        for bind, peer in ((TcpAddress(host="127.0.0.1", port=0), "127.0.0.1"), (UnixAddress(path=path), "unix")):
            service = self.listen(bind)
            for octets in (_LINE, binary(0x11, v4_block())):
                answer = yield self.thread(lambda: _talk(self.connect(service, octets), _GET))  # noqa: B023
                (found,) = read_answers(answer)
                self.assertEqual(
                    json.loads(found.body),
                    {"client": ["192.0.2.9", 4711], "local": ["198.51.100.1", 443], "peer": peer, "loopback": False},
                )
            line = self.bed.log.lines[-1]
            self.assertEqual((line["client"], line["peer"]), ("192.0.2.9", peer))

    @inlineCallbacks
    def test_other_networks(self) -> Any:
        """Networks that are changed while it listens hold for the next connection, also where there were none."""
        service = self.listen(TcpAddress(host="127.0.0.1", port=0), networks=[])
        loopback = msgspec.structs.replace(service.listener, proxy_trusted_networks=tuple(_LOOPBACK))
        for listener, octets, client in (
            (service.listener, b"", "127.0.0.1"),
            (loopback, _LINE, "192.0.2.9"),
            (service.listener, b"", "127.0.0.1"),
        ):
            service.reconfigure(listener)
            answer = yield self.thread(lambda: _talk(self.connect(service, octets), _GET))  # noqa: B023
            self.assertEqual(json.loads(read_answers(answer)[0].body)["client"][0], client)

    @inlineCallbacks
    def test_own_words(self) -> Any:
        """LOCAL is the balancer itself; UNKNOWN is somebody behind it, who is never taken for this machine."""
        service = self.listen(TcpAddress(host="127.0.0.1", port=0))
        for octets, loopback in (
            (_LOCAL, True),
            (b"PROXY UNKNOWN\r\n", False),
            (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", False),
        ):
            answer = yield self.thread(lambda: _talk(self.connect(service, octets), _GET))  # noqa: B023
            seen = json.loads(read_answers(answer)[0].body)
            self.assertEqual((seen["client"][0], seen["loopback"]), ("127.0.0.1", loopback), octets)

    @inlineCallbacks
    def test_forwarded_behind_it(self) -> Any:
        """Fields of proxies count from the client that the header named."""
        service = self.listen(TcpAddress(host="127.0.0.1", port=0))
        get = _GET.replace(b"Host", b"X-Forwarded-For: 192.0.2.77\r\nHost")
        for source, client in ((b"198.51.100.7", "192.0.2.77"), (b"192.0.2.9", "192.0.2.9")):
            octets = b"PROXY TCP4 %b 198.51.100.1 4711 80\r\n" % source
            answer = yield self.thread(lambda: _talk(self.connect(service, octets), get))  # noqa: B023
            self.assertEqual(json.loads(read_answers(answer)[0].body)["client"][0], client)

    @inlineCallbacks
    def test_tls(self) -> Any:
        """The header comes before TLS, with HTTP/1.1 and HTTP/2 inside."""
        certificate, pem = _certificate("a.example.org")
        service = self.listen(TcpAddress(host="127.0.0.1", port=0), certificates=Certificates([certificate], "host"))

        def ask(octets: bytes, alpn: str) -> bytes:
            context = ssl.create_default_context(cadata=pem)
            context.set_alpn_protocols([alpn])
            with context.wrap_socket(self.connect(service, octets), server_hostname="a.example.org") as tls:
                if alpn == "h2":
                    return _h2_get(tls, "/where")
                return read_answers(_talk(tls, _GET))[0].body

        for octets in (_LINE, binary(0x11, v4_block() + b"\x04\x00\x02ab")):
            for alpn in ("h2", "http/1.1"):
                seen = json.loads((yield self.thread(partial(ask, octets, alpn))))
                self.assertEqual((seen["client"], seen["peer"]), (["192.0.2.9", 4711], "127.0.0.1"))

    @inlineCallbacks
    def test_demanded(self) -> Any:
        """From a trusted peer a connection without one is closed unanswered; from others one is no request."""
        service = self.listen(TcpAddress(host="127.0.0.1", port=0))
        with capturedLogs() as captured:
            answer = yield self.thread(lambda: _reset(self.connect(service, b""), _GET))
            self.assertEqual(answer, b"")
        self.assertEqual(len([event for event in captured if "PROXY" in str(event.get("log_format"))]), 1)
        others = self.listen(TcpAddress(host="127.0.0.1", port=0), networks=[ip_network("10.0.0.0/8")])
        for octets, status in ((_LINE + _GET, 400), (SIGNATURE + _GET, 400), (_GET, 200)):
            answer = yield self.thread(lambda: _talk(self.connect(others, b""), octets))  # noqa: B023
            self.assertEqual(read_answers(answer)[0].status, status)
        self.assertEqual({line["client"] for line in self.bed.log.lines}, {"127.0.0.1"})

    @inlineCallbacks
    def test_lmtp(self) -> Any:
        """The LMTP listener names the client in what it stores, over TCP and Unix sockets."""
        path = os.path.abspath(self.mktemp())
        for bind in (TcpAddress(host="127.0.0.1", port=0), UnixAddress(path=path)):
            room = Room()
            numbers = count(1)
            factory = LmtpFactory(
                listener="x",
                hostname="mx.example",
                mailroom=room,
                memory=MessageMemory(100_000),
                metrics=Metrics("0"),
                reactor=reactor,
                new_id=lambda numbers=numbers: f"id{next(numbers)}",  # type: ignore[misc]
            )
            service = self.listen(bind, factory=factory, protocol="lmtp")

            def deliver(octets: bytes, service: ListenerService = service) -> bytes:
                sock = self.connect(service, octets)
                greeting = sock.recv(1000)
                return greeting + _talk(sock, OPENING + b"Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n")

            for octets in (_LINE, binary(0x11, v4_block())):
                answer = yield self.thread(partial(deliver, octets))
                self.assertTrue(answer.startswith(b"220 "), answer)
                self.assertIn(b"\r\n250 2.0.0 Stored", answer)
                self.assertIn("192.0.2.9", str(room.kept[-1][0]))

    @inlineCallbacks
    def test_end(self) -> Any:
        """A connection that never sends its header doesn't hold up the end."""
        service = self.listen(TcpAddress(host="127.0.0.1", port=0))
        sock = self.connect(service, b"PROX")
        self.addCleanup(sock.close)
        while not service.connections:
            yield deferLater(reactor, 0.01)
        yield service.stopService()
        self.assertEqual(service.connections, 0)


def _reset(sock: socket.socket, octets: bytes) -> bytes:
    try:
        return _talk(sock, octets)
    except ConnectionResetError:
        return b""
