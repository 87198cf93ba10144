"""Answers what rules ask of this server: settings, its directory, kept values and counters, the DNS, SQL, metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from stalwart.config import DIRECTORIES, RuleNames
from stalwart.expr import EvalError, Lookup, Value
from stalwart.expr.values import saturate, to_array, to_integer, to_text
from stalwart.http.auth import RunsInThread
from stalwart.http.dns import DnsAnswers
from stalwart.http.evaluation import Answers
from stalwart.http.kept import Kept
from stalwart.ops.metrics import Metrics
from stalwart.store import ReadOnlyDatabase, Session, Store, StoreError, find_list, is_local_domain, resolve_recipient

T = TypeVar("T")

_METRIC_SECONDS = 1.0


class FactAnswers:
    """Answers `config_get`, and `system` by "system." names; there is nothing else to ask."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        self._facts = facts

    def ask(self, lookup: Lookup) -> object:
        """The fact, '' for none."""
        if lookup.function not in ("config_get", "system"):
            raise EvalError(f"{lookup.function} needs a store or resolver to ask, and there is none here")
        name = to_text(lookup.arguments[0])
        return self._facts.get(name if lookup.function == "config_get" else f"system.{name}", "")


class WithoutWriting:
    """Answers as another does, with what would be if it wrote: for asking a rule about a request that isn't one."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def ask(self, lookup: Lookup) -> object:
        """See `Answers`."""
        if lookup.function == "key_set":
            return 1
        if lookup.function == "counter_incr":
            store, key, number = lookup.arguments
            count = self._answers.ask(Lookup(function="counter_get", arguments=(store, key)))
            assert isinstance(count, int), "counters are in memory"
            return saturate(count + to_integer(number))
        return self._answers.ask(lookup)


class ServerAnswers:
    """Answers everything. What is in memory is answered at once, the rest by a Deferred."""

    def __init__(
        self,
        facts: Mapping[str, str],
        names: RuleNames,
        *,
        databases: Mapping[str, ReadOnlyDatabase],
        store: Store,
        kept: Kept,
        dns: DnsAnswers,
        pool: RunsInThread,
        metrics: Metrics,
        reactor: IReactorTime,
    ) -> None:
        """`databases` are those of `names`, opened.

        `pool` is for work that strangers can cause: not the one that requests of accounts wait for.
        """
        self._facts = FactAnswers(facts)
        self._lookups = names.lookups
        self._databases = databases
        self._store = store
        self._kept = kept
        self._pool = pool
        self._metrics = metrics
        self._reactor = reactor
        self._metric_values: dict[str, tuple[float, float]] = {}
        self._functions: dict[str, Callable[..., object]] = {
            "is_local_domain": self._is_local_domain,
            "is_local_address": self._is_local_address,
            "key_get": self._key_get,
            "key_exists": self._key_exists,
            "key_set": self._key_set,
            "counter_get": self._counter_get,
            "counter_incr": self._counter_incr,
            "dns_query": lambda name, kind: dns.ask(to_text(name), to_text(kind)),
            "sql_query": self._sql_query,
            "metric": self._metric,
        }

    def ask(self, lookup: Lookup) -> object:
        """See `Answers`."""
        function = self._functions.get(lookup.function)
        return self._facts.ask(lookup) if function is None else function(*lookup.arguments)

    def _is_local_domain(self, *arguments: Value) -> object:
        name = _in_directory(arguments)
        return self._read(lambda session: is_local_domain(session, name))

    def _is_local_address(self, *arguments: Value) -> object:
        address = _in_directory(arguments)
        return self._read(
            lambda session: resolve_recipient(session, address) is not None or find_list(session, address) is not None
        )

    def _key_get(self, store: Value, key: Value) -> str:
        name, wanted = self._lookup_store(store), to_text(key)
        fixed = self._lookups[name].get(wanted)
        return (self._kept.get(name, wanted) or "") if fixed is None else fixed

    def _key_exists(self, store: Value, key: Value) -> bool:
        name, wanted = self._lookup_store(store), to_text(key)
        return wanted in self._lookups[name] or self._kept.get(name, wanted) is not None

    def _key_set(self, store: Value, key: Value, value: Value) -> int:
        name, wanted = self._lookup_store(store), to_text(key)
        if wanted in self._lookups[name]:
            raise EvalError(f"key_set can't set {wanted!r} of {name!r}, which the configuration sets")
        self._kept.set(name, wanted, to_text(value))
        return 1

    def _counter_get(self, store: Value, key: Value) -> int:
        return self._kept.count(self._lookup_store(store), to_text(key))

    def _counter_incr(self, store: Value, key: Value, number: Value) -> int:
        return self._kept.increment(self._lookup_store(store), to_text(key), to_integer(number))

    def _lookup_store(self, store: Value) -> str:
        name = to_text(store)
        if name not in self._lookups:
            raise EvalError(f"there is no lookup store {name[:100]!r}; there are {', '.join(self._lookups)}")
        return name

    def _sql_query(self, store: Value, query: Value, arguments: Value) -> object:
        name, text = to_text(store), to_text(query)
        database = self._databases.get(name)
        if database is None:
            raise EvalError(f"there is no [store.<id>] of type sqlite named {name[:100]!r}")
        parameters = [to_text(item) if isinstance(item, tuple) else item for item in to_array(arguments)]

        def run() -> Value:
            rows = [tuple("" if cell is None else cell for cell in row) for row in database.query(text, parameters)]
            items = [row[0] if len(row) == 1 else row for row in rows]
            return "" if not items else items[0] if len(items) == 1 else tuple(items)

        return self._in_thread(run)

    def _metric(self, name: Value) -> float | int:
        wanted, now = to_text(name), self._reactor.seconds()
        known = self._metric_values.get(wanted)
        if known is None or now - known[1] >= _METRIC_SECONDS:
            value = self._metrics.value(wanted)
            if value is None:
                raise EvalError(f"there is no metric {wanted[:100]!r}")
            known = self._metric_values[wanted] = (value, now)
        return int(known[0]) if known[0].is_integer() else known[0]

    def _read(self, function: Callable[[Session], T]) -> Deferred[T]:
        def run() -> T:
            with self._store.read() as session:
                return function(session)

        return self._in_thread(run)

    def _in_thread(self, function: Callable[[], T]) -> Deferred[T]:
        return self._pool.run(function).addErrback(_store_failed)


def _in_directory(arguments: tuple[Value, ...]) -> str:
    """The last argument; the one before it, if there is one, names the directory, of which there is one."""
    if len(arguments) == 2 and to_text(arguments[0]) not in DIRECTORIES:
        raise EvalError(f"there is no directory {to_text(arguments[0])[:100]!r}; the only one is 'default'")
    return to_text(arguments[-1])


def _store_failed(failure: Failure) -> Failure:
    if failure.check(StoreError):
        return Failure(EvalError(str(failure.value)))
    return failure
