"""OAuth clients as rows. Secrets are random and kept as SHA-256."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, delete, exists, func, insert, or_, select, update

from stalwart.store.errors import AlreadyExists, NotFound
from stalwart.store.session import Session
from stalwart.store.tables import oauth_client, oauth_grant

_c = oauth_client.c
_CLIENTS = select(*(column for column in _c if column.name != "secret_hash"), _c.secret_hash.is_not(None).label("kept"))
_BY_CLIENT_ID = _CLIENTS.where(_c.client_id == bindparam("wanted"))
_ALL = _CLIENTS.order_by(_c.name, _c.id)
_SECRET = select(_c.secret_hash).where(_c.id == bindparam("client"))
_INSERT = insert(oauth_client)
_DELETE = delete(oauth_client).where(_c.client_id == bindparam("wanted"))
_USED = (
    update(oauth_client)
    .where(_c.id == bindparam("client"), or_(_c.last_used_at.is_(None), _c.last_used_at <= bindparam("before")))
    .values(last_used_at=bindparam("at"))
)
_USED_EVERY = 3600
_UNUSED = select(func.count()).where(_c.is_verified.is_(False), _c.last_used_at.is_(None))
_FORGET = delete(oauth_client).where(
    _c.is_verified.is_(False),
    _c.created_at < bindparam("before"),
    _c.last_used_at.is_(None),
    ~exists().where(oauth_grant.c.client_row_id == _c.id),
)


class ClientRow(msgspec.Struct, frozen=True, kw_only=True):
    """A client. `scope` None: it may ask for any; `metadata` is what else it said of itself (RFC 7591 §2)."""

    id: int = 0
    client_id: str
    name: str
    has_secret: bool = False
    is_verified: bool
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    scope: tuple[str, ...] | None = None
    metadata: Mapping[str, Any] = {}
    created_at: int = 0
    last_used_at: int | None = None


def add_client(s: Session, row: ClientRow, secret: str | None) -> ClientRow:
    """Keep a new client, with a random secret if it is a confidential one. AlreadyExists."""
    if find_client(s, row.client_id) is not None:
        raise AlreadyExists(f"there is an OAuth client with the id {row.client_id!r} already")
    values = {
        "client_id": row.client_id,
        "name": row.name,
        "secret_hash": None if secret is None else _hash(secret),
        "is_verified": row.is_verified,
        "redirect_uris": msgspec.json.encode(row.redirect_uris).decode(),
        "grant_types": " ".join(row.grant_types),
        "scope": None if row.scope is None else " ".join(row.scope),
        "metadata": msgspec.json.encode(row.metadata).decode(),
        "created_at": s.now(),
        "last_used_at": None,
    }
    s.insert(_INSERT, values)
    made = find_client(s, row.client_id)
    assert made is not None
    return made


def find_client(s: Session, client_id: str) -> ClientRow | None:
    """The registered client of this id."""
    row = s.connection.execute(_BY_CLIENT_ID, {"wanted": client_id}).one_or_none()
    return None if row is None else _row(row)


def list_clients(s: Session) -> Sequence[ClientRow]:
    """All that are registered, by name."""
    return [_row(row) for row in s.connection.execute(_ALL)]


def remove_client(s: Session, client_id: str) -> None:
    """Take a client away, and all that accounts let it do. NotFound."""
    if not s.connection.execute(_DELETE, {"wanted": client_id}).rowcount:
        raise NotFound(f"there is no OAuth client with the id {client_id!r}; `stalwart oauth-client list` shows them")


def secret_matches(s: Session, row_id: int, secret: str) -> bool:
    """Whether this is the client's secret; never for a public one."""
    kept = s.connection.scalar(_SECRET, {"client": row_id})
    return kept is not None and hmac.compare_digest(kept, _hash(secret))


def note_client_use(s: Session, row_id: int) -> None:
    """Note that it got tokens just now, once an hour at most."""
    now = s.now()
    s.connection.execute(_USED, {"client": row_id, "at": now, "before": now - _USED_EVERY})


def forget_unused_clients(s: Session, before: int) -> int:
    """Remove those that registered themselves before a time and got no token; gives how many."""
    return s.connection.execute(_FORGET, {"before": before}).rowcount


def count_unused_clients(s: Session) -> int:
    """How many have registered themselves and got no token yet."""
    return s.connection.execute(_UNUSED).scalar_one()


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _row(row: Row[*tuple[Any, ...]]) -> ClientRow:
    return ClientRow(
        id=row.id,
        client_id=row.client_id,
        name=row.name,
        has_secret=bool(row.kept),
        is_verified=row.is_verified,
        redirect_uris=msgspec.json.decode(row.redirect_uris, type=tuple[str, ...]),
        grant_types=tuple(row.grant_types.split()),
        scope=None if row.scope is None else tuple(row.scope.split()),
        metadata=msgspec.json.decode(row.metadata, type=dict[str, Any]),
        created_at=row.created_at,
        last_used_at=row.last_used_at,
    )
