"""What principals sign in with in place of a password: random secrets (app passwords, API keys), as hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, delete, insert, or_, select, update

from stalwart.store.errors import AlreadyExists, NotFound
from stalwart.store.session import Session
from stalwart.store.tables import credential

_COLUMNS = [column for column in credential.c if column.name != "hash"]
_CREDENTIALS = select(*_COLUMNS)
_BY_ID = _CREDENTIALS.where(credential.c.id == bindparam("credential"))
_BY_HASH = _CREDENTIALS.where(
    credential.c.principal_id == bindparam("principal"), credential.c.hash == bindparam("secret_hash")
)
_OF_PRINCIPAL = _CREDENTIALS.where(credential.c.principal_id == bindparam("principal")).order_by(credential.c.name)
_INSERT = insert(credential)
_DELETE = delete(credential).where(
    credential.c.principal_id == bindparam("principal"), credential.c.name == bindparam("wanted")
)
_USED = (
    update(credential)
    .where(
        credential.c.id == bindparam("credential"),
        or_(credential.c.last_used_at.is_(None), credential.c.last_used_at <= bindparam("before")),
    )
    .values(last_used_at=bindparam("at"))
)
_USED_EVERY = 60


class CredentialRow(msgspec.Struct, frozen=True, kw_only=True):
    """An app password, or the secret of an API key. Without `networks` it may be used from anywhere."""

    id: int
    principal_id: int
    name: str
    networks: tuple[str, ...]
    created_at: int
    expires_at: int | None
    last_used_at: int | None


def add_credential(
    s: Session,
    principal_id: int,
    name: str,
    secret: str,
    *,
    expires_at: int | None = None,
    networks: Sequence[str] = (),
) -> CredentialRow:
    """Keep a new secret, which must be random and long. AlreadyExists if the principal has one of this name."""
    if any(row.name == name for row in list_credentials(s, principal_id)):
        raise AlreadyExists(f"there is a secret with the name {name!r} already: choose another, or revoke that")
    values = {
        "principal_id": principal_id,
        "name": name,
        "hash": _hash(secret),
        "networks": " ".join(networks) or None,
        "created_at": s.now(),
        "expires_at": expires_at,
        "last_used_at": None,
    }
    return get_credential(s, s.insert(_INSERT, values))


def get_credential(s: Session, credential_id: int) -> CredentialRow:
    """The one with this id, expired or not. NotFound."""
    row = s.connection.execute(_BY_ID, {"credential": credential_id}).one_or_none()
    if row is None:
        raise NotFound(f"credential {credential_id} does not exist")
    return _row(row)


def find_credential(s: Session, principal_id: int, secret: str) -> CredentialRow | None:
    """The principal's credential with this secret, if there is one that has not expired."""
    # The hash is compared by an index: who knows a hash that begins alike doesn't know a secret.
    where = {"principal": principal_id, "secret_hash": _hash(secret)}
    row = s.connection.execute(_BY_HASH, where).one_or_none()
    found = None if row is None else _row(row)
    return None if found is None or has_expired(s, found) else found


def has_expired(s: Session, row: CredentialRow) -> bool:
    """Whether it no longer counts."""
    return row.expires_at is not None and row.expires_at <= s.clock()


def list_credentials(s: Session, principal_id: int) -> list[CredentialRow]:
    """All of a principal, by name, those that expired too."""
    return [_row(row) for row in s.connection.execute(_OF_PRINCIPAL, {"principal": principal_id})]


def remove_credential(s: Session, principal_id: int, name: str) -> None:
    """Revoke one: what was signed in with it, or pushed for it, ends. NotFound."""
    if not s.connection.execute(_DELETE, {"principal": principal_id, "wanted": name}).rowcount:
        raise NotFound(f"there is no secret with the name {name!r}")


def note_use(s: Session, credential_id: int) -> None:
    """Note that it was used just now, once a minute at most."""
    now = s.now()
    s.connection.execute(_USED, {"credential": credential_id, "at": now, "before": now - _USED_EVERY})


def _hash(secret: str) -> bytes:
    # Such secrets are random and long: nothing slower is needed.
    return hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _row(row: Row[*tuple[Any, ...]]) -> CredentialRow:
    return CredentialRow(**{**row._mapping, "networks": tuple((row.networks or "").split())})
