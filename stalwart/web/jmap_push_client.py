"""Posts to push services: over TLS that is checked, to public addresses only, without following where they point.

Users name these URLs. So what a name resolves to is judged where the connection is made, and answers are bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import platformTrust
from twisted.python.failure import Failure
from twisted.web.client import Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from stalwart import __version__
from stalwart.ops.outgoing import Body, retry_after_seconds
from stalwart.ops.public_endpoints import PublicEndpoints

_MOST_OCTETS = 65_536
"""Of an answer, its head included; only the status counts."""


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
        endpoints = PublicEndpoints(
            reactor,
            trust_root or platformTrust(),
            allow_private=allow_private,
            longest=2 * timeout,
            most_octets=_MOST_OCTETS,
        )
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
