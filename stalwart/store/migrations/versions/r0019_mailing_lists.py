"""Mailing lists and who is on them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "mailing_list",
        sa.Column("principal_id", _ID, nullable=False),
        sa.Column("domain_id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("is_members_only", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principal.id"], name=op.f("fk_mailing_list_principal_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["domain_id"], ["domain.id"], name=op.f("fk_mailing_list_domain_id")),
        sa.PrimaryKeyConstraint("principal_id", name=op.f("pk_mailing_list")),
    )
    op.create_index("ix_mailing_list_domain", "mailing_list", ["domain_id"])
    op.create_index("ix_mailing_list_owner", "mailing_list", ["owner"])
    op.create_table(
        "list_member",
        sa.Column("list_id", _ID, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["list_id"], ["mailing_list.principal_id"], name=op.f("fk_list_member_list_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("list_id", "address", name=op.f("pk_list_member")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_list_member_address", "list_member", ["address"])
