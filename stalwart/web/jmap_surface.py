"""What the endpoints of JMAP share: limits per account, the way into a thread, and errors as problem documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.logger import Logger

from stalwart.auth import Authenticator, Principal
from stalwart.http import Problem, Request, authenticate, unauthorized
from stalwart.http.auth import RunsInThread
from stalwart.http.base_url import base_url
from stalwart.http.guarding import concurrency_fields
from stalwart.jmap.blobs import Blobs, NoSuchBlob, UploadForbidden
from stalwart.jmap.engine import Caller, Engine
from stalwart.jmap.errors import OverLimit, RequestError, SignInExpired
from stalwart.jmap.limits import Limits
from stalwart.ops.lanes import Lanes
from stalwart.ops.metrics import Metrics
from stalwart.ops.prefixes import client_key
from stalwart.store import DiskFull, Store, StoreBusy, UploadsFull

T = TypeVar("T")

_log = Logger(namespace="stalwart.jmap")
_PASSWORDS_AT_ONCE = 2
_MOST_SIGN_INS = 100
"""Sign-ins of one client address that may wait for their passwords to be checked: some seconds' worth."""


class Turns:
    """How much each account has under way of what may only be so much: requests, or octets in memory.

    `limit` is the name in JMAP's errors, `policy` that in RateLimit fields, with the unit that is counted.
    """

    def __init__(self, limit: str, most: int, *, policy: str, unit: str = "") -> None:
        self._limit = limit
        self._policy = policy
        self._unit = unit
        self._most = most
        self._running: dict[int, int] = {}

    def take(self, request: Request, account: int, amount: int = 1) -> None:
        """As `enter`, until the request has ended. Raises Problem 429."""
        try:
            leave = self.enter(account, amount)
        except OverLimit as over:
            if request.site.guard is not None:
                request.site.guard.limited.labels(self._policy).inc()
            request.rate_fields = ()  # what stops it is told, not how many requests are left
            raise problem(over, headers=concurrency_fields(self._policy, self._most, self._unit)) from over
        request.notifyFinish().addBoth(lambda _: leave())

    def enter(self, account: int, amount: int = 1) -> Callable[[], None]:
        """Count `amount` until what this returns is called, once.

        Raises OverLimit when that is more than the account may have.
        """
        running = self._running.get(account, 0)
        if running + amount > self._most:
            raise OverLimit(
                self._limit,
                f"At most {self._most} of this at a time ({self._limit}); wait for another request to end.",
                status=429,
            )
        self._running[account] = running + amount
        return lambda: self._leave(account, amount)

    def _leave(self, account: int, amount: int) -> None:
        left = self._running[account] - amount
        if left:
            self._running[account] = left
        else:
            del self._running[account]


class Surface:
    """What the endpoints work with; one for all listeners.

    `hostname` stands in URLs where a request does not say how it reached this server.
    """

    def __init__(
        self,
        store: Store,
        authenticator: Authenticator,
        pool: RunsInThread,
        metrics: Metrics,
        *,
        hostname: str,
        threads: int,
        limits: Limits | None = None,
        application_server_key: str = "",
    ) -> None:
        """`threads` is how many `pool` has. One account or client address never holds all of them, if there are two."""
        self.limits = limits or Limits()
        self.store = store
        self.authenticator = authenticator
        self.pool = pool
        spare = max(1, threads - 1)
        self.turns = Lanes(pool, at_once=threads, each=spare)
        # Whoever tries passwords must not keep those waiting who have signed in.
        passwords = min(spare, _PASSWORDS_AT_ONCE)
        self._sign_ins = Lanes(pool, at_once=passwords, each=passwords, most_waiting=_MOST_SIGN_INS)
        self.hostname = hostname
        self.engine = Engine(
            store,
            self.limits,
            metrics,
            still_valid=authenticator.still_valid,
            application_server_key=application_server_key,
        )
        self.blobs = Blobs(store, self.limits, authenticator.still_valid)
        self.requests = Turns(
            "maxConcurrentRequests", self.limits.max_concurrent_requests, policy="concurrent-requests"
        )
        self.uploads = Turns("maxConcurrentUpload", self.limits.max_concurrent_upload, policy="concurrent-uploads")
        self.decoded = Turns(
            "maxOctetsDecoded", self.limits.max_octets_read, policy="decoded-content", unit="content-bytes"
        )

    async def base_url(self, request: Request) -> str:
        """How the client reached this server, without a slash at the end."""
        return await base_url(request, self.hostname)

    def sign_ins_of(self, request: Request) -> RunsInThread:
        """Where the passwords are checked that a client sends. Raises Crowded when it runs something for too many."""
        return self._sign_ins.of(client_key(request.client_address))

    async def sign_in(self, request: Request, permission: str | None = None) -> Principal:
        """Who sends the request, who must have a mailbox and this permission (without it, the one asked for before).

        Raises Problem: 401, 403, or 429 when too many sign-ins of the client wait already.
        """
        request.permission = permission or request.permission
        principal = await authenticate(request, self.authenticator, self.sign_ins_of(request), request.permission)
        if not principal.account_id:
            raise Problem(403, "Whoever signs in like this has no mailbox: this is for accounts.")
        return principal

    async def in_thread(self, request: Request, function: Callable[[Principal], T]) -> T:
        """Run `function` for the request's principal in a thread, and turn what the room raises into problems.

        A password that was changed since it was last verified is verified again, once.
        """
        principal = request.principal
        assert principal is not None
        try:
            try:
                return await self.turns.run(principal.account_id, lambda: function(principal))
            except SignInExpired:
                self.authenticator.forget(principal.account_id)
                renewed = await self.sign_in(request)
                return await self.turns.run(renewed.account_id, lambda: function(renewed))
        except SignInExpired as error:
            raise await unauthorized(request, str(error)) from error
        except RequestError as error:
            raise problem(error) from error
        except NoSuchBlob as error:
            raise Problem(404, str(error)) from error
        except UploadForbidden as error:
            raise Problem(403, str(error)) from error
        except StoreBusy as error:
            raise Problem(503, "The mail store is busy. Try again.", headers=(("Retry-After", "5"),)) from error
        except UploadsFull as error:
            raise Problem(429, str(error), headers=(("Retry-After", "60"),)) from error
        except DiskFull as error:
            raise Problem(507, "The mail store is full.") from error

    async def answer(self, request: Request, body: bytes) -> bytes:
        """The answer to the API request in `body`, on behalf of whoever sent `request`. Raises Problem."""
        base_url, failures = await self.base_url(request), list[tuple[str, str]]()

        def note(reference: str, cause: str) -> None:
            failures.append((reference, cause))

        def handle(principal: Principal) -> bytes:
            caller = Caller(principal=principal, base_url=base_url, request_id=request.request_id, on_error=note)
            return self.engine.handle(body, caller)

        try:
            return await self.in_thread(request, handle)
        finally:
            for reference, cause in failures:
                _log.error("JMAP call {reference} failed: {cause}", reference=reference, cause=cause)


def problem(error: RequestError, *, headers: tuple[tuple[str, str], ...] = ()) -> Problem:
    """A refused request as a problem document (RFC 8620 §3.6.1)."""
    members = error.properties()
    extra = {name: value for name, value in members.items() if name not in ("type", "status", "detail")}
    return Problem(error.status, error.detail, type=str(members["type"]), headers=headers, extra=extra)
