"""An answer's body in blocks, sent as fast as the client takes them."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


class LengthMismatch(Exception):
    """A stream had not as many octets as its Response said."""


@implementer(IPushProducer)
class BodySender:
    """Asks a stream for its next block whenever the transport has room."""

    def __init__(self, write: Callable[[bytes], None], length: int | None) -> None:
        self._write = write
        self._left = length
        self._room: Deferred[None] | None = None

    async def send(self, stream: Iterable[bytes] | AsyncIterable[bytes]) -> None:
        """Send all of `stream`; raises what it raises, and LengthMismatch."""
        try:
            if isinstance(stream, AsyncIterable):
                async for block in stream:
                    await self._send(block)
            else:
                for block in stream:
                    await self._send(block)
        finally:
            await close(stream)
        if self._left:
            raise LengthMismatch(f"the stream ended {self._left} octets before its length")

    async def _send(self, block: bytes) -> None:
        if not block:
            return
        if self._left is not None:
            if len(block) > self._left:
                raise LengthMismatch("the stream has more octets than its length")
            self._left -= len(block)
        self._write(block)
        while self._room is not None:
            await self._room

    def pauseProducing(self) -> None:
        """The transport is full."""
        if self._room is None:
            self._room = Deferred()

    def resumeProducing(self) -> None:
        """The transport has room."""
        if self._room is not None:
            room, self._room = self._room, None
            room.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone; the request hears of that by itself."""


async def close(stream: object) -> None:
    """Let go of what a stream holds, whether it was read or not."""
    if hasattr(stream, "aclose"):
        await stream.aclose()
    elif hasattr(stream, "close"):
        stream.close()
