"""MTA-STS policies of other domains."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, empty."""
    op.create_table(
        "mta_sts_policy",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("policy_id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("mx", sa.Text(), nullable=False),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_mta_sts_policy")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_mta_sts_policy_expires", "mta_sts_policy", ["expires_at"])
    op.create_index("ix_mta_sts_policy_fetched", "mta_sts_policy", ["fetched_at"])
