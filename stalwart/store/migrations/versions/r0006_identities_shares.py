"""Identities, accounts shared with others, who uploaded a blob, and when an account's quota changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables, give every address its identity, and note of each upload that the account's owner made it."""
    op.create_table(
        "identity",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("reply_to", sa.Text(), nullable=True),
        sa.Column("bcc", sa.Text(), nullable=True),
        sa.Column("text_signature", sa.Text(), nullable=False),
        sa.Column("html_signature", sa.Text(), nullable=False),
        sa.Column("may_delete", sa.Boolean(), nullable=False),
        sa.Column("created_modseq", sa.BigInteger(), nullable=False),
        sa.Column("modseq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_identity_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_identity_created", "identity", ["account_id", "created_modseq"])
    op.create_index("ix_identity_modseq", "identity", ["account_id", "modseq", "created_modseq"])
    op.create_table(
        "share",
        sa.Column("guest_id", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("may_write", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["guest_id"], ["account.id"], name=op.f("fk_share_guest_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["account.id"], name=op.f("fk_share_owner_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("guest_id", "owner_id", name=op.f("pk_share")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_share_owner", "share", ["owner_id"])
    op.create_table(
        "subscription",
        sa.Column("guest_id", sa.Integer(), nullable=False),
        sa.Column("mailbox_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["guest_id"], ["account.id"], name=op.f("fk_subscription_guest_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailbox.id"], name=op.f("fk_subscription_mailbox_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("guest_id", "mailbox_id", name=op.f("pk_subscription")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_subscription_mailbox", "subscription", ["mailbox_id"])
    op.add_column("account", sa.Column("quota_modseq", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("account", sa.Column("quota_created_modseq", sa.BigInteger(), nullable=False, server_default="0"))
    _uploads()
    _identities()


def _uploads() -> None:
    op.rename_table("upload", "upload_before")
    op.drop_index("ix_upload_blob", "upload_before")
    op.create_table(
        "upload",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("blob_hash", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_upload_account_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["account.id"], name=op.f("fk_upload_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id", "user_id", "blob_hash", name=op.f("pk_upload")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_upload_blob", "upload", ["blob_hash"])
    op.create_index("ix_upload_user", "upload", ["user_id", "created_at"])
    op.create_index("ix_upload_created", "upload", ["created_at"])
    op.execute(
        "INSERT INTO upload (account_id, user_id, blob_hash, size, type, created_at) "
        "SELECT account_id, account_id, blob_hash, size, type, created_at FROM upload_before"
    )
    op.drop_table("upload_before")


def _identities() -> None:
    # As store.identities does for a new address: each gets a modseq of its own, the account's own address first.
    connection = op.get_bind()
    accounts = connection.execute(sa.text("SELECT id, name, modseq FROM account ORDER BY id")).all()
    for account_id, name, modseq in accounts:
        addresses = connection.execute(
            sa.text("SELECT address FROM address WHERE account_id = :account ORDER BY is_alias, address"),
            {"account": account_id},
        ).scalars()
        for address in addresses:
            modseq += 1
            connection.execute(
                sa.text(
                    "INSERT INTO identity (account_id, email, name, text_signature, html_signature, may_delete, "
                    "created_modseq, modseq) VALUES (:account, :address, :name, '', '', 0, :modseq, :modseq)"
                ),
                {"account": account_id, "address": address, "name": name, "modseq": modseq},
            )
        connection.execute(
            sa.text("UPDATE account SET modseq = :modseq WHERE id = :account"),
            {"account": account_id, "modseq": modseq},
        )
        connection.execute(
            sa.text(
                "INSERT INTO type_state (account_id, type, modseq, floor) VALUES (:account, 'Identity', :modseq, 0)"
            ),
            {"account": account_id, "type": "Identity", "modseq": modseq},
        )
