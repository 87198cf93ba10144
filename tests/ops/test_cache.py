"""A cache: how much it keeps, for how long, what it counts, and that threads may share it."""

from __future__ import annotations

import threading
import tracemalloc
from array import array
from collections import OrderedDict

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stalwart.ops.cache import Cache, octets_of
from stalwart.ops.metrics import Metrics

ROOMY = 10_000_000


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key as queries have them."""

    account: int
    words: tuple[str, ...]


class KeepingTests(SynchronousTestCase):
    """What is kept, and when it goes."""

    def setUp(self) -> None:
        self.clock = Clock()

    def cache(self, octets: int = ROOMY, tti: float = 60.0, metrics: Metrics | None = None) -> Cache[str, bytes]:
        """A cache on this test's clock."""
        return Cache("some", octets=octets, tti=tti, clock=self.clock.seconds, metrics=metrics)

    def test_gives_what_was_put(self) -> None:
        """A value is found under its key and no other; a later one replaces it."""
        cache = self.cache()
        cache.put("a", b"1")
        cache.put("a", b"2")
        self.assertEqual((cache.get("a"), cache.get("b"), len(cache)), (b"2", None, 1))

    def test_idle_entries_go(self) -> None:
        """A value lives for the time-to-idle after it was last asked for, not after it was put."""
        cache = self.cache(tti=60.0)
        cache.put("asked", b"")
        cache.put("idle", b"")
        self.clock.advance(59.0)
        self.assertEqual(cache.get("asked"), b"")
        self.clock.advance(1.0)
        self.assertEqual((cache.get("idle"), cache.get("asked")), (None, b""))
        self.clock.advance(60.0)
        self.assertEqual((len(cache), cache.octets), (0, 0))

    def test_least_recently_used_goes_first(self) -> None:
        """When the room is used up, the value that was asked for longest ago makes place."""
        cache = self.cache(octets=25_000)
        for key in ("a", "b"):
            cache.put(key, bytes(10_000))
        cache.get("a")
        cache.put("c", bytes(10_000))
        self.assertEqual((cache.get("a") is None, cache.get("b"), cache.get("c") is None), (False, None, False))

    def test_too_large_a_value(self) -> None:
        """A value larger than the whole cache is not kept, takes the older one of its key along, and no other."""
        cache = self.cache(octets=5_000)
        cache.put("small", b"1")
        cache.put("grows", b"2")
        cache.put("grows", bytes(5_000))
        self.assertEqual((cache.get("small"), cache.get("grows")), (b"1", None))

    def test_forgetting(self) -> None:
        """One value or all can be forgotten, and take no octets then."""
        cache = self.cache()
        cache.put("a", b"1")
        cache.put("b", b"2")
        cache.discard("a")
        cache.discard("never there")
        self.assertEqual((cache.get("a"), cache.get("b")), (None, b"2"))
        cache.clear()
        self.assertEqual((len(cache), cache.octets), (0, 0))

    def test_metrics(self) -> None:
        """Hits, misses, evictions, octets and entries are counted under the cache's name; idle ones are gone there."""
        metrics = Metrics("0")
        cache = self.cache(octets=25_000, metrics=metrics)
        for key in ("a", "b", "c"):
            cache.put(key, bytes(10_000))
        cache.get("c")
        cache.get("c")
        cache.get("a")

        def sample(name: str) -> float | None:
            return metrics.registry.get_sample_value(f"stalwart_cache_{name}", {"cache": "some"})

        self.assertEqual([sample(f"{name}_total") for name in ("hits", "misses", "evictions")], [2.0, 1.0, 1.0])
        self.assertEqual((sample("entries"), sample("bytes")), (2.0, float(cache.octets)))
        self.clock.advance(60.0)
        self.assertEqual((sample("entries"), sample("bytes")), (0.0, 0.0))

    def test_threads(self) -> None:
        """Threads that share a cache never see another key's value, and the octets still add up."""
        cache = self.cache(octets=30_000)
        wrong: list[object] = []

        def work() -> None:
            for turn in range(2_000):
                key = str(turn % 37)
                found = cache.get(key)
                if found is not None and found != key.encode() * 200:
                    wrong.append((key, found))
                cache.put(key, key.encode() * 200)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertTrue(0 < cache.octets <= 30_000)
        for number in range(37):
            cache.discard(str(number))
        self.assertEqual((len(cache), cache.octets), (0, 0))


class ModelTests(SynchronousTestCase):
    """The cache against an obvious model."""

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 900)),
                st.tuples(st.just("get"), st.integers(0, 5), st.just(0)),
                st.tuples(st.just("wait"), st.integers(1, 40), st.just(0)),
            ),
            max_size=40,
        )
    )
    def test_any_use(self, steps: list[tuple[str, int, int]]) -> None:
        """It never holds more than its octets, and gives exactly what an ordered list of last uses would."""
        clock = Clock()
        cache: Cache[int, bytes] = Cache("some", octets=2_500, tti=60.0, clock=clock.seconds)
        overhead = _octets_of_an_empty_entry()
        model: OrderedDict[int, tuple[bytes, float]] = OrderedDict()
        for what, number, size in steps:
            if what == "wait":
                clock.advance(number)
            for key in [key for key, (_, used) in model.items() if clock.seconds() - used >= 60.0]:
                del model[key]
            if what == "put":
                cache.put(number, bytes(size))
                model.pop(number, None)
                model[number] = (bytes(size), clock.seconds())
                while sum(overhead + octets_of(key) + octets_of(value) for key, (value, _) in model.items()) > 2_500:
                    model.popitem(last=False)
            elif what == "get":
                self.assertEqual(cache.get(number), model[number][0] if number in model else None)
                if number in model:
                    model[number] = (model[number][0], clock.seconds())
                    model.move_to_end(number)
            self.assertTrue(cache.octets <= 2_500)
            self.assertEqual(len(cache), len(model))


def _octets_of_an_empty_entry() -> int:
    cache: Cache[int, None] = Cache("empty", octets=ROOMY, tti=1.0, clock=lambda: 0.0)
    cache.put(0, None)
    return cache.octets - octets_of(0) - octets_of(None)


class SizeTests(SynchronousTestCase):
    """The estimate of sizes."""

    def test_nested_values(self) -> None:
        """Everything inside a value counts, structs and containers alike."""
        bare = octets_of(Key(account=1, words=()))
        self.assertTrue(octets_of(Key(account=1, words=("x" * 1000,))) > bare + 1000)
        self.assertTrue(octets_of({"k": [array("q", range(1000))]}) > 8000)

    def test_unknown_kinds(self) -> None:
        """A value whose size nobody can tell is refused, not counted as nothing."""
        self.assertRaises(TypeError, octets_of, object())

    def test_against_the_memory_taken(self) -> None:
        """The octets of a full cache are what Python has allocated for it, give or take a quarter."""
        clock = Clock()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            cache: Cache[Key, array[int]] = Cache("some", octets=ROOMY, tti=60.0, clock=clock.seconds)
            for number in range(3_000):
                key = Key(account=1_000_000 + number, words=(f"word {number}",))
                cache.put(key, array("q", range(number % 200)))
                clock.advance(0.001)
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        self.assertEqual(len(cache), 3_000)
        self.assertTrue(0.75 < cache.octets / taken < 1.25, f"{cache.octets} estimated, {taken} taken")
