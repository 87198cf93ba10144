"""When a certificate is due, and when a failed order is tried again. Pure: the time and chance are passed in.

All instants are unix seconds of the wall clock, which may jump: what was written down at a time that is yet to come is
not believed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from stalwart.config import RenewBefore

# Let's Encrypt's advice, and its own default for ARI: a third of the lifetime is left.
_USUAL_PART = 1 / 3
# More of the lifetime than this would mean to order again almost at once: 30 days of a certificate for six.
_MOST_PART = 0.75
# However late the CA wants a renewal, this much of the lifetime is left for further tries.
_LAST_PART = 1 / 6
# A certificate is not replaced sooner than this part of its lifetime after it was issued, whatever the clock says.
_LEAST_AGE_PART = 0.2
# The CA may want one back sooner than that, but not one after the other.
_LEAST_AGE_ADVISED = 86_400.0

# Let's Encrypt's integration guide: 1, 10, 100 minutes, then once a day.
_REFUSED_WAITS = (60.0, 600.0, 6_000.0, 86_400.0)
# Where the CA was not reached, or nothing was ordered, no limit of it is used up.
_LOCAL_WAITS = (10.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0)
_JITTER = 0.2
# A limit of Let's Encrypt is counted over a week.
LONGEST_RETRY_AFTER = 8 * 86_400.0

# RFC 9773 §4.3.2: how often a CA may be asked.
_OFTENEST_ASK, _RAREST_ASK = 60.0, 86_400.0

Why = Literal["missing", "expired", "directory", "renewal", "advised"]


class Validity(msgspec.Struct, frozen=True, kw_only=True):
    """The dates of a certificate."""

    not_before: float
    not_after: float

    @property
    def lifetime(self) -> float:
        """In seconds; never zero."""
        return max(self.not_after - self.not_before, 1.0)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the last orders for a name: `count` of them failed in a row, the last at `at`.

    `reason` is a word for metrics, `text` a line for a person.
    """

    count: int
    at: float
    retry_at: float
    reason: str
    text: str


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """When the CA wants a certificate renewed (RFC 9773): the window, the instant chosen in it, when to ask again.

    `certificate` is the fingerprint of the one that it is about. Without a window the CA says nothing.
    """

    certificate: str
    ask_at: float
    asked_at: float
    window: tuple[float, float] | None = None
    renew_at: float | None = None


