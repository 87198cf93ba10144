"""The first schema: accounts, mailboxes, e-mails, threads, states, uploads, full text."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# SQLite only; another database has a text index of its own kind.
_FULL_TEXT = (
    """
CREATE TABLE email_text (
    email_id INTEGER NOT NULL PRIMARY KEY REFERENCES email (id) ON DELETE CASCADE,
    account TEXT NOT NULL,
    subject TEXT NOT NULL,
    from_ TEXT NOT NULL,
    to_ TEXT NOT NULL,
    cc TEXT NOT NULL,
    bcc TEXT NOT NULL,
    body TEXT NOT NULL,
    attachments TEXT NOT NULL
)""",
    """
CREATE VIRTUAL TABLE email_search USING fts5 (
    account, subject, from_, to_, cc, bcc, body, attachments,
    content = 'email_text', content_rowid = 'email_id', columnsize = 0,
    tokenize = 'unicode61 remove_diacritics 2'
)""",
    # Twice the default: a delivery merges less, a search looks through a few more pieces of the index.
    "INSERT INTO email_search (email_search, rank) VALUES ('automerge', 8)",
    """
CREATE TRIGGER email_text_added AFTER INSERT ON email_text BEGIN
    INSERT INTO email_search (rowid, account, subject, from_, to_, cc, bcc, body, attachments)
    VALUES (new.email_id, new.account, new.subject, new.from_, new.to_, new.cc, new.bcc, new.body, new.attachments);
END""",
    """
CREATE TRIGGER email_text_removed AFTER DELETE ON email_text BEGIN
    INSERT INTO email_search (email_search, rowid, account, subject, from_, to_, cc, bcc, body, attachments)
    VALUES ('delete', old.email_id, old.account, old.subject, old.from_, old.to_, old.cc, old.bcc, old.body,
            old.attachments);
