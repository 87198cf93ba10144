"""What is done once a day: what nothing refers to or has expired is removed: blobs, uploads, tombstones, lookups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.store import Store, forget_destroyed, forget_expired_lookups, sweep

T = TypeVar("T")

_FIRST_SECONDS = 600.0
_EVERY_SECONDS = 86_400.0
# RFC 8620 §5.2: clients that were away for 30 days are still told what was destroyed.
_TOMBSTONE_SECONDS = 30 * 86_400

_log = Logger(namespace="stalwart.housekeeping")


class Pool(Protocol):
    """Where blocking work is done."""

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Run `function` in a thread."""


class Housekeeping(Service):
    """Runs ten minutes after the start and then every day. A failed run is logged, and the next one is as usual."""

    def __init__(self, store: Store, pool: Pool, reactor: IReactorTime) -> None:
        self._store = store
        self._pool = pool
        self._reactor = reactor
        self._next: IDelayedCall | None = None

    def startService(self) -> None:
        """Plan the first run."""
        super().startService()  # type: ignore[no-untyped-call]
        self._plan(_FIRST_SECONDS)

    def stopService(self) -> None:
        """Plan no more; a run that is under way ends soon."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _plan(self, seconds: float) -> None:
        self._next = self._reactor.callLater(seconds, self._run)

    def _run(self) -> None:
        self._plan(_EVERY_SECONDS)
        self._pool.run(self._clean).addCallbacks(self._done, self._failed)

    def _clean(self) -> int:
        with self._store.write() as session:
            forget_destroyed(session, int(self._store.clock()) - _TOMBSTONE_SECONDS)
            forget_expired_lookups(session)
        return sweep(self._store, wanted=lambda: bool(self.running))

    def _done(self, blobs: int) -> None:
        _log.info("housekeeping: {blobs} unreferenced blobs removed", blobs=blobs)

    def _failed(self, failure: Failure) -> None:
        _log.failure("housekeeping failed, and is tried again tomorrow", failure)
