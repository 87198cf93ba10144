"""A listener as a service: bound before privileges are dropped, served when all is ready, stopped gracefully."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocolFactory
from twisted.logger import Logger

from stalwart.config import Listener, TcpAddress, UnixAddress
from stalwart.net.draining import IDrains
from stalwart.net.gate import ConnectionGate, HandshakeFactory
from stalwart.net.proxied import ProxiedFactory
from stalwart.net.sockets import open_sockets
from stalwart.net.unix import UnixPort
from stalwart.ops.metrics import Metrics
from stalwart.ops.networks import IPNetwork, Networks
from stalwart.tls import Certificates, ListenerTls, TlsFactory

_log = Logger(namespace="stalwart.net")
_HEADER_SECONDS = 10.0
_GRACE_SECONDS = 10.0
_LAST_SECONDS = 1.0


class ListenerService(Service):
    """One listener of the configuration, on all of its addresses.

    Set `factory` before `startService`; if it offers `IDrains`, running work is let finish at the end.
    """

    def __init__(
        self,
        reactor: Any,
        listener: Listener,
        *,
        metrics: Metrics,
        certificates: Certificates | None = None,
        factory: IProtocolFactory | None = None,
        proxy_networks: Sequence[IPNetwork] = (),
        closes: Callable[[str], bool] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`reactor` provides IReactorSocket and IReactorTime. `certificates` must be given for `tls.implicit`.

        Peers in `proxy_networks` must begin with a PROXY header; those of Unix sockets count as loopback.
        `closes` says of an address, a peer's or one that a header names, whether its connections are closed at once.
        """
        self.listener = listener
        self.factory = factory
        self._reactor = reactor
        self._certificates = certificates
        self._gate = ConnectionGate(listener.id, listener.protocol, listener.max_connections, metrics, monotonic)
        self._proxies = Networks(proxy_networks)
        self._closes = closes
        self._monotonic = monotonic
        self._tls: ListenerTls | None = None
        self._handshakes: HandshakeFactory | None = None
        self._headers: ProxiedFactory | None = None
        self._sockets: list[socket.socket] = []
        self._ports: list[IListeningPort] = []
        self._unix: list[tuple[str, int]] = []
        self.addresses: tuple[TcpAddress | UnixAddress, ...] = ()
        """Where it listens, with the real port where 0 was asked for; empty until it is bound."""

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._gate.connections)

    def reconfigure(self, listener: Listener) -> None:
        """Take over what may change while it runs, for connections from now on. The rest stays as it is."""
        self.listener = msgspec.structs.replace(
            self.listener,
            max_connections=listener.max_connections,
            proxy_trusted_networks=listener.proxy_trusted_networks,
            tls=listener.tls,
        )
        self._gate.limit = listener.max_connections
        self._proxies = Networks(listener.proxy_trusted_networks)
        if self._headers is not None:
            self._headers.trusted = self._proxies
        if self._tls is not None:
            self._tls.configure(listener.tls)
        if self._handshakes is not None:
            self._handshakes.seconds = listener.tls.timeout

    def privilegedStartService(self) -> None:
        """Bind the sockets; raises ListenError. Connections wait until `startService`."""
        if self._sockets or self._ports:
            return
        self._sockets = open_sockets(self.listener)
        self.addresses = tuple(
            _bound(address, sock) for address, sock in zip(self.listener.bind, self._sockets, strict=True)
        )
        self._unix = [
            (address.path, os.lstat(address.path).st_ino)
            for address in self.addresses
            if isinstance(address, UnixAddress)
        ]

    def startService(self) -> None:
        """Begin to accept connections."""
        self.privilegedStartService()
        if self.factory is None:
            raise RuntimeError(f'listener "{self.listener.id}" was started without a factory')
        super().startService()  # type: ignore[no-untyped-call]
        self._gate.factory = self._behind_proxies(self._inside_tls(self.factory))
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            if sock.family == socket.AF_UNIX:
                port = UnixPort(sock, self._gate, self.listener.socket.backlog, self._reactor)
                port.startListening()  # type: ignore[no-untyped-call]
                self._ports.append(port)
            else:
                with sock:  # the reactor works on a duplicate
                    self._ports.append(self._reactor.adoptStreamPort(sock.fileno(), sock.family, self._gate))
        for address in self.addresses:
            _log.info(
                'listener "{listener}": {protocol} on {address}' + (" with TLS" if self.listener.tls_implicit else ""),
                listener=self.listener.id,
                protocol=self.listener.protocol,
                address=str(address),
                tls=self.listener.tls_implicit,
            )

    def _behind_proxies(self, factory: IProtocolFactory) -> IProtocolFactory:
        """The header of the PROXY protocol comes before the first octet of TLS."""
        self._headers = ProxiedFactory(
            factory,
            self._proxies,
            self._reactor,
            listener=self.listener.id,
            seconds=_HEADER_SECONDS,
            closes=self._closes,
        )
        return self._headers

    def _inside_tls(self, factory: IProtocolFactory) -> IProtocolFactory:
        if not self.listener.tls_implicit:
            return factory
        if self._certificates is None:
            raise RuntimeError(f'listener "{self.listener.id}" has TLS and was given no certificates')
        options = self.listener.tls
        self._handshakes = inside = HandshakeFactory(factory, self._reactor, options.timeout)
        self._tls = ListenerTls(
            self.listener.id,
            options,
            self._certificates,
            protocols=inside.acceptableProtocols(),
            monotonic=self._monotonic,
        )
        if self._certificates.without_any:
            _log.warn(
                'listener "{listener}": no certificate is there: until one is (of certificate.<id>, or ordered by '
                "acme.<id>), a self-signed one is used, which clients will not trust",
                listener=self.listener.id,
            )
        return TlsFactory(self._tls, inside, self._reactor)

    def stopService(self) -> Deferred[None]:
        """Stop accepting, let running work finish for up to 10 seconds, then drop what is left."""
        super().stopService()  # type: ignore[no-untyped-call]
        for sock in self._sockets:
            sock.close()
        self._sockets = []
        ports, self._ports = self._ports, []
        closed = [port.stopListening() for port in ports]
        for path, inode in self._unix:
            _unlink(path, inode)
        self._unix = []
        return DeferredList([deferred for deferred in closed if deferred is not None], consumeErrors=True).addCallback(
            lambda _: self._drain()
        )

    def _drain(self) -> Deferred[None]:
        ended: Deferred[None] = Deferred()
        if not self._gate.connections:
            return succeed(None)
        later: list[IDelayedCall] = []

        def finish() -> None:
            for call in later:
                if call.active():
                    call.cancel()
            self._gate.when_empty = None
            ended.callback(None)

        def drop() -> None:
            _log.warn(
                'listener "{listener}": {count} connections were cut off, having not ended within {seconds} seconds',
                listener=self.listener.id,
                count=len(self._gate.connections),
                seconds=_GRACE_SECONDS,
            )
            later.append(self._reactor.callLater(_LAST_SECONDS, finish))
            for connection in list(self._gate.connections):
                connection.connection.abortConnection()

        later.append(self._reactor.callLater(_GRACE_SECONDS, drop))
        self._gate.when_empty = finish
        if self._handshakes is not None:
            self._handshakes.abort()
        if self._headers is not None:
            self._headers.abort()
        factory: object = self.factory
        if isinstance(factory, IDrains):
            factory.drain().addErrback(lambda failure: _log.failure("a factory failed to drain", failure))
        else:
            for connection in list(self._gate.connections):
                connection.connection.loseConnection()
        return ended


def _bound(address: TcpAddress | UnixAddress, sock: socket.socket) -> TcpAddress | UnixAddress:
    """`address` with the port that the system chose."""
    if isinstance(address, UnixAddress):
        return address
    return TcpAddress(host=address.host, port=sock.getsockname()[1])


def _unlink(path: str, inode: int) -> None:
    """Remove a Unix socket that is still the one that was bound here."""
    try:
        if os.lstat(path).st_ino == inode:
            os.unlink(path)
    except OSError:
        return  # it is gone already, or its folder isn't ours any more
