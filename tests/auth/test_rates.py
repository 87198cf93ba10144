"""The generic cell rate algorithm: never more than a burst and the rate, in bounded memory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth.rates import RateLimiter
from stalwart.config import Rate

MINUTE = Rate(count=100, period=60.0)


class GcraTests(SynchronousTestCase):
    """`RateLimiter`."""

    @settings(deadline=None, max_examples=150)
    @given(
        count=st.integers(1, 50),
        period=st.integers(1, 3600),
        start=st.floats(0, 1e6),
        gaps=st.lists(st.one_of(st.just(0.0), st.floats(0, 100)), max_size=120),
    )
    def test_never_more(self, count: int, period: int, start: float, gaps: list[float]) -> None:
        """Over any window, what is let through is at most the burst and what the rate gives in that time."""
        limiter, now, passed = RateLimiter(Rate(count=count, period=float(period))), start, []
        for gap in gaps:
            now += gap
            if not limiter.charge("a", now):
                passed.append(now)
        for first, begin in enumerate(passed):
            for last in range(first, len(passed)):
                window = passed[last] - begin
                self.assertLessEqual(last - first + 1, count + window * count / period + 0.02)

    @settings(deadline=None, max_examples=100)
    @given(count=st.integers(1, 2000), period=st.integers(1, 86_400), start=st.floats(0, 1e7))
    def test_whole_burst(self, count: int, period: int, start: float) -> None:
        """A client that has used nothing may use the whole count at once, and not one more; it is told how long."""
        limiter = RateLimiter(Rate(count=count, period=float(period)))
        self.assertEqual([limiter.charge("a", start) for _ in range(count)], [0.0] * count)
        self.assertEqual(limiter.standing("a", start)[0], 0)
        wait = limiter.charge("a", start)
        self.assertGreater(wait, 0)
        self.assertAlmostEqual(wait, limiter.wait("a", start))
        self.assertEqual(limiter.charge("a", start + wait * 1.01 + 1e-6), 0.0)
        self.assertEqual(limiter.charge("b", start), 0.0)

    def test_refused_cost_nothing(self) -> None:
        """Whoever goes on asking gets in as soon as whoever waits."""
        limiter = RateLimiter(Rate(count=1, period=10.0))
        limiter.charge("a", 0.0)
        for tenth in range(99):
            self.assertGreater(limiter.charge("a", tenth / 10), 0)
        self.assertEqual(limiter.charge("a", 10.0), 0)

    def test_standing(self) -> None:
        """What is left, and when all of it is back."""
        limiter = RateLimiter(MINUTE)
        self.assertEqual(limiter.standing("a", 5.0), (100, 0))
        for _ in range(50):
            limiter.charge("a", 5.0)
        self.assertEqual(limiter.standing("a", 5.0), (50, 31))
        self.assertEqual(limiter.standing("a", 35.1), (100, 0))

    def test_refund(self) -> None:
        """What is given back can be used again, and never more than there was."""
        limiter = RateLimiter(Rate(count=2, period=10.0))
        limiter.charge("a", 0.0)
        limiter.refund("a", 5)
        self.assertEqual([limiter.charge("a", 0.0) > 0 for _ in range(3)], [False, False, True])

    def test_other_rate(self) -> None:
        """A new rate holds at once, and what was used under the old one counts, up to all of the new one."""
        limiter = RateLimiter(Rate(count=10, period=1000.0))
        for _ in range(10):
            limiter.charge("a", 0.0)
        limiter.rate = Rate(count=10, period=10.0)
        self.assertAlmostEqual(limiter.charge("a", 0.0), 1.0, places=2)
        limiter.rate = None
        self.assertEqual([limiter.charge("a", 0.0) for _ in range(100)], [0.0] * 100)
        self.assertEqual(limiter.standing("a", 0.0), (0, 0))

    def test_forgets_recovered(self) -> None:
        """Who has got all back is forgotten."""
        limiter = RateLimiter(MINUTE)
        for number in range(1000):
            limiter.charge(number, 0.0)
        limiter.charge("a", 100.0)
        self.assertEqual(len(limiter), 1)

    def test_many_addresses(self) -> None:
        """Any number of clients takes bounded memory, and one can't wash off its own use with them."""
        limiter = RateLimiter(MINUTE, most=1000)
        while not limiter.charge("a", 0.0):
            pass
        for number in range(50_000):
            limiter.charge(number, 0.0)
            self.assertLessEqual(len(limiter), 1001)
        self.assertGreater(limiter.charge("a", 0.0), 0)
