"""The tables of what people, programs and streams sign in with, beside the password, and of what is tied to it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, LargeBinary, Table, Text, UniqueConstraint

from stalwart.store.tables.base import Id, metadata

# Random secrets that sign in: an individual's app passwords, and the one secret of each API key. Only hashes are kept.
credential = Table(
    "credential",
    metadata,
    Column("id", Id, primary_key=True),
    Column("principal_id", ForeignKey("principal.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("networks", Text),  # from where it may be used, with spaces; NULL: from anywhere
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),  # NULL: never
    Column("last_used_at", BigInteger),  # NULL: never; to the minute
    UniqueConstraint("principal_id", "name"),
    Index("ix_credential_hash", "principal_id", "hash", unique=True),
    sqlite_autoincrement=True,
)

# The second factor beside a password. RFC 6238
totp = Table(
    "totp",
    metadata,
    Column("principal_id", ForeignKey("principal.id", ondelete="CASCADE"), primary_key=True),
    Column("secret", Text, nullable=False),  # base32
    Column("created_at", BigInteger, nullable=False),
    Column("last_step", BigInteger, nullable=False),  # the time step of the last code that was taken
    sqlite_with_rowid=False,
)

# A secret that its owner has not shown yet to have: no codes of it are asked for.
totp_enrolment = Table(
    "totp_enrolment",
    metadata,
    Column("principal_id", ForeignKey("principal.id", ondelete="CASCADE"), primary_key=True),
    Column("secret", Text, nullable=False),  # base32
    Column("expires_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Codes for who has lost the app; used once, and only hashes are kept.
recovery_code = Table(
    "recovery_code",
    metadata,
    Column("principal_id", ForeignKey("principal.id", ondelete="CASCADE"), primary_key=True),
    Column("hash", LargeBinary, primary_key=True),
    sqlite_with_rowid=False,
)

# Where clients asked to be pushed to (RFC 8620 §7.2), each tied to the credentials it was made with.
push_subscription = Table(
    "push_subscription",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("credential_version", BigInteger, nullable=False),
    # The app password or API key that it was made with; NULL: the password itself, or a token of `grant_id`.
    Column("credential_id", ForeignKey("credential.id", ondelete="CASCADE")),
    Column("grant_id", ForeignKey("oauth_grant.id", ondelete="CASCADE")),
    Column("device_client_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("p256dh", LargeBinary),  # both or none
    Column("auth", LargeBinary),
    Column("verification_code", Text, nullable=False),  # the one that was sent
    Column("is_verified", Boolean, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("types", Text),  # sorted, with spaces; NULL: all
    Index("ix_push_subscription_account", "account_id"),
    Index("ix_push_subscription_credential", "credential_id"),
    Index("ix_push_subscription_grant", "grant_id"),
    sqlite_autoincrement=True,
)

# Stands in for a sign-in where a browser can't send one: on EventSource and WebSocket. Only hashes are kept.
stream_ticket = Table(
    "stream_ticket",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("credential_version", BigInteger, nullable=False),
    # The app password or API key that it was made with; NULL: the password itself, or the token of `token_id`.
    Column("credential_id", ForeignKey("credential.id", ondelete="CASCADE")),
    Column("token_id", ForeignKey("oauth_token.id", ondelete="CASCADE")),
    Column("purpose", Text, nullable=False),  # "eventsource", "websocket", "cookie"
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_stream_ticket_account", "account_id"),
    Index("ix_stream_ticket_credential", "credential_id"),
    Index("ix_stream_ticket_token", "token_id"),
    Index("ix_stream_ticket_expires", "expires_at"),
    sqlite_with_rowid=False,
)

# People who signed in with a browser. Only hashes of their tokens are kept.
browser_session = Table(
    "browser_session",
    metadata,
    Column("id", Id, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("credential_version", BigInteger, nullable=False),
    Column("needs_code", Boolean, nullable=False),
    Column("attempts", BigInteger, nullable=False),  # codes that were tried
    Column("signed_in_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("purpose", LargeBinary),  # hash of what the password was asked for
    Index("ix_browser_session_account", "account_id"),
    Index("ix_browser_session_ends", "ends_at"),
    sqlite_autoincrement=True,
)
