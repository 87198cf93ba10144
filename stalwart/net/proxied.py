"""Connections that begin with a PROXY header: it is read here, outside TLS, and the protocols inside see the client.

A header is demanded from the peers that are trusted, and never looked for elsewhere: else anybody could claim to be
anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from stalwart.net.peers import address_text
from stalwart.net.proxy_header import BadHeader, HeaderReader, ProxyHeader, Tcp, Unix
from stalwart.ops.networks import Networks

_log = Logger(namespace="stalwart.net")


class ProxiedTransport:
    """A transport whose ends are those that the header told. Everything else is the transport's own."""

    def __init__(self, transport: Any, peer: IAddress, host: IAddress) -> None:
        directlyProvides(self, providedBy(transport))
        self._transport = transport
        self._peer = peer
        self._host = host
        self.socket_peer: IAddress = transport.getPeer()
        """Who really is at the socket's other end."""

        self.write = transport.write
        self.writeSequence = transport.writeSequence

    def getPeer(self) -> IAddress:
        """The client that the header named."""
        return self._peer

    def getHost(self) -> IAddress:
        """What the client connected to."""
        return self._host

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@implementer(IProtocol, IHalfCloseableProtocol)
class ProxiedConnection:
    """Waits for the header, then stands between the transport and the protocol that is made for the client."""

    def __init__(self, factory: ProxiedFactory) -> None:
        self.factory = factory
        self.transport: Any = None
        self.protocol: IProtocol | None = None
        self._reader: HeaderReader | None = HeaderReader()
        self._deadline: IDelayedCall | None = None

    def makeConnection(self, transport: ITransport) -> None:
        """Start the deadline."""
        self.transport = transport
        self._deadline = self.factory.waits(self)

    def connectionMade(self) -> None:
        """Part of IProtocol; the protocol inside calls its own."""

    def dataReceived(self, data: bytes) -> None:
        """Octets from the peer: the header's, or behind it."""
        if self.protocol is not None:
            self.protocol.dataReceived(data)
            return
        reader = self._reader
        if reader is None:
            return
        try:
            header = reader.feed(data)
        except BadHeader as error:
            self._drop(str(error))
            return
        if header is not None:
            self._stop()
            self._begin(header, reader.rest)

    def _begin(self, header: ProxyHeader, rest: bytes) -> None:
        transport = self.transport
        if not header.local:
            peer, host = transport.getPeer(), transport.getHost()
            if header.source is not None and header.destination is not None:
                peer, host = _address(header.source), _address(header.destination)
            transport = ProxiedTransport(transport, peer, host)
        client = transport.getPeer()
        banned = not header.local and self.factory.closes is not None and self.factory.closes(address_text(client))
        protocol = None if banned else self.factory.inside.buildProtocol(client)
        if protocol is None:
            transport.loseConnection()
            return
        self.protocol = protocol
        protocol.makeConnection(transport)
        if rest:
            protocol.dataReceived(rest)

    def _drop(self, reason: str) -> None:
        self._stop()
        self.factory.tell(self.transport.getPeer(), reason)
        self.transport.abortConnection()

    def late(self) -> None:
        """The header didn't come in time."""
        self._drop(f"it was not there after {self.factory.seconds:g} seconds")

    def abort(self) -> None:
        """End the connection without its header."""
        self._stop()
        self.transport.abortConnection()

    def _stop(self) -> None:
        self._reader = None
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            self.factory.waited(self)
            if deadline.active():
                deadline.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        if self.protocol is not None:
            self.protocol.connectionLost(reason)
            return
        if self._reader is not None and self._reader.started:
            self.factory.tell(self.transport.getPeer(), "the connection ended inside it")
        self._stop()

    def readConnectionLost(self) -> None:
        """The peer sends no more, and may still read: the end, for a protocol that doesn't care."""
        inside: Any = self.protocol
        if IHalfCloseableProtocol.providedBy(inside):
            inside.readConnectionLost()
        else:
            self.transport.connectionLost(Failure(ConnectionDone()))

    def writeConnectionLost(self) -> None:
        """This side has closed for sending."""
        inside: Any = self.protocol
        if IHalfCloseableProtocol.providedBy(inside):
            inside.writeConnectionLost()


class ProxiedFactory(Factory):
    """Demands a header of the connections whose peers are in `trusted`; the others go straight inside."""

    noisy = False

    def __init__(
        self,
        inside: IProtocolFactory,
        trusted: Networks,
        reactor: IReactorTime,
        *,
        listener: str,
        seconds: float,
        closes: Callable[[str], bool] | None = None,
    ) -> None:
        """`inside` makes the protocols, TLS included; `seconds` is how long a header may take.

        `closes` says whether an address is banned: that of a peer who sends no header, or one that a header names.
        """
        self.closes = closes
        self.inside = inside
        self.seconds = seconds
        self.trusted = trusted
        self._reactor = reactor
        self._listener = listener
        self._waiting: set[ProxiedConnection] = set()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # type: ignore[override]
        """A protocol for a new connection; `addr` is the socket's peer. None closes it at once."""
        address = address_text(addr)
        if address in self.trusted:
            return ProxiedConnection(self)
        if self.closes is not None and self.closes(address):
            return None
        return self.inside.buildProtocol(addr)

    def waits(self, connection: ProxiedConnection) -> IDelayedCall:
        """A connection waits for its header."""
        self._waiting.add(connection)
        return self._reactor.callLater(self.seconds, connection.late)

    def waited(self, connection: ProxiedConnection) -> None:
        """A connection waits no more."""
        self._waiting.discard(connection)

    def tell(self, peer: IAddress, reason: str) -> None:
        """Log why a connection was dropped."""
        _log.warn(
            'listener "{listener}": closed a connection from {peer}, which must send a PROXY header '
            "(proxy.trusted-networks): {reason}",
            listener=self._listener,
            peer=address_text(peer),
            reason=reason,
        )

    def abort(self) -> None:
        """End all connections that wait for their header."""
        for connection in list(self._waiting):
            connection.abort()

    def doStart(self) -> None:
        """The factory inside starts."""
        self.inside.doStart()

    def doStop(self) -> None:
        """The factory inside stops."""
        self.inside.doStop()


def _address(end: Tcp | Unix) -> IAddress:
    if isinstance(end, Unix):
        return UNIXAddress(end.path or None)
    return IPv6Address("TCP", end.host, end.port) if ":" in end.host else IPv4Address("TCP", end.host, end.port)
