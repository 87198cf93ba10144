"""The number that moves with every change of addresses moves with every change of shares, too."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TRIGGERS = (
    "CREATE TRIGGER share_added AFTER INSERT ON share BEGIN UPDATE directory SET version = version + 1; END",
    "CREATE TRIGGER share_changed AFTER UPDATE ON share BEGIN UPDATE directory SET version = version + 1; END",
    "CREATE TRIGGER share_removed AFTER DELETE ON share BEGIN UPDATE directory SET version = version + 1; END",
)


def upgrade() -> None:
    """Make the triggers."""
    for statement in _TRIGGERS:
        op.execute(statement)
