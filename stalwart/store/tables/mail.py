"""The tables of mail: mailboxes, threads, messages and uploads, and what is told of their changes."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

from stalwart.store.tables.base import Id, metadata

# The state of each JMAP type of an account, moved in the transaction that changed an object.
type_state = Table(
    "type_state",
    metadata,
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("type", Text, nullable=False),  # "Email", "Mailbox", …
    Column("modseq", BigInteger, nullable=False),
    Column("floor", BigInteger, nullable=False),  # changes since an older state can't be told: tombstones were dropped
    PrimaryKeyConstraint("account_id", "type"),
    sqlite_with_rowid=False,
)

# Destroyed objects, kept for some weeks so that clients can be told. RFC 8620 §5.2
tombstone = Table(
    "tombstone",
    metadata,
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("type", Text, nullable=False),
    Column("modseq", BigInteger, nullable=False),
    Column("object_id", BigInteger, nullable=False),
    Column("created_modseq", BigInteger, nullable=False),
    Column("destroyed_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("account_id", "type", "modseq"),
    Index("ix_tombstone_destroyed_at", "destroyed_at"),
    sqlite_with_rowid=False,
)

# Counters as RFC 8621 §2 defines them; never counted, always kept.
mailbox = Table(
    "mailbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("parent_id", Id, ForeignKey("mailbox.id")),  # NULL: top level
    Column("name", Text, nullable=False),  # NFC
    Column("role", Text),
    Column("sort_order", BigInteger, nullable=False),
    Column("is_subscribed", Boolean, nullable=False),
    Column("total_emails", BigInteger, nullable=False),
    Column("unread_emails", BigInteger, nullable=False),
    Column("total_threads", BigInteger, nullable=False),
    Column("unread_threads", BigInteger, nullable=False),
    Column("created_modseq", BigInteger, nullable=False),
    Column("modseq", BigInteger, nullable=False),
    Column("properties_modseq", BigInteger, nullable=False),  # like modseq, but counters don't move it
    UniqueConstraint("account_id", "id", name="uq_mailbox_account_id"),  # what email_mailbox refers to
    UniqueConstraint("account_id", "role", name="uq_mailbox_account_role"),
    Index("ix_mailbox_parent", "parent_id"),
    Index("ix_mailbox_created", "account_id", "created_modseq"),
    Index("ix_mailbox_modseq", "account_id", "modseq", "created_modseq"),
    sqlite_autoincrement=True,
)
# Siblings have different names. Two indexes, because NULL parents differ from each other.
Index(
    "uq_mailbox_child_name",
    mailbox.c.parent_id,
    mailbox.c.name,
    unique=True,
    sqlite_where=mailbox.c.parent_id.is_not(None),
    postgresql_where=mailbox.c.parent_id.is_not(None),
)
Index(
    "uq_mailbox_top_name",
    mailbox.c.account_id,
    mailbox.c.name,
    unique=True,
    sqlite_where=mailbox.c.parent_id.is_(None),
    postgresql_where=mailbox.c.parent_id.is_(None),
)

# A conversation. The two unread counts follow RFC 8621 §2, unreadThreads: what lies only in the trash is a world of
# its own.
thread = Table(
    "thread",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("emails", BigInteger, nullable=False),
    Column("unread_elsewhere", BigInteger, nullable=False),  # unread e-mails that are not only in the trash
    Column("unread_in_trash", BigInteger, nullable=False),  # unread e-mails that are in the trash
    Column("created_modseq", BigInteger, nullable=False),
    Column("modseq", BigInteger, nullable=False),
    Index("ix_thread_created", "account_id", "created_modseq"),
    Index("ix_thread_modseq", "account_id", "modseq", "created_modseq"),
    sqlite_autoincrement=True,
)

# Which thread a message with this (message id, base subject) belongs to. Stays as long as the thread.
thread_key = Table(
    "thread_key",
    metadata,
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("key", LargeBinary, nullable=False),  # a hash, see stalwart.mail.summary
    Column("thread_id", ForeignKey("thread.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("account_id", "key"),
    Index("ix_thread_key_thread", "thread_id"),
    sqlite_with_rowid=False,
)

# How many e-mails of a thread are in a mailbox: what totalThreads and unreadThreads are kept from.
thread_mailbox = Table(
    "thread_mailbox",
    metadata,
    Column("thread_id", ForeignKey("thread.id", ondelete="CASCADE"), nullable=False),
    Column("mailbox_id", ForeignKey("mailbox.id", ondelete="CASCADE"), nullable=False),
    Column("emails", BigInteger, nullable=False),
    PrimaryKeyConstraint("thread_id", "mailbox_id"),
    Index("ix_thread_mailbox_mailbox", "mailbox_id"),
    sqlite_with_rowid=False,
)

# What filters and sorts look at, and what may change. Narrow on purpose: see email_content.
email = Table(
    "email",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("thread_id", ForeignKey("thread.id"), nullable=False),
    Column("blob_hash", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("sent_at", BigInteger, nullable=False),  # for sorting; received_at if the Date can't be read
    Column("has_attachment", Boolean, nullable=False),
    Column("mailbox_ids", Text, nullable=False),  # ascending, with commas: "3,17"; the same as in email_mailbox
    Column("keywords", Text, nullable=False),  # sorted, lower case, with spaces; what email_mark is kept from
    Column("sort_from", Text, nullable=False),  # RFC 8621 §4.4.2, case folded
    Column("sort_to", Text, nullable=False),
    Column("sort_subject", Text, nullable=False),  # RFC 5256 base subject, case folded
    Column("created_modseq", BigInteger, nullable=False),
    Column("modseq", BigInteger, nullable=False),
    Index("ix_email_received", "account_id", "received_at"),
    Index("ix_email_created", "account_id", "created_modseq"),
    Index("ix_email_modseq", "account_id", "modseq", "created_modseq"),
    Index("ix_email_thread", "thread_id", "received_at"),
    Index("ix_email_blob", "blob_hash", "account_id"),
    sqlite_autoincrement=True,
)

# What never changes and is only sent: apart from `email`, so that marking a thousand mails read rewrites few pages.
email_content = Table(
    "email_content",
    metadata,
    Column("email_id", Id, ForeignKey("email.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("summary", LargeBinary, nullable=False),  # JSON of the JMAP properties, ready to send
    Column("structure", LargeBinary, nullable=False),  # MIME tree with offsets into the message
)

# A mailbox's list is a range of this key, read backwards; the thread id rides along for collapsing.
email_mailbox = Table(
    "email_mailbox",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("mailbox_id", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("email_id", ForeignKey("email.id", ondelete="CASCADE"), nullable=False),
    Column("thread_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("account_id", "mailbox_id", "received_at", "email_id"),
    ForeignKeyConstraint(
        ["account_id", "mailbox_id"],
        ["mailbox.account_id", "mailbox.id"],
        name="fk_email_mailbox_mailbox",
        ondelete="CASCADE",
    ),
    Index("ix_email_mailbox_email", "email_id"),
    sqlite_with_rowid=False,
)

# By what e-mails are picked out of a mailbox, in the order of its list; also of the whole account, as mailbox 0. The
# marks are the keywords, but $seen: since nearly everything is read, what isn't has the mark UNSEEN instead.
email_mark = Table(
    "email_mark",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("mark", Text, nullable=False),
    Column("mailbox_id", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("email_id", ForeignKey("email.id", ondelete="CASCADE"), nullable=False),
    Column("thread_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("account_id", "mark", "mailbox_id", "received_at", "email_id"),
    Index("ix_email_mark_email", "email_id"),
    sqlite_with_rowid=False,
)

# Uploaded blobs that need not belong to a message: each is its uploader's, also in a shared account. RFC 8620 §6.1
upload = Table(
    "upload",
    metadata,
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),  # who uploaded it
    Column("blob_hash", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("type", Text, nullable=False),  # Content-Type as it was sent
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("account_id", "user_id", "blob_hash"),
    Index("ix_upload_blob", "blob_hash"),
    Index("ix_upload_user", "user_id", "created_at"),
    Index("ix_upload_created", "created_at"),
    sqlite_with_rowid=False,
)

# The mailboxes of others that a user subscribed to; their own have `is_subscribed`. RFC 8621 §2
subscription = Table(
    "subscription",
    metadata,
    Column("guest_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("mailbox_id", ForeignKey("mailbox.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("guest_id", "mailbox_id"),
    Index("ix_subscription_mailbox", "mailbox_id"),
    sqlite_with_rowid=False,
)
