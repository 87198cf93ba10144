"""Tells those who watch an account of each commit that changed it, by this process or by another.

Commits of this process are announced when they are made. Those of others (`stalwart import`, `stalwart account`) are
found by asking the database a few times a second whether it has moved; what says so can't get lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart import store
from stalwart.auth import Principal
from stalwart.store import CommitWatch, Session, Standing, Store

T = TypeVar("T")

_NONE: frozenset[int] = frozenset()
_POLL_SECONDS = 0.25
_POLL_AGAIN_SECONDS = 5.0  # after one that failed
_log = Logger(namespace="stalwart.jmap.push")

States = Mapping[int, Mapping[str, int]]
"""Account -> type -> state."""


class Watcher(Protocol):
    """Who is told of changes, on the reactor thread. Equal only to itself."""

    principal: Principal

    def changed(self, account: int, states: Mapping[str, int]) -> None:
        """These types of the account have moved to these states, or are there already."""

    def revoked(self) -> None:
        """The principal's credentials have ended, or the account is gone; nothing more will be told."""

    def accounts_changed(self) -> None:
        """The user sees other accounts by now than those that are watched, or may do other things.

        Nothing more will be told.
        """

    def closing(self) -> None:
        """The server is stopping; nothing more will be told."""


class RunsWork(Protocol):
    """A thread that works off functions one by one."""

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Run `function` in the thread."""


class Reactor(Protocol):
    """The part of a reactor that this needs."""

    def callLater(self, delay: float, function: Callable[..., object], /, *args: object) -> IDelayedCall:
        """Call `function` with `args` in `delay` seconds."""

    def callFromThread(self, function: Callable[..., object], /) -> None:
        """Have the reactor thread call `function`; safe from any thread."""


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    asked: Collection[int]
    standings: Mapping[int, Standing]
    states: States
    shared: Mapping[int, frozenset[int]]  # by guest: whose accounts they see
    principals: Mapping[Principal, Principal | None]  # as they were, and as they are


class Announcer:
    """One for the whole process. But for `_announced` it belongs to the reactor thread."""

    def __init__(
        self,
        opened: Store,
        reactor: Reactor,
        thread: RunsWork,
        *,
        current: Callable[[Session, Principal], Principal | None],
    ) -> None:
        """`thread` is a single one of this object's own: the database is asked from there.

        `current` gives a principal as it is in a snapshot, None if its credentials have ended.
        """
        self._current = current
        self._store = opened
        self._reactor = reactor
        self._thread = thread
        self._watchers: dict[int, set[Watcher]] = {}
        self._watched: dict[Watcher, set[int]] = {}
        self._known: dict[int, int] = {}  # the modseqs that the last poll found; -1 before the first one
        self._some_new = False
        self._watch: CommitWatch | None = None
        self._poll: IDelayedCall | None = None
        self._polling = False
        self._failing = False
        self._closed = False
        self._lock = threading.Lock()
        self._moved: dict[int, dict[str, int]] = {}
        opened.subscribe(self._announced)

    @property
    def closed(self) -> bool:
        """Whether the server is stopping."""
        return self._closed

    def watch(self, watcher: Watcher, accounts: Collection[int]) -> None:
        """Tell `watcher` of all that changes in these accounts from now on, and if its principal is locked out.

        That goes for these instead of those that it watched before. When the server is stopping, it is told so at once.
        """
        if self._closed:
            watcher.closing()
            return
        self.unwatch(watcher)
        self._watched[watcher] = watched = {*accounts, watcher.principal.account_id}
        for account in watched:
            self._watchers.setdefault(account, set()).add(watcher)
            self._known.setdefault(account, -1)
        self._some_new = True
        self._plan(_POLL_SECONDS)

    def unwatch(self, watcher: Watcher) -> None:
        """Tell `watcher` of nothing more. It may be called again."""
        for account in self._watched.pop(watcher, _NONE):
            among = self._watchers[account]
            among.discard(watcher)
            if not among:
                del self._watchers[account], self._known[account]

    def close(self) -> None:
        """Tell everybody that this ends."""
        self._closed = True
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None
        for watcher in list(self._watched):
            self.unwatch(watcher)
            watcher.closing()

    def close_thread(self) -> None:
        """Let the database connection go; after the thread has ended."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    # Commits of this process.

    def _announced(self, moved: States) -> None:
        """From the writing thread: remember what moved and wake the reactor once for all of it."""
        mine = {account: types for account, types in moved.items() if account in self._watchers}
        if not mine:
            return
        with self._lock:
            woken = bool(self._moved)
            for account, types in mine.items():
                self._moved.setdefault(account, {}).update(types)
        if not woken:
            self._reactor.callFromThread(self._pass_on)

    def _pass_on(self) -> None:
        with self._lock:
            moved, self._moved = self._moved, {}
        self._tell(moved)

    def _tell(self, moved: States) -> None:
        for account, types in moved.items():
            for watcher in tuple(self._watchers.get(account, ())):
                try:
                    watcher.changed(account, types)
                except Exception:  # noqa: BLE001 - a fault in one must not keep the others waiting
                    _log.failure("a change of account {account} could not be passed on", account=account)

    # Commits of others.

    def _plan(self, seconds: float) -> None:
        if self._poll is None and not self._polling and self._watched and not self._closed:
            self._poll = self._reactor.callLater(seconds, self._ask)

    def _ask(self) -> None:
        self._poll = None
        self._polling = True
        known, some_new = dict(self._known), self._some_new
        principals = {watcher.principal for watcher in self._watched}
        self._some_new = False
        self._thread.run(lambda: self._look(known, principals, some_new)).addCallback(self._looked).addErrback(
            self._failed
        )

    def _look(self, known: Mapping[int, int], principals: Iterable[Principal], some_new: bool) -> _Found | None:
        """In the thread: what has moved; None if nothing was written."""
        if self._watch is None:
            self._watch = self._store.watch()
        elif not self._watch.moved() and not some_new:
            return None
        with self._store.read() as s:
            found = store.standings(s, known)
            moved = [account for account, standing in found.items() if standing.modseq != known[account]]
            return _Found(
                asked=known.keys(),
                standings=found,
                states=store.states(s, moved),
                shared=store.shares_by_guest(s),
                principals={principal: self._current(s, principal) for principal in principals},
            )

    def _looked(self, found: _Found | None) -> None:
        self._polling = False
        if self._failing:
            self._failing = False
            _log.info("changes that other processes make are seen again")
        if found is not None and not self._closed:
            for account, standing in found.standings.items():
                if account in self._known:
                    self._known[account] = standing.modseq
            self._lock_out(found)  # first: whoever was shut out is told of nothing more
            self._tell(found.states)
        self._plan(_POLL_SECONDS)

    def _lock_out(self, found: _Found) -> None:
        for watcher in list(self._watched):
            principal = watcher.principal
            if principal.account_id not in found.asked or principal not in found.principals:
                continue  # it began to watch meanwhile
            current, others = found.principals[principal], self._watched[watcher] - {principal.account_id}
            if current is None:
                self.unwatch(watcher)
                watcher.revoked()
            elif current != principal or others != found.shared.get(principal.account_id, _NONE):
                self.unwatch(watcher)
                watcher.accounts_changed()

    def _failed(self, failure: Failure) -> None:
        self._polling = False
        self._some_new = True  # what moved is not known, so that it is looked for in any case
        if not self._failing:
            self._failing = True
            _log.failure("can't see which changes other processes make; tried again every few seconds", failure)
        self._plan(_POLL_AGAIN_SECONDS)
