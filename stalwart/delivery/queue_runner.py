"""Works off the queue: finds who is due, and makes attempts, some at a time.

Messages that this process queues are found at once; those of other processes, and what people do to the queue, by
asking the database every second whether it has moved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from stalwart.delivery.local import Pool
from stalwart.delivery.queue_attempt import Attempts
from stalwart.delivery.queue_journal import QueueJournal
from stalwart.delivery.queue_slots import Limits, Room, Slot, Slots
from stalwart.store import CommitWatch, QueueFigures, QueueMessageRow, Session, Store, queue, queue_figures
from stalwart.store.queue_rows import DueRecipient

_POLL_SECONDS = 1.0
_FIGURES_SECONDS = 10.0
_STOP_SECONDS = 5.0
_AGAIN_SECONDS = 10.0


class Reactor(Protocol):
    """The part of a reactor that this needs."""

    def callLater(self, delay: float, function: Callable[..., object], /, *args: object) -> IDelayedCall:
        """Call `function` with `args` in `delay` seconds."""

    def callFromThread(self, function: Callable[..., object], /) -> None:
        """Have the reactor thread call `function`; safe from any thread."""


class _Group(msgspec.Struct, frozen=True, kw_only=True):
    """Recipients of one message at one destination, for one attempt."""

    message_id: int
    destination: str
    size: int
    account_id: int | None
    recipient_ids: tuple[int, ...]


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    groups: Sequence[_Group]
    next_at: int | None  # when somebody is due that isn't yet
    figures: QueueFigures | None


class QueueRunner(Service):
    """One for the whole process; it belongs to the reactor thread. `thread` is a single one of its own."""

    def __init__(
        self,
        store: Store,
        attempts: Attempts,
        *,
        thread: Pool,
        reactor: Reactor,
        journal: QueueJournal,
        clock: Callable[[], float],
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self._store = store
        self._attempts = attempts
        self._thread = thread
        self._reactor = reactor
        self._journal = journal
        self._clock = clock
        self._limits = limits
        self._slots = Slots(limits, clock)
        self._running: set[Deferred[None]] = set()
        self._starting: Deferred[None] | None = None
        self._pause: Deferred[None] | None = None
        self._looking: Deferred[None] | None = None
        self._look_again = False
        self._poll: IDelayedCall | None = None
        self._next_at: int | None = None
        self._figures_at = 0.0
        self._watch: CommitWatch | None = None
        store.subscribe_queue(lambda: reactor.callFromThread(self._look))

    def startService(self) -> None:
        """Give back what was interrupted, and begin."""
        super().startService()  # type: ignore[no-untyped-call]
        self._starting = Deferred.fromCoroutine(self._resolve())
        self._starting.addBoth(lambda _: self._started())

    def stopService(self) -> Deferred[None]:
        """Begin nothing more, and wait some seconds for attempts that are under way; then end them."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None
        if self._pause is not None:
            self._pause.callback(None)
        return Deferred.fromCoroutine(self._stop())

    def close(self) -> None:
        """Let the database connection go; after the thread has ended."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    async def _resolve(self) -> None:
        # Nothing begins before this: what is under way later would look interrupted, too.
        while self.running:
            try:
                await self._attempts.resolve()
                return
            except Exception:  # noqa: BLE001 - such as a full disk
                self._journal.trouble("giving back what was interrupted", Failure())
            self._pause = Deferred()
            again = self._reactor.callLater(_AGAIN_SECONDS, self._pause.callback, None)
            try:
                await self._pause
            finally:
                self._pause = None
                if again.active():
                    again.cancel()

    def _started(self) -> None:
        self._starting = None
        self._look()
        self._plan()

    async def _stop(self) -> None:
        for busy in (self._starting, self._looking):
            if busy is not None:
                await DeferredList([busy])
        if not self._running:
            return
        giving_up = self._reactor.callLater(_STOP_SECONDS, self._attempts.give_up)
        await DeferredList(list(self._running))
        if giving_up.active():
            giving_up.cancel()

    # When to look

    def _plan(self) -> None:
        if self.running and self._poll is None:
            self._poll = self._reactor.callLater(_POLL_SECONDS, self._ask)

    def _ask(self) -> None:
        self._poll = None
        now = self._clock()
        is_due = self._next_at is not None and now >= self._next_at
        if self._slots.age() or is_due or now >= self._figures_at + _FIGURES_SECONDS:
            self._look()
            self._plan()
            return
        asked = self._thread.run(self._moved)
        asked.addCallbacks(self._asked, lambda failure: self._journal.trouble("asking for changes", failure))
        asked.addBoth(lambda _: self._plan())

    def _moved(self) -> bool:
        """In the thread: whether anything was committed since the last time."""
        if self._watch is None:
            self._watch = self._store.watch()
            return True
        return self._watch.moved()

    def _asked(self, moved: bool) -> None:
        if moved:
            self._look()

    def _look(self) -> None:
        """Find who is due and begin attempts, now or as soon as the look under way has ended."""
        if not self.running or self._starting is not None:
            return
        if self._looking is not None:
            self._look_again = True
            return
        looked: Deferred[None] = Deferred()
        self._looking = looked  # also while `_look_once` goes on without waiting
        looking = Deferred.fromCoroutine(self._look_once())
        looking.addErrback(lambda failure: self._journal.trouble("looking for who is due", failure))
        looking.addBoth(lambda _: self._looked(looked))

    def _looked(self, looked: Deferred[None]) -> None:
        self._looking = None
        looked.callback(None)
        if self._look_again:
            self._look_again = False
            self._reactor.callLater(0, self._look)

    async def _look_once(self) -> None:
        now = self._clock()
        figures = now >= self._figures_at + _FIGURES_SECONDS
        if figures:
            self._figures_at = now
        found = await self._thread.run(partial(self._find, self._slots.room(), figures))
        self._next_at = found.next_at
        if found.figures is not None:
            self._journal.figures(found.figures)
        for group in found.groups:
            if not self.running:
                return
            slot = self._slots.begin(group.destination, group.size, group.account_id)
            if slot is None:
                continue  # it is found again when an attempt has ended
            begun: QueueMessageRow | None = None
            try:
                begun = await self._attempts.begin(group.message_id, group.recipient_ids)
            finally:
                if begun is None:
                    self._slots.drop(slot)
            if begun is not None:
                self._begin(begun, slot)

    def _find(self, room: Room, with_figures: bool) -> _Found:
        """In the thread: as many groups as there is room for; first of accounts that have less than others."""
        later: list[int] = []
        with self._store.read() as s:
            now = s.now()
            figures = queue_figures(s) if with_figures else None
            if queue.is_paused(s):
                return _Found(groups=(), next_at=None, figures=figures)
            due: list[str] = []
            for destination, at in sorted(queue.due_destinations(s), key=lambda each: each[1]):
                if at > now:
                    later.append(at)
                else:
                    due.append(destination)
            choice = _Choice(s, now, room, self._limits.recipients)
            for leaves_out in room.turns():
                for destination in due:
                    choice.take(destination, leaves_out)
        return _Found(groups=choice.groups, next_at=min(later, default=None), figures=figures)

    # Attempts

    def _begin(self, message: QueueMessageRow, slot: Slot) -> None:
        attempt = Deferred.fromCoroutine(self._attempts.make(message, slot.destination))
        attempt.addErrback(lambda failure: self._journal.trouble(f"an attempt at message {message.id}", failure))
        if attempt.called:
            self._ended(slot, attempt)
            return
        self._running.add(attempt)
        attempt.addBoth(lambda _: self._ended(slot, attempt))

    def _ended(self, slot: Slot, attempt: Deferred[None]) -> None:
        self._running.discard(attempt)
        self._slots.end(slot)
        self._look()


class _Choice:
    """Takes groups as long as there is room for them; in the thread, in one snapshot."""

    def __init__(self, s: Session, now: int, room: Room, most: int) -> None:
        """`most` are the recipients of a group."""
        self._s = s
        self._now = now
        self._room = room
        self._most = most
        self._others: dict[frozenset[int | None], frozenset[str]] = {}  # where other accounts than those send
        self._taken: set[int] = set()
        self.groups: list[_Group] = []

    def take(self, destination: str, leaves_out: Callable[[str], frozenset[int | None]]) -> None:
        """Take those at a destination that wait longest, without the accounts that are left out as it stands then."""
        s, now, attempts, without = self._s, self._now, self._room.of(destination), leaves_out(destination)
        if attempts <= 0:
            return
        if without:
            if without not in self._others:
                self._others[without] = queue.destinations_without(s, now, without)
            if destination not in self._others[without]:
                return
        limit = attempts * self._most + len(self._taken)
        due = [each for each in queue.due(s, now, destination, limit, without=without) if each.id not in self._taken]
        for group in _grouped(due, self._most):
            if group.account_id not in leaves_out(destination) and self._room.take(destination, group.account_id):
                self._taken.update(group.recipient_ids)
                self.groups.append(group)


def _grouped(due: Sequence[DueRecipient], most: int) -> list[_Group]:
    """The recipients by message, in the order of who waits longest; at most so many in a group."""
    groups: list[_Group] = []
    by_message: dict[int, list[DueRecipient]] = {}
    for each in due:
        by_message.setdefault(each.message_id, []).append(each)
    for message_id, recipients in by_message.items():
        groups += [
            _Group(
                message_id=message_id,
                destination=recipients[0].destination,
                size=recipients[0].size,
                account_id=recipients[0].account_id,
                recipient_ids=tuple(each.id for each in recipients[start : start + most]),
            )
            for start in range(0, len(recipients), most)
        ]
    return groups
