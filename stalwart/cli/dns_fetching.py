"""Asks this server's public names over https as a stranger would: certificates checked, no redirects followed."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import optionsForClientTLS, platformTrust
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from stalwart import __version__
from stalwart.ops.outgoing import Bounded
from stalwart.zone import Asks, Unknown
from stalwart.zone.asking import addresses

SECONDS = 15.0
"""How long one connection may take."""

_MOST_OCTETS = 262_144
_MOST_ADDRESSES = 4
_HTTPS_PORT = 443

_T = TypeVar("_T")


class Untrusted(Exception):
    """The certificate is not one that a stranger trusts. The text says why."""


class NoAddress(Exception):
    """The name has no address."""


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """An answer over https; `media_type` is in lower case, without parameters."""

    status: int
    media_type: str
    body: bytes


class PublicWeb:
    """Connects to what the DNS says of a name, as the resolver that is asked tells it."""

    def __init__(self, reactor: Any, ask: Asks, *, trust_root: Any = None, seconds: float = SECONDS) -> None:
        """`trust_root`: the authorities that are trusted; None for the system's."""
        self._reactor = reactor
        self._ask = ask
        self._trust_root = trust_root or platformTrust()
        self._seconds = seconds

    async def addresses(self, name: str) -> tuple[str, ...]:
        """Where a name leads, IPv4 first; a few at most. Raises NoAddress and Unknown."""
        found, _ = await addresses(self._ask, name)
        if not found:
            raise NoAddress(f"{name} has no address")
        return tuple(sorted(found, key=lambda address: (":" in address, address)))[:_MOST_ADDRESSES]

    async def certificate(self, name: str, address: str, port: int) -> x509.Certificate:
        """The certificate shown for a name at an address, whether or not it is trusted. Raises Unknown."""
        return await self._told(self._handshake(_Unchecked(name), address, port), address, port)

    async def verify(self, name: str, address: str, port: int) -> None:
        """Raises Untrusted if a stranger would not go on, and Unknown."""
        await self._told(self._handshake(self._checked(name), address, port), address, port)

    async def get(self, url: str, address: str) -> Fetched:
        """Fetch an https URL from an address of its host. Raises Untrusted and Unknown."""
        parts = urlsplit(url)
        port = parts.port or _HTTPS_PORT
        endpoint = self._endpoint(self._checked(parts.hostname or ""), address, port)
        return await self._told(self._get(url, endpoint), address, port)

    def _checked(self, name: str) -> IOpenSSLClientConnectionCreator:
        return optionsForClientTLS(name, trustRoot=self._trust_root)

    def _endpoint(self, creator: IOpenSSLClientConnectionCreator, address: str, port: int) -> IStreamClientEndpoint:
        connecting = HostnameEndpoint(self._reactor, address, port, timeout=self._seconds)
        bounded = Bounded(connecting, self._reactor, octets=_MOST_OCTETS, seconds=self._seconds)
        endpoint: IStreamClientEndpoint = wrapClientTLS(creator, bounded)
        return endpoint

    async def _handshake(self, creator: IOpenSSLClientConnectionCreator, address: str, port: int) -> x509.Certificate:
        shaking = _Handshake()
        await self._endpoint(creator, address, port).connect(_OneFactory(shaking))
        return await shaking.done

    async def _get(self, url: str, endpoint: IStreamClientEndpoint) -> Fetched:
        agent = Agent.usingEndpointFactory(self._reactor, _Ready(endpoint))
        headers = Headers({"User-Agent": [f"stalwart/{__version__} (dns check)"]})
        response: Any = await agent.request(b"GET", url.encode("ascii"), headers)
        reading = _Body()
        response.deliverBody(reading)
        body = await reading.done
        media_type = (response.headers.getRawHeaders(b"Content-Type") or [b""])[0].partition(b";")[0].strip().lower()
        return Fetched(status=response.code, media_type=media_type.decode("ascii", "replace"), body=body)

    async def _told(self, asked: Coroutine[Deferred[Any], Any, _T], address: str, port: int) -> _T:
        where = f"port {port} of {address}"
        waiting: Deferred[_T] = Deferred.fromCoroutine(asked)
        waiting.addTimeout(2 * self._seconds, self._reactor)
        try:
            return await waiting
        except CancelledError:
            raise
        except DeferredTimeout:
            raise Unknown(f"{where} didn't answer within {2 * self._seconds:g} s from here") from None
        except Exception as error:
            reason = _reason(error)
            if isinstance(reason, VerificationError):
                raise Untrusted("it is for other names") from None
            if isinstance(reason, SSL.Error) and _openssl(reason) == "certificate verify failed":
                raise Untrusted("no authority that this system trusts stands behind it, or it has expired") from None
            if isinstance(reason, SSL.Error):
                raise Unknown(f"{where} doesn't speak TLS: {_openssl(reason)}") from None
            if isinstance(reason, ConnectError | ConnectionClosed | ResponseFailed | OSError):
                raise Unknown(f"{where} can't be reached from here: {reason}") from None
            if isinstance(error, ResponseFailed):
                raise Unknown(f"what {where} answers is not HTTP: {reason}") from None
            raise


def _reason(error: BaseException) -> BaseException:
    """What lies below the failures that Twisted wraps others in."""
    below = next(iter(getattr(error, "reasons", None) or ()), None)
    return _reason(below.value) if isinstance(below, Failure) and below.value is not None else error


def _openssl(error: SSL.Error) -> str:
    return str(error.args[0][-1][-1]) if error.args and error.args[0] else str(error)


class _Body(Protocol):
    """The whole body; the connection bounds its size and time."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred()
        self._octets = bytearray()

    def dataReceived(self, data: bytes) -> None:
        """A block."""
        self._octets += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """That was all; or the rest is missing."""
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(bytes(self._octets))
        else:
            self.done.errback(reason)


class _OneFactory(Factory[Protocol]):
    noisy = False

    def __init__(self, made: Protocol) -> None:
        self._made = made

    def buildProtocol(self, addr: object) -> Protocol:
        return self._made


@implementer(IAgentEndpointFactory)
class _Ready:
    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self._endpoint


@implementer(IOpenSSLClientConnectionCreator)
class _Unchecked:
    """Handshakes that look at whatever certificate there is."""

    def __init__(self, name: str) -> None:
        self._name = name.encode("ascii")

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        connection.set_tlsext_host_name(self._name)
        return connection


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    transport: Any

    def __init__(self) -> None:
        self.done: Deferred[x509.Certificate] = Deferred(lambda _: self.transport.abortConnection())
        self._certificate: x509.Certificate | None = None

    def handshakeCompleted(self) -> None:
        """The certificate is there, and was checked if it was to be."""
        self._certificate = self.transport.getPeerCertificate().to_cryptography()
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Before the end of the handshake that is its failure."""
        if self._certificate is not None:
            self.done.callback(self._certificate)
        elif not self.done.called:
            self.done.errback(reason)
