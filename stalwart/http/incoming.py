"""A request as endpoints see it: where it comes from, its fields, its query, its body."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.web import server
from twisted.web.http_headers import Headers

from stalwart.http.exchange import Exchange
from stalwart.http.hops import TrustedProxies, plain_authority, was_passed_on
from stalwart.http.policy import ListenerContext
from stalwart.http.problem import Problem
from stalwart.ops.networks import LOOPBACK, UNIX

if TYPE_CHECKING:
    from stalwart.auth import Principal
    from stalwart.http.site import Site


class Incoming(server.Request):
    """What can be read from a request.

    Of Twisted's own attributes these hold: `method`, `uri` (the target as sent), `path` (normalised), `prepath`,
    `postpath`, `requestHeaders`, `responseHeaders`, `args`, `content`, `clientproto`, `code`, `sentLength`.
    """

    method: bytes = b"-"
    uri: bytes = b"-"
    path: bytes = b"-"
    clientproto: bytes = b"-"
    channel: Exchange | None  # type: ignore[assignment]
    site: Site
    surface: str = "none"
    """What serves it, for metrics."""

    principal: Principal | None = None
    """Who sent it, once signed in: see `authenticate`."""

    header_fields: Sequence[tuple[bytes, bytes]] = ()
    """All header fields in the order sent, names in lower case."""

    rate_fields: tuple[tuple[bytes, bytes], ...] = ()
    """What the answer tells of the rate limit that the request was charged to."""

    _scheme: str | None = None
    _forwarded_host: str | None = None
    _query: bytes = b""
    _request_headers: Headers | None = None
    _response_headers: Headers | None = None

    def __init__(self, channel: Exchange, queued: bool = False) -> None:
        # Twisted's own __init__ asks the transport for its addresses and makes two Headers per request.
        self.channel = channel
        self.site = channel.site
        self.request_id = self.site.request_ids()
        """Stands in X-Request-Id and in the log."""

        self.notifications: list[Deferred[None]] = []
        self.received_cookies: dict[bytes, bytes] = {}
        self.cookies: list[bytes] = []
        self.queued = queued
        self._endpoints = channel.endpoints
        self._body: bytes | bytearray = bytearray()

    @property
    def listener(self) -> ListenerContext:
        """The listener that the request came in by."""
        return self.site.listener

    @property
    def client_address(self) -> str:
        """The client's IP address in canonical form; "unix" for a Unix socket.

        It is what the PROXY protocol or trusted proxies say, where these are in use.
        """
        return self._endpoints.client_address

    @property
    def peer_address(self) -> str:
        """The address of the socket's other end: the client's, or that of a proxy before it."""
        return self._endpoints.peer_address

    @property
    def peer_is_loopback(self) -> bool:
        """Whether a process of this machine asks for itself: over a loopback socket, with nobody's word for it.

        No field or PROXY header can make this true; one that says that the request was passed on makes it false, since
        behind a proxy on this machine everybody comes from loopback.
        """
        ends = self._endpoints
        return (
            ends.direct
            and ends.peer_address != UNIX  # who stands behind one is not known: mostly a proxy
            and ends.peer_address in LOOPBACK
            and not any(was_passed_on(name) for name, _ in self.header_fields)
        )

    @property
    def scheme(self) -> str:
        """`https` or `http`: what the client used, as far as trusted proxies tell, else what this connection has."""
        return self._scheme or ("https" if self.site.listener.tls else "http")

    @property
    def authority(self) -> str:
        """The host and maybe port that the client asked for, in lower case, without the scheme's default port.

        '' where it named none, or none that can stand in a URL.
        """
        host = self._forwarded_host
        if host is None:
            host = (self.header(b"host") or b"").decode("latin-1")
        return plain_authority(host, self.scheme)

    @property
    def client_port(self) -> int:
        """The client's port; 0 for a Unix socket."""
        return self._endpoints.client_port

    @property
    def local_address(self) -> str:
        """The IP address that the client connected to, or the path of the Unix socket."""
        return self._endpoints.local_address

    @property
    def local_port(self) -> int:
        """The port that the client connected to; 0 for a Unix socket."""
        return self._endpoints.local_port

    def header(self, name: bytes) -> bytes | None:
        """The first value of a field; `name` in lower case."""
        for field, value in self.header_fields:
            if field == name:
                return value
        return None

    def header_values(self, name: bytes) -> list[bytes]:
        """All values of a field in the order sent; `name` in lower case."""
        return [value for field, value in self.header_fields if field == name]

    @property
    def query_args(self) -> dict[str, list[str]]:
        """The query's parameters, decoded, blank ones kept. Raises Problem 400 for more than 100 or bad UTF-8."""
        try:
            return parse_qs(self._query.decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict")
        except ValueError as error:
            raise Problem(400, "The query is not well formed: at most 100 parameters in UTF-8.") from error

    def read_body(self) -> bytes:
        """The request's body, which is complete when an endpoint's coroutine runs."""
        self._body = bytes(self._body)
        return self._body

    # What Twisted's resources ask for.

    @property
    def requestHeaders(self) -> Headers:  # type: ignore[override]
        """The request's header fields as Twisted's multi-dictionary."""
        if self._request_headers is None:
            self._request_headers = Headers()
            for name, value in self.header_fields:
                self._request_headers.addRawHeader(name, value)
        return self._request_headers

    @property
    def responseHeaders(self) -> Headers:  # type: ignore[override]
        """Fields that a resource sets for the answer, beside those of its Response."""
        if self._response_headers is None:
            self._response_headers = Headers()
        return self._response_headers

    @property
    def args(self) -> dict[bytes, list[bytes]]:  # type: ignore[override]
        """The query's parameters, percent-decoded to octets."""
        return parse_qs(self._query, keep_blank_values=True, max_num_fields=100)

    @property
    def content(self) -> io.BytesIO:  # type: ignore[override]
        """The body as a file."""
        return io.BytesIO(self.read_body())

    @property
    def client(self) -> IAddress | None:
        """The client's address."""
        return self.channel.getPeer() if self.channel is not None else None

    @property
    def host(self) -> IAddress | None:
        """The local address."""
        return self.channel.getHost() if self.channel is not None else None

    def isSecure(self) -> bool:
        """Whether the client came by https: to here, or to a trusted proxy."""
        return self.scheme == "https"

    def _take_forwarded(self, proxies: TrustedProxies) -> None:
        """Read what trusted proxies say of this request. Raises Problem 400."""
        ends = self._endpoints
        origin = proxies.origin(ends.client_address, self.header_fields)
        if origin is None:
            return
        self._scheme, self._forwarded_host = origin.scheme, origin.host
        if origin.address != ends.client_address:
            port = ends.client_port if origin.port is None else origin.port
            self._endpoints = msgspec.structs.replace(ends, client_address=origin.address, client_port=port)
