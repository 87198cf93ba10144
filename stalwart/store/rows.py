"""The values that store functions take and give. Ids are integers; times are whole seconds since the epoch, UTC."""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from typing import Literal

import msgspec

from stalwart.mail.dkim import Algorithm
from stalwart.mail.summary import Digest
from stalwart.ops.cache import Cache

#: RFC 8621 §2: the mailbox attributes of IANA's registry that say what a mailbox is for, in lower case.
Role = Literal[
    "all",
    "archive",
    "drafts",
    "flagged",
    "important",
    "inbox",
    "junk",
    "memos",
    "scheduled",
    "sent",
    "snoozed",
    "subscribed",
    "trash",
]

#: Types that have a state, as their JMAP names. "EmailDelivery" moves only when mail is added (RFC 8621 §1.5).
TypeName = Literal[
    "Mailbox",
    "Thread",
    "Email",
    "EmailDelivery",
    "EmailSubmission",
    "Identity",
    "Quota",
    "VacationResponse",
]


#: Whose an account is.
AccountKind = Literal["individual", "group"]


class AccountRow(msgspec.Struct, frozen=True, kw_only=True):
    """An account. `quota` is in octets (None: no limit), `used` the sum of its messages' sizes.

    `credential_version` grows with every change of the password, so that what was verified before can be told apart.
    `is_admin` tells whether it has the role `admin` itself.
    """

    id: int
    address: str
    name: str
    password_hash: str
    is_admin: bool
    kind: AccountKind
    is_enabled: bool
    quota: int | None
    used: int
    message_count: int
    credential_version: int
    created_at: int
    aliases: tuple[str, ...]


class MailboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox with its kept counters (RFC 8621 §2).

    `modseq` moves with every change, `properties_modseq` only when something other than a counter changed.
    """

    id: int
    name: str
    parent_id: int | None
    role: Role | None
    sort_order: int
    is_subscribed: bool
    total_emails: int
    unread_emails: int
    total_threads: int
    unread_threads: int
    created_modseq: int
    modseq: int
    properties_modseq: int


class NewEmail(msgspec.Struct, frozen=True, kw_only=True):
    """A message to be added: its octets are already in the blob store under `blob_hash`."""

    blob_hash: str
    size: int
    received_at: int
    mailbox_ids: tuple[int, ...]
    keywords: frozenset[str] = frozenset()
    digest: Digest


class StoredEmail(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a `NewEmail`."""

    id: int
    thread_id: int
    modseq: int


class EmailRow(msgspec.Struct, frozen=True, kw_only=True):
    """An e-mail as lists need it. `summary` is JSON of the JMAP properties that never change, `structure` the
    encoded MIME tree (`stalwart.mail`); `keywords` are lower-case and sorted, `mailbox_ids` sorted."""

    id: int
    thread_id: int
    blob_hash: str
    size: int
    received_at: int
    mailbox_ids: tuple[int, ...]
    keywords: tuple[str, ...]
    summary: bytes
    structure: bytes
    modseq: int


class UploadRow(msgspec.Struct, frozen=True, kw_only=True):
    """A blob that a user uploaded and that need not belong to any message. `type` is the Content-Type as sent."""

    account_id: int
    blob_hash: str
    size: int
    type: str
    created_at: int


class IdentityRow(msgspec.Struct, frozen=True, kw_only=True):
    """An address and name under which an account sends (RFC 8621 §6).

    `reply_to` and `bcc` are JSON lists of EmailAddress objects, or None. `may_delete` is false for the one that came
    with the address.
    """

    id: int
    email: str
    name: str
    reply_to: str | None
    bcc: str | None
    text_signature: str
    html_signature: str
    may_delete: bool
    modseq: int


UndoStatus = Literal["pending", "final", "canceled"]
"""RFC 8621 §7: whether a submission may still be canceled, or was."""


class NewSubmission(msgspec.Struct, frozen=True, kw_only=True):
    """An EmailSubmission to be noted. `envelope` is the Envelope object of RFC 8621 §7 as JSON."""

    identity_id: int
    email_id: int
    thread_id: int
    envelope: str
    send_at: int


class SubmissionRow(msgspec.Struct, frozen=True, kw_only=True):
    """An EmailSubmission (RFC 8621 §7), but for what became of each recipient."""

    id: int
    identity_id: int
    email_id: int
    thread_id: int
    envelope: str
    send_at: int
    undo_status: UndoStatus
    created_modseq: int


class ShareRow(msgspec.Struct, frozen=True, kw_only=True):
    """An account that is shared with a user: its id and address, and whether they may change its mail too."""

    account_id: int
    address: str
    may_write: bool


class QuotaRow(msgspec.Struct, frozen=True, kw_only=True):
    """What an account has in use, and may have; `quota` in octets, None for no limit.

    `quota_modseq` and `quota_created_modseq` say when the limit was last changed, and when there came to be one.
    """

    address: str
    quota: int | None
    used: int
    mailboxes: int
    identities: int
    quota_modseq: int
    quota_created_modseq: int


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What changed in one type since a state (RFC 8620 §5.2).

    `new_state` is a valid state to go on from, also when `has_more`. `only_counts` is true when nothing but mailbox
    counters changed (RFC 8621 §2.2, updatedProperties).
    """

    created: list[int]
    updated: list[int]
    destroyed: list[int]
    new_state: int
    has_more: bool
    only_counts: bool


BanReason = Literal["auth-failure", "scanning", "banned-path", "manual"]


class BanRow(msgspec.Struct, frozen=True, kw_only=True):
    """A network that is kept out.

    `network` is an address or network in canonical form; `since` and `until` are seconds since the epoch, `until` is
    None for a ban without end. `detail` is for people.
    """

    network: str
    reason: BanReason
    since: int
    until: int | None
    detail: str = ""


class DkimKeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A key that mail of a domain is signed with, without its private part.

    It signs from `signs_from` until `signs_until` (seconds since the epoch; None: no end). `public_key` is as in
    `stalwart.mail.dkim.record_value`.
    """

    domain: str
    selector: str
    algorithm: Algorithm
    public_key: bytes
    created_at: int
    signs_from: int
    signs_until: int | None


class VacationRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered to those who write to somebody who is away (RFC 8621 §8). Dates are seconds since the epoch."""

    is_enabled: bool = False
    from_date: int | None = None
    to_date: int | None = None
    subject: str | None = None
    text_body: str | None = None
    html_body: str | None = None


class ActiveVacation(msgspec.Struct, frozen=True, kw_only=True):
    """The vacation response of somebody who is away, their name, and all their (normalised) addresses."""

    response: VacationRow
    name: str
    addresses: frozenset[str]


class IdList(msgspec.Struct, frozen=True, kw_only=True):
    """The ids that a search gave, in order: all of them, or unless `is_whole` only the first."""

    ids: array[int]
    is_whole: bool = True


IdCache = Cache[tuple[int, int, Hashable], IdList]
"""Id lists by account, state of `Email`, and question."""

SharingCache = Cache[tuple[int, int], tuple[ShareRow, ...]]
"""The accounts shared with a user, by the directory's version and the user."""

Rights = Literal["none", "read", "write"]

AclCache = Cache[tuple[int, int, int], Rights]
"""What a user may do in an account of others, by the directory's version, the account and the user."""


class ShareCaches(msgspec.Struct, frozen=True, kw_only=True):
    """What snapshots keep of who shares with whom."""

    sharings: SharingCache
    acl: AclCache