END""",
)


def upgrade() -> None:
    """Make everything."""

    op.create_table(
        "account",
        sa.Column("id", _ID, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("quota", sa.BigInteger(), nullable=True),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("message_count", sa.BigInteger(), nullable=False),
        sa.Column("credential_version", sa.BigInteger(), nullable=False),
        sa.Column("modseq", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("address", name=op.f("uq_account_address")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "domain",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domain")),
        sa.UniqueConstraint("name", name=op.f("uq_domain_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "address",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("domain_id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("is_alias", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_address_account_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["domain_id"], ["domain.id"], name=op.f("fk_address_domain_id")),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_address")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_address_account", "address", ["account_id"], unique=False)
    op.create_index("ix_address_domain", "address", ["domain_id"], unique=False)
    op.create_table(
        "mailbox",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("parent_id", _ID, nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("sort_order", sa.BigInteger(), nullable=False),
        sa.Column("is_subscribed", sa.Boolean(), nullable=False),
        sa.Column("total_emails", sa.BigInteger(), nullable=False),
        sa.Column("unread_emails", sa.BigInteger(), nullable=False),
        sa.Column("total_threads", sa.BigInteger(), nullable=False),
        sa.Column("unread_threads", sa.BigInteger(), nullable=False),
        sa.Column("created_modseq", sa.BigInteger(), nullable=False),
        sa.Column("modseq", sa.BigInteger(), nullable=False),
        sa.Column("properties_modseq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_mailbox_account_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["parent_id"], ["mailbox.id"], name=op.f("fk_mailbox_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailbox")),
        sa.UniqueConstraint("account_id", "id", name="uq_mailbox_account_id"),
        sa.UniqueConstraint("account_id", "role", name="uq_mailbox_account_role"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_mailbox_created", "mailbox", ["account_id", "created_modseq"], unique=False)
    op.create_index("ix_mailbox_modseq", "mailbox", ["account_id", "modseq", "created_modseq"], unique=False)
    op.create_index("ix_mailbox_parent", "mailbox", ["parent_id"], unique=False)
    op.create_index(
        "uq_mailbox_child_name",
        "mailbox",
        ["parent_id", "name"],
        unique=True,
        sqlite_where=sa.text("parent_id IS NOT NULL"),
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_index(
        "uq_mailbox_top_name",
        "mailbox",
        ["account_id", "name"],
        unique=True,
        sqlite_where=sa.text("parent_id IS NULL"),
        postgresql_where=sa.text("parent_id IS NULL"),
    )
    op.create_table(
        "thread",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("emails", sa.BigInteger(), nullable=False),
        sa.Column("unread_elsewhere", sa.BigInteger(), nullable=False),
        sa.Column("unread_in_trash", sa.BigInteger(), nullable=False),
        sa.Column("created_modseq", sa.BigInteger(), nullable=False),
        sa.Column("modseq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_thread_account_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_thread")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_thread_created", "thread", ["account_id", "created_modseq"], unique=False)
    op.create_index("ix_thread_modseq", "thread", ["account_id", "modseq", "created_modseq"], unique=False)
    op.create_table(
        "tombstone",
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("modseq", sa.BigInteger(), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("created_modseq", sa.BigInteger(), nullable=False),
        sa.Column("destroyed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_tombstone_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "type", "modseq", name=op.f("pk_tombstone")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tombstone_destroyed_at", "tombstone", ["destroyed_at"], unique=False)
    op.create_table(
        "type_state",
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("modseq", sa.BigInteger(), nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_type_state_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "type", name=op.f("pk_type_state")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "upload",
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("blob_hash", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_upload_account_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id", "blob_hash", name=op.f("pk_upload")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_upload_blob", "upload", ["blob_hash"], unique=False)
    op.create_table(
        "email",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("thread_id", _ID, nullable=False),
        sa.Column("blob_hash", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("has_attachment", sa.Boolean(), nullable=False),
        sa.Column("mailbox_ids", sa.Text(), nullable=False),
        sa.Column("keywords", sa.Text(), nullable=False),
        sa.Column("sort_from", sa.Text(), nullable=False),
        sa.Column("sort_to", sa.Text(), nullable=False),
        sa.Column("sort_subject", sa.Text(), nullable=False),
        sa.Column("created_modseq", sa.BigInteger(), nullable=False),
        sa.Column("modseq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_email_account_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["thread_id"], ["thread.id"], name=op.f("fk_email_thread_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_email_blob", "email", ["blob_hash", "account_id"], unique=False)
    op.create_index("ix_email_created", "email", ["account_id", "created_modseq"], unique=False)
    op.create_index("ix_email_modseq", "email", ["account_id", "modseq", "created_modseq"], unique=False)
    op.create_index("ix_email_received", "email", ["account_id", "received_at"], unique=False)
    op.create_index("ix_email_thread", "email", ["thread_id", "received_at"], unique=False)
    op.create_table(
        "thread_key",
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("thread_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_thread_key_account_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["thread_id"], ["thread.id"], name=op.f("fk_thread_key_thread_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id", "key", name=op.f("pk_thread_key")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_thread_key_thread", "thread_key", ["thread_id"], unique=False)
    op.create_table(
        "thread_mailbox",
        sa.Column("thread_id", _ID, nullable=False),
        sa.Column("mailbox_id", _ID, nullable=False),
        sa.Column("emails", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailbox.id"], name=op.f("fk_thread_mailbox_mailbox_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["thread_id"], ["thread.id"], name=op.f("fk_thread_mailbox_thread_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("thread_id", "mailbox_id", name=op.f("pk_thread_mailbox")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_thread_mailbox_mailbox", "thread_mailbox", ["mailbox_id"], unique=False)
    op.create_table(
        "email_content",
        sa.Column("email_id", _ID, autoincrement=False, nullable=False),
        sa.Column("summary", sa.LargeBinary(), nullable=False),
        sa.Column("structure", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["email_id"], ["email.id"], name=op.f("fk_email_content_email_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("email_id", name=op.f("pk_email_content")),
    )
    op.create_table(
        "email_keyword",
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("keyword", sa.Text(), nullable=False),
        sa.Column("email_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_email_keyword_account_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["email_id"], ["email.id"], name=op.f("fk_email_keyword_email_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id", "keyword", "email_id", name=op.f("pk_email_keyword")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_email_keyword_email", "email_keyword", ["email_id"], unique=False)
    op.create_table(
        "email_mailbox",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("email_id", _ID, nullable=False),
        sa.Column("thread_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "mailbox_id"],
            ["mailbox.account_id", "mailbox.id"],
            name="fk_email_mailbox_mailbox",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["email_id"], ["email.id"], name=op.f("fk_email_mailbox_email_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id", "mailbox_id", "received_at", "email_id", name=op.f("pk_email_mailbox")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_email_mailbox_email", "email_mailbox", ["email_id"], unique=False)

    for statement in _FULL_TEXT:
        op.execute(statement)
