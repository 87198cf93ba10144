"""One listener's HTTP service: its resource tree, the shared policy, limits, log and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.web import server
from twisted.web.resource import IResource, getChildForRequest

from stalwart.http.channel import Http1Channel
from stalwart.http.endpoint import Branch, Endpoint
from stalwart.http.foreign import Foreign
from stalwart.http.limits import Limits
from stalwart.http.lockout import AdminVisits
from stalwart.http.policy import ListenerContext
from stalwart.http.problem import Problem
from stalwart.http.request import Request
from stalwart.http.response import Response
from stalwart.http.settings import SiteSettings
from stalwart.http.sweep import Sweeper, Swept
from stalwart.http.tls import NegotiatedProtocol
from stalwart.ops.log import AccessLog
from stalwart.ops.metrics import Metrics

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

    from stalwart.auth import Guard

_MOST_AGENT = 256  # octets of a User-Agent in the log
_METHODS = {
    method.encode(): method
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
}


class RequestIds:
    """Numbers requests behind a prefix that differs between processes."""

    def __init__(self, entropy: bytes) -> None:
        self._prefix = entropy.hex() + "-"
        self._count = 0

    def __call__(self) -> str:
        """A new id of letters, digits and one dash."""
        self._count += 1
        return f"{self._prefix}{self._count:x}"


class ChallengeResponder(Protocol):
    """Answers http-01 challenges (RFC 8555 §8.3)."""

    def key_authorization(self, token: bytes, authority: str) -> bytes | None:
        """The answer to a token at a host with maybe a port; None if there is none."""


class Site(server.Site):
    """What a listener of protocol http serves. One is made per listener; the policy and the log are shared.

    Provides `IDrains` of `stalwart.net`.
    """

    requestFactory: type[Request] = Request

    def __init__(
        self,
        resource: IResource,
        *,
        listener: ListenerContext,
        metrics: Metrics,
        reactor: IReactorTime,
        request_ids: Callable[[], str],
        settings: SiteSettings | None = None,
        access_log: AccessLog | None = None,
        limits: Limits | None = None,
        acme_responder: ChallengeResponder | None = None,
        guard: Guard | None = None,
        problem_page: Callable[[Request, Problem], Response] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`acme_responder` answers the challenges of ACME; all listeners share one.

        `guard` knows who is banned and who has used up a rate. `problem_page` makes the page that people see instead
        of a problem document.
        """
        self.limits = limits or Limits()
        super().__init__(resource, reactor=reactor, timeout=self.limits.idle_seconds)  # type: ignore[no-untyped-call]
        self.listener = listener
        self.settings = settings or SiteSettings()
        """What each request goes by from when it comes in; may be replaced at any time."""

        self.acme_responder = acme_responder
        self.guard = guard
        self.problem_page = problem_page
        self.admin_visits = AdminVisits(monotonic)
        """Who used the administration lately."""

        self.request_ids = request_ids
        self.monotonic = monotonic
        self.draining = False
        self._wall = wall
        self._metrics = metrics
        self._access_log = access_log
        self._counts: dict[tuple[str, bytes, int], Counter] = {}
        self._seconds: dict[str, Histogram] = {}
        self._date_second = -1
        self._date = b""
        self._sweeper = Sweeper(reactor, monotonic)
        self._drained: Deferred[None] | None = None

    def startFactory(self) -> None:
        """Twisted's own access log isn't used."""

    def stopFactory(self) -> None:
        """Twisted's own access log isn't used."""

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:  # type: ignore[override]
        """A channel for a new connection; under TLS, ALPN decides which (RFC 9113 §3.2)."""
        protocol = NegotiatedProtocol(self) if self.listener.tls else Http1Channel(self)
        protocol.factory = self
        return protocol

    def endpoint_for(self, request: Request) -> Branch:
        """Route by `request.postpath`."""
        if request.path == b"*":
            return _EVERYTHING
        finishing = request.settings.finishing
        if request.method == b"OPTIONS" and finishing is not None and finishing.answers_preflight(request):
            return _PREFLIGHT
        found = getChildForRequest(self.resource, request)
        return found if isinstance(found, Branch) else Foreign(found)

    def date(self) -> bytes:
        """The Date field's value (RFC 9110 §6.6.1), worked out once a second."""
        now = int(self._wall())
        if now != self._date_second:
            self._date_second = now
            self._date = formatdate(now, usegmt=True).encode("ascii")
        return self._date

    def note(self, request: Request, status: int, octets: int, seconds: float) -> None:
        """Count and log a request that has ended."""
        surface = request.surface
        key = (surface, request.method if request.method in _METHODS else b"", status)
        count = self._counts.get(key)
        if count is None:
            method = _METHODS.get(request.method, "other")
            labels = (self.listener.id, surface, method, str(status))
            count = self._counts[key] = self._metrics.http_requests.labels(*labels)
        count.inc()
        histogram = self._seconds.get(surface)
        if histogram is None:
            histogram = self._seconds[surface] = self._metrics.http_seconds.labels(self.listener.id, surface)
        histogram.observe(seconds)
        principal = request.principal
        if (request.administers or (principal is not None and principal.is_admin)) and 200 <= status < 400:
            self.admin_visits.note(request)
        if self._access_log is None:
            return
        self._access_log.request(
            request_id=request.request_id,
            listener=self.listener.id,
            client=request.client_address,
            peer=request.peer_address,
            method=request.method.decode("ascii", "replace"),
            path=request.path.decode("ascii", "replace"),
            protocol=request.clientproto.decode("ascii", "replace"),
            status=status,
            octets=octets,
            seconds=seconds,
            user=None if principal is None else principal.address,
            agent=(request.header(b"user-agent") or b"")[:_MOST_AGENT].decode("utf-8", "replace"),
        )

    def opened(self, connection: Swept) -> None:
        """A connection is there: look at its deadlines."""
        self._sweeper.add(connection)

    def closed(self, connection: Swept) -> None:
        """A connection is gone."""
        self._sweeper.remove(connection)
        if self._drained is not None and not self._sweeper:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def drain(self) -> Deferred[None]:
        """Close idle connections, let running requests finish; fires when no connection is left."""
        self.draining = True
        for connection in list(self._sweeper):
            connection.drain()
        if not self._sweeper:
            return succeed(None)
        if self._drained is None:
            self._drained = Deferred()
        return self._drained


class _Everything(Endpoint):
    """What `OPTIONS *` asks about (RFC 9110 §9.3.7)."""

    surface = "none"

    async def options(self, request: Request) -> Response:
        """All methods that any endpoint here may take."""
        return Response(status=204, headers=(("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),))


class _Preflight(Endpoint):
    """What a browser asks before a script's request (Fetch §3.3.3), without credentials; finishing adds the answer."""

    surface = "cors"

    async def options(self, request: Request) -> Response:
        """Nothing but the fields that every answer gets."""
        return Response(status=204)


_EVERYTHING = _Everything()
_PREFLIGHT = _Preflight()
