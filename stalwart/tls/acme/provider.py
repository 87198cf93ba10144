"""One `acme.<id>` while the daemon runs: looks every two seconds what is due, and orders it if that is its part.

Another process may hold the lease of the folder; then this one only loads what that one puts there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.config import AcmeProvider
from stalwart.tls.acme import policy
from stalwart.tls.acme.advising import ask
from stalwart.tls.acme.engine import Engine
from stalwart.tls.acme.errors import AcmeError
from stalwart.tls.acme.failures import AcmeFailure, explain
from stalwart.tls.acme.folder import StoreFolder
from stalwart.tls.acme.jws import thumbprint
from stalwart.tls.acme.lease import Lease
from stalwart.tls.acme.memory import Memory
from stalwart.tls.acme.orders import INTERRUPTED, Orders
from stalwart.tls.acme.pair import Pair
from stalwart.tls.acme.policy import NameState
from stalwart.tls.acme.store import CertificateStore
from stalwart.tls.acme.surroundings import FullClient, Surroundings
from stalwart.tls.acme.txacme_parts import issuing_service

_log = Logger(namespace="stalwart.acme")

LOOK_SECONDS = 2.0
"""How often the folder and the clock are looked at."""


class NameStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a name. `due_at` is when it is ordered next; `held_by` is who orders, None if that is us."""

    name: str
    provider: str
    pair: Pair | None
    due_at: float
    state: NameState
    ordering: bool
    held_by: str | None


