"""The schema, table by table, as SQLAlchemy metadata; a module for each subject. What only SQLite has (full text,
triggers) lies in `search.py` and `recipients.py`.

Ids count up over the whole database and are never used twice. Times are seconds since the epoch, sizes octets.
`modseq` numbers come from `account.modseq`: each touched object of a JMAP type gets one of its own.
"""

from __future__ import annotations

from stalwart.store.tables.base import Id, metadata
from stalwart.store.tables.credentials import browser_session, credential, push_subscription, stream_ticket, totp
from stalwart.store.tables.directory import (
    DELETED,
    IS_LIVE,
    account,
    address,
    directory,
    domain,
    principal,
    principal_member,
    principal_permission,
    principal_role,
    share,
)
from stalwart.store.tables.mail import (
    email,
    email_content,
    email_mailbox,
    email_mark,
    mailbox,
    subscription,
    thread,
    thread_key,
    thread_mailbox,
    tombstone,
    type_state,
    upload,
)
from stalwart.store.tables.oauth import oauth_client, oauth_code, oauth_device, oauth_grant, oauth_token, signing_key
from stalwart.store.tables.sending import (
    dkim_key,
    email_submission,
    identity,
    mta_sts_policy,
    queue_control,
    queue_message,
    queue_recipient,
    queue_report,
    sending_allowance,
    vacation_answer,
    vacation_response,
)
from stalwart.store.tables.server import ban, lookup, server_key

__all__ = [
    "DELETED",
    "IS_LIVE",
    "Id",
    "account",
    "address",
    "ban",
    "browser_session",
    "credential",
    "directory",
    "dkim_key",
    "domain",
    "email",
    "email_content",
    "email_mailbox",
    "email_mark",
    "email_submission",
    "identity",
    "lookup",
    "mailbox",
    "metadata",
    "mta_sts_policy",
    "oauth_client",
    "oauth_code",
    "oauth_device",
    "oauth_grant",
    "oauth_token",
    "principal",
    "principal_member",
    "principal_permission",
    "principal_role",
    "push_subscription",
    "queue_control",
    "queue_message",
    "queue_recipient",
    "queue_report",
    "sending_allowance",
    "server_key",
    "share",
    "signing_key",
    "stream_ticket",
    "subscription",
    "thread",
    "thread_key",
    "thread_mailbox",
    "tombstone",
    "totp",
    "type_state",
    "upload",
    "vacation_answer",
    "vacation_response",
]
