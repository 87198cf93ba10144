"""How many attempts go on at the same time, and for whom: servers that hang must not keep mail from those that answer.

An attempt that lasts long moves to a lane of its own, and its destination begins there from then on, one attempt at a
time, until one ends soon again. No account gets all that there is; where all goes to one server, only while nobody else
waits.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from stalwart.store.queue_rows import LOCAL

_MOST_KNOWN = 10_000

Pace = Literal["quick", "unknown", "slow"]
"""Of a destination: whether its last attempt ended soon; `unknown` if there was none since the start."""

# An account begins nothing at servers of such a pace while it has so many attempts in their lane, nor while it has half
# of the lane's memory: who sends to many that hang leaves the rest to others.
_PER_ACCOUNT: Final[Mapping[Pace, int]] = {"quick": 12, "unknown": 8, "slow": 50}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much goes on at the same time.

    `attempts` are those with other servers, a fifth of them kept for destinations that are quick; `slow` more may be
    under way that have lasted for `slow_after` seconds. `recipients` is of one transaction, `memory` octets of the
    messages in each of the two lanes. `slow_after` None: all goes to one server, and nobody waits for another's.
    """

    attempts: int = 20
    slow: int = 100
    slow_after: float | None = 10.0
    per_destination: int = 4
    recipients: int = 100  # RFC 5321 §4.5.3.1.8: what every server must take
    memory: int = 100_000_000


class Slot(msgspec.Struct, eq=False):
    """An attempt under way. `began_at` is of the clock that the slots have."""

    destination: str
    octets: int
    account_id: int | None
    began_at: float
    is_slow: bool


