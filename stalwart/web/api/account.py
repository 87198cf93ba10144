"""`/api/account`: what people see and change about their own account, and the tree of all that lies below."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from twisted.web.resource import IResource

from stalwart.auth import Principal
from stalwart.http import Request, Response
from stalwart.store import Session, count_recovery_codes, describe_principal, find_totp, principal_of_account
from stalwart.web.api.app_passwords import AppPasswords
from stalwart.web.api.office import Office, Owner, OwnerEndpoint, WrongMember, answer, body_of
from stalwart.web.api.signed_in import BrowserSessions, Tokens
from stalwart.web.api.signing_in import ChangePassword, Totp, TotpConfirm, TotpDisable, TotpRecoveryCodes
from stalwart.web.pages.desk import Desk

_LONGEST_DESCRIPTION = 250
# RFC 5646 §2.1, as far as its syntax matters here
_LOCALE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,4}", re.ASCII)


class _Changes(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be another; RFC 7396: null takes away."""

    description: str | UnsetType | None = UNSET
    locale: str | UnsetType | None = UNSET


class Account(OwnerEndpoint):
    """The account."""

    async def get(self, request: Request) -> Response:
        """What there is to know about it; for browsers, with the token that changes need."""
        owner = await self.office.owner(request, "authenticate")
        return answer(await self.office.read(request, owner, lambda s, principal: _account(s, owner, principal)))

    async def patch(self, request: Request) -> Response:
        """Change description or locale (RFC 7396)."""
        owner = await self.office.owner(request, "manage-passwords")
        changes = body_of(request, _Changes)

        def change(s: Session, principal: Principal) -> dict[str, Any]:
            row = principal_of_account(s, principal.account_id)
            description = row.description if changes.description is UNSET else _description(changes.description)
            locale = row.locale if changes.locale is UNSET else _locale(changes.locale)
            describe_principal(s, row.id, description=description, locale=locale)
            return _account(s, owner, principal)

        return answer(await self.office.write(request, owner, change))


def account_api(desk: Desk, hostname: str) -> Mapping[str, IResource]:
    """What is to be put into a listener's resource tree, by path. `hostname` is what apps show second factors of."""
    office = Office(desk, hostname)
    return {
        "/api/account": Account(office),
        "/api/account/password": ChangePassword(office),
        "/api/account/totp": Totp(office),
        "/api/account/totp/confirm": TotpConfirm(office),
        "/api/account/totp/disable": TotpDisable(office),
        "/api/account/totp/recovery-codes": TotpRecoveryCodes(office),
        "/api/account/app-passwords": AppPasswords(office),
        "/api/account/sessions": BrowserSessions(office),
        "/api/account/tokens": Tokens(office),
    }


def _account(s: Session, owner: Owner, principal: Principal) -> dict[str, Any]:
    row = principal_of_account(s, principal.account_id)
    shown: dict[str, Any] = {
        "address": principal.address,
        "name": principal.name,
        "description": row.description,
        "locale": row.locale,
        "permissions": sorted(principal.permissions),
        "totp": {
            "enabled": find_totp(s, row.id) is not None,
            "recoveryCodesLeft": count_recovery_codes(s, row.id),
        },
    }
    return shown if owner.csrf_token is None else {**shown, "csrfToken": owner.csrf_token}


def _description(text: str | None) -> str:
    text = (text or "").strip()
    if len(text) > _LONGEST_DESCRIPTION or any(unicodedata.category(each) in ("Cc", "Cf", "Cs") for each in text):
        raise WrongMember("description", f"must be text of at most {_LONGEST_DESCRIPTION} characters on one line")
    return text


def _locale(text: str | None) -> str | None:
    if text is not None and not _LOCALE.fullmatch(text):
        raise WrongMember("locale", "must be a language tag, such as de or en-GB (RFC 5646)")
    return text
