"""Blocking work off the reactor: a pool for reads and hashing, and one thread that takes writes in batches.

Results come back to the reactor in batches with one wake-up, because waking the reactor costs more than a small
database read. Functions given here must not touch Twisted objects.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")
J = TypeVar("J")
R = TypeVar("R")


class Stopped(Exception):
    """Work was given to threads that have been stopped, or were stopped before they came to it."""


class WakesReactor(Protocol):
    """The part of a reactor that threads need."""

    def callFromThread(self, function: Callable[..., object], /, *args: object) -> None:
        """Have the reactor thread call `function`; safe from any thread."""


class _HandBack:
    """Carries results from worker threads to the reactor thread, many per wake-up."""

    def __init__(self, reactor: WakesReactor) -> None:
        self._reactor = reactor
        self._done: deque[tuple[Deferred[object], object]] = deque()
        self._lock = threading.Lock()
        self._woken = False

    def put(self, results: Sequence[tuple[Deferred[object], object]]) -> None:
        """From any thread: deliver each value (a `Failure` fails its Deferred) on the reactor thread."""
        with self._lock:
            self._done.extend(results)
            if self._woken:
                return
            self._woken = True
        self._reactor.callFromThread(self._drain)

    def _drain(self) -> None:
        with self._lock:
            done, self._done = self._done, deque()
            self._woken = False
        for deferred, value in done:
            if not deferred.called:  # cancelled by its owner meanwhile
                deferred.callback(value)


class ThreadPool:
    """A fixed number of threads that run functions one at a time each.

    Not `twisted.python.threadpool`: that one wakes the reactor for each result.
    """

    def __init__(self, reactor: WakesReactor, size: int, name: str) -> None:
        self._hand_back = _HandBack(reactor)
        self._jobs: queue.SimpleQueue[tuple[Callable[[], object], Deferred[object]] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(size)
        ]
        self._running = False

    def start(self) -> None:
        """Start the threads. A pool is started and stopped once."""
        self._running = True
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float | None = None) -> None:
        """Finish what was queued, then end the threads. Blocks until they have ended, or for so many `seconds`.

        What has not ended by then ends with the process: for work that may wait for ever and leaves nothing undone.
        """
        if not self._running:
            return
        self._running = False
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(seconds)

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Run `function` in a thread; its result or exception fires the Deferred on the reactor thread."""
        if not self._running:
            raise Stopped("these threads are not running")
        deferred: Deferred[T] = Deferred(canceller=_give_up)
        self._jobs.put((function, deferred))  # type: ignore[arg-type]
        return deferred

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, deferred = job
            if deferred.called:
                continue
            try:
                value = function()
            except BaseException:  # noqa: BLE001 - handed to whoever waits for the result
                value = Failure()
                value.cleanFailure()
            self._hand_back.put([(deferred, value)])


class BatchThread(Generic[J, R]):
    """One thread that works off all waiting jobs together, so that they can share one commit.

    `process` gets the jobs that arrived while the last batch was under way (at most `most`) and returns one
    result per job; a result that is an exception fails that job alone. If `process` itself raises, all jobs of
    the batch fail.
    """

    def __init__(
        self,
        reactor: WakesReactor,
        process: Callable[[Sequence[J]], Sequence[R | BaseException]],
        name: str,
        most: int = 64,
    ) -> None:
        self._hand_back = _HandBack(reactor)
        self._process = process
        self._most = most
        self._jobs: queue.SimpleQueue[tuple[J, Deferred[R]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._running = False

    def start(self) -> None:
        """Start the thread. It is started and stopped once."""
        self._running = True
        self._thread.start()

    def stop(self) -> None:
        """Finish what was queued, then end the thread. Blocks until it has ended."""
        if not self._running:
            return
        self._running = False
        self._jobs.put(None)
        self._thread.join()

    def submit(self, job: J) -> Deferred[R]:
        """Queue a job; the Deferred fires when the batch with it is finished. It can't be cancelled."""
        if not self._running:
            raise Stopped("this thread is not running")
        deferred: Deferred[R] = Deferred()
        self._jobs.put((job, deferred))
        return deferred

    def _work(self) -> None:
        stopping = False
        while not stopping:
            batch: list[tuple[J, Deferred[R]]] = []
            entry = self._jobs.get()
            while entry is not None:
                batch.append(entry)
                if len(batch) == self._most:
                    break
                try:
                    entry = self._jobs.get_nowait()
                except queue.Empty:
                    break
            stopping = entry is None
            if batch:
                self._run(batch)

    def _run(self, batch: list[tuple[J, Deferred[R]]]) -> None:
        try:
            results: Sequence[R | BaseException] = self._process([job for job, _ in batch])
        except BaseException as error:  # noqa: BLE001 - handed to everyone who waits for this batch
            results = [error] * len(batch)
        self._hand_back.put(
            [
                (deferred, Failure(result) if isinstance(result, BaseException) else result)  # type: ignore[misc]
                for (_, deferred), result in zip(batch, results, strict=True)
            ]
        )


def _give_up(deferred: Deferred[T]) -> None:
    """Nothing to undo: a thread that already runs the function finishes it, and its result is dropped."""
