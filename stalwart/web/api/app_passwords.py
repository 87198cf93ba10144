"""`/api/account/app-passwords`: passwords for single programs, shown once, taken back one by one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from twisted.logger import Logger

from stalwart.auth import Principal
from stalwart.auth.self_service import (
    LONGEST_NAME,
    add_app_password,
    is_app_password_name,
    owner_id,
    revoke_app_password,
)
from stalwart.http import Request, Response
from stalwart.store import CredentialRow, Session, list_credentials
from stalwart.web.api.collection import Collection, Member
from stalwart.web.api.office import WrongMember, answer, body_of, nothing, refusal, time_of

_log = Logger(namespace="stalwart.account")
_PERMISSION = "manage-passwords"


class _New(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    current_password: str
    name: str
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class AppPassword(Member):
    """One."""

    async def delete(self, request: Request) -> Response:
        """Take it back; it holds at once."""
        owner = await self.office.owner(request, _PERMISSION)
        number = self.number
        name = await self.office.write(request, owner, lambda s, principal: revoke_app_password(s, principal, number))
        _log.info(
            "{who} has revoked the app password {name!r}, from {address}",
            who=owner.principal.address,
            name=name,
            address=request.client_address,
        )
        return nothing()


class AppPasswords(Collection):
    """All of them."""

    member = AppPassword
    pages_below = AppPassword

    async def get(self, request: Request) -> Response:
        """Their names and times; never the passwords."""
        owner = await self.office.owner(request, _PERMISSION)
        rows = await self.office.read(request, owner, lambda s, who: list_credentials(s, owner_id(s, who)))
        return answer({"items": [_shown(row) for row in rows]})

    async def post(self, request: Request) -> Response:
        """Make one, which is shown in this answer and nowhere else."""
        owner = await self.office.owner(request, _PERMISSION)
        body = body_of(request, _New)
        name = body.name.strip()
        if not is_app_password_name(name):
            raise refusal(WrongMember("name", f"must be text of 1 to {LONGEST_NAME} characters on one line"))
        await self.office.check_present(request, owner, body.current_password)
        expires_at = None if body.expires is None else int(body.expires.timestamp())

        def make(s: Session, principal: Principal) -> tuple[CredentialRow, str]:
            if expires_at is not None and expires_at <= s.now():
                raise WrongMember("expires", "must be in the future")
            return add_app_password(s, principal, name, expires_at=expires_at)

        row, password = await self.office.write(request, owner, make)
        _log.info(
            "{who} has made the app password {name!r}, from {address}",
            who=owner.principal.address,
            name=name,
            address=request.client_address,
        )
        location = ("Location", f"/api/account/app-passwords/{row.id}")
        return answer({**_shown(row), "password": password}, status=201, headers=(location,))


def _shown(row: CredentialRow) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "created": time_of(row.created_at),
        "lastUsed": time_of(row.last_used_at),
        "expires": time_of(row.expires_at),
    }
