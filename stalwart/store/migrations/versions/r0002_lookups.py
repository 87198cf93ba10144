"""Values and counters that rules keep."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "lookup",
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("is_counter", sa.Boolean(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("store", "is_counter", "key", name=op.f("pk_lookup")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_lookup_expires", "lookup", ["expires_at"], unique=False)
