"""HTTP on a TLS connection: ALPN says during the handshake which version it is (RFC 7301, RFC 9113 §3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IHandshakeListener, IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from stalwart.http.channel import Http1Channel
from stalwart.http.http2 import Http2Channel

if TYPE_CHECKING:
    from stalwart.http.site import Site


@implementer(IHandshakeListener)
class NegotiatedProtocol(Protocol):
    """Stands in until the handshake is done, then hands the transport to the channel of the chosen version."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._channel: IProtocol | None = None

    def handshakeCompleted(self) -> None:
        """The version is known."""
        negotiated = getattr(self.transport, "negotiatedProtocol", None)
        channel = Http2Channel(self._site) if negotiated == b"h2" else Http1Channel(self._site)
        self._channel = channel
        assert self.transport is not None
        channel.makeConnection(self.transport)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """Octets, decrypted, never before the handshake is done."""
        assert self._channel is not None
        self._channel.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        if self._channel is not None:
            self._channel.connectionLost(reason)
