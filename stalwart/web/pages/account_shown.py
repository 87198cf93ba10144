"""What the account page shows: who it is, how they sign in, and what is signed in, with the times of last use."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from stalwart.auth import Principal
from stalwart.auth.self_service import authorised_clients, owner_id, signed_in_browsers
from stalwart.store import Session, count_recovery_codes, find_totp, list_credentials
from stalwart.web.pages.rendering import shown_name


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line with a button that ends what it stands for. Times are texts in UTC, '' for never."""

    id: int
    name: str
    used: str
    address: str = ""
    is_own: bool = False
    """Whether it is the browser that looks at the page."""


class ShownAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account as its page shows it."""

    name: str
    may_change: bool
    has_totp: bool
    codes_left: int
    app_passwords: list[Entry]
    browsers: list[Entry]
    clients: list[Entry]


def shown_account(s: Session, principal: Principal, *, own: int) -> ShownAccount:
    """What there is to show. `own` is the session of the browser that looks at it."""
    owner = owner_id(s, principal)
    return ShownAccount(
        name=principal.address,
        may_change=principal.may("manage-passwords"),
        has_totp=find_totp(s, owner) is not None,
        codes_left=count_recovery_codes(s, owner),
        app_passwords=[
            Entry(id=row.id, name=shown_name(row.name), used=_time(row.last_used_at))
            for row in list_credentials(s, owner)
        ],
        browsers=[
            Entry(
                id=row.id,
                name=shown_name(row.agent),
                used=_time(row.used_at),
                address=row.address,
                is_own=row.id == own,
            )
            for row in signed_in_browsers(s, principal)
        ],
        clients=[
            Entry(
                id=row.id,
                name=shown_name(row.client_name) or shown_name(row.client_id),
                used=_time(row.last_used_at),
                address=row.address,
            )
            for row in authorised_clients(s, principal)
        ],
    )


def _time(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
