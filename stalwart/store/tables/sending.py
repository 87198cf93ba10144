"""The tables of mail on its way out: identities, submissions, the queue, keys that sign, answers in one's absence."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

from stalwart.store.tables.base import Id, metadata

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
