"""One `acme.<id>` while the daemon runs: looks every two seconds what is due, and orders it if that is its part.

Another process may hold the lease of the folder; then this one only loads what that one puts there.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure as TwistedFailure

from stalwart.config import AcmeProvider
from stalwart.ops.metrics import Metrics
from stalwart.tls.acme import policy
from stalwart.tls.acme.ari import certificate_id
from stalwart.tls.acme.engine import Client, Engine
from stalwart.tls.acme.errors import AcmeError
from stalwart.tls.acme.failures import AcmeFailure, Explained, explain
from stalwart.tls.acme.folder import StoreFolder
from stalwart.tls.acme.jws import thumbprint
from stalwart.tls.acme.lease import Lease
from stalwart.tls.acme.pair import Pair
from stalwart.tls.acme.policy import NameState
from stalwart.tls.acme.resources import RenewalInfo
from stalwart.tls.acme.store import CertificateStore, RunsInThread

_log = Logger(namespace="stalwart.acme")

LOOK_SECONDS = 2.0
"""How often the folder and the clock are looked at."""

_ORDER_SECONDS = 900.0
# How soon a CA is asked again that could not be asked when it wants a renewal.
_ASK_AGAIN_SECONDS = 3600.0
_NO_RENEWAL_INFO_SECONDS = 86_400.0


class FullClient(Client, Protocol):
    """The part of `AcmeClient` that is used."""

    async def terms(self) -> str | None:
        """Where the terms of service are."""

    async def renewal_info(self, certificate: x509.Certificate) -> RenewalInfo | None:
        """When the CA wants a renewal."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What all providers of a daemon have in common.

    `clock` is the wall clock, `random` gives numbers from 0 up to 1; `before_order` may only warn, its failures are
    logged. `orders` bounds how many run at once.
    """

    reactor: Any
    pool: RunsInThread
    metrics: Metrics
    clock: Callable[[], float]
    random: Callable[[], float]
    make_client: Callable[[AcmeProvider, ec.EllipticCurvePrivateKey], FullClient]
    responders: Callable[[AcmeProvider, str], Sequence[Any]]
    before_order: Callable[[AcmeProvider, str], Awaitable[None]] | None
    orders: DeferredSemaphore


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
        self._states: dict[str, NameState] = {}
        self._ordering: dict[str, Deferred[None]] = {}
        self._asking: Deferred[None] | None = None
        self._engine: Engine | None = None
        self._client: FullClient | None = None
        self._next: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None
        self._held = False
        self._trouble: str | None = None

    def startService(self) -> None:
        """Load what is there, at once; ordering begins in the next turn of the reactor."""
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._folder.prepare()
            self.thumbprint = self._folder.account_thumbprint()
            self.store.load()
            self._states = self._folder.states()
        except OSError as error:
            self._tell_trouble(error)
        self._plan(0.0)

    async def stop(self) -> None:
        """Cancel what runs, which leaves nothing half written, and give up the lease."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._looking is not None:
            await self._looking
        running = list(self._ordering.values()) + ([self._asking] if self._asking is not None else [])
        for each in running:
            each.cancel()
        await DeferredList([_quietly(each) for each in running], consumeErrors=True)
        if self._engine is not None:
            await self._engine.stop()
        await self._around.pool.run(self._lease.release)

    def statuses(self) -> list[NameStatus]:
        """What is known of each name, in the order of the configuration."""
        return [
            NameStatus(
                name=name,
                provider=self.provider.id,
                pair=self.store.pairs.get(name),
                due_at=self._due(name, self._around.clock()).at,
                state=self._states.get(name, NameState()),
                ordering=name in self._ordering,
                held_by=None if self._held else self._lease.holder,
            )
            for name in self.provider.domains
        ]

    def renew(self, name: str) -> Deferred[None]:
        """Order now, whatever is known of earlier failures; fires when it is done. Fails with AcmeFailure."""
        if not self.provider.agree_to_terms:
            return _failed(f"acme.{self.provider.id}.agree-to-terms is not true: nothing is ordered")
        if not self._held or self._engine is None:
            who = self._lease.holder or "nobody yet"
            return _failed(f"this process does not order for {name}: {who} does; ask there, or try again in a minute")
        if name in self._ordering:
            return _failed(f"a certificate for {name} is being ordered already")
        waiting: Deferred[None] = Deferred()
        self._order(name, waiting)
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
        try:
            held = await self._around.pool.run(self._lease.step)
            await self.store.refresh()
            if held != self._held or not held:
                self._states = await self._around.pool.run(self._folder.states)
            if held and not self._held:
                _log.info("acme.{id}: this process orders its certificates", id=self.provider.id)
            self._held = held
            if self.thumbprint is None or (held and self._engine is None):
                await self._prepare()
        except (OSError, ValueError) as error:
            self._tell_trouble(error)
            return
        self._trouble = None
        if self._held and self.running and self.provider.agree_to_terms:
            self._order_due()

    async def _prepare(self) -> None:
        """Have the account's key, and what orders with it. Raises OSError; ValueError if a `ca-bundle` is none."""
        key = await self._around.pool.run(self._folder.account_key)
        self.thumbprint = thumbprint(key)
        if self._engine is not None or not self.running:
            return
        self._client = client = self._around.make_client(self.provider, key)
        self._engine = Engine(
            self.store,
            client,
            key,
            responders=self._around.responders(self.provider, self._folder.path),
            challenge=self.provider.challenge,
            reactor=self._around.reactor,
        )
        self._engine.start()
        if not self.provider.agree_to_terms:
            self._asking = Deferred.fromCoroutine(self._tell_terms(client))
            self._asking.addBoth(self._asked)

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

    def _order_due(self) -> None:
        now = self._around.clock()
        for name in self.provider.domains:
            if name not in self._ordering and self._due(name, now).at <= now:
                self._order(name, None)
        if self._asking is None:
            asked = [
                (name, pair)
                for name, pair in self.store.pairs.items()
                if name in self.provider.domains
                and name not in self._ordering
                and policy.ask_at(self._states.get(name, NameState()), pair.fingerprint, now) <= now
            ]
            if asked:
                self._asking = Deferred.fromCoroutine(self._ask(asked))
                self._asking.addBoth(self._asked)

    def _due(self, name: str, now: float) -> policy.Due:
        pair = self.store.pairs.get(name)
        return policy.due(
            None if pair is None else pair.validity,
            self._states.get(name, NameState()),
            directory=self.provider.directory,
            renew_before=self.provider.renew_before,
            fingerprint=None if pair is None else pair.fingerprint,
            now=now,
        )

    def _order(self, name: str, waiting: Deferred[None] | None) -> None:
        # Started only after it stands in the table: it may be over at once.
        begin: Deferred[None] = Deferred()
        running = begin.addCallback(lambda _: Deferred.fromCoroutine(self._order_in_turn(name)))
        self._ordering[name] = running

        def done(result: object) -> None:
            del self._ordering[name]
            failure = result if isinstance(result, TwistedFailure) else None
            if failure is not None and not failure.check(AcmeFailure, CancelledError):
                _log.failure("the order for {name} failed", failure, name=name)
            if waiting is not None and not waiting.called:
                if failure is None:
                    waiting.callback(None)
                elif failure.check(AcmeFailure):
                    waiting.errback(failure)
                else:
                    waiting.errback(AcmeFailure(f"the order for {name} was given up: {failure.getErrorMessage()}"))

        running.addBoth(done)
        begin.callback(None)

    async def _order_in_turn(self, name: str) -> None:
        async with self._around.orders:
            await self._order_once(name)

    async def _order_once(self, name: str) -> None:
        """Order a certificate. Raises AcmeFailure, of which everything is told and remembered already."""
        around, engine = self._around, self._engine
        assert engine is not None
        before = self._states.get(name, NameState())
        started = False
        try:
            # A process that is killed in the middle of each order must not begin the next one at once.
            await self._remember(name, self._failed(before, _INTERRUPTED))
            started = True
            if around.before_order is not None:
                await self._check_first(name)
            replaces = self._replaced(name, before)
            issuing = Deferred.fromCoroutine(engine.issue(name, replaces=replaces))
            await issuing.addTimeout(_ORDER_SECONDS, around.reactor, onTimeoutCancel=_too_long)
        except CancelledError:
            # The daemon stops: that is no failure.
            if started:
                await self._remember_if_possible(name, before)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the other names go on
            await self._fail(name, before, error)
        around.metrics.acme_orders.labels("issued").inc()
        await self._remember_if_possible(
            name, policy.after_issue(directory=self.provider.directory, now=around.clock())
        )
        self._tell_issued(self.store.pairs[name])

    async def _fail(self, name: str, before: NameState, error: Exception) -> None:
        around = self._around
        explained = explain(error, self.provider, self._folder.path)
        state = self._failed(before, explained)
        around.metrics.acme_orders.labels("failed").inc()
        around.metrics.acme_failures.labels(explained.reason).inc()
        assert state.failure is not None
        pair = self.store.pairs.get(name)
        if explained.is_bug:
            _log.failure("the order for {name} met a fault", TwistedFailure(error), name=name)
        _log.error(
            "no certificate for {name}: {text} (acme.{id}, {reason}, attempt {count}; next try {retry}; {served})",
            name=name,
            text=explained.text,
            id=self.provider.id,
            reason=explained.reason,
            count=state.failure.count,
            retry=_when(state.failure.retry_at),
            served=(
                "until then clients get another certificate"
                if pair is None
                else f"the present one ends {_when(pair.validity.not_after)}"
            ),
        )
        await self._remember_if_possible(name, state)
        raise AcmeFailure(f"no certificate for {name}: {explained.text}") from error

    async def _check_first(self, name: str) -> None:
        check = self._around.before_order
        assert check is not None
        try:
            await check(self.provider, name)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - a warning at most
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

    async def _remember(self, name: str, state: NameState) -> None:
        """Keep a state in memory, then on disk; those of names that are not ordered here any more stay there, too."""
        self._states = {**self._states, name: state}
        states = self._states
        await self._around.pool.run(lambda: self._folder.write_states(states))

    async def _remember_if_possible(self, name: str, state: NameState) -> None:
        try:
            await self._remember(name, state)
        except OSError as error:
            self._tell_trouble(error)

    def _replaced(self, name: str, state: NameState) -> str | None:
        """RFC 9773 §5: the certificate that the order is to replace, if the same CA issued it."""
        pair = self.store.pairs.get(name)
        if pair is None or state.directory != self.provider.directory:
            return None
        return certificate_id(pair.leaf)

    async def _ask(self, pairs: Sequence[tuple[str, Pair]]) -> None:
        """RFC 9773: when does the CA want these renewed?"""
        client, around = self._client, self._around
        assert client is not None
        for name, pair in pairs:
            state = self._states.get(name, NameState())
            try:
                info = await client.renewal_info(pair.leaf)
            except AcmeError as error:
                _log.debug("no renewal information for {name}: {error}", name=name, error=error)
                again = error.retry_after or _ASK_AGAIN_SECONDS
                advised = policy.not_yet(state, fingerprint=pair.fingerprint, ask_again=again, now=around.clock())
            else:
                advised = self._advised(name, state, pair, info)
            if name not in self._ordering:
                await self._remember(name, advised)

    def _advised(self, name: str, state: NameState, pair: Pair, info: RenewalInfo | None) -> NameState:
        window = None
        if info is not None:
            window = (info.suggested_window.start.timestamp(), info.suggested_window.end.timestamp())
        advised = policy.advised(
            state,
            fingerprint=pair.fingerprint,
            window=window,
            ask_again=_NO_RENEWAL_INFO_SECONDS if info is None else info.retry_after,
            now=self._around.clock(),
            random=self._around.random,
        )
        before = None if state.advice is None else state.advice.renew_at
        if advised.advice is not None and advised.advice.renew_at is not None and advised.advice.renew_at != before:
            _log.info(
                "the CA wants the certificate for {name} renewed; that is done {when}{why}",
                name=name,
                when=_when(advised.advice.renew_at),
                why=f" ({info.explanation_url})" if info is not None and info.explanation_url else "",
            )
        return advised

    def _asked(self, result: object) -> None:
        self._asking = None
        if isinstance(result, TwistedFailure) and not result.check(CancelledError):
            if isinstance(result.value, OSError):
                self._tell_trouble(result.value)
            else:
                _log.failure("asking the CA for renewal information failed", result)

    def _tell_issued(self, pair: Pair) -> None:
        now = self._around.clock()
        _log.info(
            "a certificate for {name} was issued; it ends {end} and is renewed {renewal}",
            name=pair.name,
            end=_when(pair.validity.not_after),
            renewal=_when(self._due(pair.name, now).at),
        )
        fault = policy.clock_fault(pair.validity, now)
        if fault is not None:
            _log.warn("{name}: {fault}; set the clock, or have it set by NTP", name=pair.name, fault=fault)

    def _tell_trouble(self, error: OSError | ValueError) -> None:
        """Log what holds everything up, once and not every two seconds."""
        text = explain(error, self.provider, self._folder.path).text if isinstance(error, OSError) else str(error)
        if text != self._trouble:
            self._trouble = text
            _log.error("acme.{id}: {text}", id=self.provider.id, text=text)


_INTERRUPTED = Explained(reason="interrupted", text="the daemon ended in the middle of the order")


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


def _too_long(_: object, seconds: float) -> TwistedFailure:
    return TwistedFailure(AcmeError("timeout", "the order", f"it took more than {seconds:.0f} s"))


def _when(instant: float) -> str:
    """A time for people, in UTC."""
    try:
        return f"{datetime.datetime.fromtimestamp(instant, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "at a time beyond all calendars"
