"""The domains of this server as pages that strangers may ask for see them: known for some seconds, asked for once."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.http import Problem
from stalwart.http.auth import RunsInThread
from stalwart.ops.threads import Stopped
from stalwart.store import Store, StoreError, list_domains

_log = Logger(namespace="stalwart.discovery")
_FRESH_SECONDS = 5.0


class LocalDomains:
    """Strangers must not take the store's threads one after another: those who come together share one answer."""

    def __init__(self, store: Store, pool: RunsInThread, monotonic: Callable[[], float]) -> None:
        """`pool` runs what asks the store."""
        self._store = store
        self._pool = pool
        self._monotonic = monotonic
        self._known: frozenset[str] = frozenset()
        self._fresh_until: float | None = None
        self._waiting: set[Deferred[object]] = set()
        self._asking = False

    async def names(self) -> frozenset[str]:
        """All domains (A-labels, lower case), as they were a few seconds ago at most. Raises Problem 503."""
        if self._fresh_until is not None and self._monotonic() < self._fresh_until:
            return self._known
        waiting: Deferred[object] = Deferred()
        self._waiting.add(waiting)
        try:
            if not self._asking:
                asked = self._pool.run(self._look)
                self._asking = True
                asked.addBoth(self._answered)
            await waiting
        except (StoreError, Stopped) as error:
            later = (("Retry-After", "5"), ("Cache-Control", "no-store"))
            raise Problem(503, "The store can't be used. Try again.", headers=later) from error
        finally:
            self._waiting.discard(waiting)
        return self._known

    def _look(self) -> frozenset[str]:
        with self._store.read() as session:
            return frozenset(list_domains(session))

    def _answered(self, result: object) -> None:
        self._asking = False
        if isinstance(result, frozenset):
            self._known = result
            self._fresh_until = self._monotonic() + _FRESH_SECONDS
        elif isinstance(result, Failure) and result.check(StoreError, Stopped):
            # Once for all who wait: strangers must not fill the log.
            _log.warn("the domains of this server can't be told: {reason}", reason=result.getErrorMessage())
        for waiting in list(self._waiting):
            waiting.callback(result)
