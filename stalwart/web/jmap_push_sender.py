"""Pushes changes to the URLs of push subscriptions (RFC 8620 §7.2): verifies them, coalesces, retries, slows down.

Each subscription goes its own way with one request at a time; what doesn't answer holds up nobody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart import store
from stalwart.auth import Principal, load_principal
from stalwart.config import JmapSettings
from stalwart.jmap.limits import Limits
from stalwart.jmap.push import Told, told_of
from stalwart.jmap.session import accounts_of
from stalwart.jmap.webpush import Vapid
from stalwart.store import PUSH_SUBSCRIPTION, Session, Store, SubscriptionRow
from stalwart.web.jmap_announcer import Announcer, Reactor, RunsWork, States
from stalwart.web.jmap_push_client import PushAnswer
from stalwart.web.jmap_subscriber import Subscriber, host_of

_log = Logger(namespace="stalwart.jmap.push")
_AGAIN_SECONDS = 5.0  # after the database could not be asked


class _Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription with whom and what it is about."""

    row: SubscriptionRow
    principal: Principal
    accounts: Mapping[int, Told]


class Posts(Protocol):
    """The part of `PushClient` that is needed."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes, *, now: float) -> Coroutine[Any, Any, PushAnswer]:
        """Post `body`."""


class PushSender:
    """All push subscriptions. Belongs to the reactor thread, but for `_committed`."""

    def __init__(
        self,
        opened: Store,
        announcer: Announcer,
        reactor: Any,
        thread: RunsWork,
        client: Posts,
        vapid: Vapid,
        *,
        settings: JmapSettings,
        limits: Limits,
    ) -> None:
        """`reactor` is that of the announcer and tells the time; `thread` does the reading and the deleting."""
        self.reactor: Reactor = reactor
        self.now: Callable[[], float] = reactor.seconds
        self.wall = opened.clock
        self.client = client
        self.vapid = vapid
        self.settings = settings
        self._store = opened
        self._announcer = announcer
        self._thread = thread
        self._limits = limits
        self._subscribers: dict[int, Subscriber] = {}
        self._verified: dict[int, deque[float]] = {}  # by account: when addresses were sent codes
        self._running: set[Deferred[PushAnswer]] = set()
        self._stopped = False
        opened.subscribe(self._committed)

    def start(self) -> None:
        """Take up the subscriptions that there are. Codes that were sent already are not sent again."""
        self._run_in_thread(self._load_all, lambda rows: self._take(rows, verify=False))

    def stop(self) -> None:
        """Push no more."""
        self._stopped = True
        for subscriber in list(self._subscribers.values()):
            self._drop(subscriber)
        for running in list(self._running):
            running.cancel()

    # What changes about subscriptions.

    def _committed(self, moved: States) -> None:
        """From the writing thread."""
        accounts = [account for account, types in moved.items() if PUSH_SUBSCRIPTION in types]
        if accounts:
            self.reactor.callFromThread(lambda: self._reload(accounts))

    def _reload(self, accounts: Sequence[int]) -> None:
        for account in accounts:
            self._run_in_thread(lambda account=account: self._load(account), self._renew)  # type: ignore[misc]

    def _load_all(self) -> Sequence[_Loaded]:
        with self._store.write() as s:
            store.delete_dead_subscriptions(s)
        with self._store.read() as s:
            return self._with_accounts(s, store.list_subscriptions(s))

    def _load(self, account: int) -> tuple[int, Sequence[_Loaded]]:
        with self._store.read() as s:
            return account, self._with_accounts(s, store.list_subscriptions(s, account))

    def _with_accounts(self, s: Session, rows: Sequence[SubscriptionRow]) -> Sequence[_Loaded]:
        """Those whose credentials still count; the others wait until they do, or are removed with them."""
        found = []
        for row in rows:
            principal = load_principal(s, row.account_id, row.credential_id, grant_id=row.grant_id)
            if principal is not None:
                accounts = accounts_of(principal, store.shared_with(s, row.account_id), self._limits).values()
                found.append(_Loaded(row=row, principal=principal, accounts=told_of(accounts)))
        return found

    def _renew(self, loaded: tuple[int, Sequence[_Loaded]]) -> None:
        account, rows = loaded
        there = {one.row.id for one in rows}
        for subscriber in list(self._subscribers.values()):
            if subscriber.row.account_id == account and subscriber.row.id not in there:
                self._drop(subscriber)
        self._take(rows, verify=True)

    def _take(self, loaded: Sequence[_Loaded], *, verify: bool) -> None:
        for one in loaded:
            if self._stopped:
                return
            row = one.row
            known = self._subscribers.get(row.id)
            if known is not None:
                if one.accounts != known.accounts:
                    self._announcer.watch(known, one.accounts)
                known.principal = one.principal
                known.renew(row, one.accounts)
                continue
            subscriber = self._subscribers[row.id] = Subscriber(self, row, one.principal, one.accounts)
            self._announcer.watch(subscriber, one.accounts)
            self.settle(subscriber)
            if verify and not row.is_verified:
                subscriber.verify(self._verification_delay(row.account_id))

    def _drop(self, subscriber: Subscriber) -> None:
        self._subscribers.pop(subscriber.row.id, None)
        self._announcer.unwatch(subscriber)
        subscriber.stop()

    def _verification_delay(self, account: int) -> float:
        """How long a code has to wait, so that nobody has this server flood a stranger with them (RFC 8620 §8.6)."""
        now = self.now()
        sent = self._verified.setdefault(account, deque())
        window = self.settings.push_timeout_verify
        while sent and sent[0] <= now - window:
            sent.popleft()
        most = self._limits.max_push_subscriptions
        delay = max(0.0, sent[-most] + window - now) if len(sent) >= most else 0.0
        sent.append(now + delay)
        return delay

    # What subscribers ask for.

    def settle(self, subscriber: Subscriber) -> None:
        """Tell it the states to begin from, which its client finds by itself. It hears of changes already."""
        feed, accounts = subscriber.feed, subscriber.accounts

        def look() -> States:
            with self._store.read() as s:
                return store.states(s, accounts)

        self._run_in_thread(look, lambda states: subscriber.begin(feed, states))

    def gone(self, subscriber: Subscriber, reason: str) -> None:
        """Destroy a subscription: its address is no more, or its time is over."""
        row = subscriber.row
        _log.info(
            "push subscription {subscription} of account {account} to {host} is removed: {reason}",
            subscription=row.id,
            account=row.account_id,
            host=host_of(row.url),
            reason=reason,
        )
        self._drop(subscriber)
        self._run_in_thread(lambda: self._delete(row), lambda _: None)

    def _delete(self, row: SubscriptionRow) -> None:
        with self._store.write() as s:
            store.delete_subscription(s, row.account_id, row.id)

    def accounts_changed(self, subscriber: Subscriber) -> None:
        """Go on with the accounts that the user has by now."""
        self._announcer.watch(subscriber, subscriber.accounts)  # until those are known nothing may be missed
        self._reload([subscriber.row.account_id])

    def revoked(self, subscriber: Subscriber) -> None:
        """The credentials have ended, or the account is gone."""
        # RFC 8620 §7.2: it MUST be destroyed
        self.gone(subscriber, "the credentials that it was made with have ended")

    def run(self, coroutine: Coroutine[Any, Any, PushAnswer], ended: Callable[[PushAnswer | Failure], None]) -> None:
        """Run a request of a subscriber, until `stop` at the latest, and call `ended` with what came of it."""
        running: Deferred[PushAnswer] = Deferred.fromCoroutine(coroutine)
        self._running.add(running)

        def done(result: PushAnswer | Failure) -> None:
            self._running.discard(running)
            ended(result)

        running.addBoth(done).addErrback(lambda failure: _log.failure("a push was not dealt with", failure))

    def _run_in_thread(self, function: Callable[[], Any], done: Callable[[Any], None]) -> None:
        if self._stopped:
            return

        def again(failure: Failure) -> None:
            _log.failure(
                "push subscriptions could not be read or removed; tried again in {seconds:g} seconds",
                failure,
                seconds=_AGAIN_SECONDS,
            )
            self.reactor.callLater(_AGAIN_SECONDS, self._run_in_thread, function, done)

        self._thread.run(function).addCallbacks(done, again).addErrback(
            lambda failure: _log.failure("push subscriptions were not dealt with", failure)
        )
