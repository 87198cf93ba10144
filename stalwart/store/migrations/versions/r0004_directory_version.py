"""A number that moves with every change of the addresses that receive mail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TRIGGERS = (
    "CREATE TRIGGER address_added AFTER INSERT ON address BEGIN UPDATE directory SET version = version + 1; END",
    "CREATE TRIGGER address_changed AFTER UPDATE ON address BEGIN UPDATE directory SET version = version + 1; END",
    "CREATE TRIGGER address_removed AFTER DELETE ON address BEGIN UPDATE directory SET version = version + 1; END",
)


def upgrade() -> None:
    """Make the table with its one row, and the triggers."""
    op.create_table("directory", sa.Column("version", sa.BigInteger(), nullable=False))
    op.execute("INSERT INTO directory (version) VALUES (0)")
    for statement in _TRIGGERS:
        op.execute(statement)
