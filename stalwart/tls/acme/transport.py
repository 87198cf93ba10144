"""One HTTP request to a CA and its answer: checked TLS, no redirects, bounded in size and time.

Each request has a connection of its own: an order takes a dozen, and no kept connection can turn out to be dead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS, platformTrust, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IResponse
from zope.interface import implementer

from stalwart import __version__
from stalwart.ops.outgoing import Body, Bounded, http_date, retry_after_seconds
from stalwart.tls.acme.errors import BAD_ANSWER, TIMEOUT, UNREACHABLE, AcmeError, Problem
from stalwart.tls.acme.policy import LONGEST_RETRY_AFTER
from stalwart.tls.acme.resources import UNREADABLE

MOST_OCTETS = 1_048_576
REQUEST_SECONDS = 30.0
_HEAD_OCTETS = 65_536

_USER_AGENT = f"stalwart/{__version__}"
_FAILURES = (
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
    RequestTransmissionFailed,
    ResponseFailed,
    SSL.Error,
    VerificationError,
    ValueError,  # a URL whose host is none
)


def checked_agent(reactor: Any, ca_bundle: str | None = None) -> IAgent:
    """An agent that checks the CA's own certificate against the system's roots, or those in `ca_bundle` (PEM text).

    Raises ValueError if there is no certificate in `ca_bundle`.
    """
    trusted = platformTrust() if ca_bundle is None else trustRootFromCertificates(_certificates(ca_bundle))
    agent: IAgent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, trusted))
    return agent


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Where the agent's connections go."""

    def __init__(self, reactor: Any, trusted: Any) -> None:
        self._reactor = reactor
        self._trusted = trusted

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """An endpoint over TLS; what `https` doesn't begin never gets here."""
        host = uri.host.strip(b"[]")
        options = optionsForClientTLS(host.decode("ascii"), trustRoot=self._trusted)
        endpoint = wrapClientTLS(options, HostnameEndpoint(self._reactor, host, uri.port, timeout=REQUEST_SECONDS))
        return Bounded(endpoint, self._reactor, octets=MOST_OCTETS + _HEAD_OCTETS, seconds=REQUEST_SECONDS)


def _certificates(bundle: str) -> list[Certificate]:
    end = "-----END CERTIFICATE-----"
    # What stands before the first of them, and between them, is for people.
    blocks = [block[block.index("-----BEGIN") :] + end for block in bundle.split(end) if "-----BEGIN CERT" in block]
    if not blocks:
        raise ValueError("there is no certificate in the CA bundle")
    try:
        return [Certificate.loadPEM(block.encode("ascii")) for block in blocks]
    except crypto.Error as error:
        raise ValueError("a certificate of the CA bundle can't be read") from error


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the CA answered. `retry_after` is in seconds."""

    url: str
    status: int
    headers: Headers
    body: bytes
    retry_after: float | None

    def header(self, name: str) -> str | None:
        """The first header field of this name."""
        values = self.headers.getRawHeaders(name.encode("ascii"))
        return values[0].decode("latin-1") if values else None

    def error(self) -> AcmeError:
        """The exception for an answer that isn't what was asked for."""
        try:
            # RFC 8555 §6.7: a problem document; proxies before a CA answer in other ways.
            problem = msgspec.json.decode(self.body, type=Problem)
        except UNREADABLE:
            return AcmeError(
                BAD_ANSWER,
                self.url,
                f"HTTP status {self.status} without a problem document",
                status=self.status,
                retry_after=self.retry_after,
            )
        return problem.error(self.url, status=self.status, retry_after=self.retry_after)


class Transport:
    """Asks a CA, one request at a time or several."""

    def __init__(self, agent: IAgent, reactor: Any, *, clock: Callable[[], float] = time.time) -> None:
        """`reactor` provides IReactorTime; `clock` is the wall clock, for answers without a date."""
        self._agent = agent
        self._reactor = reactor
        self._clock = clock

    async def request(
        self, method: bytes, url: str, body: bytes | None = None, *, seconds: float = REQUEST_SECONDS, accept: str = ""
    ) -> Answer:
        """The answer, whatever its status. Raises AcmeError if there is none in `seconds`, or none that can be used."""
        fields = Headers({"User-Agent": [_USER_AGENT], "Accept-Language": ["en"]})
        if accept:
            fields.addRawHeader("Accept", accept)
        if body is not None:
            fields.addRawHeader("Content-Type", "application/jose+json")  # RFC 8555 §6.2
        asked = Deferred.fromCoroutine(self._exchange(method, url, fields, body))
        return await asked.addTimeout(seconds, self._reactor, onTimeoutCancel=_too_slow(url))

    async def _exchange(self, method: bytes, url: str, fields: Headers, body: bytes | None) -> Answer:
        try:
            producer = None if body is None else Body(body)
            response: IResponse = await self._agent.request(method, url.encode("ascii"), fields, producer)
            octets = await _body(response, url)
        except _FAILURES as error:
            if _was_cancelled(error):
                raise CancelledError from error
            raise AcmeError(UNREACHABLE, f"{url} can't be asked", _reason(error)) from error
        waits, dates = (response.headers.getRawHeaders(name) for name in (b"Retry-After", b"Date"))
        # By the CA's own clock, since ours may be wrong.
        now = http_date(dates[0]) if dates else None
        now = self._clock() if now is None else now
        return Answer(
            url=url,
            status=response.code,
            headers=response.headers,
            body=octets,
            retry_after=retry_after_seconds(waits[0], now, LONGEST_RETRY_AFTER) if waits else None,
        )


def _too_slow(url: str) -> Callable[[Any, float], Failure]:
    return lambda _, seconds: Failure(AcmeError(TIMEOUT, f"{url} can't be asked", f"no answer within {seconds:.0f} s"))


async def _body(response: IResponse, url: str) -> bytes:
    received = _Received(url)
    response.deliverBody(received)
    return await received.whole


class _Received(Protocol):
    """Gathers an answer's body."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._octets = bytearray()
        self.whole: Deferred[bytes] = Deferred(lambda _: self._leave())

    def dataReceived(self, data: bytes) -> None:
        self._octets += data
        if len(self._octets) > MOST_OCTETS and not self.whole.called:
            self.whole.errback(AcmeError(BAD_ANSWER, self._url, f"the answer has more than {MOST_OCTETS} octets"))
            self._leave()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        # A body without a length ends with the connection; whether it is whole is seen by who reads it.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._octets))
        else:
            self.whole.errback(reason)

    def _leave(self) -> None:
        # That is all that can be done to it from here. If the CA doesn't agree to part, the bounds end it.
        if self.transport is not None:
            self.transport.loseConnection()


def _was_cancelled(error: BaseException) -> bool:
    """Whether Twisted wrapped up that somebody gave up waiting."""
    return any(reason.check(CancelledError) for reason in getattr(error, "reasons", ()))


def _reason(error: BaseException) -> str:
    """Why a connection failed, in words."""
    inner = [reason.value for reason in getattr(error, "reasons", ())]
    if inner:
        return "; ".join(dict.fromkeys(map(_reason, inner)))
    if isinstance(error, SSL.Error):
        # OpenSSL's stack of (library, function, reason).
        stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
        return f"TLS: {', '.join(entry[-1] for entry in stack) or 'the connection was closed'}"
    if isinstance(error, VerificationError):
        return "TLS: its certificate is for another name"
    if isinstance(error, ConnectError | ConnectionClosed | DNSLookupError):
        return str(error)
    return f"the answer is no HTTP: {error}"
