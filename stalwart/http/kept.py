"""What rules keep between requests: values and counters, all in memory, written to the store once a second.

So a rule that counts requests answers from memory, and any number of requests costs one commit a second. What was
changed in the second before a crash is lost; an orderly stop loses nothing.
"""

from __future__ import annotations

from collections import OrderedDict

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.expr import EvalError
from stalwart.expr.values import saturate
from stalwart.http.auth import RunsInThread
from stalwart.store import LookupKey, LookupValue, Store, list_lookups, put_lookups

_log = Logger(namespace="stalwart.http")

COUNTER_SECONDS = 86_400
"""A counter begins anew so long after its first increment."""

VALUE_SECONDS = 30 * 86_400
"""A value is forgotten so long after it was set."""

MOST_KEYS = 50_000
MOST_OCTETS = 16 * 1024 * 1024
LONGEST_KEY = 256  # octets
LONGEST_VALUE = 1024  # octets
_WRITE_SECONDS = 1.0
_AGAIN_SECONDS = 10.0


class Kept:
    """The values and counters of all stores. Belongs to the reactor thread; one process has the store to itself.

    When it is full, what was written longest ago makes room.
    """

    def __init__(self, store: Store, pool: RunsInThread, reactor: IReactorTime) -> None:
        self._store = store
        self._pool = pool
        self._reactor = reactor
        # What was written last stands at the end.
        self._entries: OrderedDict[LookupKey, LookupValue] = OrderedDict()
        self._octets = 0
        self._changed: set[LookupKey] = set()
        self._writing: tuple[LookupKey, ...] = ()
        self._timer: IDelayedCall | None = None

    def load(self) -> None:
        """Read what was kept before; blocks. Raises StoreError."""
        with self._store.read() as session:
            for key, value in list_lookups(session):
                self._put(key, value)
        self._changed.clear()

    def get(self, store: str, key: str) -> str | None:
        """A value, None if there is none."""
        found = self._find(LookupKey(store=store, is_counter=False, key=key))
        return None if found is None else found.value

    def set(self, store: str, key: str, value: str) -> None:
        """Keep a value. Raises EvalError if it or its key is too long."""
        _check(value, LONGEST_VALUE, "value")
        self._write(LookupKey(store=store, is_counter=False, key=key), value, self._now() + VALUE_SECONDS)

    def count(self, store: str, key: str) -> int:
        """A counter; 0 if there is none."""
        found = self._find(LookupKey(store=store, is_counter=True, key=key))
        return 0 if found is None else int(found.value)

    def increment(self, store: str, key: str, number: int) -> int:
        """Add to a counter, and give the sum. Raises EvalError if the key is too long."""
        name = LookupKey(store=store, is_counter=True, key=key)
        found = self._find(name)
        if found is None:
            found = LookupValue(value="0", expires_at=self._now() + COUNTER_SECONDS)
        total = saturate(int(found.value) + number)
        self._write(name, str(total), found.expires_at)
        return total

    def close(self) -> None:
        """Write what is not written yet; blocks. The pool must have stopped. Raises StoreError."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._changed.update(self._writing)
        if self._changed:
            self._save(tuple(self._changed))
            self._changed.clear()

    def _now(self) -> int:
        return int(self._store.clock())

    def _find(self, key: LookupKey) -> LookupValue | None:
        found = self._entries.get(key)
        if found is not None and found.expires_at <= self._now():
            self._drop(key)
            return None
        return found

    def _write(self, key: LookupKey, value: str, expires_at: int) -> None:
        _check(key.key, LONGEST_KEY, "key")
        self._put(key, LookupValue(value=value, expires_at=expires_at))
        if self._timer is None and not self._writing:
            self._timer = self._reactor.callLater(_WRITE_SECONDS, self._save_later)

    def _put(self, key: LookupKey, value: LookupValue) -> None:
        old = self._entries.get(key)
        if old is not None:
            self._octets -= _size(key, old)
            self._entries.move_to_end(key)
        self._entries[key] = value
        self._octets += _size(key, value)
        self._changed.add(key)
        while len(self._entries) > MOST_KEYS or self._octets > MOST_OCTETS:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: LookupKey) -> None:
        self._octets -= _size(key, self._entries.pop(key))
        if len(self._changed) < 2 * MOST_KEYS:
            self._changed.add(key)
        else:
            # So that what waits to be written stays bounded when nothing can be. The row goes when it expires.
            self._changed.discard(key)

    def _save_later(self) -> None:
        self._timer = None
        self._writing = keys = tuple(self._changed)
        self._changed.clear()
        values = [(key, self._entries.get(key)) for key in keys]
        self._pool.run(lambda: self._put_all(values)).addCallbacks(self._saved, self._not_saved)

    def _put_all(self, values: list[tuple[LookupKey, LookupValue | None]]) -> None:
        with self._store.write() as session:
            put_lookups(session, values)

    def _save(self, keys: tuple[LookupKey, ...]) -> None:
        self._put_all([(key, self._entries.get(key)) for key in keys])

    def _saved(self, _: None) -> None:
        self._writing = ()
        if self._changed and self._timer is None:
            self._timer = self._reactor.callLater(_WRITE_SECONDS, self._save_later)

    def _not_saved(self, failure: Failure) -> None:
        self._changed.update(self._writing)
        self._writing = ()
        self._timer = self._reactor.callLater(_AGAIN_SECONDS, self._save_later)
        _log.error(
            "what rules keep (key_set, counter_incr) can't be written, and is tried again in {seconds:g} s: {reason}",
            seconds=_AGAIN_SECONDS,
            reason=failure.getErrorMessage(),
        )


def _size(key: LookupKey, value: LookupValue) -> int:
    """About what an entry takes in memory, in octets."""
    return 300 + len(key.key) + len(value.value)


def _check(text: str, longest: int, what: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise EvalError(f"a {what} with a character that is no Unicode text can't be kept") from None
    if size > longest:
        raise EvalError(f"a {what} of {size} octets can't be kept; the bound is {longest}")
