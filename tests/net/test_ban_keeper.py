"""Bans between the guard and the database, on a clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, formatEvent

from stalwart.auth import Guard, GuardRules
from stalwart.net import BanKeeper
from stalwart.ops.metrics import Metrics
from stalwart.store import BanRow, DiskFull, add_ban, ban_version, list_bans, remove_bans
from tests.store.bed import NOW, StoreTestCase

T = TypeVar("T")
A, B = "203.0.113.1", "203.0.113.2"


class Thread:
    """A pool of one thread, which works when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []
        self.held = False
        self.error: Exception | None = None

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Queue it; run it at once if the thread isn't held."""
        done: Deferred[T] = Deferred()

        def work() -> None:
            def call() -> T:
                if self.error is not None:
                    raise self.error
                return function()

            maybeDeferred(call).chainDeferred(done)

        self.jobs.append(work)
        if not self.held:
            self.work()
        return done

    def work(self) -> None:
        """Do what is queued."""
        while self.jobs:
            self.jobs.pop(0)()


class KeeperTests(StoreTestCase):
    """`BanKeeper`."""

    def setUp(self) -> None:
        """A guard, a store, and the service."""
        super().setUp()
        self.logs: Sequence[LogEvent] = self.enterContext(capturedLogs())
        self.clock = Clock()
        self.thread = Thread()
        self.start()

    def start(self) -> None:
        """A new process."""
        self.metrics = Metrics("0")
        rules = GuardRules(scan_paths=("*.php",), ban_seconds=100.0)
        self.guard = Guard(rules, monotonic=self.clock.seconds, wall=lambda: self.now, metrics=self.metrics)
        self.keeper = BanKeeper(self.guard, self.store, self.thread, self.clock, self.metrics)
        self.keeper.startService()
        self.addCleanup(self.stop, self.keeper)

    def stop(self, keeper: BanKeeper) -> None:
        """End it, if it runs."""
        if keeper.running:
            keeper.stopService()

    def banned(self) -> list[bool]:
        """Which of the two addresses are kept out."""
        return [self.guard.ban_of(address) is not None for address in (A, B)]

    def ban(self, network: str, until: int | None = None) -> None:
        """As the command does it, beside the daemon."""
        with self.store.write() as s:
            add_ban(s, BanRow(network=network, reason="manual", since=NOW, until=until))

    def lines(self) -> list[str]:
        """The log."""
        return [formatEvent(event) for event in self.logs]

    def test_survives_restart(self) -> None:
        """A ban that the server made is in force again when it starts anew, for as long as it lasts."""
        self.guard.not_found(A, "/x.php")
        self.keeper.stopService()
        self.start()
        self.assertEqual(self.banned(), [True, False])
        self.now += 100
        self.assertEqual(self.banned(), [False, False])
        self.keeper.stopService()
        self.start()
        self.assertEqual(self.banned(), [False, False])

    def test_told(self) -> None:
        """The log says who, why, until when, and how to lift it."""
        self.guard.not_found(A, "/x.php")
        (line,) = [line for line in self.lines() if "banned" in line]
        words = ("'/x.php'", "banned-path", "until 2023-11-14T22:15:00Z", "server.allowed-ip")
        for part in (*words, f"banned {A}", f"stalwart ban remove {A}"):
            self.assertIn(part, line)

    def test_taken_over(self) -> None:
        """What the command changes holds two seconds later, and is counted."""
        self.ban(A)
        self.assertEqual(self.banned(), [False, False])
        self.clock.advance(2)
        self.assertEqual(self.banned(), [True, False])
        self.assertEqual(self.metrics.registry.get_sample_value("stalwart_bans"), 1)
        self.ban("203.0.113.0/24", NOW + 1000)
        with self.store.write() as s:
            remove_bans(s, network=A)
        self.clock.advance(2)
        self.assertEqual(self.banned(), [True, True])
        with self.store.write() as s:
            remove_bans(s)
        self.clock.advance(2)
        self.assertEqual(self.banned(), [False, False])
        self.assertEqual(self.metrics.registry.get_sample_value("stalwart_bans"), 0)

    def test_looks_only(self) -> None:
        """When nothing changed, nothing is replaced."""
        replaced: list[object] = []
        self.patch(self.guard, "replace_bans", replaced.append)
        for _ in range(5):
            self.clock.advance(2)
        self.assertEqual(replaced, [])

    def test_made_during_a_look(self) -> None:
        """A ban that is made while the database is being read isn't lost, though it isn't there yet."""
        self.ban(B)
        self.thread.held = True
        self.clock.advance(2)
        self.guard.not_found(A, "/x.php")
        self.thread.jobs.pop(0)()
        self.assertEqual(self.banned(), [True, True])
        self.thread.held = False
        self.thread.work()
        self.clock.advance(2)
        self.assertEqual(self.banned(), [True, True])

    def test_one_look_at_a_time(self) -> None:
        """A slow disk isn't asked again before it has answered."""
        self.thread.held = True
        self.clock.advance(60)
        self.assertEqual(len(self.thread.jobs), 1)
        self.thread.held = False
        self.thread.work()
        self.ban(A)
        self.clock.advance(2)
        self.assertEqual(self.banned(), [True, False])

    def test_failing_database(self) -> None:
        """Bans hold when they can't be written or read; that is told once, and the looks go on."""
        self.thread.error = DiskFull("no space")
        self.guard.not_found(A, "/x.php")
        for _ in range(5):
            self.clock.advance(2)
        self.assertEqual(self.banned(), [True, False])
        lines = self.lines()
        self.assertEqual(sum("can't be written" in line for line in lines), 1)
        self.assertEqual(sum("can't be read" in line for line in lines), 1)
        self.flushLoggedErrors(DiskFull)
        self.thread.error = None
        self.ban(B)
        self.clock.advance(2)
        self.assertEqual(self.banned(), [True, True])
        with self.store.read() as s:
            self.assertEqual([row.network for row in list_bans(s)], [B, A])

    def test_written_together(self) -> None:
        """Bans that come while others are written share a transaction; the guard isn't given its own again."""
        replaced: list[object] = []
        self.patch(self.guard, "replace_bans", replaced.append)
        self.clock.advance(2)
        self.thread.held = True
        for number in range(9):
            self.guard.not_found(f"203.0.113.{number}", "/x.php")
        self.assertEqual(len(self.thread.jobs), 1)
        self.thread.jobs.pop(0)()
        self.assertEqual(len(self.thread.jobs), 1)
        self.thread.held = False
        self.thread.work()
        with self.store.read() as s:
            self.assertEqual(len(list_bans(s)), 9)
        self.clock.advance(2)
        self.assertEqual(replaced, [])

    def test_written_at_the_end(self) -> None:
        """What waits to be written when the daemon stops is written."""
        self.thread.held = True
        self.guard.not_found(A, "/x.php")
        self.guard.not_found(B, "/x.php")
        self.keeper.stopService()
        self.thread.work()
        with self.store.read() as s:
            self.assertEqual([row.network for row in list_bans(s)], [A, B])

    def test_tidy(self) -> None:
        """Bans that are over leave the database in time."""
        self.clock.advance(2)
        self.ban(A, NOW + 10)
        self.now += 10
        with self.store.read() as s:
            self.assertEqual((ban_version(s)[0], list_bans(s)), (1, []))
        self.keeper._tidy_at = 0.0
        self.clock.advance(2)
        with self.store.read() as s:
            self.assertEqual(ban_version(s)[0], 0)

    def test_stopped(self) -> None:
        """After the end nothing is planned."""
        self.keeper.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.thread.held = True
        self.start()
        self.clock.advance(2)
        self.keeper.stopService()
        self.thread.work()
        self.assertEqual(self.clock.getDelayedCalls(), [])
