"""Sign-in by the Authorization header: from the cache on the reactor thread, else in a worker thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

from stalwart.auth import AuthMalformed, Principal, parse_authorization
from stalwart.http.guarding import charge_account, charge_anonymous, check_sign_in, refund_anonymous
from stalwart.http.problem import Problem
from stalwart.http.request import Request

T = TypeVar("T")

_CHALLENGE = (("WWW-Authenticate", 'Basic realm="Stalwart Server", charset="UTF-8"'),)


class ChecksSignIn(Protocol):
    """The part of `stalwart.auth.Authenticator` that requests need."""

    def cached(self, authorization: bytes) -> Principal | None:
        """Who this header value was found to be a short time ago; does no I/O."""

    def verify(self, authorization: bytes, client: str) -> Principal | None:
        """Who this header value stands for, sent by a client of this address; blocks. Raises AuthMalformed."""

    def recheck(self, authorization: bytes, client: str) -> Principal | None:
        """As `verify`, and with the permissions that they have by now."""


class RunsInThread(Protocol):
    """The part of `stalwart.ops.threads.ThreadPool` that requests need."""

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Run `function` in a thread."""


def unauthorized(detail: str) -> Problem:
    """A 401 with the challenges that this server takes (RFC 9110 §11.6.1, RFC 7617 §2.1)."""
    return Problem(401, detail, headers=_CHALLENGE)


def require(principal: Principal, permission: str) -> None:
    """Raise Problem 403, which names the permission, unless the principal has it."""
    if not principal.may(permission):
        raise Problem(
            403, f"This needs the permission {permission}, which you don't have.", extra={"permission": permission}
        )


async def authenticate(
    request: Request, authenticator: ChecksSignIn, pool: RunsInThread, permission: str = "authenticate"
) -> Principal:
    """Who sends this request, who must have `authenticate` and the permission given.

    Raises Problem 401, 403; notes the principal in `request.principal` (and so in the log).
    """
    values = request.header_values(b"authorization")
    if len(values) != 1 and request.site.guard is not None:
        charge_anonymous(request.site.guard, request)
    if not values:
        raise unauthorized("Sign in to use this.")
    if len(values) > 1:
        raise Problem(400, "There is more than one Authorization field in this request.")
    value = values[0]
    principal = authenticator.cached(value)
    if principal is None or not principal.may_come_from(request.client_address):
        principal = await _verify(request, value, authenticator.verify, pool)
    elif not (principal.may("authenticate") and principal.may(permission)):
        # They may have been given it a moment ago.
        principal = await _verify(request, value, authenticator.recheck, pool)
    first = request.principal is None  # else a password was changed under way, and this is the same request
    request.principal = principal
    if first and request.site.guard is not None:
        charge_account(request.site.guard, request, principal.account_id or principal.address)
    require(principal, "authenticate")
    require(principal, permission)
    return principal


async def _verify(
    request: Request, value: bytes, verify: Callable[[bytes, str], Principal | None], pool: RunsInThread
) -> Principal:
    """Have the password checked. Attempts are charged before, so that many at once are no way around; if right, not."""
    guard = request.site.guard
    charged = guard is not None and charge_anonymous(guard, request)
    try:
        name = ""
        if guard is not None:
            name = parse_authorization(value).user
            check_sign_in(guard, request, name)
        principal = await pool.run(lambda: verify(value, request.client_address))
    except AuthMalformed as error:
        raise unauthorized(
            "The Authorization field is not of a form this server takes: send Basic, or an API key as Bearer."
        ) from error
    if principal is None:
        if guard is not None:
            guard.sign_in_failed(request.client_address, name)
        raise unauthorized("The name or the password is wrong.")
    if guard is not None:
        if charged:
            refund_anonymous(guard, request)
        guard.sign_in_succeeded(request.client_address, name)
    return principal
