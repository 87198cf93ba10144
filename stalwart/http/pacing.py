"""How fast octets go over an HTTP/1.1 connection, each way: a client that reads slowly stops what fills it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IPushProducer, ISSLTransport, ITCPTransport, ITransport


class Pacing:
    """The transport of one connection, as `filler` fills it: the answer under way is its producer, if that streams."""

    def __init__(self, transport: ITransport, filler: IPushProducer, monotonic: Callable[[], float]) -> None:
        self.full_since: float | None = None
        """Since when the client takes less than it is sent, in monotonic seconds."""
        self.read_all = False
        """Whether the client sends no more: it has closed its end."""
        self._transport = transport
        self._monotonic = monotonic
        self._producer: IPushProducer | None = None
        self._reading = True
        self._paced = True
        transport.registerProducer(filler, True)  # type: ignore[attr-defined]

    # What comes.

    def read(self, wanted: bool) -> None:
        """Take octets from the client, or let them wait in its system."""
        if wanted is not self._reading and not self.read_all:
            self._reading = wanted
            if wanted:
                self._transport.resumeProducing()  # type: ignore[attr-defined]
            else:
                self._transport.pauseProducing()  # type: ignore[attr-defined]

    # What goes.

    def add_producer(self, producer: IPushProducer) -> None:
        """Pause and resume `producer` with the transport."""
        self._producer = producer
        if self.full_since is not None:
            producer.pauseProducing()

    def remove_producer(self) -> None:
        """The answer needs no more pausing."""
        self._producer = None

    def stop_producer(self) -> None:
        """The connection is gone: have the answer end."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    def full(self) -> None:
        """The transport has enough for now."""
        if self.full_since is None:
            self.full_since = self._monotonic()
            if self._producer is not None:
                self._producer.pauseProducing()

    def emptied(self) -> None:
        """What was written is out."""
        self.full_since = None
        if self._producer is not None:
            self._producer.resumeProducing()

    # The end.

    def stop(self) -> None:
        """Leave the transport to itself."""
        self.full_since = None
        self.read(True)
        if self._paced:
            self._paced = False
            self._transport.unregisterProducer()  # type: ignore[attr-defined]

    def close_sending(self) -> None:
        """Send the end behind what was written, and go on reading; over TLS there is no such half."""
        transport = self._transport
        if ITCPTransport.providedBy(transport) and not ISSLTransport.providedBy(transport):
            transport.loseWriteConnection()
