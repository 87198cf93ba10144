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
    IHostnameResolver,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from stalwart.ops.networks import is_public
from stalwart.ops.outgoing import Bounded


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
        explained = _Explained(wrapClientTLS(options, endpoint), resolver)
        return Bounded(explained, self._reactor, octets=self._most_octets, seconds=self._longest)


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
class _Explained:
    """Says of a host without an address that is left which ones were refused."""

    def __init__(self, endpoint: IStreamClientEndpoint, resolver: _Resolver) -> None:
        self._endpoint = endpoint
        self._resolver = resolver

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See IStreamClientEndpoint."""
        connected: Deferred[Any] = self._endpoint.connect(protocolFactory)
        return connected.addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        if failure.check(DNSLookupError) and self._resolver.refused:
            return Failure(AddressRefused(f"it has no public address: {', '.join(self._resolver.refused[:4])}"))
        return failure
