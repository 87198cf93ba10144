"""When certificates are due, and when failed orders are tried again."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import RenewBefore
from stalwart.tls.acme import policy
from stalwart.tls.acme.policy import Advice, NameState, Validity

DAY = 86_400.0
CA = "https://ca.example/dir"
NOW = 2_000_000_000.0
PRINT = "f"

instants = st.floats(0, 4e9, allow_nan=False)
parts = st.floats(0, 1, exclude_max=True)


def valid(days: float, *, since: float = NOW) -> Validity:
    """A certificate of so many days."""
    return Validity(not_before=since, not_after=since + days * DAY)


def due(
    validity: Validity | None, state: NameState | None = None, *, now: float = NOW, before: RenewBefore | None = None
) -> policy.Due:
    """When it is due at `CA`."""
    return policy.due(validity, state or NameState(), directory=CA, renew_before=before, fingerprint=PRINT, now=now)


def failed(
    state: NameState, *, now: float = NOW, local: bool = False, retry_after: float | None = None, chance: float = 0.0
) -> NameState:
    """The state after one more failure."""
    return policy.after_failure(
        state, reason="r", text="t", local=local, retry_after=retry_after, now=now, random=lambda: chance
    )


def advice(window: tuple[float, float] | None, *, chance: float = 0.5, state: NameState | None = None) -> NameState:
    """The state after the CA said this about the certificate."""
    return policy.advised(
        state or NameState(directory=CA),
        fingerprint=PRINT,
        window=window,
        ask_again=3600.0,
        now=NOW,
        random=lambda: chance,
    )


class DueTests(SynchronousTestCase):
    """When to order."""

    def test_lifetimes(self) -> None:
        """A third of the lifetime before the end, whether it is 90 days, six, or a minute."""
        for days in (90, 45, 6, 60 / DAY):
            found = due(valid(days))
            self.assertEqual((found.why, round(found.at - NOW, 3)), ("renewal", round(days * DAY * 2 / 3, 3)))

    def test_renew_before(self) -> None:
        """A fraction or a duration; a duration that leaves hardly anything of the lifetime counts as a third."""
        self.assertEqual(due(valid(80), before=RenewBefore(fraction=0.25)).at, NOW + 60 * DAY)
        self.assertEqual(due(valid(90), before=RenewBefore(seconds=30 * DAY)).at, NOW + 60 * DAY)
        self.assertEqual(due(valid(45), before=RenewBefore(seconds=30 * DAY)).at, NOW + 15 * DAY)
        self.assertEqual(due(valid(6), before=RenewBefore(seconds=30 * DAY)).at, NOW + 4 * DAY)

    def test_missing(self) -> None:
        """Without a certificate, or with one of another directory, it is due now."""
        self.assertEqual(due(None), policy.Due(at=NOW, why="missing"))
        self.assertEqual(due(valid(90), NameState(directory="https://other/")), policy.Due(at=NOW, why="directory"))
        self.assertEqual(due(valid(90), NameState(directory=CA)).why, "renewal")

    def test_expired(self) -> None:
        """One that ended years ago is due since then."""
        found = due(valid(90, since=NOW - 3000 * DAY))
        self.assertEqual(found.why, "expired")
        self.assertLess(found.at, NOW)

    def test_fast_clock(self) -> None:
        """By a clock that is years ahead each new certificate has expired: it is not replaced over and over."""
        fresh = valid(90, since=NOW - 3000 * DAY)
        state = policy.after_issue(directory=CA, now=NOW)
        self.assertEqual(due(fresh, state).at, NOW + 18 * DAY)
        self.assertIn("fast", policy.clock_fault(fresh, NOW) or "")

    def test_slow_clock(self) -> None:
        """One from the future is no reason to order."""
        future = valid(90, since=NOW + 1000 * DAY)
        self.assertGreater(due(future).at, NOW)
        self.assertIn("slow", policy.clock_fault(future, NOW) or "")
        self.assertIsNone(policy.clock_fault(valid(90), NOW))

    def test_clock_set_back(self) -> None:
        """What was written by a clock that was ahead holds up nothing once the clock is right."""
        ahead = NOW + 3000 * DAY
        state = failed(policy.after_issue(directory=CA, now=ahead), now=ahead)
        old = valid(90, since=NOW - 89 * DAY)
        self.assertLessEqual(due(old, state).at, NOW)
        self.assertLessEqual(due(None, state).at, NOW)
        self.assertEqual(failed(state).failure and failed(state).failure.count, 1)  # type: ignore[union-attr]

    def test_advised(self) -> None:
        """The CA's instant counts, but not to the bitter end; the configuration's too if it is earlier."""
        certificate = valid(90)
        early = advice((NOW, NOW + 2 * DAY))
        self.assertEqual(due(certificate, early), policy.Due(at=NOW + DAY, why="advised"))
        late = advice((NOW + 89 * DAY, NOW + 91 * DAY))
        self.assertEqual(due(certificate, late).at, NOW + 75 * DAY)
        own = RenewBefore(seconds=30 * DAY)
        self.assertEqual(due(certificate, late, before=own).at, NOW + 60 * DAY)
        self.assertEqual(due(certificate, early, before=own).at, NOW + DAY)

    def test_advised_at_once(self) -> None:
        """A certificate that the CA wants back at once is replaced, but not each of those that follow."""
        state = advice((NOW - 10, NOW))
        self.assertLess(due(valid(90), state).at, NOW)
        fresh = msgspec.structs.replace(state, issued_at=NOW)
        self.assertEqual(due(valid(90), fresh).at, NOW + DAY)

    def test_advice_about_another(self) -> None:
        """What the CA said about a certificate that is gone counts no more."""
        state = advice((NOW, NOW + DAY))
        assert state.advice is not None
        other = msgspec.structs.replace(state, advice=msgspec.structs.replace(state.advice, certificate="other"))
        self.assertEqual(due(valid(90), other).why, "renewal")
        self.assertEqual(policy.ask_at(other, PRINT, NOW), NOW)

    @settings(max_examples=200, deadline=None)
    @given(instants, st.floats(1, 1e9), st.one_of(st.none(), parts), instants, parts)
    def test_always_before_the_end(
        self, start: float, lifetime: float, part: float | None, window: float, chance: float
    ) -> None:
        """Whatever is configured and advised, a renewal is planned inside the lifetime, or at once."""
        before = None if part is None else RenewBefore(seconds=part * lifetime * 3 + 1)
        certificate = Validity(not_before=start, not_after=start + lifetime)
        state = policy.advised(
            NameState(directory=CA),
            fingerprint=PRINT,
            window=(window, window + 1000.0),
            ask_again=0.0,
            now=start,
            random=lambda: chance,
        )
        for known in (NameState(), state):
            found = due(certificate, known, before=before, now=start)
            self.assertLessEqual(found.at, certificate.not_after)


class FailureTests(SynchronousTestCase):
    """When to try again."""

    def test_waits(self) -> None:
        """1, 10, 100 minutes, then daily; what the CA never saw is tried again sooner."""
        for local, wanted in ((False, [60, 600, 6000, 86400, 86400]), (True, [10, 30, 120, 600, 1800, 3600, 3600])):
            state, waits = NameState(), []
            for _ in wanted:
                state = failed(state, local=local)
                assert state.failure is not None
                waits.append(state.failure.retry_at - NOW)
            self.assertEqual(waits, wanted)

    def test_retry_after(self) -> None:
        """The CA's wish is the least, and no longer than a week and a day."""
        for asked, wanted in ((7200.0, 7200.0), (5.0, 60.0), (1e12, 8 * DAY), (-5.0, 60.0)):
            failure = failed(NameState(), retry_after=asked).failure
            assert failure is not None
            self.assertEqual(failure.retry_at - NOW, wanted)

    def test_holds_up(self) -> None:
        """A failure holds up the next order, and keeps what was known of the certificate."""
        state = failed(NameState(directory=CA, issued_at=1.0))
        self.assertEqual(due(None, state).at, NOW + 60)
        self.assertEqual((state.directory, state.issued_at), (CA, 1.0))
        self.assertEqual(due(valid(90), state).at, NOW + 60 * DAY)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.floats(-1e9, 1e12)), parts), min_size=1), instants)
    def test_bounded(self, failures: list[tuple[bool, float | None, float]], now: float) -> None:
        """However often it failed and whatever the CA asks: later than now, and within ten days."""
        state = NameState()
        for local, retry_after, chance in failures:
            state = failed(state, now=now, local=local, retry_after=retry_after, chance=chance)
        assert state.failure is not None
        self.assertEqual(state.failure.count, len(failures))
        self.assertTrue(now < state.failure.retry_at <= now + 10 * DAY)


