"""Looks before an order whether http-01 challenges of a name reach this server, and says what stands in the way.

It asks as the authority will: by the name's addresses, at port 80. What it finds is a warning and nothing more, since
a server behind NAT often can't reach its own public address: only the authority's refusal counts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import msgspec
from twisted.internet import defer, error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from stalwart import __version__
from stalwart.config.errors import printable

SECONDS = 10.0
"""How long one address may take; Let's Encrypt's limit is the same."""

_MOST_ADDRESSES = 8
_MOST_OCTETS = 1024  # of a body
_MOST_SHOWN = 100  # characters of what a stranger sends
_BEHIND_NAT = "behind NAT this may be so only for this machine itself"


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """What answered at an address; only `status` 200 with the right `body` is this server."""

    status: int
    body: bytes
    server: str
    location: str


async def self_check(
    name: str, thumbprint: str, *, token: str, reactor: Any, port: int = 80, seconds: float = SECONDS
) -> str | None:
    """None if `token` is answered for at each address of a host name or IP address, else what is wrong, in one line.

    `reactor` provides IReactorPluggableNameResolver, IReactorTCP and IReactorTime. Raises nothing for what the network
    or the other end does.
    """
    wanted = f"{token}.{thumbprint}".encode("ascii")
    try:
        addresses = await _addresses(reactor, name).addTimeout(seconds, reactor)
    except defer.TimeoutError:
        return f"the DNS did not tell the addresses of {name} within {seconds:g} s: look at this machine's resolver"
    if not addresses:
        return f"{name} has no address in the DNS: give it an A or AAAA record that points at this server"
    tried = [
        Deferred.fromCoroutine(_look(address, name, token, wanted, reactor, port, seconds)) for address in addresses
    ]
    wrong = [line for line in await gatherResults(tried, consumeErrors=True) if line is not None]
    if not wrong:
        return None
    others = len(addresses) - len(wrong)
    good = f" ({others} of its {len(addresses)} addresses answer as they should)" if others else ""
    return f"challenges for {name} may not reach this server{good}: {'; '.join(wrong)}"


async def _look(
    address: str, name: str, token: str, wanted: bytes, reactor: Any, port: int, seconds: float
) -> str | None:
    """What is wrong at one address; None if it is this server."""
    where = f"port {port} of {address}"
    try:
        fetching = Deferred.fromCoroutine(_fetch(address, name, token, reactor, port, seconds))
        found = await fetching.addTimeout(seconds, reactor, _timed_out)
    except (defer.TimeoutError, error.TimeoutError, error.TCPTimedOutError):
        return (
            f"{where} doesn't answer within {seconds:g} s: the DNS may point elsewhere, or a firewall drops it; "
            f"{_BEHIND_NAT}"
        )
    except error.ConnectionRefusedError:
        return f"{where} is closed: nothing listens there, or the port isn't forwarded; {_BEHIND_NAT}"
    except error.ConnectError as failed:
        return f"{where} can't be reached: {printable(str(failed))[:_MOST_SHOWN]}"
    except (ResponseFailed, error.ConnectionClosed, error.ConnectionAborted):
        return f"{where} takes connections, and doesn't speak HTTP as it should"
    if found.status == 200 and found.body.strip() == wanted:
        return None
    if 300 <= found.status < 400 and found.location:
        return f"{where} redirects to {found.location}: challenges must end at this server"
    server = f", Server: {found.server}" if found.server else ""
    return f"at {where} something else answers: status {found.status}{server}"


def _timed_out(result: object, seconds: float) -> Failure:
    """However the request ended when it was cancelled, it took too long."""
    return Failure(defer.TimeoutError(seconds, "Deferred"))


async def _fetch(address: str, name: str, token: str, reactor: Any, port: int, seconds: float) -> Reached:
    host = f"[{name}]" if ":" in name else name
    agent = Agent.usingEndpointFactory(reactor, _At(reactor, address, port, seconds))
    # RFC 8555 §8.3: GET, at the name itself.
    response: IResponse = await agent.request(
        b"GET",
        f"http://{host}/.well-known/acme-challenge/{token}".encode("ascii"),
        Headers({"User-Agent": [f"stalwart/{__version__} (self-check)"], "Connection": ["close"]}),
    )
    body = _Body()
    response.deliverBody(body)
    return Reached(
        status=response.code,
        body=await body.done,
        server=_shown(response.headers, b"server"),
        location=_shown(response.headers, b"location"),
    )


def _shown(headers: Headers, name: bytes) -> str:
    values = headers.getRawHeaders(name) or [b""]
    return printable(values[0].decode("latin-1"))[:_MOST_SHOWN]


@implementer(IAgentEndpointFactory)
class _At:
    """Connects to one address, whatever the URL says."""

    def __init__(self, reactor: Any, address: str, port: int, seconds: float) -> None:
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        self._endpoint: IStreamClientEndpoint = kind(reactor, address, port, timeout=seconds)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """The one address."""
        return self._endpoint


class _Body(Protocol):
    """The first octets of a body."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred()
        self._octets = b""

    def dataReceived(self, data: bytes) -> None:
        """A block."""
        self._octets += data
        if len(self._octets) > _MOST_OCTETS:
            self._finish()
            transport: Any = self.transport
            transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body is whole, or will never be."""
        self._finish()

    def _finish(self) -> None:
        if not self.done.called:
            self.done.callback(self._octets[:_MOST_OCTETS])


@implementer(IResolutionReceiver)
class _Addresses:
    def __init__(self) -> None:
        self.done: Deferred[Sequence[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Nothing is known yet."""

    def addressResolved(self, address: IAddress) -> None:
        """One more."""
        if isinstance(address, IPv4Address | IPv6Address):
            self._found.append(address.host)

    def resolutionComplete(self) -> None:
        """That was all."""
        if not self.done.called:
            self.done.callback(list(dict.fromkeys(self._found))[:_MOST_ADDRESSES])


def _addresses(reactor: Any, name: str) -> Deferred[Sequence[str]]:
    try:
        return defer.succeed([str(ipaddress.ip_address(name))])
    except ValueError:
        receiver = _Addresses()
        reactor.nameResolver.resolveHostName(receiver, name, 0, [IPv4Address, IPv6Address])
        return receiver.done
