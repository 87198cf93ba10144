"""The tables of who there is: domains, accounts, addresses, principals with their roles and permissions, shares."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

from stalwart.store.tables.base import Id, metadata

domain = Table(
    "domain",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),  # A-labels, lower case
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

account = Table(
    "account",
    metadata,
    Column("id", Id, primary_key=True),
    Column("address", Text, nullable=False, unique=True),  # normalised; also in `address`, unless it is `DELETED`
    Column("name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("quota", BigInteger),  # octets; NULL: no limit
    Column("used", BigInteger, nullable=False),  # sum of email.size, kept
    Column("message_count", BigInteger, nullable=False),  # rows in email, kept
    Column("credential_version", BigInteger, nullable=False),  # +1 with each change of the password
    Column("modseq", BigInteger, nullable=False),  # the last one given out
    Column("created_at", BigInteger, nullable=False),
    Column("quota_modseq", BigInteger, nullable=False, server_default="0"),  # when the quota was last changed
    Column("quota_created_modseq", BigInteger, nullable=False, server_default="0"),  # when it got one
    sqlite_autoincrement=True,
)

#: What stands as the address of an account that was deleted, before its id, until all that it holds is removed.
DELETED = "deleted"

IS_LIVE = account.c.address.contains("@")

# Whoever can be given permissions, or be named where some are given. An account that was deleted has none.
principal = Table(
    "principal",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),  # see PrincipalKind
    Column("name", Text, nullable=False),  # of an individual or group: the address of its account
    Column("description", Text, nullable=False),
    Column("locale", Text),  # a language tag, RFC 5646; NULL: not known
    Column("is_enabled", Boolean, nullable=False),  # whether its credentials count
    Column("created_at", BigInteger, nullable=False),
    # Where its mail lies; NULL: it has no mailbox.
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), unique=True),
    Column("owner_id", Id, ForeignKey("principal.id", ondelete="CASCADE")),  # for whom an API key signs in
    UniqueConstraint("kind", "name"),
    Index("ix_principal_owner", "owner_id"),
    sqlite_autoincrement=True,
)

# Who belongs to a group.
principal_member = Table(
    "principal_member",
    metadata,
    Column("group_id", ForeignKey("principal.id", ondelete="CASCADE"), nullable=False),
    Column("member_id", ForeignKey("principal.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("group_id", "member_id"),
    Index("ix_principal_member_member", "member_id"),
    sqlite_with_rowid=False,
)

# What an address is that stands for many. It is the name of its principal, and in no row of `address`.
mailing_list = Table(
    "mailing_list",
    metadata,
    Column("principal_id", Id, ForeignKey("principal.id", ondelete="CASCADE"), primary_key=True),
    Column("domain_id", ForeignKey("domain.id"), nullable=False),
    Column("owner", Text, nullable=False),  # normalised: where reports go
    Column("is_members_only", Boolean, nullable=False),  # whether only members may post
    Index("ix_mailing_list_domain", "domain_id"),
    Index("ix_mailing_list_owner", "owner"),
)

# Who is on a list, by the address that they are on it with: here or elsewhere, another list's perhaps.
list_member = Table(
    "list_member",
    metadata,
    Column("list_id", ForeignKey("mailing_list.principal_id", ondelete="CASCADE"), nullable=False),
    Column("address", Text, nullable=False),  # normalised
    PrimaryKeyConstraint("list_id", "address"),
    Index("ix_list_member_address", "address"),
    sqlite_with_rowid=False,
)

# The roles that a principal has; a role may have others.
principal_role = Table(
    "principal_role",
    metadata,
    Column("principal_id", ForeignKey("principal.id", ondelete="CASCADE"), nullable=False),
    Column("role_id", ForeignKey("principal.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("principal_id", "role_id"),
    Index("ix_principal_role_role", "role_id"),
    sqlite_with_rowid=False,
)

# What a principal may do beside its roles, and what it may not in spite of them.
principal_permission = Table(
    "principal_permission",
    metadata,
    Column("principal_id", ForeignKey("principal.id", ondelete="CASCADE"), nullable=False),
    Column("permission", Text, nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    PrimaryKeyConstraint("principal_id", "permission"),
    sqlite_with_rowid=False,
)

# Every address that receives mail: each account's own one and its aliases.
address = Table(
    "address",
    metadata,
    Column("address", Text, primary_key=True),  # local part in NFC and lower case @ domain
    Column("domain_id", ForeignKey("domain.id"), nullable=False),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("is_alias", Boolean, nullable=False),
    Index("ix_address_account", "account_id"),
    Index("ix_address_domain", "domain_id"),
    sqlite_with_rowid=False,
)

# One row. Triggers move the version with every change of who is who: see recipients.py, shares.py and principals.py.
directory = Table("directory", metadata, Column("version", BigInteger, nullable=False))

# Whose mail a user may read, or also change, beside their own.
share = Table(
    "share",
    metadata,
    Column("guest_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("owner_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("may_write", Boolean, nullable=False),
    PrimaryKeyConstraint("guest_id", "owner_id"),
    Index("ix_share_owner", "owner_id"),
    sqlite_with_rowid=False,
)
