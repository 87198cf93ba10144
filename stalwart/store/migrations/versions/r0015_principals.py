"""Principals with their roles, permissions, app passwords, API keys and second factors; admins get the role `admin`."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOVE = "UPDATE directory SET version = version + 1"
_WATCHED = {
    "principal": "",
    "principal_member": "",
    "principal_role": "",
    "principal_permission": "",
    "credential": " OF name, hash, networks, expires_at",
    "totp": " OF secret",
}
_LIVE = "FROM account WHERE address LIKE '%@%'"


def upgrade() -> None:
    """Make the tables, and a principal with the role `user` of each account."""
    _principals()
    _credentials()
    with op.batch_alter_table("push_subscription", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.add_column(sa.Column("credential_id", sa.Integer(), nullable=True))
        batch.create_foreign_key(
            op.f("fk_push_subscription_credential_id"), "credential", ["credential_id"], ["id"], ondelete="CASCADE"
        )
        batch.create_index("ix_push_subscription_credential", ["credential_id"])
    _stream_tickets()
    columns = "INSERT INTO principal (kind, name, description, is_enabled, created_at, account_id)"
    for role, description in (("user", "What people with a mailbox may do"), ("admin", "Everything")):
        op.execute(f"{columns} VALUES ('role', '{role}', '{description}', 1, {int(time.time())}, NULL)")
    op.execute(f"{columns} SELECT 'individual', address, name, 1, created_at, id {_LIVE} ORDER BY id")
    having = "INSERT INTO principal_role SELECT p.id, r.id FROM principal p JOIN principal r ON r.kind = 'role'"
    op.execute(f"{having} AND r.name = 'user' WHERE p.kind = 'individual'")
    op.execute(f"{having} AND r.name = 'admin' JOIN account a ON a.id = p.account_id WHERE a.is_admin")
    op.execute("ALTER TABLE account DROP COLUMN is_admin")
    for table, changes in _WATCHED.items():
        for name, event in (("added", "INSERT"), ("changed", f"UPDATE{changes}"), ("removed", "DELETE")):
            op.execute(f"CREATE TRIGGER {table}_{name} AFTER {event} ON {table} BEGIN {_MOVE}; END")
    changes = "UPDATE OF password_hash, credential_version"
    op.execute(f"CREATE TRIGGER account_password AFTER {changes} ON account BEGIN {_MOVE}; END")


def _principals() -> None:
    op.create_table(
        "principal",
        sa.Column("id", _ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=True),
        sa.Column("owner_id", _ID, nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_principal_account_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["principal.id"], name=op.f("fk_principal_owner_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principal")),
        sa.UniqueConstraint("account_id", name=op.f("uq_principal_account_id")),
        sa.UniqueConstraint("kind", "name", name=op.f("uq_principal_kind")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_principal_owner", "principal", ["owner_id"])
    for table, one, other in (
        ("principal_member", "group_id", "member_id"),
        ("principal_role", "principal_id", "role_id"),
    ):
        op.create_table(
            table,
            sa.Column(one, sa.Integer(), nullable=False),
            sa.Column(other, sa.Integer(), nullable=False),
            sa.ForeignKeyConstraint([one], ["principal.id"], name=op.f(f"fk_{table}_{one}"), ondelete="CASCADE"),
            sa.ForeignKeyConstraint([other], ["principal.id"], name=op.f(f"fk_{table}_{other}"), ondelete="CASCADE"),
            sa.PrimaryKeyConstraint(one, other, name=op.f(f"pk_{table}")),
            sqlite_with_rowid=False,
        )
        op.create_index(f"ix_{table}_{other.removesuffix('_id')}", table, [other])
    op.create_table(
        "principal_permission",
        sa.Column("principal_id", sa.Integer(), nullable=False),
        sa.Column("permission", sa.Text(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principal.id"], name=op.f("fk_principal_permission_principal_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("principal_id", "permission", name=op.f("pk_principal_permission")),
        sqlite_with_rowid=False,
    )


def _credentials() -> None:
    op.create_table(
        "credential",
        sa.Column("id", _ID, nullable=False),
        sa.Column("principal_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("networks", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principal.id"], name=op.f("fk_credential_principal_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential")),
        sa.UniqueConstraint("principal_id", "name", name=op.f("uq_credential_principal_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_credential_hash", "credential", ["principal_id", "hash"], unique=True)
    op.create_table(
        "totp",
        sa.Column("principal_id", sa.Integer(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principal.id"], name=op.f("fk_totp_principal_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("principal_id", name=op.f("pk_totp")),
        sqlite_with_rowid=False,
    )


def _stream_tickets() -> None:
    """Made anew: the longest lasts an hour, and a browser gets itself another."""
    op.drop_table("stream_ticket")
    op.create_table(
        "stream_ticket",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("credential_version", sa.BigInteger(), nullable=False),
        sa.Column("credential_id", sa.Integer(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_stream_ticket_account_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["credential_id"], ["credential.id"], name=op.f("fk_stream_ticket_credential_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_stream_ticket")),
        sqlite_with_rowid=False,
    )
    for column in ("account_id", "credential_id", "expires_at"):
        op.create_index(f"ix_stream_ticket_{column.rpartition('_')[0]}", "stream_ticket", [column])
