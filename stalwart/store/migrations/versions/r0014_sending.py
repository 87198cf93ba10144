"""Which mail was shown to its recipients, and indexes for queries of submissions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and indexes. Nothing is known of mail that went out before."""
    op.add_column("queue_message", sa.Column("message_id", sa.Text(), nullable=True))
    op.add_column("queue_recipient", sa.Column("is_displayed", sa.Boolean(), server_default="0", nullable=False))
    op.add_column("queue_report", sa.Column("kind", sa.Text(), server_default="dsn", nullable=False))
    op.create_index("ix_queue_message_message_id", "queue_message", ["account_id", "message_id"])
    op.create_index(
        "ix_queue_message_waiting",
        "queue_message",
        ["account_id", "submission_id"],
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    for column in ("email_id", "thread_id", "send_at"):
        op.create_index(f"ix_email_submission_{column}", "email_submission", ["account_id", column])
