"""MTA-STS policies of other domains, kept until they are too old (RFC 8461 §3.3), also over a restart."""

from __future__ import annotations

import msgspec
from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from stalwart.store.session import Session
from stalwart.store.tables import mta_sts_policy

MOST_POLICIES = 10_000

_c = mta_sts_policy.c
_ONE = select(mta_sts_policy).where(_c.domain == bindparam("name"), _c.expires_at > bindparam("now"))
# INSERT … ON CONFLICT is spelled alike in PostgreSQL.
_INSERT = insert(mta_sts_policy)
_PUT = _INSERT.on_conflict_do_update(
    index_elements=[_c.domain],
    set_={column.name: _INSERT.excluded[column.name] for column in _c if column.name != "domain"},
)
_FORGET_OLD = delete(mta_sts_policy).where(_c.expires_at <= bindparam("now"))
_FORGET_MANY = delete(mta_sts_policy).where(
    _c.domain.in_(select(_c.domain).order_by(_c.fetched_at.desc(), _c.domain).limit(-1).offset(bindparam("most")))
)


class StsPolicyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A policy. `policy_id` is that of the DNS record by which it was fetched; times are epoch seconds.

    `mx` are the patterns of the mail exchangers, one space between them.
    """

    domain: str
    policy_id: str
    mode: str
    mx: str
    fetched_at: int
    expires_at: int


def get_sts_policy(s: Session, domain: str) -> StsPolicyRow | None:
    """The policy of a domain, unless there is none or it is too old."""
    row = s.connection.execute(_ONE, {"name": domain, "now": s.now()}).one_or_none()
    return None if row is None else StsPolicyRow(**row._mapping)


def put_sts_policy(s: Session, row: StsPolicyRow) -> None:
    """Keep a policy in place of the domain's former one. What is too old goes, and what is beyond `MOST_POLICIES`."""
    s.connection.execute(_PUT, msgspec.structs.asdict(row))
    s.connection.execute(_FORGET_OLD, {"now": s.now()})
    s.connection.execute(_FORGET_MANY, {"most": MOST_POLICIES})
