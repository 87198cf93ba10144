"""The schema, table by table, as SQLAlchemy metadata. What only SQLite has (full text, triggers)
lies in `search.py` and `recipients.py`.

Ids count up over the whole database and are never used twice. Times are seconds since the epoch, sizes octets.
`modseq` numbers come from `account.modseq`: each touched object of a JMAP type gets one of its own.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite gives out row ids only for a column that is exactly INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")

domain = Table(
    "domain",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),  # A-labels, lower case
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

account = Table(
    "account",
    metadata,
    Column("id", Id, primary_key=True),
    Column("address", Text, nullable=False, unique=True),  # normalised; also in `address`, unless it is `DELETED`
    Column("name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("quota", BigInteger),  # octets; NULL: no limit
    Column("used", BigInteger, nullable=False),  # sum of email.size, kept
    Column("message_count", BigInteger, nullable=False),  # rows in email, kept
    Column("credential_version", BigInteger, nullable=False),  # +1 with each change of the password
    Column("modseq", BigInteger, nullable=False),  # the last one given out
    Column("created_at", BigInteger, nullable=False),
    Column("quota_modseq", BigInteger, nullable=False, server_default="0"),  # when the quota was last changed
    Column("quota_created_modseq", BigInteger, nullable=False, server_default="0"),  # when it got one
    sqlite_autoincrement=True,
)

#: What stands as the address of an account that was deleted, before its id, until all that it holds is removed.
DELETED = "deleted"
IS_LIVE = account.c.address.contains("@")

# Whoever can be given permissions, or be named where some are given. An account that was deleted has none.
principal = Table(
    "principal",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),  # see PrincipalKind
    Column("name", Text, nullable=False),  # of an individual or group: the address of its account
    Column("description", Text, nullable=False),
    Column("locale", Text),  # a language tag, RFC 5646; NULL: not known
    Column("is_enabled", Boolean, nullable=False),  # whether its credentials count
    Column("created_at", BigInteger, nullable=False),
    # Where its mail lies; NULL: it has no mailbox.
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), unique=True),
    Column("owner_id", Id, ForeignKey("principal.id", ondelete="CASCADE")),  # for whom an API key signs in
    UniqueConstraint("kind", "name"),
    Index("ix_principal_owner", "owner_id"),
    sqlite_autoincrement=True,
)

# Who belongs to a group.
principal_member = Table(
    "principal_member",
    metadata,
    Column("group_id", ForeignKey("principal.id", ondelete="CASCADE"), nullable=False),
    Column("member_id", ForeignKey("principal.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("group_id", "member_id"),
    Index("ix_principal_member_member", "member_id"),
    sqlite_with_rowid=False,
)

# The roles that a principal has; a role may have others.
principal_role = Table(
    "principal_role",
    metadata,
    Column("principal_id", ForeignKey("principal.id", ondelete="CASCADE"), nullable=False),
    Column("role_id", ForeignKey("principal.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("principal_id", "role_id"),
    Index("ix_principal_role_role", "role_id"),
    sqlite_with_rowid=False,
)

# What a principal may do beside its roles, and what it may not in spite of them.
principal_permission = Table(
    "principal_permission",
    metadata,
    Column("principal_id", ForeignKey("principal.id", ondelete="CASCADE"), nullable=False),
    Column("permission", Text, nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    PrimaryKeyConstraint("principal_id", "permission"),
    sqlite_with_rowid=False,
)

# Random secrets that sign in: an individual's app passwords, and the one secret of each API key. Only hashes are kept.
credential = Table(
    "credential",
    metadata,
    Column("id", Id, primary_key=True),
    Column("principal_id", ForeignKey("principal.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("networks", Text),  # from where it may be used, with spaces; NULL: from anywhere
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),  # NULL: never
    Column("last_used_at", BigInteger),  # NULL: never; to the minute
    UniqueConstraint("principal_id", "name"),
    Index("ix_credential_hash", "principal_id", "hash", unique=True),
    sqlite_autoincrement=True,
)

# The second factor beside a password. RFC 6238
totp = Table(
    "totp",
    metadata,
    Column("principal_id", ForeignKey("principal.id", ondelete="CASCADE"), primary_key=True),
    Column("secret", Text, nullable=False),  # base32
    Column("created_at", BigInteger, nullable=False),
    Column("last_step", BigInteger, nullable=False),  # the time step of the last code that was taken
    sqlite_with_rowid=False,
)

# A secret that its owner has not shown yet to have: no codes of it are asked for.
totp_enrolment = Table(
    "totp_enrolment",
    metadata,
    Column("principal_id", ForeignKey("principal.id", ondelete="CASCADE"), primary_key=True),
    Column("secret", Text, nullable=False),  # base32
    Column("expires_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Codes for who has lost the app; used once, and only hashes are kept.
recovery_code = Table(
    "recovery_code",
    metadata,
    Column("principal_id", ForeignKey("principal.id", ondelete="CASCADE"), primary_key=True),
    Column("hash", LargeBinary, primary_key=True),
    sqlite_with_rowid=False,
)

# Every address that receives mail: each account's own one and its aliases.
address = Table(
    "address",
    metadata,
    Column("address", Text, primary_key=True),  # local part in NFC and lower case @ domain
    Column("domain_id", ForeignKey("domain.id"), nullable=False),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("is_alias", Boolean, nullable=False),
    Index("ix_address_account", "account_id"),
    Index("ix_address_domain", "domain_id"),
    sqlite_with_rowid=False,
)

# One row. Triggers move the version with every change of who is who: see recipients.py, shares.py and principals.py.
directory = Table("directory", metadata, Column("version", BigInteger, nullable=False))

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

# Under which addresses and names the account sends. RFC 8621 §6
identity = Table(
    "identity",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("email", Text, nullable=False),  # an address of the account, normalised
    Column("name", Text, nullable=False),
    Column("reply_to", Text),  # JSON list of EmailAddress; NULL: none
    Column("bcc", Text),  # as reply_to
    Column("text_signature", Text, nullable=False),
    Column("html_signature", Text, nullable=False),
    Column("may_delete", Boolean, nullable=False),  # false for the one that came with the address
    Column("created_modseq", BigInteger, nullable=False),
    Column("modseq", BigInteger, nullable=False),
    Index("ix_identity_created", "account_id", "created_modseq"),
    Index("ix_identity_modseq", "account_id", "modseq", "created_modseq"),
    sqlite_autoincrement=True,
)

# What was handed in to be sent. The ids of what it was made of stay when that is gone (RFC 8621 §7.5).
email_submission = Table(
    "email_submission",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("identity_id", BigInteger, nullable=False),
    Column("email_id", BigInteger, nullable=False),
    Column("thread_id", BigInteger, nullable=False),
    Column("envelope", Text, nullable=False),  # the Envelope object of RFC 8621 §7 as JSON
    Column("send_at", BigInteger, nullable=False),
    Column("created_modseq", BigInteger, nullable=False),
    Column("modseq", BigInteger, nullable=False),
    Index("ix_email_submission_created", "account_id", "created_modseq"),
    Index("ix_email_submission_modseq", "account_id", "modseq", "created_modseq"),
    Index("ix_email_submission_email_id", "account_id", "email_id"),
    Index("ix_email_submission_thread_id", "account_id", "thread_id"),
    Index("ix_email_submission_send_at", "account_id", "send_at"),
    sqlite_autoincrement=True,
)

# How much of its sending limit an account has used: by when (seconds since the epoch) all of it will have come back.
sending_allowance = Table(
    "sending_allowance",
    metadata,
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
    Column("free_at", Float, nullable=False),
)

# Whose mail a user may read, or also change, beside their own.
share = Table(
    "share",
    metadata,
    Column("guest_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("owner_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("may_write", Boolean, nullable=False),
    PrimaryKeyConstraint("guest_id", "owner_id"),
    Index("ix_share_owner", "owner_id"),
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

# Where clients asked to be pushed to (RFC 8620 §7.2), each tied to the credentials it was made with.
push_subscription = Table(
    "push_subscription",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("credential_version", BigInteger, nullable=False),
    # The app password or API key that it was made with; NULL: the password itself, or a token of `grant_id`.
    Column("credential_id", ForeignKey("credential.id", ondelete="CASCADE")),
    Column("grant_id", ForeignKey("oauth_grant.id", ondelete="CASCADE")),
    Column("device_client_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("p256dh", LargeBinary),  # both or none
    Column("auth", LargeBinary),
    Column("verification_code", Text, nullable=False),  # the one that was sent
    Column("is_verified", Boolean, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("types", Text),  # sorted, with spaces; NULL: all
    Index("ix_push_subscription_account", "account_id"),
    Index("ix_push_subscription_credential", "credential_id"),
    Index("ix_push_subscription_grant", "grant_id"),
    sqlite_autoincrement=True,
)

# Stands in for a sign-in where a browser can't send one: on EventSource and WebSocket. Only hashes are kept.
stream_ticket = Table(
    "stream_ticket",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("credential_version", BigInteger, nullable=False),
    # The app password or API key that it was made with; NULL: the password itself, or the token of `token_id`.
    Column("credential_id", ForeignKey("credential.id", ondelete="CASCADE")),
    Column("token_id", ForeignKey("oauth_token.id", ondelete="CASCADE")),
    Column("purpose", Text, nullable=False),  # "eventsource", "websocket", "cookie"
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_stream_ticket_account", "account_id"),
    Index("ix_stream_ticket_credential", "credential_id"),
    Index("ix_stream_ticket_token", "token_id"),
    Index("ix_stream_ticket_expires", "expires_at"),
    sqlite_with_rowid=False,
)

# Keys that this server made for itself, once.
server_key = Table(
    "server_key",
    metadata,
    Column("name", Text, primary_key=True),  # "vapid"
    Column("value", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# What rules keep with key_set and counter_incr: a value, or the decimal digits of a counter.
lookup = Table(
    "lookup",
    metadata,
    Column("store", Text, nullable=False),
    Column("is_counter", Boolean, nullable=False),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),  # seconds since the epoch
    PrimaryKeyConstraint("store", "is_counter", "key"),
    Index("ix_lookup_expires", "expires_at"),
    sqlite_with_rowid=False,
)

# Who is kept out for now. The ids count up, so that their number and the greatest tell whether anything has changed.
ban = Table(
    "ban",
    metadata,
    Column("id", Id, primary_key=True),
    Column("network", Text, nullable=False, unique=True),  # an address or network in canonical form
    Column("reason", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger),  # NULL: no end
    Column("detail", Text, nullable=False),  # for people
    sqlite_autoincrement=True,
)

# A message on its way out, octet for octet as it will go. Done ones stay for a while, for who asks what became of them.
queue_message = Table(
    "queue_message",
    metadata,
    Column("id", Id, primary_key=True),
    # Whose it is; NULL: the server's own, or the account is gone.
    Column("account_id", ForeignKey("account.id", ondelete="SET NULL")),
    Column("submission_id", BigInteger),  # NULL: no EmailSubmission (any more)
    Column("blob_hash", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("return_path", Text, nullable=False),  # empty: reports go nowhere
    Column("env_id", Text, nullable=False),  # what reports call it by; hard to guess. RFC 3461 §4.4
    Column("ret", Text),  # "FULL", "HDRS". RFC 3461 §4.3
    Column("is_8bit", Boolean, nullable=False),
    Column("needs_smtputf8", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("is_held", Boolean, nullable=False),
    Column("warn_at", BigInteger),  # when to tell the sender that it is late; NULL: told, or not to be told
    Column("finished_at", BigInteger),  # NULL: some recipient still waits, and the blob must stay
    Column("message_id", Text),  # its Message-ID without brackets, by which RFC 8098's notifications call it
    Index("ix_queue_message_account", "account_id"),
    Index("ix_queue_message_submission", "submission_id"),
    Index("ix_queue_message_env_id", "env_id", unique=True),
    Index("ix_queue_message_finished", "finished_at"),
    Index("ix_queue_message_blob", "blob_hash"),
    Index("ix_queue_message_message_id", "account_id", "message_id"),
    sqlite_autoincrement=True,
)
Index(
    "ix_queue_message_waiting",
    queue_message.c.account_id,
    queue_message.c.submission_id,
    sqlite_where=queue_message.c.finished_at.is_(None),
    postgresql_where=queue_message.c.finished_at.is_(None),
)

queue_recipient = Table(
    "queue_recipient",
    metadata,
    Column("id", Id, primary_key=True),
    Column("message_id", ForeignKey("queue_message.id", ondelete="CASCADE"), nullable=False),
    Column("address", Text, nullable=False),
    Column("notify", Text),  # as in RFC 3461 §4.1, upper case: "NEVER", or of "SUCCESS,FAILURE,DELAY"
    Column("orcpt", Text),  # RFC 3461 §4.2, as given: "rfc822;…"
    Column("destination", Text, nullable=False),  # a domain in A-labels, or "local"
    Column("status", Text, nullable=False),  # see QueueStatus
    Column("attempts", BigInteger, nullable=False),
    Column("next_attempt_at", BigInteger),  # NULL: it doesn't wait: done, held, or under way
    Column("begun_at", BigInteger),  # an attempt is under way since then
    Column("ending_at", BigInteger),  # the last octets of the message may have been sent since then
    Column("last_attempt_at", BigInteger),
    Column("reply", Text),  # the last answer of SMTP, on one line
    Column("peer", Text),  # who gave it
    Column("is_displayed", Boolean, nullable=False, server_default="0"),  # a notification says so. RFC 8098
    Index("ix_queue_recipient_message", "message_id"),
    sqlite_autoincrement=True,
)
Index(
    "ix_queue_recipient_due",
    queue_recipient.c.destination,
    queue_recipient.c.next_attempt_at,
    sqlite_where=queue_recipient.c.next_attempt_at.is_not(None),
    postgresql_where=queue_recipient.c.next_attempt_at.is_not(None),
)
Index(
    "ix_queue_recipient_begun",
    queue_recipient.c.begun_at,
    sqlite_where=queue_recipient.c.begun_at.is_not(None),
    postgresql_where=queue_recipient.c.begun_at.is_not(None),
)

# Reports about a message that came in (RFC 3464, RFC 8098): blobs of the account's mail; the oldest first by their ids.
queue_report = Table(
    "queue_report",
    metadata,
    Column("id", Id, primary_key=True),
    Column("message_id", ForeignKey("queue_message.id", ondelete="CASCADE"), nullable=False),
    Column("blob_hash", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default="dsn"),  # "dsn", "mdn"
    Index("ix_queue_report_message", "message_id"),
    sqlite_autoincrement=True,
)

# One row: what holds for the whole queue.
queue_control = Table("queue_control", metadata, Column("is_paused", Boolean, nullable=False))

# What mail of a domain is signed with. RFC 6376
dkim_key = Table(
    "dkim_key",
    metadata,
    Column("id", Id, primary_key=True),
    Column("domain_id", ForeignKey("domain.id", ondelete="CASCADE"), nullable=False),
    Column("selector", Text, nullable=False),
    Column("algorithm", Text, nullable=False),  # "rsa-sha256", "ed25519-sha256"
    Column("private_key", LargeBinary, nullable=False),  # PKCS #8, DER
    Column("public_key", LargeBinary, nullable=False),  # as its DNS record has it
    Column("created_at", BigInteger, nullable=False),
    Column("signs_from", BigInteger, nullable=False),
    Column("signs_until", BigInteger),  # NULL: no end
    UniqueConstraint("domain_id", "selector"),
    sqlite_autoincrement=True,
)

# What is answered to those who write to somebody who is away; no row: the defaults. RFC 8621 §8
vacation_response = Table(
    "vacation_response",
    metadata,
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
    Column("is_enabled", Boolean, nullable=False),
    Column("from_date", BigInteger),
    Column("to_date", BigInteger),
    Column("subject", Text),
    Column("text_body", Text),
    Column("html_body", Text),
    sqlite_with_rowid=False,
)

# Who got such an answer, and when last. RFC 3834 §2
vacation_answer = Table(
    "vacation_answer",
    metadata,
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("sender", Text, nullable=False),  # letter case folded
    Column("answered_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("account_id", "sender"),
    Index("ix_vacation_answer_answered", "account_id", "answered_at"),
    sqlite_with_rowid=False,
)

# What other domains say of their mail exchangers. RFC 8461
mta_sts_policy = Table(
    "mta_sts_policy",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("policy_id", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("mx", Text, nullable=False),  # patterns, with a space between them
    Column("fetched_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_mta_sts_policy_expires", "expires_at"),
    Index("ix_mta_sts_policy_fetched", "fetched_at"),
    sqlite_with_rowid=False,
)

# People who signed in with a browser. Only hashes of their tokens are kept.
browser_session = Table(
    "browser_session",
    metadata,
    Column("id", Id, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("credential_version", BigInteger, nullable=False),
    Column("needs_code", Boolean, nullable=False),
    Column("attempts", BigInteger, nullable=False),  # codes that were tried
    Column("signed_in_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("purpose", LargeBinary),  # hash of what the password was asked for
    Index("ix_browser_session_account", "account_id"),
    Index("ix_browser_session_ends", "ends_at"),
    sqlite_autoincrement=True,
)
