"""Failed sign-ins, counted for each client and for each login name, and whom they should keep out. Pure.

Nobody should be kept out whose address a user `works` from: there, further guesses at other names have to wait instead.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set
from typing import TypeVar

import msgspec

from stalwart.auth.rates import RateLimiter
from stalwart.config import Rate
from stalwart.ops.prefixes import client_key

K = TypeVar("K")
V = TypeVar("V")
Client = str | bytes
Pair = tuple[str, Client]

_WORKS_SECONDS = 86_400.0
_MOST = 32_768
_LONGEST = 100  # characters of a login name that are looked at
# A person may mistype once or twice on the day that others attack the name.
_FORGIVEN = 2


class _Tries(msgspec.Struct, kw_only=True):
    address: str
    last: float
    count: int = 0
    of_client: int = 0
    of_name: int = 0
    """How many of them were counted against the client, and against the name."""


class SignInFailures:
    """Times are seconds of one monotonic clock. `rate` may be replaced at any time, None stops the counting."""

    def __init__(self, rate: Rate | None, *, most: int = _MOST) -> None:
        self._most = most
        self._clients = RateLimiter(rate, most=most)
        self._names = RateLimiter(rate, most=most)
        self._tries: OrderedDict[Pair, _Tries] = OrderedDict()
        self._worked: OrderedDict[Pair, float] = OrderedDict()
        self._workplaces: OrderedDict[Client, float] = OrderedDict()

    @property
    def rate(self) -> Rate | None:
        """How many may fail."""
        return self._clients.rate

    @rate.setter
    def rate(self, rate: Rate | None) -> None:
        self._clients.rate = self._names.rate = rate

    def failed(self, address: str, name: str, now: float) -> dict[str, str]:
        """Count a failure. Gives the addresses that should be kept out from now on, each with the reason in words."""
        if self.rate is None:
            return {}
        client, name = client_key(address), _plain(name)
        pair = (name, client)
        # Where the name has worked, an old password in another device of the same user isn't held against the address,
        # nor against others who know the name: the user may be elsewhere, too.
        works = _fresh(self._worked, pair, now)
        over_client = not works and self._clients.charge(client, now) > 0.0
        over_name = not works and self._names.charge(name, now) > 0.0
        tries = self._tries.get(pair)
        if tries is None or now - tries.last > self.rate.period:
            tries = _Tries(address=address, last=now)
        tries.last = now
        tries.count += 1
        tries.of_client += not works and not over_client
        tries.of_name += not works and not over_name
        _put(self._tries, pair, tries, self._most)
        found: dict[str, str] = {}
        if over_client:
            found[address] = f"more than {self.rate.count} failed sign-ins, the last as {name!r}"
        if over_name:
            why = f"one of the addresses from which more than {self.rate.count} sign-ins as {name!r} failed"
            found = {**self._end_attack(name, why, now), **found}
        return found

    def _end_attack(self, name: str, why: str, now: float) -> dict[str, str]:
        """All who took part; the count of the name begins anew, so that whoever comes next isn't blamed for them.

        What others tried goes on to be counted: many who take turns don't begin anew with each turn.
        """
        assert self.rate is not None
        found = {}
        for pair in [pair for pair in self._tries if pair[0] == name]:
            tries = self._tries[pair]
            tries.of_name = 0
            if tries.count > _FORGIVEN and now - tries.last <= self.rate.period:
                found[tries.address] = why
                del self._tries[pair]
        self._names.forget(name)
        return found

    def succeeded(self, address: str, name: str, now: float) -> None:
        """Take back what failed for this name from there, and take the address for one that its owner works from."""
        client, name = client_key(address), _plain(name)
        tries = self._tries.pop((name, client), None)
        if tries is not None:
            self._clients.refund(client, tries.of_client)
            self._names.refund(name, tries.of_name)
        _put(self._worked, (name, client), now, self._most)
        _put(self._workplaces, client, now, self._most)

    def works(self, address: str, now: float) -> bool:
        """Whether somebody has signed in from this address lately."""
        return _fresh(self._workplaces, client_key(address), now)

    def forget(self, clients: Set[Client]) -> None:
        """Hold nothing against these clients (each a `client_key`) any more."""
        for client in clients:
            self._clients.forget(client)
        for pair in [pair for pair in self._tries if pair[1] in clients]:
            del self._tries[pair]

    def wait(self, address: str, name: str, now: float) -> float:
        """The seconds until this name may be tried from there, 0 for now.

        Where an address has had its failures and isn't kept out, since a user works there, other names must wait.
        """
        if self.rate is None:
            return 0.0
        client = client_key(address)
        if not _fresh(self._workplaces, client, now) or _fresh(self._worked, (_plain(name), client), now):
            return 0.0
        return self._clients.wait(client, now)


def _plain(name: str) -> str:
    return name.strip().lower()[:_LONGEST]


def _fresh(times: OrderedDict[Pair, float] | OrderedDict[Client, float], key: object, now: float) -> bool:
    last = times.get(key)  # type: ignore[call-overload]
    return last is not None and now - last <= _WORKS_SECONDS


def _put(into: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    into[key] = value
    into.move_to_end(key)
    if len(into) > most:
        into.popitem(last=False)
