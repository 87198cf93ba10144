"""`POST /jmap/ticket?for=…`: what lets a browser open streams, where it can't send an Authorization field."""

from __future__ import annotations

import secrets

import msgspec

from stalwart import store
from stalwart.auth import Principal
from stalwart.http import Endpoint, Problem, Request, Response
from stalwart.store import Purpose, TicketRow
from stalwart.web.jmap_streams import COOKIE, cookie_of
from stalwart.web.jmap_surface import Surface

_TICKET_SECONDS = 60
_COOKIE_SECONDS = 3600
_MOST_TICKETS = 100
"""Of one account at a time."""

_PURPOSES: dict[str, Purpose] = {"eventsource": "eventsource", "websocket": "websocket", "cookie": "cookie"}
_NOT_STORED = ("Cache-Control", "no-store")


class Tickets(Endpoint):
    """Gives tickets, and takes them all back."""

    surface = "jmap-ticket"
    body_limit = 1024  # not read: `fetch` may send one all the same

    def __init__(self, jmap: Surface) -> None:
        super().__init__()
        self._jmap = jmap

    async def admit(self, request: Request) -> None:
        """Sign in: by the Authorization field only."""
        await self._jmap.sign_in(request)

    async def post(self, request: Request) -> Response:
        """A ticket for one stream within a minute; `for=cookie` sets a cookie that opens streams for an hour."""
        given = request.query_args.get("for", [])
        purpose = _PURPOSES.get(given[0]) if len(given) == 1 else None
        if purpose is None:
            raise Problem(400, "The parameter for must be eventsource, websocket or cookie.")
        lasts = _COOKIE_SECONDS if purpose == "cookie" else _TICKET_SECONDS
        ticket = secrets.token_urlsafe(32)
        replaced = cookie_of(request) if purpose == "cookie" else None

        def keep(principal: Principal) -> bool:
            row = TicketRow(
                account_id=principal.account_id,
                credential_version=principal.credential_version,
                credential_id=principal.credential_id,
                token_id=principal.token_id,
                purpose=purpose,
            )
            with self._jmap.store.write() as s:
                if replaced is not None:
                    store.redeem_ticket(s, replaced.encode("latin-1"))  # or reloads of a page would use up all tickets
                return store.add_ticket(s, ticket.encode("ascii"), row, lasts=lasts, most=_MOST_TICKETS)

        if not await self._jmap.in_thread(request, keep):
            raise Problem(
                429, f"This account has {_MOST_TICKETS} tickets that were not used.", headers=(("Retry-After", "60"),)
            )
        if purpose == "cookie":
            return Response(status=204, headers=(_NOT_STORED, ("Set-Cookie", _set_cookie(request, ticket, lasts))))
        body = msgspec.json.encode({"ticket": ticket, "for": purpose, "expiresIn": lasts})
        return Response(status=201, body=body, content_type="application/json", headers=(_NOT_STORED,))

    async def delete(self, request: Request) -> Response:
        """Take back all tickets and cookies of the account; streams that are open stay open."""

        def revoke(principal: Principal) -> None:
            with self._jmap.store.write() as s:
                store.revoke_tickets(s, principal.account_id)

        await self._jmap.in_thread(request, revoke)
        return Response(status=204, headers=(_NOT_STORED, ("Set-Cookie", _set_cookie(request, "", 0))))


def _set_cookie(request: Request, value: str, seconds: int) -> str:
    # RFC 6265 §4.1. Scripts can't read it, other sites' pages can't have it sent.
    secure = "; Secure" if request.isSecure() else ""
    return f"{COOKIE}={value}; Path=/jmap; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
