"""Keeps the bans of the running server and those of the database alike: read at start, written as they come, polled.

`stalwart ban` writes into the database beside the daemon; what it changed holds here a few seconds later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.auth import Guard
from stalwart.auth.bans import MOST_AUTOMATIC
from stalwart.ops.metrics import Metrics
from stalwart.store import BanRow, Store, add_ban, ban_version, list_bans, remove_expired_bans

T = TypeVar("T")
Version = tuple[int, int]

_POLL_SECONDS = 2.0
_TIDY_SECONDS = 3600.0

_UNREAD = "the bans can't be read from the database: those known hold"
_UNWRITTEN = "new bans can't be written into the database: they hold until the daemon stops"

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
        """Of the bans that the guard has, or has on their way to it. Belongs to the pool's thread."""

        self._unwritten: list[BanRow] = []
        self._writing = False
        self._next: IDelayedCall | None = None
        self._tidy_at = 0.0
        self._failing: set[str] = set()

    def startService(self) -> None:
        """Take over what the database has, before the first connection is accepted. StoreError."""
        super().startService()  # type: ignore[no-untyped-call]
        with self._store.read() as session:
            self._version, rows = ban_version(session), list_bans(session)
        self._guard.replace_bans(rows)
        self._guard.on_ban = self._made
        self._active.set_function(lambda: len(self._guard.bans.networks()))
        self._plan()

    def stopService(self) -> None:
        """Look no more. What has to be written is queued."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._guard.on_ban = None
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._writing = False
        self._write()

    def _plan(self) -> None:
        self._next = self._reactor.callLater(_POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        self._next = None
        self._write()
        done = self._pool.run(self._look).addCallback(self._looked)
        done.addErrback(self._failed, _UNREAD).addBoth(self._again)

    def _again(self, _: object) -> None:
        if self.running:
            self._plan()

    def _write(self) -> None:
        """Have written what isn't, unless that is under way: many bans at once then share a transaction."""
        rows = tuple(self._unwritten)
        if not rows or self._writing:
            return
        self._writing = True
        done = self._pool.run(lambda: self._save(rows)).addErrback(self._unsaved)
        done.addCallback(lambda saved: self._written(len(rows) if saved else 0))

    # In the thread.

    def _look(self) -> list[BanRow] | None:
        """The bans, if there are others than at the last look."""
        now = time.monotonic()
        if now >= self._tidy_at:
            self._tidy_at = now + _TIDY_SECONDS
            with self._store.write() as session:
                remove_expired_bans(session)
        with self._store.read() as session:
            version = ban_version(session)
            if version == self._version:
                return None
            rows = list_bans(session)
        self._version = version
        return rows

    def _save(self, rows: Sequence[BanRow]) -> bool:
        with self._store.write() as session:
            before = ban_version(session)
            for row in rows:
                add_ban(session, row)
            after = ban_version(session)
        if before == self._version:  # the guard has these already: a look need not bring it all of them again
            self._version = after
        return True

    # In the reactor's thread.

    def _looked(self, rows: list[BanRow] | None) -> None:
        self._failing.discard(_UNREAD)
        if rows is not None:
            # What was banned since is on its way into the database.
            self._guard.replace_bans([*rows, *self._unwritten])

    def _written(self, count: int) -> None:
        self._writing = False
        if count:
            self._failing.discard(_UNWRITTEN)
            del self._unwritten[:count]
            if self.running:
                self._write()

    def _unsaved(self, failure: Failure) -> bool:
        self._failed(failure, _UNWRITTEN)
        return False

    def _failed(self, failure: Failure, what: str) -> None:
        if what not in self._failing:  # once, not every two seconds
            _log.failure("{what}, and it is tried again", failure, what=what)
        self._failing.add(what)

    def _made(self, row: BanRow) -> None:
        _log.warn(
            "banned {network} {until}: {detail} ({reason}). To lift it: stalwart ban remove {network}. "
            "To have it never banned: server.allowed-ip",
            network=row.network,
            until="for good" if row.until is None else f"until {_as_time(row.until)}",
            detail=row.detail,
            reason=row.reason,
        )
        if self._guard.bans.is_full:
            _log.warn(
                "there are {count} bans now, and the server makes no more until some have ended (stalwart ban list)",
                count=MOST_AUTOMATIC,
            )
        self._unwritten.append(row)
        self._write()


def _as_time(seconds: int) -> str:
    """RFC 3339, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
