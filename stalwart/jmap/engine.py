"""One API request: octets in, the response's octets out (RFC 8620 §3). Runs in a store thread from start to end."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from prometheus_client import Counter

from stalwart import store
from stalwart.auth import Principal
from stalwart.jmap import wire
from stalwart.jmap.arguments import AccountArguments, decode_arguments
from stalwart.jmap.call import Account, Call, Exchange, Sessions
from stalwart.jmap.catalog import CAPABILITIES, METHODS
from stalwart.jmap.declare import Ahead, Method
from stalwart.jmap.errors import (
    AccountNotFound,
    AccountNotSupportedByMethod,
    AccountReadOnly,
    Forbidden,
    MethodError,
    NotRequest,
    OverLimit,
    ServerFail,
    ServerUnavailable,
    SignInExpired,
    UnknownCapability,
    UnknownMethod,
)
from stalwart.jmap.limits import Limits
from stalwart.jmap.references import CreatedIds, Response, resolve
from stalwart.jmap.session import accounts_of, session_object
from stalwart.jmap.wire import Request
from stalwart.ops.metrics import Metrics
from stalwart.store import DiskFull, Session, Store, StoreBusy, permission_of_method

_KNOWN = frozenset(capability.uri for capability in CAPABILITIES)
_OF_ACCOUNTS = frozenset(capability.uri for capability in CAPABILITIES if capability.of_account is not None)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends a request, and how. `base_url` has no slash at the end; `request_id` is the one in the log.

    `on_error` is told of each call that failed by a fault of this server: the reference id that the client was
    given, and the failure's text for the log.
    """

    principal: Principal
    base_url: str
    request_id: str
    on_error: Callable[[str, str], None]


class Engine:
    """Answers API requests over one store. Safe to use from any thread."""

    def __init__(
        self,
        opened: Store,
        limits: Limits,
        metrics: Metrics,
        *,
        still_valid: Callable[[Session, Principal], bool],
        methods: Mapping[str, Method] = METHODS,
        application_server_key: str = "",
    ) -> None:
        """`still_valid` tells whether a principal's credentials are unchanged in a session's snapshot."""
        self.store = opened
        self.limits = limits
        self.methods = methods
        self.still_valid = still_valid
        self.application_server_key = application_server_key
        self._calls = metrics.jmap_calls
        self._counters: dict[tuple[str, str], Counter] = {}

    def handle(self, body: bytes, caller: Caller) -> bytes:
        """The JSON answer to the API request in `body`.

        Raises:
            RequestError: the request as a whole is refused.
            SignInExpired: the principal's credentials are no longer valid.
            StoreError: the store can't be read at all.
        """
        if len(body) > self.limits.max_size_request:
            raise OverLimit(
                "maxSizeRequest",
                f"A request may have at most {self.limits.max_size_request} octets.",
                status=413,
            )
        request = wire.decode_request(body)
        self._check(request)
        given = request.created_ids
        principal = caller.principal
        with Sessions(self.store) as sessions:
            if not self.still_valid(sessions.reading(), principal):
                raise SignInExpired("The password was changed since the last request. Sign in again.")
            shares = store.shared_with(sessions.reading(), principal.account_id)
            exchange = Exchange(
                self.limits,
                CreatedIds(dict(given) if isinstance(given, dict) else {}),
                principal,
                accounts_of(principal, shares, self.limits),
                frozenset(request.using),
            )
            run = _Run(self, caller, exchange, sessions)
            # RFC 8620 §3.10: in order; what other requests do may come in between
            for name, arguments, call_id in request.method_calls:
                exchange.following.clear()
                exchange.responses.append(run.call(name, arguments, call_id))
                # RFC 8620 §5.4: after the response, but before processing the next method
                following, exchange.following = exchange.following, []
                for then, its_arguments in following:
                    exchange.responses.append(run.call(then, its_arguments, call_id, implied=True))
        if exchange.evicted:
            store.discard_uploads(self.store, exchange.evicted)
        key = self.application_server_key
        state = session_object(principal, shares, self.limits, caller.base_url, key).state
        return _response(exchange, state, echo_created=isinstance(given, dict))

    def count(self, method: str, outcome: str) -> None:
        """Count a method call in the metrics."""
        counter = self._counters.get((method, outcome))
        if counter is None:
            counter = self._counters[method, outcome] = self._calls.labels(method, outcome)
        counter.inc()

    def _check(self, request: Request) -> None:
        for uri in request.using:
            if uri not in _KNOWN:
                raise UnknownCapability(f"The capability {uri[:200]!r} is not supported by this server.")
        most = self.limits.max_calls_in_request
        if len(request.method_calls) > most:
            raise OverLimit("maxCallsInRequest", f"A request may have at most {most} method calls.")
        if isinstance(request.created_ids, dict):
            for creation_id, real_id in request.created_ids.items():
                if not (0 < len(creation_id) <= 255 and 0 < len(real_id) <= 255):
                    raise NotRequest("createdIds: an id has 1 to 255 characters (RFC 8620 section 1.2).")


