"""Deadlines of many connections, looked at together once a second instead of with a timer each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

_INTERVAL = 1.0


class Swept(Protocol):
    """A connection with deadlines."""

    def sweep(self, now: float) -> None:
        """Act on a deadline that has passed; `now` is on the monotonic clock."""

    def drain(self) -> None:
        """The server is stopping: close when nothing is under way, else after it."""


class Sweeper:
    """Calls `sweep` on each connection it holds, once a second while there is one."""

    def __init__(self, reactor: IReactorTime, monotonic: Callable[[], float]) -> None:
        self._reactor = reactor
        self._monotonic = monotonic
        self._connections: set[Swept] = set()
        self._next: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Swept]:
        return iter(self._connections)

    def add(self, connection: Swept) -> None:
        """Look after `connection` from now on."""
        self._connections.add(connection)
        if self._next is None:
            self._next = self._reactor.callLater(_INTERVAL, self._sweep)

    def remove(self, connection: Swept) -> None:
        """Forget `connection`."""
        self._connections.discard(connection)
        if not self._connections and self._next is not None:
            self._next.cancel()
            self._next = None

    def _sweep(self) -> None:
        self._next = self._reactor.callLater(_INTERVAL, self._sweep)
        now = self._monotonic()
        for connection in list(self._connections):
            connection.sweep(now)
