"""What EventSource and WebSocket share: who may open a stream, how many there may be, and the states to begin from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from twisted.internet.interfaces import IReactorTime

from stalwart import store
from stalwart.auth import Principal, load_principal
from stalwart.config import JmapSettings
from stalwart.http import Problem, Request, require
from stalwart.http.guarding import charge_account, charge_anonymous, refund_anonymous
from stalwart.jmap.errors import SignInExpired
from stalwart.jmap.permissions import EVENT_SOURCE, WEB_SOCKET
from stalwart.jmap.push import Told, told_of
from stalwart.jmap.session import accounts_of
from stalwart.store import Purpose, Session, StoreBusy
from stalwart.web.jmap_announcer import Announcer
from stalwart.web.jmap_surface import Surface, Turns

COOKIE = "stalwart-stream"
_NEEDED = {"eventsource": EVENT_SOURCE, "websocket": WEB_SOCKET}

_MOST_STREAMS = 64
"""Of one account, EventSources and WebSockets together."""

_TICKET = re.compile(r"[A-Za-z0-9_-]{20,100}", re.ASCII)


class Streams:
    """What the endpoints of streams work with; one for all listeners."""

    def __init__(
        self, jmap: Surface, announcer: Announcer, reactor: IReactorTime, settings: JmapSettings | None = None
    ) -> None:
        self.jmap = jmap
        self.announcer = announcer
        self.reactor = reactor
        self.settings = settings or JmapSettings()
        self._open = Turns("maxConcurrentStreams", _MOST_STREAMS, policy="concurrent-streams")

    def count(self, request: Request) -> None:
        """Count the request among the account's streams until it ends. Raises Problem 429, or 503 at the stop."""
        if self.announcer.closed:
            raise Problem(503, "The server is stopping.", headers=(("Retry-After", "5"),))
        assert request.principal is not None
        self._open.take(request, request.principal.account_id)

    async def accounts(self, request: Request) -> Mapping[int, Told]:
        """The accounts whose changes the user is told of, by the store's numbers."""

        def look(principal: Principal) -> Mapping[int, Told]:
            with self.jmap.store.read() as s:
                self._check(s, principal)
                shares = store.shared_with(s, principal.account_id)
            return told_of(accounts_of(principal, shares, self.jmap.limits).values())

        return await self.jmap.in_thread(request, look)

    async def current_states(self, request: Request, accounts: Mapping[int, Told]) -> Mapping[int, Mapping[str, int]]:
        """The states of all types of these accounts."""

        def look(principal: Principal) -> Mapping[int, Mapping[str, int]]:
            with self.jmap.store.read() as s:
                self._check(s, principal)
                return store.states(s, accounts)

        return await self.jmap.in_thread(request, look)

    def _check(self, s: Session, principal: Principal) -> None:
        if not self.jmap.authenticator.still_valid(s, principal):
            raise SignInExpired("The password was changed. Sign in again.")

    # Who may open a stream.

    async def sign_in(self, request: Request, purpose: Literal["eventsource", "websocket"]) -> None:
        """Find out who opens a stream: by a ticket, the Authorization field, or the cookie. Raises Problem.

        Browsers send cookies, and to WebSockets passwords that they remember, whichever page opens the stream. So these
        count for pages of this server only; a page from elsewhere needs a ticket.
        """
        needed = _NEEDED[purpose]
        tickets = request.query_args.get("ticket")
        if tickets is not None:
            await self._by_ticket(request, tickets[0] if len(tickets) == 1 else "", purpose, needed)
            return
        cookie = None if request.header(b"authorization") is not None else cookie_of(request)
        if cookie is not None or purpose == "websocket":
            await self._check_origin(request, must_be_told=cookie is not None and purpose == "websocket")
        if cookie is not None:
            await self._by_ticket(request, cookie, "cookie", needed)
        else:
            await self.jmap.sign_in(request, needed)

    async def _check_origin(self, request: Request, *, must_be_told: bool) -> None:
        """Raise Problem 403 unless it is a page of this server that asks, as far as the browser says.

        Browsers always say so for a WebSocket (RFC 6455 §4.1), and for other requests that cross origins.
        """
        origins = request.header_values(b"origin")
        own = (f"{request.scheme}://{request.authority}", _origin(await self.jmap.base_url(request)))
        if origins:
            fine = len(origins) == 1 and origins[0].decode("latin-1").lower() in own
        else:
            fine = not must_be_told and request.header(b"sec-fetch-site") in (None, b"same-origin", b"none")
        if not fine:
            raise Problem(403, "A page of another site can open this with a ticket only: see POST /jmap/ticket.")

    async def _by_ticket(self, request: Request, ticket: str, purpose: Purpose, needed: str) -> None:
        guard = request.site.guard
        # As with passwords: whoever shows a wrong one has used up one of the anonymous requests.
        charged = guard is not None and charge_anonymous(guard, request)
        if not _TICKET.fullmatch(ticket):
            raise _refused()
        try:
            # Strangers take turns by their addresses, as they do for passwords.
            principal = await self.jmap.turns.run(
                request.client_address, lambda: self._redeem(ticket.encode("ascii"), purpose)
            )
        except StoreBusy as error:
            raise Problem(503, "The mail store is busy. Try again.", headers=(("Retry-After", "5"),)) from error
        if principal is None or not principal.may_come_from(request.client_address):
            raise _refused()
        for permission in ("authenticate", needed):
            require(principal, permission)
        request.principal = principal
        if guard is not None:
            if charged:
                refund_anonymous(guard, request)
            charge_account(guard, request, principal.account_id)

    def _redeem(self, ticket: bytes, purpose: Purpose) -> Principal | None:
        """In a thread: who the ticket stands for; if it isn't the cookie it is used up."""
        opened = self.jmap.store
        with opened.read() as s:
            row = store.find_ticket(s, ticket)
            if row is None or row.purpose != purpose:
                return None
            principal = load_principal(s, row.account_id, row.credential_id, token_id=row.token_id)
        if principal is None or principal.credential_version != row.credential_version:
            return None
        if purpose != "cookie":
            with opened.write() as s:
                if not store.redeem_ticket(s, ticket):
                    return None
        return principal


def _refused() -> Problem:
    # Not 401, which would have a browser ask its user for a password.
    return Problem(403, "This ticket is unknown, expired or used already. POST /jmap/ticket gives another.")


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}".lower()


def cookie_of(request: Request) -> str | None:
    """The ticket in the cookie that the request brings."""
    for field in request.header_values(b"cookie"):
        for pair in field.decode("latin-1").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == COOKIE:
                return value
    return None
