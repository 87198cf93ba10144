"""Bans: networks that are kept out, why, and until when."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, func, insert, select

from stalwart.store.rows import BanReason, BanRow
from stalwart.store.session import Session
from stalwart.store.tables import ban

_ADD = insert(ban)
_REMOVE = delete(ban).where(ban.c.network == bindparam("which"))
_REMOVE_REASON = delete(ban).where(ban.c.reason == bindparam("which"))
_REMOVE_ALL = delete(ban)
_EXPIRED = delete(ban).where(ban.c.until <= bindparam("now"))
_FIND = select(ban.c.network, ban.c.reason, ban.c.since, ban.c.until, ban.c.detail).where(
    ban.c.network == bindparam("which")
)
_ACTIVE = (
    select(ban.c.network, ban.c.reason, ban.c.since, ban.c.until, ban.c.detail)
    .where(ban.c.until.is_(None) | (ban.c.until > bindparam("now")))
    .order_by(ban.c.id)
)
_VERSION = select(func.count(), func.max(ban.c.id)).select_from(ban)


def add_ban(s: Session, row: BanRow) -> BanRow:
    """Keep a network out. One that is banned for longer already stays so; gives what holds then."""
    found = s.connection.execute(_FIND, {"which": row.network}).one_or_none()
    if found is not None:
        known = BanRow(**found._mapping)
        if row.until is not None and (known.until is None or known.until >= row.until):
            return known
        s.connection.execute(_REMOVE, {"which": row.network})
    s.connection.execute(_ADD, {name: getattr(row, name) for name in row.__struct_fields__})
    return row


def list_bans(s: Session) -> list[BanRow]:
    """All bans that hold now, the oldest first."""
    return [BanRow(**row._mapping) for row in s.connection.execute(_ACTIVE, {"now": s.now()})]


def remove_bans(s: Session, *, network: str | None = None, reason: BanReason | None = None) -> int:
    """Lift the ban of one network, those of one reason, or all; gives how many there were."""
    if network is not None:
        return s.connection.execute(_REMOVE, {"which": network}).rowcount
    if reason is not None:
        return s.connection.execute(_REMOVE_REASON, {"which": reason}).rowcount
    return s.connection.execute(_REMOVE_ALL).rowcount


def remove_expired_bans(s: Session) -> int:
    """Forget the bans that are over; gives how many there were."""
    return s.connection.execute(_EXPIRED, {"now": s.now()}).rowcount


def ban_version(s: Session) -> tuple[int, int]:
    """What differs after any change of the bans, whoever made it: their ids are never used twice."""
    count, last = s.connection.execute(_VERSION).one()
    return int(count), int(last or 0)
