"""Connections over HTTPS to hosts that strangers name: to public addresses only, bounded in time and octets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from stalwart.ops.networks import is_public


class AddressRefused(Exception):
    """The host of a URL has only addresses that aren't public. The text says which."""


@implementer(IAgentEndpointFactory)
class PublicEndpoints:
    """Where an agent's connections go. What a name resolves to is judged where the connection is made."""

    def __init__(self, reactor: Any, trust_root: Any, *, allow_private: bool, longest: float, most_octets: int) -> None:
        """A connection lasts `longest` seconds and has `most_octets` of an answer, its head included, at most.

        `trust_root` is what `optionsForClientTLS` takes. `reactor` provides IReactorTCP, IReactorTime and
        IReactorPluggableNameResolver.
        """
        self._reactor = reactor
        self._longest = longest
        self._most_octets = most_octets
        self._trust_root = trust_root
        self._allow_private = allow_private

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """An endpoint of `https` only."""
        if uri.scheme != b"https":
            raise AddressRefused("only https is used")
        host = uri.host.strip(b"[]")
        resolver = _Resolver(self._reactor.nameResolver, allow_private=self._allow_private)
        endpoint = HostnameEndpoint(_Reactor(self._reactor, resolver), host, uri.port)
        options = optionsForClientTLS(host.decode("ascii"), trustRoot=self._trust_root)
        return _Bounded(wrapClientTLS(options, endpoint), resolver, self._reactor, self._longest, self._most_octets)


@implementer(IReactorPluggableNameResolver)
class _Reactor:
    """A reactor on which names have only addresses that may be connected to."""

    def __init__(self, reactor: Any, resolver: IHostnameResolver) -> None:
        self._reactor = reactor
        self.nameResolver = resolver

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        raise NotImplementedError("this reactor's resolver is fixed")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


@implementer(IHostnameResolver)
class _Resolver:
    """Drops addresses that aren't public. Those that are passed on are the very ones that are connected to."""

    def __init__(self, resolver: IHostnameResolver, *, allow_private: bool) -> None:
        self._resolver = resolver
        self._allow_private = allow_private
        self.refused: list[str] = []

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """See IHostnameResolver."""
        receiver = _Receiver(resolutionReceiver, self.refused, allow_private=self._allow_private)
        return self._resolver.resolveHostName(receiver, hostName, portNumber, addressTypes, transportSemantics)


@implementer(IResolutionReceiver)
class _Receiver:
    def __init__(self, receiver: IResolutionReceiver, refused: list[str], *, allow_private: bool) -> None:
        self._receiver = receiver
        self._refused = refused
        self._allow_private = allow_private

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self._receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:
        assert isinstance(address, IPv4Address | IPv6Address)
        if self._allow_private or is_public(address.host):
            self._receiver.addressResolved(address)
        else:
            self._refused.append(address.host)

    def resolutionComplete(self) -> None:
        self._receiver.resolutionComplete()


@implementer(IStreamClientEndpoint)
class _Bounded:
    """Ends a connection from which more comes than an answer may have, or that lasts longer than `longest` seconds."""

    def __init__(
        self, endpoint: IStreamClientEndpoint, resolver: _Resolver, reactor: Any, longest: float, most_octets: int
    ) -> None:
        self._endpoint = endpoint
        self._resolver = resolver
        self._reactor = reactor
        self._longest = longest
        self._most_octets = most_octets

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See IStreamClientEndpoint."""
        assert isinstance(protocolFactory, Factory)
        wrapping: WrappingFactory[_Counted] = WrappingFactory(protocolFactory)
        wrapping.protocol = _Counted
        connected: Deferred[Any] = self._endpoint.connect(wrapping)
        return connected.addCallbacks(self._connected, self._failed)

    def _connected(self, wrapper: _Counted) -> IProtocol:
        wrapper.most_octets = self._most_octets
        wrapper.deadline = self._reactor.callLater(self._longest, wrapper.transport.abortConnection)
        inside: IProtocol = wrapper.wrappedProtocol
        return inside

    def _failed(self, failure: Failure) -> Failure:
        if failure.check(DNSLookupError) and self._resolver.refused:
            return Failure(AddressRefused(f"it has no public address: {', '.join(self._resolver.refused[:4])}"))
        return failure


class _Counted(ProtocolWrapper):
    octets = 0
    most_octets = 0
    deadline: IDelayedCall | None = None
    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.octets += len(data)
        if self.octets > self.most_octets:
            self.transport.abortConnection()
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.deadline is not None and self.deadline.active():
            self.deadline.cancel()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
