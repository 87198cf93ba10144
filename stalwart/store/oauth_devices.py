"""Device flows under way (RFC 8628): what a device waits for, and what was decided."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, delete, insert, select, update

from stalwart.store.errors import AlreadyExists
from stalwart.store.oauth_grants import secret_hash
from stalwart.store.session import Session
from stalwart.store.tables import oauth_device

_d = oauth_device.c
_DEVICES = select(*(column for column in _d if column.name != "hash"))
_BY_HASH = _DEVICES.where(_d.hash == bindparam("secret_hash"))
_WAITING = _DEVICES.where(
    _d.user_code == bindparam("typed"), _d.is_decided.is_(False), _d.expires_at > bindparam("now")
)
_TAKEN = select(_d.user_code).where(_d.user_code == bindparam("typed"))
_INSERT = insert(oauth_device)
_DECIDE = (
    update(oauth_device)
    .where(_d.user_code == bindparam("typed"), _d.is_decided.is_(False), _d.expires_at > bindparam("now"))
    .values(is_decided=True, grant_id=bindparam("by_grant"))
)
_ASKED = (
    update(oauth_device)
    .where(_d.hash == bindparam("secret_hash"))
    .values(asked_at=bindparam("at"), interval=bindparam("seconds"))
)
_REMOVE = delete(oauth_device).where(_d.hash == bindparam("secret_hash"))
_EXPIRE = delete(oauth_device).where(_d.expires_at <= bindparam("before"))


class DeviceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A device flow. Once decided, `grant_id` None means that the user said no.

    `interval` is how many seconds the client has to wait between its questions, `asked_at` when it asked last.
    """

    user_code: str
    client_row_id: int | None
    client_id: str
    scope: tuple[str, ...]
    nonce: str | None
    address: str
    interval: int
    asked_at: int | None = None
    expires_at: int
    is_decided: bool = False
    grant_id: int | None = None


def add_device(s: Session, device_code: str, row: DeviceRow) -> None:
    """Keep a new device flow; `device_code` must be random. AlreadyExists if the user code is taken."""
    if s.connection.scalar(_TAKEN, {"typed": row.user_code}) is not None:
        raise AlreadyExists("this user code is taken")
    values = {**msgspec.structs.asdict(row), "scope": " ".join(row.scope), "hash": secret_hash(device_code)}
    s.connection.execute(_INSERT, values)


def find_device(s: Session, device_code: str) -> DeviceRow | None:
    """The flow that a device code stands for, also one that has expired a short while ago."""
    row = s.connection.execute(_BY_HASH, {"secret_hash": secret_hash(device_code)}).one_or_none()
    return None if row is None else _row(row)


def find_device_by_user_code(s: Session, user_code: str) -> DeviceRow | None:
    """The flow that waits for somebody to decide about it."""
    row = s.connection.execute(_WAITING, {"typed": user_code, "now": s.now()}).one_or_none()
    return None if row is None else _row(row)


def decide_device(s: Session, user_code: str, grant_id: int | None) -> bool:
    """Say what was decided, None for no; False if the flow doesn't wait for it."""
    values = {"typed": user_code, "now": s.now(), "by_grant": grant_id}
    return bool(s.connection.execute(_DECIDE, values).rowcount)


def note_question(s: Session, device_code: str, interval: int) -> None:
    """Note that the client asked just now, and how long it has to wait from now on."""
    s.connection.execute(_ASKED, {"secret_hash": secret_hash(device_code), "at": s.now(), "seconds": interval})


def remove_device(s: Session, device_code: str) -> None:
    """The client has its answer."""
    s.connection.execute(_REMOVE, {"secret_hash": secret_hash(device_code)})


def expire_devices(s: Session, before: int) -> None:
    """Remove flows that had expired before a time."""
    s.connection.execute(_EXPIRE, {"before": before})


def _row(row: Row[*tuple[Any, ...]]) -> DeviceRow:
    return DeviceRow(**{**row._mapping, "scope": tuple(row.scope.split())})
