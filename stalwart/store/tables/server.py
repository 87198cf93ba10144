"""The tables of what the server keeps for itself: keys, what rules remember, bans."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, PrimaryKeyConstraint, Table, Text

from stalwart.store.tables.base import Id, metadata

# Keys that this server made for itself, once.
server_key = Table(
    "server_key",
    metadata,
    Column("name", Text, primary_key=True),  # "vapid"
    Column("value", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# What rules keep with key_set and counter_incr: a value, or the decimal digits of a counter.
lookup = Table(
    "lookup",
    metadata,
    Column("store", Text, nullable=False),
    Column("is_counter", Boolean, nullable=False),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),  # seconds since the epoch
    PrimaryKeyConstraint("store", "is_counter", "key"),
    Index("ix_lookup_expires", "expires_at"),
    sqlite_with_rowid=False,
)

# Who is kept out for now. The ids count up, so that their number and the greatest tell whether anything has changed.
ban = Table(
    "ban",
    metadata,
    Column("id", Id, primary_key=True),
    Column("network", Text, nullable=False, unique=True),  # an address or network in canonical form
    Column("reason", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger),  # NULL: no end
    Column("detail", Text, nullable=False),  # for people
    sqlite_autoincrement=True,
)