class NameState(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a name across restarts, beside its certificate.

    `directory` is the one that issued the certificate, at `issued_at`.
    """

    directory: str | None = None
    issued_at: float | None = None
    failure: Failure | None = None
    advice: Advice | None = None


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """From when on a certificate is to be ordered, and why."""

    at: float
    why: Why


def lead(validity: Validity, renew_before: RenewBefore | None) -> float:
    """How many seconds before its end a certificate is renewed by the configuration."""
    lifetime = validity.lifetime
    if renew_before is None:
        return lifetime * _USUAL_PART
    seconds = renew_before.seconds
    if seconds is None:
        seconds = lifetime * (renew_before.fraction or _USUAL_PART)
    return seconds if seconds <= lifetime * _MOST_PART else lifetime * _USUAL_PART


def due(
    validity: Validity | None,
    state: NameState,
    *,
    directory: str,
    renew_before: RenewBefore | None,
    fingerprint: str | None,
    now: float,
) -> Due:
    """When to order next; an instant in the past means now. A failed order holds it up as long as it says.

    `validity` and `fingerprint` are of the certificate at hand, None if there is none.
    """
    wanted = _wanted(validity, state, directory, renew_before, fingerprint, now)
    failure = state.failure
    # Written when the clock was ahead, how far nobody knows: it can't hold up anything.
    if failure is not None and failure.at <= now:
        return msgspec.structs.replace(wanted, at=max(wanted.at, failure.retry_at))
    return wanted


def _wanted(
    validity: Validity | None,
    state: NameState,
    directory: str,
    renew_before: RenewBefore | None,
    fingerprint: str | None,
    now: float,
) -> Due:
    if validity is None:
        return Due(at=now, why="missing")
    if state.directory is not None and state.directory != directory:
        return Due(at=now, why="directory")
    by_configuration = validity.not_after - lead(validity, renew_before)
    advised = None
    if state.advice is not None and state.advice.certificate == fingerprint:
        advised = state.advice.renew_at
    if advised is None:
        found = Due(at=by_configuration, why="renewal")
    elif renew_before is not None:
        found = Due(at=min(advised, by_configuration), why="advised" if advised < by_configuration else "renewal")
    else:
        latest = validity.not_after - validity.lifetime * _LAST_PART
        found = Due(at=min(advised, latest), why="advised")
    if state.issued_at is not None and state.issued_at <= now:
        # A clock that is years ahead sees each new certificate expired: that must not order without end.
        least_age = validity.lifetime * _LEAST_AGE_PART
        if found.why == "advised":
            least_age = min(least_age, _LEAST_AGE_ADVISED)
        found = msgspec.structs.replace(found, at=max(found.at, state.issued_at + least_age))
    return msgspec.structs.replace(found, why="expired") if validity.not_after <= now else found


def after_failure(
    state: NameState,
    *,
    reason: str,
    text: str,
    local: bool,
    retry_after: float | None,
    now: float,
    random: Callable[[], float],
) -> NameState:
    """The state after an order that failed. `local`: nothing was ordered. `retry_after` is the CA's wish in seconds.

    `random` gives numbers from 0 up to 1.
    """
    before = state.failure
    count = 1 if before is None or before.at > now else before.count + 1
    waits = _LOCAL_WAITS if local else _REFUSED_WAITS
    wait = waits[min(count, len(waits)) - 1]
    # Not all servers that failed at the same time come back at the same time.
    wait *= 1 + _JITTER * random()
    if retry_after is not None:
        asked = min(max(retry_after, 0.0), LONGEST_RETRY_AFTER)
        wait = max(wait, asked * (1 + _JITTER / 10 * random()))
    failure = Failure(count=count, at=now, retry_at=now + wait, reason=reason, text=text)
    return msgspec.structs.replace(state, failure=failure)


def after_issue(*, directory: str, now: float) -> NameState:
    """The state after a certificate was issued."""
    return NameState(directory=directory, issued_at=now)


def ask_at(state: NameState, fingerprint: str, now: float) -> float:
    """When to ask the CA about this certificate (RFC 9773 §4.3)."""
    advice = state.advice
    if advice is None or advice.certificate != fingerprint or advice.asked_at > now:
        return now
    return advice.ask_at


def advised(
    state: NameState,
    *,
    fingerprint: str,
    window: tuple[float, float] | None,
    ask_again: float,
    now: float,
    random: Callable[[], float],
) -> NameState:
    """The state after the CA was asked about a certificate; it is to be asked again in `ask_again` seconds.

    The instant is chosen once for a window, at random, so that not everybody comes at once (RFC 9773 §4.2).
    """
    before = state.advice
    if window is None:
        renew_at = None
    elif before is not None and before.certificate == fingerprint and before.window == window:
        renew_at = before.renew_at
    else:
        start, end = window
        renew_at = start + (end - start) * random()
    advice = Advice(
        certificate=fingerprint,
        ask_at=now + min(max(ask_again, _OFTENEST_ASK), _RAREST_ASK),
        asked_at=now,
        window=window,
        renew_at=renew_at,
    )
    return msgspec.structs.replace(state, advice=advice)


def not_yet(state: NameState, *, fingerprint: str, ask_again: float, now: float) -> NameState:
    """The state after the CA could not be asked: what it said before holds until then."""
    before = state.advice
    if before is None or before.certificate != fingerprint:
        before = Advice(certificate=fingerprint, ask_at=now, asked_at=now)
    later = now + min(max(ask_again, _OFTENEST_ASK), _RAREST_ASK)
    return msgspec.structs.replace(state, advice=msgspec.structs.replace(before, ask_at=later, asked_at=now))


def clock_fault(validity: Validity, now: float) -> str | None:
    """What a certificate that was just issued says about our clock; None if nothing is wrong."""
    if now < validity.not_before:
        return "this machine's clock is slow: the certificate is not valid yet by it"
    if now >= validity.not_after:
        return "this machine's clock is fast: the certificate, which is new, has expired by it"
    return None