class AdviceTests(SynchronousTestCase):
    """What the CA says (RFC 9773)."""

    def test_one_instant_for_a_window(self) -> None:
        """The instant is chosen once; a new window brings a new one."""
        first = advice((NOW, NOW + 100), chance=0.25)
        again = advice((NOW, NOW + 100), chance=0.75, state=first)
        moved = advice((NOW, NOW + 200), chance=0.75, state=again)
        chosen = [each.advice and each.advice.renew_at for each in (first, again, moved)]
        self.assertEqual(chosen, [NOW + 25, NOW + 25, NOW + 150])

    def test_asked_again(self) -> None:
        """When the CA says, from a minute to a day; at once if the clock was set back."""
        state = advice(None)
        self.assertEqual(policy.ask_at(state, PRINT, NOW), NOW + 3600)
        self.assertEqual(policy.ask_at(state, PRINT, NOW - DAY), NOW - DAY)
        self.assertEqual(due(valid(90), state).why, "renewal")
        for asked, wanted in ((0.0, 60.0), (1e9, DAY)):
            later = policy.not_yet(NameState(), fingerprint=PRINT, ask_again=asked, now=NOW)
            self.assertEqual(policy.ask_at(later, PRINT, NOW), NOW + wanted)

    def test_unanswered(self) -> None:
        """What the CA said before holds while it can't be asked."""
        state = policy.not_yet(advice((NOW, NOW + 100)), fingerprint=PRINT, ask_again=3600.0, now=NOW + 50)
        assert state.advice is not None
        self.assertEqual((state.advice.renew_at, state.advice.ask_at), (NOW + 50, NOW + 3650))

    def test_state_survives(self) -> None:
        """All of it can be written down and read again."""
        state = failed(advice((NOW, NOW + 100)), retry_after=3.5)
        self.assertIsInstance(state.advice, Advice)
        self.assertEqual(msgspec.json.decode(msgspec.json.encode(state), type=NameState), state)
