"""Connections counted and limited, and handshakes with a deadline."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from stalwart.net.gate import ConnectionGate, Counted, HandshakeFactory
from stalwart.ops.metrics import Metrics
from tests.http.bed import Transport

_PEER = IPv4Address("TCP", "192.0.2.7", 40000)


@implementer(IHandshakeListener)
class Note(Protocol):
    """Keeps what happened to it."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def connectionMade(self) -> None:
        """Note it."""
        self.events.append("made")

    def handshakeCompleted(self) -> None:
        """Note it."""
        self.events.append("handshake")

    def dataReceived(self, data: bytes) -> None:
        """Note it."""
        self.events.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note it."""
        self.events.append("lost")


class Counting(SynchronousTestCase):
    """`ConnectionGate`."""

    def setUp(self) -> None:
        """A gate for two connections."""
        self.clock = Clock()
        self.metrics = Metrics("0")
        self.gate = ConnectionGate("x", "http", 2, self.metrics, self.clock.seconds)
        self.gate.factory = Factory.forProtocol(Note)
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def connect(self) -> Counted | None:
        """A new connection, if there is room."""
        protocol = self.gate.buildProtocol(_PEER)
        if protocol is not None:
            protocol.makeConnection(Transport())
        return protocol

    def value(self, name: str, **labels: str) -> float | None:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(name, {"listener": "x", **labels})

    def test_hands_on(self) -> None:
        """The protocol sees its own transport and everything that happens."""
        connection = self.connect()
        assert connection is not None
        note = connection.protocol
        assert isinstance(note, Note)
        self.assertIs(note.transport, connection.transport)
        connection.dataReceived(b"x")
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(note.events, ["made", b"x", "lost"])

    def test_limit(self) -> None:
        """Past the limit connections are closed at once, and taken again when one has ended."""
        first = self.connect()
        self.connect()
        assert first is not None
        self.assertIsNone(self.connect())
        self.assertEqual(self.value("stalwart_connections", protocol="http"), 2)
        first.connectionLost(Failure(ConnectionDone()))
        first.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.value("stalwart_connections", protocol="http"), 1)
        self.assertIsNotNone(self.connect())
        self.assertEqual(self.value("stalwart_connections_refused_total"), 1)

    def test_told_once_a_minute(self) -> None:
        """The log is told once a minute, with the number."""
        for _ in range(7):
            self.connect()
        self.clock.advance(61)
        self.connect()
        counts = [event["count"] for event in self.log if "count" in event]
        self.assertEqual(counts, [1, 5])
        self.assertEqual({event["log_namespace"] for event in self.log}, {"stalwart.net"})


class Handshakes(SynchronousTestCase):
    """`HandshakeFactory`."""

    def setUp(self) -> None:
        """A connection whose handshake has begun."""
        self.clock = Clock()
        self.factory = HandshakeFactory(Factory.forProtocol(Note), self.clock, 30)
        protocol = self.factory.buildProtocol(_PEER)
        assert protocol is not None
        self.protocol = protocol
        self.transport = Transport()
        protocol.makeConnection(self.transport)

    def test_in_time(self) -> None:
        """A handshake in time is handed on, and there is no deadline any more."""
        self.protocol.handshakeCompleted()
        self.protocol.dataReceived(b"x")
        self.clock.advance(100)
        self.assertFalse(self.transport.aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_slow(self) -> None:
        """One that takes too long is cut off."""
        self.clock.advance(29)
        self.assertFalse(self.transport.aborted)
        self.clock.advance(1)
        self.assertTrue(self.transport.aborted)

    def test_lost(self) -> None:
        """One that ends leaves no deadline behind."""
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping(self) -> None:
        """When the service stops, those under way are cut off, the others left."""
        done = self.factory.buildProtocol(_PEER)
        assert done is not None
        transport = Transport()
        done.makeConnection(transport)
        done.handshakeCompleted()
        self.factory.abort()
        self.assertEqual((self.transport.aborted, transport.aborted), (True, False))

    def test_no_alpn(self) -> None:
        """A factory that negotiates nothing offers nothing."""
        self.assertEqual(self.factory.acceptableProtocols(), [])
