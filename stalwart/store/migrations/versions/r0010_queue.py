"""The queue of messages on their way out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; nothing is paused."""
    op.create_table(
        "queue_message",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=True),
        sa.Column("submission_id", sa.BigInteger(), nullable=True),
        sa.Column("blob_hash", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("return_path", sa.Text(), nullable=False),
        sa.Column("env_id", sa.Text(), nullable=False),
        sa.Column("ret", sa.Text(), nullable=True),
        sa.Column("is_8bit", sa.Boolean(), nullable=False),
        sa.Column("needs_smtputf8", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("is_held", sa.Boolean(), nullable=False),
        sa.Column("warn_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_queue_message_account_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue_message")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_queue_message_account", "queue_message", ["account_id"])
    op.create_index("ix_queue_message_submission", "queue_message", ["submission_id"])
    op.create_index("ix_queue_message_env_id", "queue_message", ["env_id"], unique=True)
    op.create_index("ix_queue_message_finished", "queue_message", ["finished_at"])
    op.create_index("ix_queue_message_blob", "queue_message", ["blob_hash"])
    op.create_table(
        "queue_recipient",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Integer(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("notify", sa.Text(), nullable=True),
        sa.Column("orcpt", sa.Text(), nullable=True),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=True),
        sa.Column("begun_at", sa.BigInteger(), nullable=True),
        sa.Column("ending_at", sa.BigInteger(), nullable=True),
        sa.Column("last_attempt_at", sa.BigInteger(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("peer", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["message_id"], ["queue_message.id"], name=op.f("fk_queue_recipient_message_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue_recipient")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_queue_recipient_message", "queue_recipient", ["message_id"])
    op.create_index(
        "ix_queue_recipient_due",
        "queue_recipient",
        ["destination", "next_attempt_at"],
        sqlite_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_index(
        "ix_queue_recipient_begun", "queue_recipient", ["begun_at"], sqlite_where=sa.text("begun_at IS NOT NULL")
    )
    op.create_table(
        "queue_report",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Integer(), nullable=False),
        sa.Column("blob_hash", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["queue_message.id"], name=op.f("fk_queue_report_message_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue_report")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_queue_report_message", "queue_report", ["message_id"])
    op.create_table("queue_control", sa.Column("is_paused", sa.Boolean(), nullable=False))
    op.execute("INSERT INTO queue_control (is_paused) VALUES (0)")
