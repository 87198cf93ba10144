"""Posts to push services: over TLS that is checked, to public addresses only, without following where they point.

Users name these URLs. So what a name resolves to is judged where the connection is made, and answers are bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
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
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import optionsForClientTLS, platformTrust
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from stalwart import __version__
from stalwart.ops.networks import is_public
from stalwart.ops.outgoing import Body, Bounded, retry_after_seconds

_MOST_OCTETS = 65_536
"""Of an answer, its head included; of a push service's only the status counts."""


class AddressRefused(Exception):
    """The host of a URL has only addresses that aren't public. The text says which."""


class PushAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a push service answered; `retry_after` is seconds."""

    status: int
    retry_after: float | None = None


class PushClient:
    """Posts push messages. One connection each."""

    def __init__(
        self,
        reactor: Any,
        *,
        timeout: float,
        allow_private: bool,
        trust_root: Any = None,
    ) -> None:
        """`reactor` provides IReactorTCP, IReactorTime and IReactorPluggableNameResolver; `timeout` is in seconds.

        The system's certificate authorities are trusted (OpenSSL's defaults, which SSL_CERT_FILE replaces), unless
        `trust_root` (what `optionsForClientTLS` takes) says otherwise.
        """
        self._reactor = reactor
        self._timeout = timeout
        # A request and the reading of its answer each have `timeout`.
        endpoints = _Endpoints(reactor, trust_root or platformTrust(), allow_private=allow_private, longest=2 * timeout)
        self._agent = Agent.usingEndpointFactory(reactor, endpoints)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, now: float) -> PushAnswer:
        """Post `body`; `now` is seconds since the epoch. Whatever goes wrong before there is a status is raised.

        Redirects are not followed: the answer to them is a status as any other.
        """
        fields = Headers({name: [value] for name, value in headers.items()})
        fields.addRawHeader("User-Agent", f"stalwart/{__version__}")
        asked: Deferred[IResponse] = self._agent.request(b"POST", url.encode("ascii"), fields, Body(body))
        response = await asked.addTimeout(self._timeout, self._reactor)
        read: Deferred[None] = Deferred()
        response.deliverBody(_Ignored(read))
        waited = response.headers.getRawHeaders(b"Retry-After")
        # The status is known; only the connection's end is waited for.
        await read.addTimeout(self._timeout, self._reactor).addErrback(lambda _: None)
        return PushAnswer(status=response.code, retry_after=retry_after_seconds(waited[0], now) if waited else None)


class _Ignored(Protocol):
    """Reads an answer's body and keeps nothing of it."""

    def __init__(self, done: Deferred[None]) -> None:
        self._done = done

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._done.called:
            self._done.callback(None)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Where the agent's connections go."""

    def __init__(self, reactor: Any, trust_root: Any, *, allow_private: bool, longest: float) -> None:
        self._reactor = reactor
        self._longest = longest
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
        return Bounded(explained, self._reactor, octets=_MOST_OCTETS, seconds=self._longest)


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
