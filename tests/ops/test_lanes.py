"""Shares of a thread pool: nobody takes all threads, nobody is passed over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from stalwart.ops.lanes import Crowded, Lanes
from stalwart.ops.threads import Stopped

T = TypeVar("T")


class HeldPool:
    """A pool whose functions run when the test says so."""

    def __init__(self) -> None:
        self.started: list[Callable[[], None]] = []
        self.stopped = False

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """As `ThreadPool.run`."""
        if self.stopped:
            raise Stopped("these threads are not running")
        deferred: Deferred[T] = Deferred()
        self.started.append(lambda: deferred.callback(function()))
        return deferred

    def end(self, count: int = 1) -> None:
        """Run the functions that were started first."""
        for _ in range(count):
            self.started.pop(0)()


class AtOnce:
    """A pool that needs no time."""

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """As `ThreadPool.run`."""
        return maybeDeferred(function)


class LanesTests(SynchronousTestCase):
    """`Lanes` over a held pool."""

    def setUp(self) -> None:
        """Three threads, of which one key may have two."""
        self.pool = HeldPool()
        self.lanes = Lanes(self.pool, at_once=3, each=2, most_waiting=4)
        self.done: list[str] = []

    def ask(self, key: str, name: str) -> Deferred[None]:
        """Work that notes its name."""
        return self.lanes.of(key).run(lambda: self.done.append(name))

    def test_share(self) -> None:
        """One key never has more than its share of threads; another finds one free."""
        for name in ("a1", "a2", "a3", "a4"):
            self.ask("a", name)
        self.assertEqual(len(self.pool.started), 2)
        self.ask("b", "b1")
        self.assertEqual(len(self.pool.started), 3)
        self.pool.end(5)
        self.assertEqual(self.done, ["a1", "a2", "b1", "a3", "a4"])

    def test_turns(self) -> None:
        """Keys take turns, however much one of them asks for."""
        for name in ("a1", "a2", "a3", "a4", "a5"):
            self.ask("a", name)
        for name in ("b1", "b2", "b3"):
            self.ask("b", name)
        self.ask("c", "c1")
        self.pool.end(9)
        self.assertEqual(self.done[3:], ["a3", "b2", "c1", "a4", "b3", "a5"])

    def test_cancelled(self) -> None:
        """What nobody waits for any more is not begun; what runs keeps its thread until it ends."""
        running = [self.ask("a", "a1"), self.ask("a", "a2")]
        waiting = self.ask("a", "a3")
        self.ask("a", "a4")
        for deferred in (*running, waiting):
            deferred.cancel()
            self.failureResultOf(deferred, CancelledError)
        self.assertEqual(len(self.pool.started), 2)
        self.pool.end(3)
        self.assertEqual(self.done, ["a1", "a2", "a4"])
        self.assertEqual(self.pool.started, [])

    def test_crowded(self) -> None:
        """No more than so much waits under one key; others are not concerned."""
        for index in range(6):
            self.ask("a", str(index))
        self.assertRaises(Crowded, self.ask, "a", "7")
        self.ask("b", "b1")
        self.pool.end()
        self.ask("a", "7")

    def test_failures(self) -> None:
        """Failures reach the one who asked, also those of the pool, and give the thread back."""

        def broken() -> None:
            raise ValueError("no")

        lanes = Lanes(AtOnce(), at_once=1, each=1)
        for _ in range(5):
            self.failureResultOf(lanes.of("a").run(broken), ValueError)
        self.pool.stopped = True
        lanes = Lanes(self.pool, at_once=1, each=1)
        for _ in range(3):
            self.failureResultOf(lanes.of("a").run(broken), Stopped)
