"""The tables of OAuth: clients, what accounts let them do, codes and tokens as hashes, and signing keys.

Ending a grant is removing its row: its codes and tokens go with it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, LargeBinary, Table, Text

from stalwart.store.tables.base import Id, metadata

# A program that may ask for tokens. RFC 7591
oauth_client = Table(
    "oauth_client",
    metadata,
    Column("id", Id, primary_key=True),
    Column("client_id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("secret_hash", LargeBinary),  # SHA-256; NULL: a public client, which has no secret
    Column("is_verified", Boolean, nullable=False),  # whether an administrator made it
    Column("redirect_uris", Text, nullable=False),  # a JSON array
    Column("grant_types", Text, nullable=False),  # with spaces
    Column("scope", Text),  # with spaces; NULL: it may ask for any
    Column("metadata", Text, nullable=False),  # a JSON object: what else it said of itself. RFC 7591 §2
    Column("created_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger),
    sqlite_autoincrement=True,
)

# That an account lets a client do something: an authorisation, and all that was issued for it.
oauth_grant = Table(
    "oauth_grant",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("credential_version", BigInteger, nullable=False),  # of the password that the user had
    Column("credential_id", ForeignKey("credential.id", ondelete="CASCADE")),  # the API key that agreed
    Column("client_row_id", ForeignKey("oauth_client.id", ondelete="CASCADE")),  # NULL: not registered
    Column("client_id", Text, nullable=False),
    Column("client_name", Text, nullable=False),
    Column("scope", Text, nullable=False),  # with spaces
    Column("signed_in_at", BigInteger, nullable=False),
    Column("address", Text, nullable=False),  # of the browser at first, then of whoever used it last
    Column("created_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger),  # NULL: no token was fetched yet
    Index("ix_oauth_grant_account", "account_id"),
    Index("ix_oauth_grant_credential", "credential_id"),
    Index("ix_oauth_grant_client", "client_row_id"),
    sqlite_autoincrement=True,
)

# An authorization code; kept after its use, to notice when it is used again. RFC 6749 §4.1.2
oauth_code = Table(
    "oauth_code",
    metadata,
    Column("hash", LargeBinary, primary_key=True),  # SHA-256
    Column("grant_id", ForeignKey("oauth_grant.id", ondelete="CASCADE"), nullable=False),
    Column("redirect_uri", Text),  # NULL: the request had none
    Column("code_challenge", Text),  # S256. RFC 7636
    Column("nonce", Text),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Index("ix_oauth_code_grant", "grant_id"),
    sqlite_with_rowid=False,
)

# A device flow under way. RFC 8628
oauth_device = Table(
    "oauth_device",
    metadata,
    Column("hash", LargeBinary, primary_key=True),  # SHA-256 of the device code
    Column("user_code", Text, nullable=False, unique=True),  # eight letters
    Column("client_row_id", ForeignKey("oauth_client.id", ondelete="CASCADE")),
    Column("client_id", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("nonce", Text),
    Column("address", Text, nullable=False),  # where the device asked from
    Column("interval", BigInteger, nullable=False),  # seconds between its questions
    Column("asked_at", BigInteger),
    Column("expires_at", BigInteger, nullable=False),
    Column("is_decided", Boolean, nullable=False),
    Column("grant_id", ForeignKey("oauth_grant.id", ondelete="CASCADE")),  # NULL, though decided: denied
    Index("ix_oauth_device_client", "client_row_id"),
    Index("ix_oauth_device_grant", "grant_id"),
    Index("ix_oauth_device_expires", "expires_at"),
    sqlite_with_rowid=False,
)

# An access token, or a refresh token with the ones that it replaced.
oauth_token = Table(
    "oauth_token",
    metadata,
    Column("id", Id, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),  # SHA-256
    Column("kind", Text, nullable=False),  # "access", "refresh"
    Column("grant_id", ForeignKey("oauth_grant.id", ondelete="CASCADE"), nullable=False),
    Column("scope", Text, nullable=False),  # with spaces; of an access token perhaps less than the grant's
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("replaced_at", BigInteger),  # of a refresh token: when it was used
    Index("ix_oauth_token_grant", "grant_id"),
    Index("ix_oauth_token_expires", "expires_at"),
    sqlite_autoincrement=True,
)

# What ID tokens are signed with. OpenID Connect Core §10.1
signing_key = Table(
    "signing_key",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kid", Text, nullable=False, unique=True),  # the key's thumbprint, RFC 7638
    Column("algorithm", Text, nullable=False),  # "ES256" and such, RFC 7518 §3.1
    Column("private_key", LargeBinary, nullable=False),  # PKCS #8, DER
    Column("created_at", BigInteger, nullable=False),
    Column("signs_from", BigInteger, nullable=False),
    Column("signs_until", BigInteger),  # NULL: no end
    sqlite_autoincrement=True,
)
