"""One order from its beginning to the certificate in the store, with what is remembered and told of it."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import msgspec
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.config import AcmeProvider
from stalwart.tls.acme import policy
from stalwart.tls.acme.ari import certificate_id
from stalwart.tls.acme.engine import Engine
from stalwart.tls.acme.errors import TIMEOUT, AcmeError
from stalwart.tls.acme.failures import AcmeFailure, Explained, explain
from stalwart.tls.acme.memory import Memory
from stalwart.tls.acme.pair import Pair
from stalwart.tls.acme.policy import NameState
from stalwart.tls.acme.store import CertificateStore
from stalwart.tls.acme.surroundings import Surroundings

_log = Logger(namespace="stalwart.acme")

_ORDER_SECONDS = 900.0
_ORDERS_AT_ONCE = 3  # at one CA: one that hangs holds up no other
INTERRUPTED = Explained(reason="interrupted", text="the daemon ended in the middle of the order")


class Orders:
    """Orders for the names of one provider; several may run, one for each name."""

    def __init__(
        self,
        provider: AcmeProvider,
        engine: Engine,
        store: CertificateStore,
        memory: Memory,
        around: Surroundings,
        due: Callable[[str], policy.Due],
    ) -> None:
        """`due` tells when a name is ordered next."""
        self._provider = provider
        self._engine = engine
        self._store = store
        self._memory = memory
        self._around = around
        self._due = due
        self._running = DeferredSemaphore(_ORDERS_AT_ONCE)
        self.stopping = False
        """Orders that are cancelled from now on were not given up because of the CA."""

    async def order(self, name: str) -> None:
        """Order a certificate when it is its turn. Raises AcmeFailure, of which all is told and remembered already."""
        async with self._running:
            await self.order_now(name)

    async def order_now(self, name: str) -> None:
        """Order a certificate, however many orders run: somebody waits for it. Raises AcmeFailure."""
        around = self._around
        before = self._memory.of(name)
        started = False
        try:
            # A process that is killed in the middle of each order must not begin the next one at once.
            await self._memory.keep(name, self._failed(before, INTERRUPTED))
            started = True
            if around.before_order is not None:
                await self._check_first(name)
            replaces = self._replaced(name, before)
            issuing = Deferred.fromCoroutine(self._engine.issue(name, replaces=replaces))
            await issuing.addTimeout(_ORDER_SECONDS, around.reactor, onTimeoutCancel=_too_long)
        except Exception as error:
            if isinstance(error, CancelledError) and self.stopping:
                if started:
                    await self._keep_if_possible(name, before)
                raise
            await self._fail(name, before, error, begun=started)
        around.metrics.acme_orders.labels("issued").inc()
        await self._keep_if_possible(name, policy.after_issue(directory=self._provider.directory, now=around.clock()))
        self._tell_issued(self._store.pairs[name])

    async def _fail(self, name: str, before: NameState, error: Exception, *, begun: bool) -> None:
        around = self._around
        explained = explain(error, self._provider, self._store.folder.path)
        if begun and isinstance(error, OSError):
            # What was issued could not be kept: it counts against the CA's limits all the same.
            explained = msgspec.structs.replace(explained, local=False)
        state = self._failed(before, explained)
        around.metrics.acme_orders.labels("failed").inc()
        around.metrics.acme_failures.labels(explained.reason).inc()
        assert state.failure is not None
        pair = self._store.served.get(name)
        if explained.is_bug:
            _log.failure("the order for {name} met a fault", Failure(error), name=name)
        _log.error(
            "no certificate for {name}: {text} (acme.{id}, {reason}, attempt {count}; next try {retry}; {served})",
            name=name,
            text=explained.text,
            id=self._provider.id,
            reason=explained.reason,
            count=state.failure.count,
            retry=when(state.failure.retry_at),
            served=(
                "until then clients get another certificate"
                if pair is None
                else f"the present one ends {when(pair.validity.not_after)}"
            ),
        )
        await self._keep_if_possible(name, state)
        raise AcmeFailure(f"no certificate for {name}: {explained.text}") from error

    async def _check_first(self, name: str) -> None:
        check = self._around.before_order
        assert check is not None
        try:
            await check(self._provider, name)
        except Exception:
            if self.stopping:
                raise
            _log.failure("the check of {name} before the order failed; the order goes on", name=name)

    def _failed(self, before: NameState, explained: Explained) -> NameState:
        return policy.after_failure(
            before,
            reason=explained.reason,
            text=explained.text,
            local=explained.local,
            retry_after=explained.retry_after,
            now=self._around.clock(),
            random=self._around.random,
        )

    async def _keep_if_possible(self, name: str, state: NameState) -> None:
        try:
            await self._memory.keep(name, state)
        except OSError as error:
            text = explain(error, self._provider, self._store.folder.path).text
            _log.error("what became of the order for {name} can't be written down: {text}", name=name, text=text)

    def _replaced(self, name: str, state: NameState) -> str | None:
        """RFC 9773 §5: the certificate that the order is to replace, if the same CA issued it."""
        pair = self._store.pairs.get(name)
        if pair is None or state.directory != self._provider.directory:
            return None
        return certificate_id(pair.leaf)

    def _tell_issued(self, pair: Pair) -> None:
        now = self._around.clock()
        _log.info(
            "a certificate for {name} was issued; it ends {end} and is renewed {renewal}",
            name=pair.name,
            end=when(pair.validity.not_after),
            renewal=when(self._due(pair.name).at),
        )
        fault = policy.clock_fault(pair.validity, now)
        if fault is not None:
            _log.warn("{name}: {fault}; set the clock, or have it set by NTP", name=pair.name, fault=fault)


def _too_long(_: object, seconds: float) -> Failure:
    return Failure(AcmeError(TIMEOUT, "the order", f"it took more than {seconds:.0f} s"))


def when(instant: float) -> str:
    """A time for people, in UTC."""
    try:
        return f"{datetime.datetime.fromtimestamp(instant, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "at a time beyond all calendars"