def _response(exchange: Exchange, session_state: str, *, echo_created: bool) -> bytes:
    parts = [b'{"methodResponses":[']
    for index, response in enumerate(exchange.responses):
        parts += (
            b"[" if index == 0 else b",[",
            wire.encode(response.name),
            b",",
            response.encoded,
            b",",
            wire.encode(response.call_id),
            b"]",
        )
    parts.append(b"]")
    if echo_created:
        # RFC 8620 §3.4: only returned if given in the request
        parts += (b',"createdIds":', wire.encode(exchange.created.known))
    parts += (b',"sessionState":', wire.encode(session_state), b"}")
    return b"".join(parts)


class _Run:
    """The method calls of one request."""

    def __init__(self, engine: Engine, caller: Caller, exchange: Exchange, sessions: Sessions) -> None:
        self._engine = engine
        self._exchange = exchange
        self._sessions = sessions
        self._caller = caller

    def call(self, name: str, arguments: dict[str, Any], call_id: str, *, implied: bool = False) -> Response:
        """The response of one method call: its result, or the error that it ended with.

        A call that another one brought with it may be of any capability.
        """
        method = self._engine.methods.get(name)
        counted = "unknown" if method is None else name
        try:
            if method is None or (method.capability not in self._exchange.using and not implied):
                # RFC 8620 §3.3: a client has to opt in to the capabilities that it uses
                raise UnknownMethod(f"There is no method {name[:100]!r} in the capabilities of this request.")
            self._check_permission(method)
            result = self._run(method, resolve(arguments, self._exchange))
            response = Response(name, result, wire.encode(result), call_id)
        except MethodError as error:
            return self._failed(counted, error, call_id)
        except (StoreBusy, DiskFull) as error:
            self._report(name, error)
            return self._failed(counted, ServerUnavailable("The mail store is busy or full. Try again later."), call_id)
        except Exception as error:  # noqa: BLE001 - RFC 8620 §3.6.2: an unexpected error is that call's serverFail
            reference = self._report(name, error)
            return self._failed(
                counted,
                ServerFail(f"This is the server's fault. Its log has the cause under {reference}."),
                call_id,
            )
        self._engine.count(counted, "ok")
        return response

    def _check_permission(self, method: Method) -> None:
        """Raise Forbidden unless the user may call the method. RFC 8620 §3.6.2"""
        permission = permission_of_method(method.name)
        if not self._exchange.principal.may(permission):
            raise Forbidden(f"{method.name} needs the permission {permission}, which you don't have.")

    def _run(self, method: Method, arguments: dict[str, Any]) -> object:
        decoded: Any = arguments if method.arguments is None else decode_arguments(arguments, method.arguments)
        blobs = self._engine.store.blobs
        if method.writes:
            if method.ahead is not None:
                self._do_ahead(method, method.ahead, decoded)
            prepared = None
            if method.prepare is not None:
                reading = self._sessions.reading()
                account = self._account(method, decoded, reading)
                prepared = method.prepare(Call(reading, blobs, account, self._exchange), decoded)
            self._exchange.states.clear()
            known = dict(self._exchange.created.known)
            try:
                with self._sessions.writing() as session:
                    account = self._account(method, decoded, session)
                    call = Call(session, blobs, account, self._exchange, writes=True, prepared=prepared)
                    return method.run(call, decoded)
            except BaseException:
                self._exchange.created.known = known  # what was created is undone
                raise
        reading = self._sessions.reading()
        return method.run(Call(reading, blobs, self._account(method, decoded, reading), self._exchange), decoded)

    def _do_ahead(self, method: Method, ahead: Callable[[Call, Any], Ahead | None], decoded: Any) -> None:
        reading = self._sessions.reading()
        account = self._account(method, decoded, reading)
        work = ahead(Call(reading, self._engine.store.blobs, account, self._exchange), decoded)
        if work is not None:
            self._sessions.leave()  # a snapshot that is held for long keeps the database's log from being emptied
            work(self._engine.store)

    def _account(self, method: Method, arguments: object, session: Session) -> Account:
        """The account that a call is about, with the user's rights in the snapshot or transaction of the call."""
        if not isinstance(arguments, AccountArguments):
            return next(iter(self._exchange.accounts.values()))
        account = self._exchange.account(session, arguments.account_id)
        if account is None:
            raise AccountNotFound(f"There is no account {arguments.account_id!r} that this user can see.")
        if method.capability in _OF_ACCOUNTS and method.capability not in account.capabilities:
            raise AccountNotSupportedByMethod(f"{method.name} does not work on account {account.id}.")
        may_run = not account.is_read_only or (method.open_to_readers is not None and method.open_to_readers(arguments))
        if method.writes and not may_run:
            raise AccountReadOnly(f"Account {account.id} can only be read.")
        return account

    def _failed(self, counted: str, error: MethodError, call_id: str) -> Response:
        self._exchange.following.clear()
        self._engine.count(counted, error.code)
        properties = error.arguments()
        return Response("error", properties, wire.encode(properties), call_id)

    def _report(self, name: str, error: BaseException) -> str:
        reference = f"{self._caller.request_id}-{len(self._exchange.responses)}"
        self._caller.on_error(reference, f"{name}: {''.join(traceback.format_exception(error)).rstrip()}")
        return reference
