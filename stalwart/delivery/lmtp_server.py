"""The LMTP server of one listener: makes sessions, watches over their time limits in one coarse sweep, drains them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol as Shape

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall

from stalwart.delivery.journal import Journal
from stalwart.delivery.lmtp import Limits
from stalwart.delivery.lmtp_session import LmtpSession
from stalwart.delivery.local import Outcome, Recipient, Transfer
from stalwart.delivery.memory import MessageMemory
from stalwart.ops.metrics import Metrics

_SWEEP_SECONDS = 5.0


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Time limits in seconds."""

    # RFC 5321 §4.5.3.2.7: at least five minutes for the next command. The same for each 64 KiB of a message.
    progress: float = 300.0
    # How long a client may take to fetch the last answers before the connection is cut.
    farewell: float = 30.0


class Delivers(Shape):
    """What becomes of recipients and messages; `stalwart.delivery.local.Mailroom` is one."""

    async def find(self, address: str, size: int | None) -> Recipient:
        """The recipient behind an address, or `LmtpError`."""

    async def deliver(self, transfer: Transfer, content: bytearray) -> list[Outcome]:
        """Store a message; one outcome per recipient, in their order."""


class LmtpFactory(Factory[LmtpSession]):
    """The sessions of one LMTP listener.

    `memory` is shared by all listeners; `new_id` gives an id for each mail transaction, unlike any before.
    """

    def __init__(
        self,
        *,
        listener: str,
        hostname: str,
        mailroom: Delivers,
        memory: MessageMemory,
        metrics: Metrics,
        reactor: IReactorTime,
        new_id: Callable[[], str],
        limits: Limits | None = None,
        times: Times | None = None,
    ) -> None:
        self.journal = Journal(listener, metrics)
        self.hostname = hostname
        self.mailroom = mailroom
        self.memory = memory
        self.new_id = new_id
        self.limits = limits or Limits()
        self.times = times or Times()
        self.now: Callable[[], float] = reactor.seconds
        self.draining = False
        self._sessions: set[LmtpSession] = set()
        self._drained: list[Deferred[None]] = []
        self._sweep = LoopingCall(self._check_times)
        self._sweep.clock = reactor

    def buildProtocol(self, addr: IAddress | None) -> LmtpSession | None:
        """A session for a new connection; none while shutting down, which closes it."""
        return None if self.draining else LmtpSession(self)

    def drain(self) -> Deferred[None]:
        """Take no new messages; fires when those on their way are answered and every session is over.

        Idle sessions are told 421 4.3.2 and closed at once.
        """
        self.draining = True
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        for session in tuple(self._sessions):
            session.shut_down()
        self._fire_if_drained()
        return drained

    # For sessions

    def joined(self, session: LmtpSession) -> None:
        """A session began."""
        self._sessions.add(session)
        if not self._sweep.running:
            self._sweep.start(_SWEEP_SECONDS, now=False).addErrback(self.journal.broken)
        session.check_time(self.now())

    def left(self, session: LmtpSession) -> None:
        """A session is over and has no work going on."""
        self._sessions.discard(session)
        if not self._sessions and self._sweep.running:
            self._sweep.stop()
        self._fire_if_drained()

    def _check_times(self) -> None:
        now = self.now()
        for session in tuple(self._sessions):
            session.check_time(now)

    def _fire_if_drained(self) -> None:
        if self._sessions:
            return
        drained, self._drained = self._drained, []
        for deferred in drained:
            deferred.callback(None)
