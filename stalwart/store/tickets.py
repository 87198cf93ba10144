"""Tickets: what stands in for a sign-in on streams that a browser opens (EventSource, WebSocket). Kept as hashes."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select

from stalwart.store.session import Session
from stalwart.store.tables import stream_ticket

Purpose = Literal["eventsource", "websocket", "cookie"]

_INSERT = insert(stream_ticket)
_TICKET = select(
    stream_ticket.c.account_id,
    stream_ticket.c.credential_version,
    stream_ticket.c.credential_id,
    stream_ticket.c.token_id,
    stream_ticket.c.purpose,
    stream_ticket.c.expires_at,
).where(stream_ticket.c.hash == bindparam("ticket_hash"))
_COUNT = select(func.count()).where(stream_ticket.c.account_id == bindparam("account"))
_REDEEM = delete(stream_ticket).where(stream_ticket.c.hash == bindparam("ticket_hash"))
_EXPIRE = delete(stream_ticket).where(stream_ticket.c.expires_at <= bindparam("now"))
_REVOKE = delete(stream_ticket).where(stream_ticket.c.account_id == bindparam("account"))


class TicketRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a ticket stands for: an account, as long as its password is of this version.

    With `credential_id` it is an app password or an API key that must be there still, and the version is 0. With
    `token_id` it lets in as far as this access token does.
    """

    account_id: int
    credential_version: int
    credential_id: int | None = None
    token_id: int | None = None
    purpose: Purpose


def add_ticket(s: Session, ticket: bytes, row: TicketRow, *, lasts: int, most: int) -> bool:
    """Keep a new ticket for `lasts` seconds; False if the account has `most` of them already.

    `ticket` must be random. Tickets of all accounts that have expired are removed.
    """
    now = s.now()
    s.connection.execute(_EXPIRE, {"now": now})
    if s.connection.execute(_COUNT, {"account": row.account_id}).scalar_one() >= most:
        return False
    s.connection.execute(_INSERT, {"hash": _hash(ticket), "expires_at": now + lasts, **msgspec.structs.asdict(row)})
    return True


def find_ticket(s: Session, ticket: bytes) -> TicketRow | None:
    """What the ticket stands for; None if it is unknown, used or expired."""
    row = s.connection.execute(_TICKET, {"ticket_hash": _hash(ticket)}).one_or_none()
    if row is None or row.expires_at <= s.clock():
        return None
    return TicketRow(
        account_id=row.account_id,
        credential_version=row.credential_version,
        credential_id=row.credential_id,
        token_id=row.token_id,
        purpose=row.purpose,
    )


def redeem_ticket(s: Session, ticket: bytes) -> bool:
    """Use the ticket up; False if somebody else was faster."""
    return bool(s.connection.execute(_REDEEM, {"ticket_hash": _hash(ticket)}).rowcount)


def revoke_tickets(s: Session, account_id: int) -> None:
    """Remove all tickets of the account."""
    s.connection.execute(_REVOKE, {"account": account_id})


def _hash(ticket: bytes) -> bytes:
    # Tickets are random and long: nothing slower is needed.
    return hashlib.blake2b(ticket, digest_size=32).digest()
