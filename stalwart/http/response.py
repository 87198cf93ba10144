"""What an endpoint gives back: status, headers and a body that is whole or comes as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Any

import msgspec


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to a request. `Content-Length`, `Date` and `X-Request-Id` are added when it is sent."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Further fields. CR, LF and NUL in a value are sent as spaces."""

    stream: Iterable[bytes] | AsyncIterable[bytes] | None = None
    """The body in blocks, instead of `body`. The next block is asked for when the client has taken the last ones;
    `close()` or `aclose()` is called when the client goes away. Blocks of 64 KiB to 256 KiB serve well."""

    length: int | None = None
    """Octets in `stream`, if they are known: sent as Content-Length."""

    upgrade: Any = None
    """The protocol (`stalwart.http.exchange.Upgraded`) that the connection is handed over to; the status is 101."""
