"""What the endpoints of OAuth share: reading forms, the way into a thread, and answers as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import msgspec
from twisted.logger import Logger

from stalwart.auth import Authenticator, Principal
from stalwart.auth.oauth.errors import OAuthError
from stalwart.auth.oauth.parameters import Parameters, parse_parameters
from stalwart.config import OAuthSettings
from stalwart.http import Endpoint, Problem, Request, Response, unauthorized
from stalwart.http.auth import RunsInThread
from stalwart.http.base_url import base_url
from stalwart.http.guarding import refund_anonymous
from stalwart.ops.lanes import Crowded, Lanes
from stalwart.ops.prefixes import client_key
from stalwart.store import DiskFull, Session, Store, StoreBusy

T = TypeVar("T")

_log = Logger(namespace="stalwart.oauth")
_FORM = re.compile(
    rb'application/x-www-form-urlencoded[ \t]*(?:;[ \t]*charset[ \t]*=[ \t]*"?utf-8"?[ \t]*)?;?', re.IGNORECASE
)
_MOST_WAITING = 100
NOT_STORED = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))  # RFC 6749 §5.1
# Answers depend on nothing that a browser adds by itself, so that any page may ask.
ANY_ORIGIN = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After"),
)


class OAuth:
    """What the endpoints work with; one for all listeners. `hostname` is as in `base_url`."""

    def __init__(
        self,
        store: Store,
        authenticator: Authenticator,
        pool: RunsInThread,
        sign_ins_of: Callable[[Request], RunsInThread],
        *,
        hostname: str,
        threads: int,
        settings: OAuthSettings,
    ) -> None:
        """`threads` is how many `pool` has; one client address never holds all of them, if there are two.

        `sign_ins_of` gives where a request's password is checked, without others having to wait for it.
        """
        self.store = store
        self.authenticator = authenticator
        self.sign_ins_of = sign_ins_of
        self.settings = settings
        self._hostname = hostname
        spare = max(1, threads - 1)
        self.turns = Lanes(pool, at_once=spare, each=spare, most_waiting=_MOST_WAITING)

    async def issuer(self, request: Request) -> str:
        """What this server is called in tokens and metadata."""
        return await base_url(request, self._hostname)

    async def write(self, request: Request, function: Callable[[Session], T]) -> T:
        """Run `function` in a transaction, in a thread. Raises OAuthError when the store can't."""

        def work() -> T:
            with self.store.write() as s:
                return function(s)

        return await self._run(request, work)

    async def read(self, request: Request, function: Callable[[Session], T]) -> T:
        """Run `function` in a snapshot, in a thread. Raises OAuthError when the store can't."""

        def work() -> T:
            with self.store.read() as s:
                return function(s)

        return await self._run(request, work)

    async def _run(self, request: Request, work: Callable[[], T]) -> T:
        try:
            return await self.turns.run(client_key(request.client_address), work)
        except (Crowded, StoreBusy, DiskFull) as error:
            raise OAuthError(
                "temporarily_unavailable", "The server is busy. Try again.", status=503, retry_after=5
            ) from error

    async def renewed(self, request: Request, principal: Principal) -> Problem:
        """The refusal of a principal whose credentials have ended since they were verified."""
        self.authenticator.forget(principal.account_id)
        return await unauthorized(request, "These credentials have ended. Sign in again.")


class OAuthEndpoint(Endpoint):
    """A page that answers with JSON, also to pages of other origins."""

    surface = "oauth"
    charged = True
    body_limit = 8192
    cors: ClassVar[bool] = True

    def __init__(self, oauth: OAuth) -> None:
        super().__init__()
        self.oauth = oauth

    async def options(self, request: Request) -> Response:
        """Which methods there are; for pages of other origins, too (Fetch §3.3.3)."""
        answer = await super().options(request)
        if not self.cors:
            return answer
        allowed = (
            ("Access-Control-Allow-Methods", ", ".join(self.allowed)),
            ("Access-Control-Allow-Headers", "Authorization, Content-Type"),
            ("Access-Control-Max-Age", "3600"),
        )
        return msgspec.structs.replace(answer, headers=(*answer.headers, *ANY_ORIGIN, *allowed))

    def json(self, value: Any, *, status: int = 200, headers: tuple[tuple[str, str], ...] = NOT_STORED) -> Response:
        """An answer with this value."""
        return Response(
            status=status,
            body=msgspec.json.encode(value),
            content_type="application/json",
            headers=(*headers, *(ANY_ORIGIN if self.cors else ())),
        )

    def refusal(self, error: OAuthError) -> Response:
        """An error as RFC 6749 §5.2 has it."""
        headers: tuple[tuple[str, str], ...] = NOT_STORED
        if error.status == 401:
            # RFC 6749 §5.2
            headers = (*headers, ("WWW-Authenticate", 'Basic realm="Stalwart Server", charset="UTF-8"'))
        if error.retry_after is not None:
            headers = (*headers, ("Retry-After", str(error.retry_after)))
        document = {"error": error.code, "error_description": error.description}
        return self.json(document, status=error.status, headers=headers)


class FormEndpoint(OAuthEndpoint):
    """A page that takes a form; subclasses say what they answer to its parameters."""

    proves: ClassVar[bool] = False
    """Whether an answer proves that the client isn't just anybody, so that it isn't charged."""

    async def post(self, request: Request) -> Response:
        """Answer the form in the body, or refuse it in the way of RFC 6749 §5.2."""
        try:
            answer = await self.answer(request, _form(request))
        except OAuthError as error:
            if error.reason is not None:
                _log.warn("{reason}; asked from {client}", reason=error.reason, client=request.client_address)
            return self.refusal(error)
        if self.proves and request.rate_fields and request.site.guard is not None:
            refund_anonymous(request.site.guard, request)
        return self.json(answer)

    async def answer(self, request: Request, parameters: Parameters) -> Mapping[str, Any] | msgspec.Struct:
        """What to answer. Raises OAuthError."""
        raise NotImplementedError


def _form(request: Request) -> Parameters:
    if not _FORM.fullmatch(request.header(b"content-type") or b""):
        raise OAuthError("invalid_request", "The Content-Type must be application/x-www-form-urlencoded.")
    if request.query:
        # RFC 6749 §2.3.1: URLs lie about in logs
        raise OAuthError("invalid_request", "The parameters belong into the body, and none into the URL.")
    parameters = parse_parameters(request.read_body())
    parameters.refuse_repeated()
    return parameters
