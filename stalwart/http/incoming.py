"""A request as endpoints see it: where it comes from, its fields, its query, its body."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.web import server
from twisted.web.http_headers import Headers

from stalwart.http.asked import Asked
from stalwart.http.exchange import Exchange
from stalwart.http.problem import Problem

if TYPE_CHECKING:
    from stalwart.auth import Principal
    from stalwart.http.site import Site


class Incoming(Asked, server.Request):
    """What can be read from a request.

    Of Twisted's own attributes these hold: `method`, `uri` (the target as sent), `path` (normalised), `prepath`,
    `postpath`, `requestHeaders`, `responseHeaders`, `args`, `content`, `clientproto`, `code`, `sentLength`.
    """

    clientproto: bytes = b"-"
    channel: Exchange | None  # type: ignore[assignment]
    site: Site
    surface: str = "none"
    """What serves it, for metrics."""

    administers: bool = False
    """Whether it is to a surface of the administration."""

    principal: Principal | None = None
    """Who sent it, once signed in: see `authenticate`."""

    permission: str = "authenticate"
    """What they need for it."""

    rate_fields: tuple[tuple[bytes, bytes], ...] = ()
    """What the answer tells of the rate limit that the request was charged to."""

    _query: bytes = b""
    _request_headers: Headers | None = None
    _response_headers: Headers | None = None

    def __init__(self, channel: Exchange, queued: bool = False) -> None:
        # Twisted's own __init__ asks the transport for its addresses and makes two Headers per request.
        self.channel = channel
        self.site = site = channel.site
        self.listener = site.listener
        # From beginning to end the same ones, whatever is reloaded meanwhile.
        self.settings = site.settings
        self.request_id = site.request_ids()
        """Stands in X-Request-Id and in the log."""

        self.notifications: list[Deferred[None]] = []
        self.received_cookies: dict[bytes, bytes] = {}
        self.cookies: list[bytes] = []
        self.queued = queued
        self.ends = channel.endpoints
        self._body: bytes | bytearray = bytearray()
        self._take_block: Callable[[bytes], None] | None = None

    def header_values(self, name: bytes) -> list[bytes]:
        """All values of a field in the order sent; `name` in lower case."""
        return [value for field, value in self.header_fields if field == name]

    @property
    def query(self) -> bytes:
        """The query as it was sent, b"" for none."""
        return self._query

    @property
    def query_args(self) -> dict[str, list[str]]:
        """The query's parameters, decoded, blank ones kept. Raises Problem 400 for more than 100 or bad UTF-8."""
        try:
            return parse_qs(self._query.decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict")
        except ValueError as error:
            raise Problem(400, "The query is not well formed: at most 100 parameters in UTF-8.") from error

    def take_body(self, take: Callable[[bytes], None]) -> None:
        """Have the body's blocks handed to `take` as they come, instead of being kept: for `Endpoint.admit`.

        `take` must neither block nor raise. All have been handed over when the method's coroutine runs.
        """
        self._take_block = take

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
