"""Memory of what was worked out before: bounded in octets, and dropped after it was not asked for for some time.

A cache never decides what is right. Whoever uses one puts all that the value depends on into the key, such as the
state that was read in the same snapshot; what is out of date is then never asked for again, and ages away.
"""

from __future__ import annotations

import sys
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import msgspec

from stalwart.ops.metrics import Metrics

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# What an entry takes beside its key and value: the place in the OrderedDict, the entry's tuple, two numbers.
_ENTRY_OCTETS = 320


class Cache(Generic[K, V]):
    """Values by key, of `octets` together at most, each for `tti` seconds after it was last asked for.

    When there is no room the entry that was not asked for for longest goes. Safe to use from any thread. `clock` gives
    seconds that only rise. With `metrics`, the series `stalwart_cache_*` have `name` as their label; there is one cache
    of a name.
    """

    def __init__(
        self,
        name: str,
        *,
        octets: int,
        tti: float,
        clock: Callable[[], float],
        metrics: Metrics | None = None,
    ) -> None:
        self._most = octets
        self._tti = tti
        self._clock = clock
        self._lock = threading.Lock()
        # The least recently used first, which is also the order in which entries become idle.
        self._entries: OrderedDict[K, tuple[V, int, float]] = OrderedDict()
        self._octets = 0
        self._hits = self._misses = self._evictions = None
        if metrics is not None:
            self._hits = metrics.cache_hits.labels(name)
            self._misses = metrics.cache_misses.labels(name)
            self._evictions = metrics.cache_evictions.labels(name)
            metrics.cache_octets.labels(name).set_function(lambda: self.octets)
            metrics.cache_entries.labels(name).set_function(lambda: len(self))

    def get(self, key: K) -> V | None:
        """The value, None if it is not known. It counts as used now."""
        now = self._clock()
        with self._lock:
            self._drop_idle(now)
            entry = self._entries.get(key)
            if entry is not None:
                value, octets, _ = entry
                self._entries[key] = (value, octets, now)
                self._entries.move_to_end(key)
        if entry is None:
            if self._misses is not None:
                self._misses.inc()
            return None
        if self._hits is not None:
            self._hits.inc()
        return value

    def put(self, key: K, value: V) -> None:
        """Remember the value, which must not change any more. One that is too large for the cache is not kept."""
        octets = _ENTRY_OCTETS + octets_of(key) + octets_of(value)
        now = self._clock()
        with self._lock:
            self._remove(key)
            self._drop_idle(now)
            if octets > self._most:
                return
            while self._octets + octets > self._most:
                self._remove(next(iter(self._entries)))
                if self._evictions is not None:
                    self._evictions.inc()
            self._entries[key] = (value, octets, now)
            self._octets += octets

    def discard(self, key: K) -> None:
        """Forget one value, if it is there."""
        with self._lock:
            self._remove(key)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._octets = 0

    @property
    def octets(self) -> int:
        """What the entries take together, as estimated by `octets_of`."""
        now = self._clock()
        with self._lock:
            self._drop_idle(now)
            return self._octets

    def __len__(self) -> int:
        now = self._clock()
        with self._lock:
            self._drop_idle(now)
            return len(self._entries)

    def _drop_idle(self, now: float) -> None:
        while self._entries:
            key, (_, _, used_at) = next(iter(self._entries.items()))
            if now - used_at < self._tti:
                return
            self._remove(key)

    def _remove(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._octets -= entry[1]


def octets_of(value: object) -> int:
    """About how many octets of memory a value takes with everything in it, each part counted where it stands.

    Knows numbers, texts, octets, arrays, the built-in containers and msgspec's structs. TypeError for anything else:
    its size would be a guess.
    """
    total = 0
    pending = [value]
    while pending:
        part = pending.pop()
        total += sys.getsizeof(part)
        if part is None or isinstance(part, str | bytes | int | float | array):
            continue
        if isinstance(part, tuple | list | set | frozenset):
            pending.extend(part)
        elif isinstance(part, dict):
            pending.extend(part.keys())
            pending.extend(part.values())
        elif isinstance(part, msgspec.Struct):
            pending.extend(getattr(part, name) for name in part.__struct_fields__)
        else:
            raise TypeError(f"the size of {type(part).__name__} is not known to caches")
    return total
