"""What rules keep: expiry, bounds, and when it is written."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from stalwart.expr import EvalError
from stalwart.http import kept
from stalwart.http.kept import COUNTER_SECONDS, LONGEST_KEY, LONGEST_VALUE, VALUE_SECONDS, Kept
from stalwart.store import DiskFull, list_lookups
from tests.store.bed import StoreTestCase
from tests.test_housekeeping import HereAndNow


class KeptTests(StoreTestCase):
    """`Kept` over a real store, with a clock of our own."""

    def setUp(self) -> None:
        """An empty store."""
        super().setUp()
        self.clock = Clock()
        self.pool = HereAndNow()
        self.kept = self.opened()

    def opened(self) -> Kept:
        """As after a start."""
        made = Kept(self.store, self.pool, self.clock)
        made.load()
        return made

    def rows(self) -> dict[str, str]:
        """What is in the store."""
        with self.store.read() as session:
            return {key.key: value.value for key, value in list_lookups(session)}

    def test_values(self) -> None:
        """Values and counters have names of their own in each store."""
        self.assertIsNone(self.kept.get("a", "k"))
        self.kept.set("a", "k", "one")
        self.kept.set("b", "k", "two")
        self.assertEqual((self.kept.get("a", "k"), self.kept.get("b", "k")), ("one", "two"))
        self.assertEqual(self.kept.count("a", "k"), 0)
        self.assertEqual([self.kept.increment("a", "k", 2), self.kept.increment("a", "k", -5)], [2, -3])
        self.assertEqual((self.kept.count("a", "k"), self.kept.get("a", "k")), (-3, "one"))

    def test_saturates(self) -> None:
        """A counter stays in 64 bits."""
        self.kept.increment("a", "k", 2**63 - 1)
        self.assertEqual(self.kept.increment("a", "k", 1), 2**63 - 1)

    def test_one_commit_a_second(self) -> None:
        """However often something changes, it is written once a second; nothing is written without a change."""
        for _ in range(1000):
            self.kept.increment("a", "k", 1)
        self.assertEqual(self.rows(), {})
        self.clock.advance(1)
        self.assertEqual((self.rows(), self.pool.runs), ({"k": "1000"}, 1))
        self.clock.advance(60)
        self.kept.count("a", "k")
        self.clock.advance(60)
        self.assertEqual(self.pool.runs, 1)

    def test_survives(self) -> None:
        """What was written is there after a start, and what wasn't is written at the stop."""
        self.kept.increment("a", "k", 1)
        self.kept.set("a", "v", "x")
        self.kept.close()
        again = self.opened()
        self.assertEqual((again.count("a", "k"), again.get("a", "v")), (1, "x"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_expires(self) -> None:
        """A counter ends a day after its first increment, a value 30 days after it was set, also across starts."""
        self.kept.increment("a", "k", 1)
        self.kept.set("a", "v", "x")
        self.now += COUNTER_SECONDS - 1
        self.assertEqual(self.kept.increment("a", "k", 1), 2)
        self.now += 1
        self.assertEqual(self.kept.count("a", "k"), 0)
        self.kept.close()
        self.assertEqual(self.opened().count("a", "k"), 0)
        self.assertEqual(self.opened().get("a", "v"), "x")
        self.now += VALUE_SECONDS
        self.assertIsNone(self.opened().get("a", "v"))

    def test_bounded(self) -> None:
        """When there are too many, or too much, what was written longest ago makes room, on disk too."""
        self.patch(kept, "MOST_KEYS", 3)
        for name in "abc":
            self.kept.increment("s", name, 1)
        self.clock.advance(1)
        self.kept.increment("s", "a", 1)
        self.kept.increment("s", "d", 1)
        self.clock.advance(1)
        self.assertEqual(self.rows(), {"a": "2", "c": "1", "d": "1"})
        self.assertEqual(self.kept.count("s", "b"), 0)
        self.patch(kept, "MOST_OCTETS", 800)
        self.kept.set("s", "e", "x" * 100)
        self.assertEqual([self.kept.count("s", name) for name in "acd"], [0, 0, 1])

    def test_sizes(self) -> None:
        """Keys and values that are too long are refused, and change nothing."""
        for key, value in (("k" * (LONGEST_KEY + 1), "x"), ("k", "é" * LONGEST_VALUE), ("\ud800", "x")):
            with self.assertRaises(EvalError):
                self.kept.set("s", key, value)
        with self.assertRaises(EvalError):
            self.kept.increment("s", "k" * (LONGEST_KEY + 1), 1)
        self.assertEqual(self.kept.count("s", "k" * (LONGEST_KEY + 1)), 0)
        self.clock.advance(1)
        self.assertEqual(self.rows(), {})

    def test_disk_full(self) -> None:
        """What can't be written stays in memory, and is tried again."""
        self.pool.error = DiskFull("full")
        self.kept.increment("s", "k", 1)
        self.clock.advance(1)
        self.pool.error = None
        self.kept.increment("s", "k", 1)
        self.clock.advance(1)
        self.assertEqual(self.rows(), {})
        self.clock.advance(9)
        self.assertEqual(self.rows(), {"k": "2"})

    def test_disk_stays_full(self) -> None:
        """While nothing can be written, what made room for others doesn't pile up."""
        self.patch(kept, "MOST_KEYS", 3)
        self.pool.error = DiskFull("full")
        for number in range(100):
            self.kept.increment("s", f"k{number}", 1)
            self.clock.advance(1)
        self.assertLessEqual(len(self.kept._changed), 7)
        self.pool.error = None
        self.clock.advance(10)
        self.assertEqual(self.rows(), {"k97": "1", "k98": "1", "k99": "1"})

    def test_slow_disk(self) -> None:
        """While one write is under way there is no second; what changes meanwhile is written after it."""
        slow: Deferred[None] = Deferred()
        pool = cast(HereAndNow, type("Slow", (), {"run": lambda self, function: slow})())
        held = Kept(self.store, pool, self.clock)
        held.increment("s", "k", 1)
        self.clock.advance(1)
        held.increment("s", "k", 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        slow.callback(None)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        held.close()
        self.assertEqual(self.rows(), {"k": "2"})
