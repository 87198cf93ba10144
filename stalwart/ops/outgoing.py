"""What every HTTP client of ours needs: connections that end, a body to send, and how long an answer asks to wait."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import stringToDatetime
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

LONGEST_WAIT = 86_400.0


def retry_after_seconds(value: bytes, now: float, longest: float = LONGEST_WAIT) -> float | None:
    """How long Retry-After asks to wait (RFC 9110 §10.2.3), at most `longest`; None if it can't be read.

    `now` is seconds since the epoch.
    """
    value = value.strip()
    if value.isdigit():
        return min(float(value[:9]), longest)
    at = http_date(value)
    return None if at is None else min(max(0.0, at - now), longest)


def http_date(value: bytes) -> float | None:
    """The seconds since the epoch of an HTTP date (RFC 9110 §5.6.7), None if it can't be read."""
    try:
        return float(stringToDatetime(value.strip()))
    except (ValueError, IndexError, KeyError, OverflowError):
        return None


@implementer(IBodyProducer)
class Body:
    """A request's body that is at hand."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Write it all at once."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """All is written already."""

    resumeProducing = stopProducing = pauseProducing


@implementer(IStreamClientEndpoint)
class Bounded:
    """Connections that are aborted when more than `octets` have come, or `seconds` after they were made."""

    def __init__(self, endpoint: IStreamClientEndpoint, reactor: Any, *, octets: int, seconds: float) -> None:
        self._endpoint = endpoint
        self._reactor = reactor
        self._octets = octets
        self._seconds = seconds

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See IStreamClientEndpoint."""
        assert isinstance(protocolFactory, Factory)
        bounding = _Bounding(protocolFactory, self._reactor, octets=self._octets, seconds=self._seconds)
        connected: Deferred[Any] = self._endpoint.connect(bounding)
        return connected.addCallback(lambda wrapper: wrapper.wrappedProtocol)


class _Counted(ProtocolWrapper):
    """A connection whose octets are counted."""

    factory: _Bounding
    transport: Any

    def makeConnection(self, transport: Any) -> None:
        self._octets_left = self.factory.octets
        self._deadline = self.factory.reactor.callLater(self.factory.seconds, transport.abortConnection)
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        self._octets_left -= len(data)
        if self._octets_left < 0:
            self.transport.abortConnection()
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._deadline.active():
            self._deadline.cancel()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class _Bounding(WrappingFactory[_Counted]):
    protocol = _Counted
    noisy = False  # a line in the log for each request, and one for its end

    def __init__(self, wrapped: Factory, reactor: Any, *, octets: int, seconds: float) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self.reactor = reactor
        self.octets = octets
        self.seconds = seconds
