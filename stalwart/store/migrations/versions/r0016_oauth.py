"""OAuth: clients, what accounts let them do, codes, tokens, device flows, and keys that ID tokens are signed with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOVE = "UPDATE directory SET version = version + 1"


def upgrade() -> None:
    """Make the tables, and tie push subscriptions and tickets to what they were made with."""
    _clients()
    _grants()
    _codes()
    _tokens()
    op.create_table(
        "signing_key",
        sa.Column("id", _ID, nullable=False),
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("private_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("signs_from", sa.BigInteger(), nullable=False),
        sa.Column("signs_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_key")),
        sa.UniqueConstraint("kid", name=op.f("uq_signing_key_kid")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("push_subscription", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.add_column(sa.Column("grant_id", sa.Integer(), nullable=True))
        batch.create_foreign_key(
            op.f("fk_push_subscription_grant_id"), "oauth_grant", ["grant_id"], ["id"], ondelete="CASCADE"
        )
        batch.create_index("ix_push_subscription_grant", ["grant_id"])
    with op.batch_alter_table("stream_ticket", table_kwargs={"sqlite_with_rowid": False}) as batch:
        batch.add_column(sa.Column("token_id", sa.Integer(), nullable=True))
        batch.create_foreign_key(
            op.f("fk_stream_ticket_token_id"), "oauth_token", ["token_id"], ["id"], ondelete="CASCADE"
        )
        batch.create_index("ix_stream_ticket_token", ["token_id"])
    op.execute(f"CREATE TRIGGER oauth_token_removed AFTER DELETE ON oauth_token BEGIN {_MOVE}; END")


def _refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=op.f(f"fk_{table}_{column}"), ondelete="CASCADE")


def _clients() -> None:
    op.create_table(
        "oauth_client",
        sa.Column("id", _ID, nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=True),
        sa.Column("is_verified", sa.Boolean(), nullable=False),
        sa.Column("redirect_uris", sa.Text(), nullable=False),
        sa.Column("grant_types", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_client")),
        sa.UniqueConstraint("client_id", name=op.f("uq_oauth_client_client_id")),
        sqlite_autoincrement=True,
    )


def _grants() -> None:
    op.create_table(
        "oauth_grant",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("credential_version", sa.BigInteger(), nullable=False),
        sa.Column("credential_id", sa.Integer(), nullable=True),
        sa.Column("client_row_id", sa.Integer(), nullable=True),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("client_name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("signed_in_at", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        _refers("oauth_grant", "account_id", "account"),
        _refers("oauth_grant", "credential_id", "credential"),
        _refers("oauth_grant", "client_row_id", "oauth_client"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_grant")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_oauth_grant_account", "oauth_grant", ["account_id"])
    op.create_index("ix_oauth_grant_credential", "oauth_grant", ["credential_id"])
    op.create_index("ix_oauth_grant_client", "oauth_grant", ["client_row_id"])


def _codes() -> None:
    op.create_table(
        "oauth_code",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("grant_id", sa.Integer(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=True),
        sa.Column("code_challenge", sa.Text(), nullable=True),
        sa.Column("nonce", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        _refers("oauth_code", "grant_id", "oauth_grant"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_oauth_code")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_oauth_code_grant", "oauth_code", ["grant_id"])
    op.create_table(
        "oauth_device",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_code", sa.Text(), nullable=False),
        sa.Column("client_row_id", sa.Integer(), nullable=True),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("interval", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("is_decided", sa.Boolean(), nullable=False),
        sa.Column("grant_id", sa.Integer(), nullable=True),
        _refers("oauth_device", "client_row_id", "oauth_client"),
        _refers("oauth_device", "grant_id", "oauth_grant"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_oauth_device")),
        sa.UniqueConstraint("user_code", name=op.f("uq_oauth_device_user_code")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_oauth_device_client", "oauth_device", ["client_row_id"])
    op.create_index("ix_oauth_device_grant", "oauth_device", ["grant_id"])
    op.create_index("ix_oauth_device_expires", "oauth_device", ["expires_at"])


def _tokens() -> None:
    op.create_table(
        "oauth_token",
        sa.Column("id", _ID, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("grant_id", sa.Integer(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("replaced_at", sa.BigInteger(), nullable=True),
        _refers("oauth_token", "grant_id", "oauth_grant"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_token")),
        sa.UniqueConstraint("hash", name=op.f("uq_oauth_token_hash")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_oauth_token_grant", "oauth_token", ["grant_id"])
    op.create_index("ix_oauth_token_expires", "oauth_token", ["expires_at"])
