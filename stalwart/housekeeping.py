"""What is done by the clock: expired uploads and OAuth tokens go hourly; unreferenced blobs, old tombstones and
lookups, and mail that was sent long ago, every day.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.store import (
    Store,
    delete_dead_subscriptions,
    expire_browser_sessions,
    expire_devices,
    expire_grants,
    expire_submissions,
    expire_uploads,
    finish_deletions,
    forget_destroyed,
    forget_expired_lookups,
    forget_unused_clients,
    queue,
    sweep,
)

T = TypeVar("T")

_FIRST_SECONDS = 600.0
_EVERY_SECONDS = 86_400.0
_UPLOADS_SECONDS = 3600.0
# RFC 8620 §5.2: clients that were away for 30 days are still told what was destroyed.
_TOMBSTONE_SECONDS = 30 * 86_400
# RFC 8621 §7: an EmailSubmission may go once it is done with; reports come within days.
_SUBMISSION_SECONDS = 30 * 86_400
# What became of mail that no submission shows, for who asks with `stalwart queue list --all`.
_SENT_SECONDS = 7 * 86_400
# RFC 8628 §3.5: until then a device is told that its code has expired.
_DEVICE_SECONDS = 3600
# What registered itself and got no token within a day has been given up.
_CLIENT_SECONDS = 86_400

_log = Logger(namespace="stalwart.housekeeping")


class Pool(Protocol):
    """Where blocking work is done."""

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Run `function` in a thread."""


class Housekeeping(Service):
    """Runs ten minutes after the start and then every day, and every hour for uploads older than `upload_seconds`.

    A failed run is logged, and the next one is as usual.
    """

    def __init__(self, store: Store, pool: Pool, reactor: IReactorTime, *, upload_seconds: float) -> None:
        self._store = store
        self._pool = pool
        self._reactor = reactor
        self._upload_seconds = upload_seconds
        self._next: IDelayedCall | None = None
        self._next_uploads: IDelayedCall | None = None

    def startService(self) -> None:
        """Plan the first run."""
        super().startService()  # type: ignore[no-untyped-call]
        self._plan(_FIRST_SECONDS)
        self._plan_uploads()

    def stopService(self) -> None:
        """Plan no more; a run that is under way ends soon."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._next_uploads is not None:
            self._next_uploads.cancel()
            self._next_uploads = None

    def _plan(self, seconds: float) -> None:
        self._next = self._reactor.callLater(seconds, self._run)

    def _run(self) -> None:
        self._plan(_EVERY_SECONDS)
        self._pool.run(self._clean).addCallbacks(self._done, self._failed)

    def _plan_uploads(self) -> None:
        self._next_uploads = self._reactor.callLater(_UPLOADS_SECONDS, self._run_uploads)

    def _run_uploads(self) -> None:
        self._plan_uploads()
        work = self._pool.run(self._expire)
        work.addCallbacks(self._expired, self._failed)

    def _expire(self) -> int:
        while self.running and self._expire_grants():
            pass
        with self._store.write() as session:
            expire_devices(session, session.now() - _DEVICE_SECONDS)
            forget_unused_clients(session, session.now() - _CLIENT_SECONDS)
        return expire_uploads(self._store, self._upload_seconds)

    def _expire_grants(self) -> int:
        with self._store.write() as session:
            return expire_grants(session)

    def _expired(self, uploads: int) -> None:
        if uploads:
            _log.info("housekeeping: {uploads} expired uploads removed", uploads=uploads)

    def _clean(self) -> int:
        with self._store.write() as session:
            delete_dead_subscriptions(session)
            forget_destroyed(session, int(self._store.clock()) - _TOMBSTONE_SECONDS)
            forget_expired_lookups(session)
            expire_browser_sessions(session)
        finish_deletions(self._store, wanted=lambda: bool(self.running))
        while self.running and (self._expire_submissions() or self._forget_sent()):
            pass
        return sweep(self._store, wanted=lambda: bool(self.running))

    def _expire_submissions(self) -> int:
        with self._store.write() as session:
            return expire_submissions(session, int(self._store.clock()) - _SUBMISSION_SECONDS)

    def _forget_sent(self) -> int:
        with self._store.write() as session:
            return queue.forget_finished(session, int(self._store.clock()) - _SENT_SECONDS)

    def _done(self, blobs: int) -> None:
        _log.info("housekeeping: {blobs} unreferenced blobs removed", blobs=blobs)

    def _failed(self, failure: Failure) -> None:
        _log.failure("housekeeping failed, and is tried again at its next time", failure)
