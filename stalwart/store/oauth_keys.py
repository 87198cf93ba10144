"""The keys that ID tokens are signed with, and their rotation.

A new key is published for a while before it signs, since clients keep what they have fetched; the one before it signs
until then, and is published for as long as tokens signed by it may be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import bindparam, delete, insert, or_, select, update

from stalwart.store.errors import AlreadyExists
from stalwart.store.session import Session
from stalwart.store.tables import signing_key

PUBLISHED_SECONDS = 2 * 86_400
"""For how long a key stays published after it has signed for the last time: longer than any ID token counts."""

_k = signing_key.c
_COLUMNS = select(*_k)
_PUBLISHED = _COLUMNS.where(or_(_k.signs_until.is_(None), _k.signs_until > bindparam("before"))).order_by(_k.id)
_SIGNING = (
    _COLUMNS.where(
        _k.algorithm == bindparam("with_algorithm"),
        _k.signs_from <= bindparam("now"),
        or_(_k.signs_until.is_(None), _k.signs_until > bindparam("now")),
    )
    .order_by(_k.id.desc())
    .limit(1)
)
_INSERT = insert(signing_key)
_END = (
    update(signing_key)
    .where(
        _k.algorithm == bindparam("with_algorithm"),
        or_(_k.signs_until.is_(None), _k.signs_until > bindparam("at")),
    )
    .values(signs_until=bindparam("at"))
)
_END_OTHERS = (
    update(signing_key)
    .where(or_(_k.signs_until.is_(None), _k.signs_until > bindparam("at")))
    .values(signs_until=bindparam("at"))
)
_FORGET = delete(signing_key).where(_k.signs_until < bindparam("before"))


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A key; `private_key` is PKCS #8 in DER, times are in epoch seconds."""

    id: int = 0
    kid: str
    algorithm: str
    private_key: bytes
    created_at: int = 0
    signs_from: int = 0
    signs_until: int | None = None

    def __repr__(self) -> str:
        return f"KeyRow(kid={self.kid!r})"


def published_keys(s: Session) -> Sequence[KeyRow]:
    """Those with which a token may be verified now, or soon, in the order in which they were made."""
    return [KeyRow(**row._mapping) for row in s.connection.execute(_PUBLISHED, {"before": s.now() - PUBLISHED_SECONDS})]


def find_signing_key(s: Session, algorithm: str) -> KeyRow | None:
    """The key that signs by this algorithm now."""
    row = s.connection.execute(_SIGNING, {"with_algorithm": algorithm, "now": s.now()}).one_or_none()
    return None if row is None else KeyRow(**row._mapping)


def ensure_signing_key(s: Session, algorithm: str, make: Callable[[str], KeyRow]) -> KeyRow:
    """The key that signs by this algorithm now; one is made if there is none. `s` is a transaction.

    A new one takes the place of those of other algorithms.
    """
    found = find_signing_key(s, algorithm)
    if found is None:
        s.connection.execute(_END_OTHERS, {"at": s.now()})
        _add(s, make(algorithm), s.now())
        found = find_signing_key(s, algorithm)
    assert found is not None
    return found


def rotate_signing_key(s: Session, algorithm: str, overlap: int, make: Callable[[str], KeyRow]) -> KeyRow:
    """Make a new key, which takes the place of the one there is in `overlap` seconds; 0: at once, and for all tokens.

    With 0 the former ones are removed: what was signed by them is no longer believed. AlreadyExists while a key made
    before is yet to take its place.
    """
    now = s.now()
    if overlap and any(
        row.algorithm == algorithm and row.signs_until is None and row.signs_from > now for row in published_keys(s)
    ):
        raise AlreadyExists(
            "there is a new key already that doesn't sign yet; rotate again after it does, or at once with --overlap 0"
        )
    s.connection.execute(_END, {"with_algorithm": algorithm, "at": now + overlap})
    if overlap:
        s.connection.execute(_FORGET, {"before": now - PUBLISHED_SECONDS})
    else:
        s.connection.execute(delete(signing_key))
    return _add(s, make(algorithm), now + overlap if find_signing_key(s, algorithm) is not None else now)


def _add(s: Session, row: KeyRow, signs_from: int) -> KeyRow:
    made = msgspec.structs.replace(row, created_at=s.now(), signs_from=signs_from)
    values = msgspec.structs.asdict(made)
    del values["id"]
    return msgspec.structs.replace(made, id=s.insert(_INSERT, values))
