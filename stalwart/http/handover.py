"""A connection in the hands of another protocol than HTTP, from the answer 101 on (RFC 9110 §7.8)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import ITransport

from stalwart.http.exchange import Upgraded
from stalwart.http.pacing import Pacing


class Handover:
    """Provides `Wire` to the protocol, and passes on to it what happens to the connection."""

    def __init__(
        self,
        protocol: Upgraded,
        transport: ITransport,
        pacing: Pacing,
        close: Callable[[], None],
        abort: Callable[[], None],
    ) -> None:
        self._protocol = protocol
        self._transport = transport
        self._pacing = pacing
        self._close = close
        self.abort = abort
        self._open = True
        self.received = protocol.received
        self.sweep = protocol.sweep
        self.drain = protocol.drain

    def begin(self, octets: bytes) -> None:
        """The answer 101 is out; `octets` came already behind the request."""
        self._protocol.connected(self)
        if self._pacing.full_since is None:
            self._pacing.read(True)
        else:
            self._protocol.pause()
        if octets and self._open:
            self._protocol.received(octets)

    def pause(self) -> None:
        """The client takes less than it is sent: nothing more is read from it."""
        self._pacing.read(False)
        self._protocol.pause()

    def resume(self) -> None:
        """What was written is out."""
        self._protocol.resume()

    def closing(self) -> None:
        """This side has closed; the protocol hears of the end when the connection is gone."""
        self._open = False

    def lost(self) -> None:
        """The connection is gone."""
        self._open = False
        self._protocol.lost()

    # `Wire`.

    def write(self, data: bytes) -> None:
        """Send octets."""
        if self._open:
            self._transport.write(data)

    def close(self) -> None:
        """Close when all that was written is out."""
        if self._open:
            self._close()
