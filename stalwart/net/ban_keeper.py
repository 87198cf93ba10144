"""Keeps the bans of the running server and those of the database alike: read at start, written as they come, polled.

`stalwart ban` writes into the database beside the daemon; what it changed holds here a few seconds later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.auth import Guard
from stalwart.ops.metrics import Metrics
from stalwart.store import BanRow, Store, add_ban, ban_version, list_bans, remove_expired_bans

T = TypeVar("T")
Version = tuple[int, int]

_POLL_SECONDS = 2.0
_TIDY_SECONDS = 3600.0

_log = Logger(namespace="stalwart.bans")


class Pool(Protocol):
    """Where blocking work is done: by one thread, so that it is done in order."""

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Run `function` in the thread."""


class BanKeeper(Service):
    """Looks every two seconds whether the database has other bans, and writes there those that the guard makes."""

    def __init__(self, guard: Guard, store: Store, pool: Pool, reactor: IReactorTime, metrics: Metrics) -> None:
        self._guard = guard
        self._store = store
        self._pool = pool
        self._reactor = reactor
        self._active = metrics.bans
        self._version: Version | None = None
        self._unwritten: list[BanRow] = []
        self._next: IDelayedCall | None = None
        self._tidy_at = 0.0
        self._failing = False

    def startService(self) -> None:
        """Take over what the database has, before the first connection is accepted. StoreError."""
        super().startService()  # type: ignore[no-untyped-call]
        self._version, rows = self._read()
        self._guard.replace_bans(rows)
        self._guard.on_ban = self._made
        self._active.set_function(lambda: len(self._guard.bans.networks()))
        self._plan()

    def stopService(self) -> None:
        """Look no more. What is being written is written."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._guard.on_ban = None
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _plan(self) -> None:
        self._next = self._reactor.callLater(_POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        self._next = None
        self._pool.run(self._look).addCallbacks(self._looked, self._failed).addBoth(self._again)

    def _again(self, _: object) -> None:
        if self.running:
            self._plan()

    # In the thread.

    def _read(self) -> tuple[Version, list[BanRow]]:
        with self._store.read() as session:
            return ban_version(session), list_bans(session)

    def _look(self) -> tuple[Version, list[BanRow]] | None:
        """The bans, if there are others than at the last look."""
        now = time.monotonic()
        if now >= self._tidy_at:
            self._tidy_at = now + _TIDY_SECONDS
            with self._store.write() as session:
                remove_expired_bans(session)
        with self._store.read() as session:
            version = ban_version(session)
            return None if version == self._version else (version, list_bans(session))

    def _write(self, row: BanRow) -> None:
        with self._store.write() as session:
            add_ban(session, row)

    # In the reactor's thread.

    def _looked(self, found: tuple[Version, list[BanRow]] | None) -> None:
        self._failing = False
        if found is not None:
            self._version, rows = found
            # What was banned since is on its way into the database.
            self._guard.replace_bans([*rows, *self._unwritten])

    def _failed(self, failure: Failure) -> None:
        if not self._failing:  # once, not every two seconds
            _log.failure("the bans can't be read from the database: those known hold, and it is tried again", failure)
        self._failing = True

    def _made(self, row: BanRow) -> None:
        _log.warn(
            "banned {network} {until}: {detail} ({reason}). To lift it: stalwart ban remove {network}. "
            "To have it never banned: server.allowed-ip",
            network=row.network,
            until="for good" if row.until is None else f"until {_as_time(row.until)}",
            detail=row.detail,
            reason=row.reason,
        )
        self._unwritten.append(row)
        self._pool.run(lambda: self._write(row)).addCallbacks(
            lambda _: self._unwritten.remove(row), lambda failure: self._unsaved(failure, row)
        )

    def _unsaved(self, failure: Failure, row: BanRow) -> None:
        _log.failure(
            "the ban of {network} could not be written: it holds until the daemon stops", failure, network=row.network
        )


def _as_time(seconds: int) -> str:
    """RFC 3339, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
