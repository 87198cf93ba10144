"""Fair shares of a thread pool: work comes under a key, such as an account, and the keys take turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

T = TypeVar("T")


class RunsWork(Protocol):
    """The part of `stalwart.ops.threads.ThreadPool` that is shared out."""

    def run(self, function: Callable[[], T], /) -> Deferred[T]:
        """Run `function` in a thread."""


class Crowded(Exception):
    """As much work as may wait under this key waits already."""


class Lanes:
    """Hands work on to a pool, at most `at_once` pieces in all and `each` of one key; the rest waits here.

    A piece counts until its thread has ended, also when nobody wants the result any more: the pool can't stop a
    function that runs. What is cancelled while it waits is never run. Belongs to the reactor thread.
    """

    def __init__(self, pool: RunsWork, *, at_once: int, each: int, most_waiting: int | None = None) -> None:
        self._pool = pool
        self._at_once = at_once
        self._each = each
        self._most_waiting = most_waiting
        self._running: dict[Hashable, int] = {}
        self._waiting: OrderedDict[Hashable, deque[tuple[Callable[[], Any], Deferred[Any]]]] = OrderedDict()

    def of(self, key: Hashable) -> Lane:
        """The lane of one key."""
        return Lane(self, key)

    def run(self, key: Hashable, function: Callable[[], T]) -> Deferred[T]:
        """Run `function` in a thread when it is its turn. Raises Crowded when too much waits under `key`."""
        queue = self._waiting.get(key)
        if queue is not None and len(queue) == self._most_waiting:
            raise Crowded(f"{len(queue)} pieces of work wait already")
        deferred: Deferred[T] = Deferred(lambda _: self._leave(key, job))
        job = (function, deferred)
        self._waiting.setdefault(key, deque()).append(job)
        self._next()
        return deferred

    def _leave(self, key: Hashable, job: tuple[Callable[[], Any], Deferred[Any]]) -> None:
        queue = self._waiting.get(key)
        if queue is not None and job in queue:
            queue.remove(job)
            if not queue:
                del self._waiting[key]

    def _next(self) -> None:
        while sum(self._running.values()) < self._at_once:
            key = next((one for one in self._waiting if self._running.get(one, 0) < self._each), None)
            if key is None:
                return
            queue = self._waiting[key]
            function, deferred = queue.popleft()
            if queue:
                self._waiting.move_to_end(key)
            else:
                del self._waiting[key]
            self._start(key, function, deferred)

    def _start(self, key: Hashable, function: Callable[[], Any], deferred: Deferred[Any]) -> None:
        def ended(result: Any) -> None:
            left = self._running[key] - 1
            if left:
                self._running[key] = left
            else:
                del self._running[key]
            if not deferred.called:  # cancelled by its owner meanwhile
                deferred.callback(result)
            self._next()

        self._running[key] = self._running.get(key, 0) + 1
        try:
            work: Deferred[Any] = self._pool.run(function)
        except Exception:  # noqa: BLE001 - handed to whoever waits for the result
            work = fail(Failure())
        work.addBoth(ended)


class Lane:
    """The work of one key; runs functions as the pool itself does."""

    def __init__(self, lanes: Lanes, key: Hashable) -> None:
        self._lanes = lanes
        self._key = key

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """See `Lanes.run`."""
        return self._lanes.run(self._key, function)
