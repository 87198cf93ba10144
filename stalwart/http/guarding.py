"""Where the ban list and the rate limits meet a request: refusals as problems, and the RateLimit fields.

The fields are those of draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from stalwart.http.problem import Problem
from stalwart.ops.prefixes import client_key

if TYPE_CHECKING:
    from collections.abc import Hashable

    from stalwart.auth.guard import Guard
    from stalwart.auth.rates import RateLimiter
    from stalwart.http.request import Request

Field = tuple[bytes, bytes]

# What can't be read, or is another protocol; not what is only too long or too slow.
_GARBLED = (400, 501, 505)


def refuse_banned(guard: Guard, request: Request) -> None:
    """Raise Problem 403 for a client that is banned."""
    if guard.ban_of(request.client_address) is not None:
        guard.refused.labels("request").inc()
        raise Problem(403, "Your address is kept out for what it has sent. Ask the operator of this server.")


def note_failure(guard: Guard, request: Request, error: Problem) -> None:
    """Take note of a refusal, if it came before anything served the request."""
    if request.path == b"-":  # the target wasn't read, or what stands before it
        note_garbled(guard, request, error)
    elif error.status == 404 and request.unrouted and request.surface != "acme":
        sent = request.uri.partition(b"?")[0].decode("latin-1")
        looked_for = unquote_to_bytes(request.path).decode("utf-8", "replace")
        guard.not_found(request.client_address, sent, looked_for)


def note_garbled(guard: Guard, request: Request, problem: Problem) -> None:
    """Take note of what was no request."""
    if problem.status in _GARBLED:
        guard.garbled(request.client_address)


def charge_anonymous(guard: Guard, request: Request) -> bool:
    """Charge the client for a request without a sign-in; whether it was. Raises Problem 429."""
    address = request.client_address
    if guard.anonymous.rate is None or guard.exempt(address, request.peer_address):
        return False
    _charge(guard, guard.anonymous, client_key(address), request, "anonymous")
    return True


def refund_anonymous(guard: Guard, request: Request) -> None:
    """Give back what was charged for a sign-in that was right."""
    guard.anonymous.refund(client_key(request.client_address))
    request.rate_fields = ()


def charge_account(guard: Guard, request: Request, account_id: Hashable) -> None:
    """Charge an account for one of its requests. Raises Problem 429."""
    if guard.accounts.rate is not None and not guard.exempt(request.client_address, request.peer_address):
        _charge(guard, guard.accounts, account_id, request, "account")


def check_sign_in(guard: Guard, request: Request, name: str) -> None:
    """Raise Problem 429 for a client that has tried too many names and passwords already."""
    seconds = guard.sign_in_wait(request.client_address, name)
    if seconds:
        guard.limited.labels("sign-in").inc()
        raise Problem(
            429,
            "Too many sign-ins from your address have failed.",
            title="Too Many Authentication Attempts",
            headers=(("Retry-After", str(ceil(seconds))),),
        )


def concurrency_fields(name: str, most: int, unit: str = "") -> tuple[tuple[str, str], ...]:
    """The fields of a refusal for too much at a time; `unit` is what is counted, where that isn't requests."""
    policy = f'"{name}";q={most}' + (f';qu="{unit}"' if unit else "")
    return ("Retry-After", "1"), ("RateLimit-Policy", policy), ("RateLimit", f'"{name}";r=0;t=1')


def _charge(guard: Guard, limiter: RateLimiter, key: Hashable, request: Request, limit: str) -> None:
    now = guard.monotonic()
    seconds = limiter.charge(key, now)
    left, reset = limiter.standing(key, now)
    request.rate_fields = (
        (b"RateLimit-Policy", b'"requests";' + limiter.policy),
        (b"RateLimit", b'"requests";r=%d;t=%d' % (left, reset)),
    )
    rate = limiter.rate
    if seconds and rate is not None:
        guard.limited.labels(limit).inc()
        raise Problem(
            429,
            f"At most {rate.count} requests in {rate.period:g} seconds are answered here. Wait before the next one.",
            headers=(("Retry-After", str(ceil(seconds))),),
        )