class ProviderService(Service):
    """Keeps the certificates of one provider. Nothing that goes wrong here stops anything else."""

    def __init__(
        self,
        provider: AcmeProvider,
        folder: StoreFolder,
        lease: Lease,
        around: Surroundings,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called when a certificate came, went or is new."""
        self.provider = provider
        self.store = CertificateStore(folder, around.pool, changed)
        self.thumbprint: str | None = None
        """Of the account's key (RFC 7638); None as long as there is none."""

        self._folder = folder
        self._lease = lease
        self._around = around
        self._memory = Memory(folder, around.pool)
        self._ordering: dict[str, Deferred[None]] = {}
        self._asking: Deferred[None] | None = None
        self._orders: Orders | None = None
        self._client: FullClient | None = None
        self._next: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None
        self._prepared = False
        self._held = False
        self._trouble: str | None = None

    def load(self) -> None:
        """Load what is there, at once, in this thread."""
        try:
            self._prepare_folder()
            self.store.load()
            self._memory.load()
        except OSError as error:
            self._tell_trouble(error)

    async def load_in_thread(self) -> None:
        """Load what is there; many certificates take longer than the clients of a running daemon should wait."""
        try:
            await self._around.pool.run(self._prepare_folder)
            await self.store.refresh()
            await self._memory.reload()
        except OSError as error:
            self._tell_trouble(error)

    def startService(self) -> None:
        """Ordering begins in the next turn of the reactor."""
        super().startService()  # type: ignore[no-untyped-call]
        self._plan(0.0)

    async def stop(self) -> None:
        """Cancel what runs, which leaves nothing half written, and give up the lease."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._looking is not None:
            await self._looking
        if self._orders is not None:
            self._orders.stopping = True
        running = list(self._ordering.values()) + ([self._asking] if self._asking is not None else [])
        for each in running:
            each.cancel()
        await DeferredList([_quietly(each) for each in running], consumeErrors=True)
        await self._around.pool.run(self._lease.release)

    def statuses(self) -> list[NameStatus]:
        """What is known of each name, in the order of the configuration."""
        return [
            NameStatus(
                name=name,
                provider=self.provider.id,
                pair=self.store.pairs.get(name),
                due_at=self._due(name).at,
                state=self._memory.of(name),
                ordering=name in self._ordering,
                held_by=None if self._held else self._lease.holder,
            )
            for name in self.provider.domains
        ]

    def renew(self, name: str) -> Deferred[None]:
        """Order now, whatever is known of earlier failures; fires when it is done. Fails with AcmeFailure."""
        if not self.provider.agree_to_terms:
            return _failed(f"acme.{self.provider.id}.agree-to-terms is not true: nothing is ordered")
        if not self._held or self._orders is None:
            who = self._lease.holder or "nobody yet"
            return _failed(f"this process does not order for {name}: {who} does; ask there, or try again in a minute")
        if name in self._ordering:
            return _failed(f"a certificate for {name} is being ordered already")
        waiting: Deferred[None] = Deferred()
        self._order(self._orders, name, waiting)
        return waiting

    def _plan(self, seconds: float) -> None:
        self._next = self._around.reactor.callLater(seconds, self._look)

    def _look(self) -> None:
        self._next = None
        self._looking = Deferred.fromCoroutine(self._look_once())
        self._looking.addErrback(lambda failure: _log.failure("looking after certificates failed", failure))
        self._looking.addCallback(self._looked)

    def _looked(self, _: object) -> None:
        self._looking = None
        if self.running:
            self._plan(LOOK_SECONDS)

    async def _look_once(self) -> None:
        run = self._around.pool.run
        try:
            if not self._prepared:
                await run(self._prepare_folder)
            # First, and also where nothing can be written: what others put there is served.
            await self.store.refresh()
            if self._around.look_beside is not None and self.provider.challenge == "tls-alpn-01":
                await run(self._around.look_beside)
            held = await run(self._lease.step)
            if held != self._held or not held:
                await self._memory.reload()
            if held and not self._held:
                _log.info("acme.{id}: this process orders its certificates", id=self.provider.id)
                await self._end_interrupted()
            self._held = held
            if self.thumbprint is None or (held and self._orders is None):
                await self._prepare_orders()
        except (OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError):
                self._prepared = False  # the folder may be gone
            self._tell_trouble(error)
            return
        self._trouble = None
        if self._held and self.running and self.provider.agree_to_terms and self._orders is not None:
            self._order_due(self._orders)
            self._ask_due()

    async def _end_interrupted(self) -> None:
        """An order whose process was killed when the certificate was in its place has not failed."""
        for name in self.store.pairs:
            failure = self._memory.of(name).failure
            if failure is None or failure.reason != INTERRUPTED.reason or self.store.written_at(name) < failure.at:
                continue
            await self._memory.keep(name, policy.after_issue(directory=self.provider.directory, now=failure.at))

    def _prepare_folder(self) -> None:
        self._folder.prepare()
        found = self._folder.account_thumbprint()
        if found != self.thumbprint:
            self._orders = None  # those were of another account
        self.thumbprint = found
        self._prepared = True

    async def _prepare_orders(self) -> None:
        """Have the account's key, and what orders with it. Raises OSError; ValueError if a `ca-bundle` is none."""
        await self._around.pool.run(issuing_service)  # imported in a thread: it takes a while
        key = await self._around.pool.run(self._folder.account_key)
        self.thumbprint = thumbprint(key)
        if self._orders is not None or not self.running:
            return
        self._client = client = self._around.make_client(self.provider, key)
        engine = Engine(
            self.store,
            client,
            key,
            responders=self._around.responders(self.provider, self._folder.path),
            challenge=self.provider.challenge,
            reactor=self._around.reactor,
        )
        self._orders = Orders(self.provider, engine, self.store, self._memory, self._around, self._due)
        if not self.provider.agree_to_terms:
            self._in_background(self._tell_terms(client))

    async def _tell_terms(self, client: FullClient) -> None:
        try:
            terms = await client.terms()
        except AcmeError as error:
            where = f"its directory, {self.provider.directory}, names them ({error})"
        else:
            where = terms or f"the directory {self.provider.directory} names none"
        _log.warn(
            "acme.{id}: nothing is ordered until the CA's terms of service are agreed to: {where}; read them, and set "
            "acme.{id}.agree-to-terms = true",
            id=self.provider.id,
            where=where,
        )

    def _due(self, name: str) -> policy.Due:
        pair = self.store.pairs.get(name)
        return policy.due(
            None if pair is None else pair.validity,
            self._memory.of(name),
            directory=self.provider.directory,
            renew_before=self.provider.renew_before,
            fingerprint=None if pair is None else pair.fingerprint,
            now=self._around.clock(),
        )

    def _order_due(self, orders: Orders) -> None:
        for name in self.provider.domains:
            if name not in self._ordering and self._due(name).at <= self._around.clock():
                self._order(orders, name, None)

    def _order(self, orders: Orders, name: str, waiting: Deferred[None] | None) -> None:
        # Started only after it stands in the table: it may be over at once.
        begin: Deferred[None] = Deferred()
        order = orders.order if waiting is None else orders.order_now
        running = begin.addCallback(lambda _: Deferred.fromCoroutine(order(name)))
        self._ordering[name] = running

        def done(result: object) -> None:
            del self._ordering[name]
            failure = result if isinstance(result, Failure) else None
            if failure is not None and not failure.check(AcmeFailure, CancelledError):
                _log.failure("the order for {name} failed", failure, name=name)
            if waiting is None or waiting.called:
                return
            if failure is None:
                waiting.callback(None)
            elif failure.check(AcmeFailure):
                waiting.errback(failure)
            else:
                waiting.errback(AcmeFailure(f"the order for {name} was given up: {failure.getErrorMessage()}"))

        running.addBoth(done)
        begin.callback(None)

    def _ask_due(self) -> None:
        """Ask about renewals, one certificate after the other."""
        if self._asking is not None:
            return
        now = self._around.clock()
        due = [
            pair
            for name, pair in self.store.pairs.items()
            if name in self.provider.domains
            and name not in self._ordering
            and policy.ask_at(self._memory.of(name), pair.fingerprint, now) <= now
        ]
        if due:
            self._in_background(self._ask(due))

    async def _ask(self, pairs: Sequence[Pair]) -> None:
        assert self._client is not None
        for pair in pairs:
            await ask(self._client, pair, self._memory, self._around)

    def _in_background(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        self._asking = Deferred.fromCoroutine(work)
        self._asking.addBoth(self._asked)

    def _asked(self, result: object) -> None:
        self._asking = None
        if not isinstance(result, Failure) or result.check(CancelledError):
            return
        if isinstance(result.value, OSError):
            self._tell_trouble(result.value)
        else:
            _log.failure("asking the CA failed", result)

    def _tell_trouble(self, error: OSError | ValueError) -> None:
        """Log what holds everything up, once and not every two seconds."""
        text = explain(error, self.provider, self._folder.path).text if isinstance(error, OSError) else str(error)
        if text != self._trouble:
            self._trouble = text
            _log.error("acme.{id}: {text}", id=self.provider.id, text=text)


def _failed(text: str) -> Deferred[None]:
    failed: Deferred[None] = Deferred()
    failed.errback(AcmeFailure(text))
    return failed


def _quietly(running: Deferred[None]) -> Deferred[None]:
    """Fires when `running` is over, without taking its result away."""
    over: Deferred[None] = Deferred()

    def passed_on(result: object) -> object:
        over.callback(None)
        return result

    running.addBoth(passed_on)
    return over
