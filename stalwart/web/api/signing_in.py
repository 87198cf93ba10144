"""`/api/account/password` and `/api/account/totp`: what one's own sign-in takes."""

from __future__ import annotations

import msgspec

from stalwart.auth import Principal
from stalwart.auth.codes import qr_code
from stalwart.auth.self_service import (
    change_password,
    confirm_totp,
    disable_totp,
    enrol_totp,
    new_recovery_codes,
    refuse_password,
)
from stalwart.http import Request, Response
from stalwart.mail.normal import normalized
from stalwart.store import Session
from stalwart.web.api.office import (
    Owner,
    OwnerEndpoint,
    WrongMember,
    answer,
    body_of,
    nothing,
    refusal,
    time_of,
)
from stalwart.web.pages.desk import session_cookie
from stalwart.web.pages.own_account import go_on, hash_password, note

_PERMISSION = "manage-passwords"


class _NewPassword(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    current_password: str
    new_password: str


class _Present(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    current_password: str


class _Code(msgspec.Struct, forbid_unknown_fields=True):
    code: str


class ChangePassword(OwnerEndpoint):
    """The password."""

    async def post(self, request: Request) -> Response:
        """Change it: all browsers, OAuth clients and programs with the old one are signed out, but for who asks."""
        office = self.office
        owner = await office.owner(request, _PERMISSION)
        body = body_of(request, _NewPassword)
        present, wanted = (normalized("NFC", text) for text in (body.current_password, body.new_password))
        await office.check_present(request, owner, present)
        reason = refuse_password(wanted, present=present, principal=owner.principal)
        if reason is not None:
            raise refusal(WrongMember("newPassword", reason))
        hashed = await hash_password(office.desk, request, wanted)

        def change(s: Session, principal: Principal) -> str | None:
            change_password(s, principal.account_id, hashed)
            return _go_on(s, request, owner)

        token = await office.write(request, owner, change)
        note(request, owner.principal, "has changed the password")
        return nothing(_cookie(owner, token))


class Totp(OwnerEndpoint):
    """The second factor."""

    async def post(self, request: Request) -> Response:
        """Begin to set one up: its secret, for an app. Nothing changes until a code confirms it."""
        office = self.office
        owner = await office.owner(request, _PERMISSION)
        body = body_of(request, _Present)
        await office.check_present(request, owner, body.current_password)
        made = await office.write(request, owner, lambda s, who: enrol_totp(s, who, issuer=office.hostname))
        return answer(
            {
                "secret": made.secret,
                "uri": made.uri,
                "qr": qr_code(made.uri),
                "expires": time_of(made.expires_at),
            }
        )


class TotpConfirm(OwnerEndpoint):
    """The end of setting it up."""

    async def post(self, request: Request) -> Response:
        """Ask for codes from now on, if this one is right; gives recovery codes, once. Others are signed out."""
        office = self.office
        owner = await office.owner(request, _PERMISSION)
        body = body_of(request, _Code)

        def confirm(s: Session, principal: Principal) -> tuple[list[str], str | None]:
            codes = confirm_totp(s, principal, body.code.replace(" ", ""))
            if codes is None:
                raise WrongMember("code", "is wrong, or it is of another time: the clock of your device may be off")
            return codes, _go_on(s, request, owner)

        codes, token = await office.write(request, owner, confirm)
        note(request, owner.principal, "has set up a second factor")
        return answer({"recoveryCodes": codes}, headers=_cookie(owner, token))


class TotpDisable(OwnerEndpoint):
    """Its end."""

    async def post(self, request: Request) -> Response:
        """Ask for no codes any more."""
        owner = await self.office.owner(request, _PERMISSION)
        body = body_of(request, _Present)
        await self.office.check_present(request, owner, body.current_password)
        await self.office.write(request, owner, disable_totp)
        note(request, owner.principal, "has taken away the second factor")
        return nothing()


class TotpRecoveryCodes(OwnerEndpoint):
    """Codes for when the app is lost."""

    async def post(self, request: Request) -> Response:
        """New ones, shown once; the old ones don't count any more."""
        owner = await self.office.owner(request, _PERMISSION)
        body = body_of(request, _Present)
        await self.office.check_present(request, owner, body.current_password)
        codes = await self.office.write(request, owner, new_recovery_codes)
        note(request, owner.principal, "has made new recovery codes")
        return answer({"recoveryCodes": codes})


def _go_on(s: Session, request: Request, owner: Owner) -> str | None:
    """A session for the browser that asks, in place of the one that ended with all others; gives its token."""
    return None if owner.session is None else go_on(s, request, owner.principal.account_id)


def _cookie(owner: Owner, token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None or owner.visitor is None else (session_cookie(owner.visitor, token),)