class Slots:
    """The attempts under way. Belongs to the reactor thread. `clock` gives seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._running: set[Slot] = set()
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def begin(self, destination: str, size: int, account_id: int | None) -> Slot | None:
        """Take what an attempt at an account's message of that size needs; None if the memory is used up.

        A message that is larger than what an account may have of the memory counts no more than that.
        """
        octets = min(size, self._limits.memory // 2)
        is_slow = self._paces.get(destination) == "slow"
        if octets > self._free_octets(is_slow, account_id):
            return None
        slot = Slot(destination, octets, account_id, self._clock(), is_slow)
        self._running.add(slot)
        return slot

    def drop(self, slot: Slot) -> None:
        """The attempt didn't take place."""
        self._running.discard(slot)

    def end(self, slot: Slot) -> None:
        """The attempt has ended."""
        self._running.discard(slot)
        if slot.destination == LOCAL or self._limits.slow_after is None:
            return
        lasted = self._clock() - slot.began_at
        self._paces[slot.destination] = "quick" if lasted < self._limits.slow_after else "slow"
        self._paces.move_to_end(slot.destination)
        if len(self._paces) > _MOST_KNOWN:
            self._paces.popitem(last=False)

    def age(self) -> bool:
        """Move what has lasted long out of the way, as far as there is room; whether anything was."""
        if self._limits.slow_after is None:
            return False
        before = self._clock() - self._limits.slow_after
        moved = False
        for slot in self._running:
            if slot.is_slow or slot.began_at > before or slot.destination == LOCAL:
                continue
            self._paces[slot.destination] = "slow"
            if self._may_be_slow(slot.account_id) and slot.octets <= self._free_octets(True, slot.account_id):
                slot.is_slow = moved = True
        return moved

    def room(self) -> Room:
        """What may begin now."""
        limits = self._limits
        ordinary = sum(not slot.is_slow and slot.destination != LOCAL for slot in self._running)
        return Room(
            limits,
            free=limits.attempts - ordinary,
            slow=self._free_slow(),
            busy=Counter(slot.destination for slot in self._running),
            paces=dict(self._paces),
            slow_of=self._slow_of(),
            ordinary_of=Counter(
                slot.account_id for slot in self._running if not slot.is_slow and slot.destination != LOCAL
            ),
            busy_of=Counter((slot.destination, slot.account_id) for slot in self._running),
        )

    def _free_slow(self) -> int:
        return self._limits.slow - sum(slot.is_slow for slot in self._running)

    def _slow_of(self) -> Counter[int | None]:
        return Counter(slot.account_id for slot in self._running if slot.is_slow)

    def _may_be_slow(self, account_id: int | None) -> bool:
        return self._free_slow() > 0 and self._slow_of()[account_id] < _PER_ACCOUNT["slow"]

    def _free_octets(self, is_slow: bool, account_id: int | None) -> int:
        lane = [slot for slot in self._running if slot.is_slow == is_slow]
        free = self._limits.memory - sum(slot.octets for slot in lane)
        if self._limits.slow_after is None:
            return free
        own = sum(slot.octets for slot in lane if slot.account_id == account_id)
        return min(free, self._limits.memory // 2 - own)


class Room:
    """What could begin at one moment, counted down as it is given away; in any thread."""

    def __init__(
        self,
        limits: Limits,
        *,
        free: int,
        slow: int,
        busy: Counter[str],
        paces: dict[str, Pace],
        slow_of: Counter[int | None],
        ordinary_of: Counter[int | None],
        busy_of: Counter[tuple[str, int | None]],
    ) -> None:
        self._limits = limits
        self._free = free
        self._slow = slow
        self._busy = busy
        self._paces = paces
        self._slow_of = slow_of
        self._ordinary_of = ordinary_of
        self._busy_of = busy_of

    def of(self, destination: str) -> int:
        """How many attempts may begin there. Mail within this server waits for nobody else's."""
        limits, busy = self._limits, self._busy[destination]
        if destination == LOCAL:
            return limits.per_destination - busy
        pace = self._pace(destination)
        if pace == "quick":
            return min(limits.per_destination - busy, self._free)
        if pace == "slow":
            return min(1 - busy, self._slow)
        return min(1 - busy, self._free - limits.attempts // 5)

    def full(self, destination: str) -> frozenset[int | None]:
        """The accounts that may begin nothing there, since they have their share already."""
        if destination == LOCAL or self._limits.slow_after is None:
            return frozenset()
        pace = self._pace(destination)
        share = self._slow_of if pace == "slow" else self._ordinary_of
        return frozenset(account_id for account_id, count in share.items() if count >= _PER_ACCOUNT[pace])

    def ahead(self, destination: str) -> frozenset[int | None]:
        """The accounts that others come before there, since they have as much as one more account would get."""
        there = {account_id: count for (where, account_id), count in self._busy_of.items() if where == destination}
        ahead = _with_share(there, self._limits.per_destination)
        return ahead if destination == LOCAL else ahead | _with_share(self._ordinary_of, self._limits.attempts)

    def turns(self) -> Sequence[Callable[[str], frozenset[int | None]]]:
        """Which accounts are left out at a destination, in each of the turns in which things are given away."""
        return (self.ahead, self.full) if self._limits.slow_after is None else (self.full,)

    def take(self, destination: str, account_id: int | None) -> bool:
        """Give one of these away; False if there is none, or the account has its share already."""
        if self.of(destination) <= 0:
            return False
        if account_id in self.full(destination):
            return False
        self._busy[destination] += 1
        self._busy_of[destination, account_id] += 1
        if destination == LOCAL:
            return True
        if self._pace(destination) == "slow":
            self._slow_of[account_id] += 1
            self._slow -= 1
        else:
            self._ordinary_of[account_id] += 1
            self._free -= 1
        return True

    def _pace(self, destination: str) -> Pace:
        return "quick" if self._limits.slow_after is None else self._paces.get(destination, "unknown")


def _with_share(counts: Mapping[int | None, int], attempts: int) -> frozenset[int | None]:
    share = max(1, attempts // (len(counts) + 1))
    return frozenset(account_id for account_id, count in counts.items() if count >= share)
