"""What rules keep between requests, as rows: values and counters, each with the second it expires.

The daemon holds all of it in memory (`stalwart.http.kept`); these functions read it once and write what changed.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from stalwart.store.prepared import Prepared
from stalwart.store.session import Session
from stalwart.store.tables import lookup

_ALL = (
    select(lookup.c.store, lookup.c.is_counter, lookup.c.key, lookup.c.value, lookup.c.expires_at)
    .where(lookup.c.expires_at > bindparam("now"))
    .order_by(lookup.c.expires_at)
)
_NEW = insert(lookup).values({column.name: bindparam(f"new_{column.name}") for column in lookup.columns})
# INSERT … ON CONFLICT is spelled alike in PostgreSQL.
_PUT = Prepared(
    _NEW.on_conflict_do_update(
        index_elements=[lookup.c.store, lookup.c.is_counter, lookup.c.key],
        set_={"value": _NEW.excluded.value, "expires_at": _NEW.excluded.expires_at},
    )
)
_DROP = Prepared(
    delete(lookup).where(
        lookup.c.store == bindparam("in_store"),
        lookup.c.is_counter == bindparam("counts"),
        lookup.c.key == bindparam("wanted"),
    )
)
_EXPIRE = delete(lookup).where(lookup.c.expires_at <= bindparam("now"))


class LookupKey(msgspec.Struct, frozen=True, kw_only=True):
    """The name of a value or counter; the two don't share names."""

    store: str
    is_counter: bool
    key: str


class LookupValue(msgspec.Struct, frozen=True, kw_only=True):
    """A value as text (a counter in decimal), and the second since the epoch from which it is no longer there."""

    value: str
    expires_at: int


def list_lookups(s: Session) -> list[tuple[LookupKey, LookupValue]]:
    """Everything that has not expired, what expires first at the front."""
    return [
        (
            LookupKey(store=row.store, is_counter=row.is_counter, key=row.key),
            LookupValue(value=row.value, expires_at=row.expires_at),
        )
        for row in s.connection.execute(_ALL, {"now": s.now()})
    ]


def put_lookups(s: Session, changed: Iterable[tuple[LookupKey, LookupValue | None]]) -> None:
    """Write what has a value, and delete what has None."""
    for key, value in changed:
        if value is None:
            _DROP.run(s.driver, {"in_store": key.store, "counts": key.is_counter, "wanted": key.key})
        else:
            _PUT.run(
                s.driver,
                {
                    "new_store": key.store,
                    "new_is_counter": key.is_counter,
                    "new_key": key.key,
                    "new_value": value.value,
                    "new_expires_at": value.expires_at,
                },
            )


def forget_expired_lookups(s: Session) -> int:
    """Delete what has expired; gives how many rows went."""
    return s.connection.execute(_EXPIRE, {"now": s.now()}).rowcount
