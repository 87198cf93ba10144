"""Rate limits by the generic cell rate algorithm: a burst up to the rate's count, then evenly over its period. Pure.

One number is kept for each client: when all that it used will have come back. Who has got everything back is forgotten.
"""

from __future__ import annotations

from collections.abc import Hashable

from stalwart.config import Rate

_MOST = 32_768
# Sums of floats must not refuse the last unit of a burst: part of the time that one takes to come back, and seconds.
_SLACK = 0.01
_MOST_SLACK = 0.001


class RateLimiter:
    """Counts for any number of clients, in bounded memory. Times are seconds of one monotonic clock.

    `rate` may be replaced at any time, None is no limit; what clients have used stays used. When more clients than
    `most` owe something, those that owe least are forgotten: a client can't wash off what it used by coming under many
    addresses, since each of them owes less than it does itself.
    """

    def __init__(self, rate: Rate | None, *, most: int = _MOST) -> None:
        self._most = most
        self._free_at: dict[Hashable, float] = {}
        self._tidy_at = 0.0
        self.rate = rate

    @property
    def rate(self) -> Rate | None:
        """What a client may use."""
        return self._rate

    @rate.setter
    def rate(self, rate: Rate | None) -> None:
        self._rate = rate
        self._period = 0.0 if rate is None else rate.period
        self._unit = 0.0 if rate is None else rate.period / rate.count
        # The parameters of RateLimit-Policy in draft-ietf-httpapi-ratelimit-headers, made once.
        self.policy = b"" if rate is None else b"q=%d;w=%d" % (rate.count, rate.period)
        self._tolerance = self._period + min(self._unit * _SLACK, _MOST_SLACK)

    def __len__(self) -> int:
        return len(self._free_at)

    def charge(self, key: Hashable, now: float) -> float:
        """Use one unit: 0 if there was one, else the seconds until there will be, and nothing is used."""
        free_at = self._free_at.get(key, now)
        if free_at < now:
            free_at = now
        elif free_at > now + self._period:  # used under a rate that gave more
            free_at = now + self._period
        free_at += self._unit
        over = free_at - now - self._tolerance
        if over > 0.0:
            return over
        if free_at > now:
            self._free_at[key] = free_at
            if len(self._free_at) > self._most or now >= self._tidy_at:
                self._tidy(now)
        return 0.0

    def wait(self, key: Hashable, now: float) -> float:
        """The seconds until there will be a unit, 0 if there is one; uses nothing."""
        free_at = min(self._free_at.get(key, now), now + self._period)
        return max(0.0, free_at + self._unit - now - self._tolerance)

    def refund(self, key: Hashable, units: int = 1) -> None:
        """Give back what need not have been used."""
        free_at = self._free_at.get(key)
        if free_at is not None:
            self._free_at[key] = free_at - units * self._unit

    def standing(self, key: Hashable, now: float) -> tuple[int, int]:
        """How many units are left, and in how many seconds (rounded up) there will be all of them again."""
        if self._rate is None:
            return 0, 0
        owed = self._free_at.get(key, now) - now
        if owed <= 0.0:
            return self._rate.count, 0
        if owed > self._period:
            owed = self._period
        return int((self._tolerance - owed) / self._unit), int(owed) + 1

    def forget(self, key: Hashable) -> None:
        """Give back everything."""
        self._free_at.pop(key, None)

    def _tidy(self, now: float) -> None:
        self._tidy_at = now + max(self._period, 1.0)
        kept = {key: free_at for key, free_at in self._free_at.items() if free_at > now}
        if len(kept) > self._most * 3 // 4:
            # So much at once that this is seldom.
            indebted = sorted(kept, key=kept.__getitem__)[-(self._most // 2) :]
            kept = {key: kept[key] for key in indebted}
        self._free_at = kept
