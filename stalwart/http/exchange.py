"""The seam between a request and the wire: HTTP/1.1 channels and HTTP/2 streams both offer this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IPushProducer, ITransport

from stalwart.ops.networks import UNIX

if TYPE_CHECKING:
    from stalwart.http.request import Request
    from stalwart.http.site import Site

Fields = Sequence[tuple[bytes, bytes]]


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """The two ends of a connection, worked out once when it is made."""

    client_address: str
    """Of the client itself, as far as the PROXY protocol or trusted proxies tell it."""

    client_port: int
    peer_address: str
    """Of the socket's other end, whatever anybody says."""

    direct: bool
    """Whether nobody stands between, as far as the PROXY protocol tells."""

    local_address: str
    local_port: int
    tls_client_subject: str = ""
    """The subject of the client's certificate, which TLS has verified, by RFC 4514; '' for none."""


def _host_and_port(address: IAddress) -> tuple[str, int]:
    if isinstance(address, IPv4Address | IPv6Address):
        host = address.host
        # A dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2).
        if host.startswith("::ffff:") and "." in host:
            host = host[7:]
        return host.partition("%")[0], address.port
    if isinstance(address, UNIXAddress):
        return (address.name or b"unix").decode("utf-8", "replace"), 0
    return "unknown", 0


def _peer(address: IAddress) -> tuple[str, int]:
    return (UNIX, 0) if isinstance(address, UNIXAddress) else _host_and_port(address)


def endpoints_of(transport: ITransport) -> Endpoints:
    """The ends of a connection from its transport, which has a `socket_peer` where a PROXY header named another."""
    client_address, client_port = _peer(transport.getPeer())
    local_address, local_port = _host_and_port(transport.getHost())
    socket_peer: IAddress | None = getattr(transport, "socket_peer", None)
    return Endpoints(
        client_address=client_address,
        client_port=client_port,
        peer_address=client_address if socket_peer is None else _peer(socket_peer)[0],
        direct=socket_peer is None,
        local_address=local_address,
        local_port=local_port,
        tls_client_subject=getattr(transport, "client_subject", ""),
    )


class Wire(Protocol):
    """The connection as it is left to another protocol."""

    def write(self, data: bytes) -> None:
        """Send octets."""

    def close(self) -> None:
        """Close when all that was written is out."""

    def abort(self) -> None:
        """Close at once."""


class Upgraded(Protocol):
    """A protocol that a connection was handed over to (RFC 9110 §7.8)."""

    def connected(self, wire: Wire) -> None:
        """The answer 101 is out: the connection is this protocol's."""

    def received(self, data: bytes) -> None:
        """Octets from the client. None come while it takes none of what it is sent."""

    def lost(self) -> None:
        """The connection is gone, from whichever side."""

    def sweep(self, now: float) -> None:
        """Look at deadlines; called once a second with the time on the monotonic clock."""

    def drain(self) -> None:
        """The server is stopping: end in good order."""

    def pause(self) -> None:
        """The client takes less than it is sent."""

    def resume(self) -> None:
        """What was written is out."""


class Exchange(Protocol):
    """One request's way to and from the client."""

    site: Site
    endpoints: Endpoints
    can_upgrade: bool
    """Whether the connection can be handed over to another protocol."""

    def accept_body(self) -> None:
        """Let the body come: sends 100 (Continue) if it is waited for, and reads on."""

    def send_head(
        self, request: Request, status: int, fields: Fields, *, body: bytes, length: int | None, final: bool
    ) -> None:
        """Begin the answer.

        `length` is what Content-Length says, None where it isn't known. `body` is written right behind the head.
        `final`: nothing follows, since `body` is all or since the answer has none.
        """

    def send_body(self, data: bytes) -> None:
        """Send a further block of the answer; not empty."""

    def upgrade(self, request: Request, fields: Fields, protocol: Upgraded) -> None:
        """Answer 101 and hand the connection over. The request lasts as long as the connection."""

    def end(self, request: Request) -> None:
        """The answer is complete."""

    def abort(self) -> None:
        """Break the answer off so that the client can see that it is not whole."""

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Tell `producer` (an IPushProducer) when to pause and go on."""

    def unregisterProducer(self) -> None:
        """The answer needs no more pausing."""

    def getPeer(self) -> IAddress:
        """The client's address."""

    def getHost(self) -> IAddress:
        """The local address."""
