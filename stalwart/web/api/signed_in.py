"""`/api/account/sessions` and `/api/account/tokens`: the browsers and OAuth clients that are signed in."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from stalwart.auth import Principal
from stalwart.auth.self_service import authorised_clients, revoke_client, signed_in_browsers
from stalwart.http import Request, Response
from stalwart.store import (
    BrowserSessionRow,
    GrantRow,
    Session,
    end_grants,
    remove_browser_session,
    remove_browser_sessions,
)
from stalwart.web.api.collection import Collection, Member
from stalwart.web.api.office import answer, nothing, time_of

_log = Logger(namespace="stalwart.account")
_PERMISSION = "manage-passwords"


class OneBrowserSession(Member):
    """A browser."""

    async def delete(self, request: Request) -> Response:
        """Sign it out."""
        owner = await self.office.owner(request, _PERMISSION)
        number = self.number
        await self.office.write(
            request, owner, lambda s, principal: remove_browser_session(s, principal.account_id, number)
        )
        return nothing()


class BrowserSessions(Collection):
    """The browsers."""

    member = OneBrowserSession
    pages_below = OneBrowserSession

    async def get(self, request: Request) -> Response:
        """Those that are signed in, the last used first."""
        owner = await self.office.owner(request, _PERMISSION)
        own = None if owner.session is None else owner.session.id

        def look(s: Session, principal: Principal) -> list[dict[str, Any]]:
            return [_browser(row, own) for row in signed_in_browsers(s, principal)]

        return answer({"items": await self.office.read(request, owner, look)})

    async def delete(self, request: Request) -> Response:
        """Sign all out, but for the one that asks."""
        owner = await self.office.owner(request, _PERMISSION)
        but = 0 if owner.session is None else owner.session.id
        count = await self.office.write(
            request, owner, lambda s, principal: remove_browser_sessions(s, principal.account_id, but=but)
        )
        _log.info("{who} has signed {count} browsers out", who=owner.principal.address, count=count)
        return nothing()


class OneToken(Member):
    """What one OAuth client may do."""

    async def delete(self, request: Request) -> Response:
        """Revoke it, with all its tokens."""
        owner = await self.office.owner(request, _PERMISSION)
        number = self.number
        await self.office.write(request, owner, lambda s, principal: revoke_client(s, principal, number))
        return nothing()


class Tokens(Collection):
    """What OAuth clients may do."""

    member = OneToken
    pages_below = OneToken

    async def get(self, request: Request) -> Response:
        """The authorisations for which there are tokens."""
        owner = await self.office.owner(request, _PERMISSION)

        def look(s: Session, principal: Principal) -> list[dict[str, Any]]:
            return [_token(row, owner.principal.grant_id) for row in authorised_clients(s, principal)]

        return answer({"items": await self.office.read(request, owner, look)})

    async def delete(self, request: Request) -> Response:
        """Revoke all."""
        owner = await self.office.owner(request, _PERMISSION)
        count = await self.office.write(request, owner, lambda s, principal: end_grants(s, principal.account_id))
        _log.info("{who} has revoked {count} OAuth clients", who=owner.principal.address, count=count)
        return nothing()


def _browser(row: BrowserSessionRow, own: int | None) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "created": time_of(row.signed_in_at),
        "lastUsed": time_of(row.used_at),
        "expires": time_of(row.ends_at),
        "address": row.address,
        "userAgent": row.agent,
        "current": row.id == own,
    }


def _token(row: GrantRow, own: int | None) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "clientId": row.client_id,
        "clientName": row.client_name,
        "scope": " ".join(row.scope),
        "created": time_of(row.created_at),
        "lastUsed": time_of(row.last_used_at),
        "address": row.address,
        "current": row.id == own,
    }
