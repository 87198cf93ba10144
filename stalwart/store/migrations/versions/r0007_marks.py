"""Marks in the order of the mailbox's list in place of keywords, so that unread or flagged mail is found by index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Under mailbox 0 stands what has the mark in any mailbox.
_FILL = (
    """
INSERT INTO email_mark (account_id, mark, mailbox_id, received_at, email_id, thread_id)
SELECT e.account_id, k.keyword, 0, e.received_at, e.id, e.thread_id
FROM email_keyword AS k JOIN email AS e ON e.id = k.email_id
WHERE k.keyword <> '$seen'
""",
    """
INSERT INTO email_mark (account_id, mark, mailbox_id, received_at, email_id, thread_id)
SELECT e.account_id, 'not $seen', 0, e.received_at, e.id, e.thread_id
FROM email AS e
WHERE NOT EXISTS (
    SELECT 1 FROM email_keyword AS k
    WHERE k.account_id = e.account_id AND k.keyword = '$seen' AND k.email_id = e.id
)
""",
    """
INSERT INTO email_mark (account_id, mark, mailbox_id, received_at, email_id, thread_id)
SELECT k.account_id, k.mark, m.mailbox_id, k.received_at, k.email_id, k.thread_id
FROM email_mark AS k JOIN email_mailbox AS m ON m.email_id = k.email_id
WHERE k.mailbox_id = 0
""",
)


def upgrade() -> None:
    """Make the table from the keywords, which then go."""
    op.create_table(
        "email_mark",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("email_id", sa.Integer(), nullable=False),
        sa.Column("thread_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["email_id"], ["email.id"], name=op.f("fk_email_mark_email_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint(
            "account_id", "mark", "mailbox_id", "received_at", "email_id", name=op.f("pk_email_mark")
        ),
        sqlite_with_rowid=False,
    )
    for statement in _FILL:
        op.execute(statement)
    op.create_index("ix_email_mark_email", "email_mark", ["email_id"])
    op.drop_table("email_keyword")
