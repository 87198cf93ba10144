"""What stands between a socket and a protocol: connections counted and limited, and TLS handshakes with a deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from stalwart.ops.metrics import Metrics

_log = Logger(namespace="stalwart.net")
_TELL_AGAIN = 60.0


@implementer(IProtocol, IHalfCloseableProtocol)
class Counted:
    """Hands everything on to the protocol it stands for, and tells its gate when the connection ends."""

    def __init__(self, gate: ConnectionGate, protocol: IProtocol) -> None:
        self._gate = gate
        self.protocol = protocol
        self.factory = gate

    @property
    def transport(self) -> ITransport | None:
        """The connection's transport."""
        transport: ITransport | None = getattr(self.protocol, "transport", None)
        return transport

    def makeConnection(self, transport: ITransport) -> None:
        """The connection is there."""
        self.connection: Any = transport
        self._gate.opened(self)
        self.protocol.makeConnection(transport)

    def connectionMade(self) -> None:
        """Part of IProtocol; the protocol itself calls its own."""

    def dataReceived(self, data: bytes) -> None:
        """Octets from the peer."""
        self.protocol.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone."""
        self._gate.closed(self)
        self.protocol.connectionLost(reason)

    def readConnectionLost(self) -> None:
        """The peer sends no more, and may still read: the end, for a protocol that doesn't care."""
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self.connection.connectionLost(Failure(ConnectionDone()))

    def writeConnectionLost(self) -> None:
        """This side has closed for sending."""
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()


class ConnectionGate(Factory):
    """Makes the connections of one listener, as many as it may have at a time."""

    noisy = False

    def __init__(
        self,
        listener: str,
        protocol: str,
        limit: int,
        metrics: Metrics,
        monotonic: Callable[[], float],
    ) -> None:
        self.connections: set[Counted] = set()
        self.when_empty: Callable[[], None] | None = None
        self.factory: IProtocolFactory | None = None
        """What makes the protocols; connections are refused while there is none."""
        self.limit = limit
        """How many connections there may be; a lower one closes none that are open."""
        self._listener = listener
        self._monotonic = monotonic
        self._open = metrics.connections.labels(listener, protocol)
        self._refused = metrics.connections_refused.labels(listener)
        self._told = -_TELL_AGAIN
        self._untold = 0

    def buildProtocol(self, addr: IAddress) -> Counted | None:  # type: ignore[override]
        """A protocol for a new connection; None closes it at once."""
        if len(self.connections) >= self.limit:
            self._refuse()
            return None
        if self.factory is None:
            return None
        protocol = self.factory.buildProtocol(addr)
        return None if protocol is None else Counted(self, protocol)

    def opened(self, connection: Counted) -> None:
        """Count a connection."""
        self.connections.add(connection)
        self._open.inc()

    def closed(self, connection: Counted) -> None:
        """Forget a connection."""
        if connection in self.connections:
            self.connections.remove(connection)
            self._open.dec()
            if not self.connections and self.when_empty is not None:
                when_empty, self.when_empty = self.when_empty, None
                when_empty()

    def _refuse(self) -> None:
        self._refused.inc()
        self._untold += 1
        now = self._monotonic()
        if now - self._told >= _TELL_AGAIN:
            _log.warn(
                'listener "{listener}" has its {limit} connections: {count} more were closed at once (max-connections)',
                listener=self._listener,
                limit=self.limit,
                count=self._untold,
            )
            self._told, self._untold = now, 0


@implementer(IHandshakeListener)
class _Handshaking(Protocol):
    """Ends a connection whose TLS handshake takes too long; afterwards it only hands on."""

    def __init__(self, protocol: IProtocol, factory: HandshakeFactory) -> None:
        self._protocol = protocol
        self._factory = factory
        self._deadline: IDelayedCall | None = None

    def makeConnection(self, transport: ITransport) -> None:
        """Start the deadline."""
        self.transport = transport
        self._deadline = self._factory.started(self)
        self._protocol.makeConnection(transport)

    def abort(self) -> None:
        """End the connection, its handshake undone."""
        self._stop()
        transport: Any = self.transport
        transport.abortConnection()

    def _stop(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            self._factory.ended(self)
            if deadline.active():
                deadline.cancel()

    def handshakeCompleted(self) -> None:
        """The handshake is done in time."""
        self._stop()
        transport: Any = self.transport
        if getattr(transport, "challenge", None) is not None:
            transport.loseConnection()  # RFC 8737 §3: the handshake was all that the authority wanted
            return
        if IHandshakeListener.providedBy(self._protocol):
            self._protocol.handshakeCompleted()

    def dataReceived(self, data: bytes) -> None:
        """Octets, decrypted."""
        self._protocol.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._stop()
        self._protocol.connectionLost(reason)


@implementer(IProtocolNegotiationFactory)
class HandshakeFactory(Factory):
    """Puts a deadline on the handshakes of the connections that `factory` makes. Belongs right inside TLS."""

    noisy = False

    def __init__(self, factory: IProtocolFactory, reactor: IReactorTime, seconds: float) -> None:
        self._factory = factory
        self._reactor = reactor
        self.seconds = seconds
        """How long a handshake may take; another value counts for connections from then on."""
        self._under_way: set[_Handshaking] = set()

    def started(self, connection: _Handshaking) -> IDelayedCall:
        """A handshake has begun."""
        self._under_way.add(connection)
        return self._reactor.callLater(self.seconds, connection.abort)

    def ended(self, connection: _Handshaking) -> None:
        """A handshake is over, one way or the other."""
        self._under_way.discard(connection)

    def abort(self) -> None:
        """End all connections whose handshake isn't done."""
        for connection in list(self._under_way):
            connection.abort()

    def buildProtocol(self, addr: IAddress) -> _Handshaking | None:  # type: ignore[override]
        """A protocol for a new connection."""
        protocol = self._factory.buildProtocol(addr)
        return None if protocol is None else _Handshaking(protocol, self)

    def acceptableProtocols(self) -> list[bytes]:
        """What the factory inside offers by ALPN."""
        if IProtocolNegotiationFactory.providedBy(self._factory):
            return list(self._factory.acceptableProtocols())
        return []

    def doStart(self) -> None:
        """The factory inside starts."""
        self._factory.doStart()

    def doStop(self) -> None:
        """The factory inside stops."""
        self._factory.doStop()
