"""Sign-in by the Authorization header: from the cache on the reactor thread, else in a worker thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

from stalwart.auth import AuthMalformed, Principal, is_bearer, parse_authorization
from stalwart.auth.oauth.scopes import scope_giving
from stalwart.http.base_url import base_url
from stalwart.http.guarding import charge_account, charge_anonymous, check_sign_in, refund_anonymous
from stalwart.http.problem import Problem
from stalwart.http.request import Request
from stalwart.ops.lanes import Crowded
from stalwart.store import DiskFull, StoreBusy

T = TypeVar("T")

_REALM = 'realm="Stalwart Server"'
_BASIC = ("WWW-Authenticate", f'Basic {_REALM}, charset="UTF-8"')


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


async def unauthorized(request: Request, detail: str) -> Problem:
    """A 401 with the challenges that this server takes (RFC 9110 §11.6.1, RFC 7617 §2.1, RFC 6750 §3).

    Whoever came with a Bearer token is told of that alone: a browser would ask its user for a password.
    """
    base = await base_url(request)
    bearer = f"Bearer {_REALM}"
    if base and '"' not in base:
        bearer += f', resource_metadata="{base}/.well-known/oauth-protected-resource"'  # RFC 9728 §5.1
    if any(is_bearer(value) for value in request.header_values(b"authorization")):
        return Problem(401, detail, headers=(("WWW-Authenticate", f'{bearer}, error="invalid_token"'),))
    return Problem(401, detail, headers=(_BASIC, ("WWW-Authenticate", bearer)))


def require(principal: Principal, permission: str) -> None:
    """Raise Problem 403, which names the permission, unless the principal has it."""
    if principal.may(permission):
        return
    headers: tuple[tuple[str, str], ...] = ()
    if principal.token_id is not None:
        # RFC 6750 §3.1
        scope = scope_giving(permission)
        value = f'Bearer {_REALM}, error="insufficient_scope"' + (f', scope="{scope}"' if scope else "")
        headers = (("WWW-Authenticate", value),)
    raise Problem(
        403,
        f"This needs the permission {permission}, which you don't have.",
        headers=headers,
        extra={"permission": permission},
    )


async def authenticate(
    request: Request, authenticator: ChecksSignIn, pool: RunsInThread, permission: str = "authenticate"
) -> Principal:
    """Who sends this request, who must have `authenticate` and the permission given.

    Raises Problem 401, 403, 429; notes the principal in `request.principal` (and so in the log). `pool` checks
    passwords, and must not be the one that others wait for: see `sign_ins_of` of the JMAP surface.
    """
    principal = await identify(request, authenticator, pool, "authenticate", permission)
    require(principal, "authenticate")
    require(principal, permission)
    return principal


async def identify(request: Request, authenticator: ChecksSignIn, pool: RunsInThread, *permissions: str) -> Principal:
    """Who sends this request, whatever they may do; brought up to date if they don't seem to have the permissions.

    Raises Problem 401, 429; notes the principal in `request.principal`.
    """
    values = request.header_values(b"authorization")
    if len(values) != 1 and request.site.guard is not None:
        charge_anonymous(request.site.guard, request)
    if not values:
        raise await unauthorized(request, "Sign in to use this.")
    if len(values) > 1:
        raise Problem(400, "There is more than one Authorization field in this request.")
    value = values[0]
    principal = authenticator.cached(value)
    if principal is None or not principal.may_come_from(request.client_address):
        principal = await _verify(request, value, authenticator.verify, pool)
    elif not principal.permissions.issuperset(permissions):
        # They may have been given it a moment ago.
        principal = await _verify(request, value, authenticator.recheck, pool)
    first = request.principal is None  # else a password was changed under way, and this is the same request
    request.principal = principal
    if first and request.site.guard is not None:
        charge_account(request.site.guard, request, principal.account_id or principal.address)
    return principal


async def _verify(
    request: Request, value: bytes, verify: Callable[[bytes, str], Principal | None], pool: RunsInThread
) -> Principal:
    """Have the password checked. Attempts are charged before, so that many at once are no way around; if right, not."""
    guard = request.site.guard
    charged = guard is not None and charge_anonymous(guard, request)
    try:
        name, is_token = "", False
        if guard is not None:
            credentials = parse_authorization(value)
            name, is_token = credentials.user, credentials.is_token
            if not is_token:
                check_sign_in(guard, request, name)
        principal = await pool.run(lambda: verify(value, request.client_address))
    except Crowded as error:
        raise Problem(
            429,
            "Too many sign-ins from this address wait for their passwords to be checked. Try again.",
            headers=(("Retry-After", "5"),),
        ) from error
    except StoreBusy as error:
        raise Problem(503, "The mail store is busy. Try again.", headers=(("Retry-After", "5"),)) from error
    except DiskFull as error:
        raise Problem(507, "The mail store is full.") from error
    except AuthMalformed as error:
        detail = "The Authorization field is not of a form this server takes: Basic, or Bearer with a token or API key."
        raise await unauthorized(request, detail) from error
    if principal is None:
        # Nobody guesses a token, and every client comes with an old one now and then: no reason for a ban.
        if guard is not None and not is_token:
            guard.sign_in_failed(request.client_address, name)
        if is_bearer(value):
            raise await unauthorized(request, "This token or API key is unknown, has expired or was revoked.")
        raise await unauthorized(request, "The name or the password is wrong.")
    if guard is not None:
        if charged:
            refund_anonymous(guard, request)
        if not is_token:
            guard.sign_in_succeeded(request.client_address, name)
    return principal
