"""Local delivery: who receives mail for an address, and putting a message into their inboxes, or the queue for a list.

The octets are written first, then one transaction makes the message visible; transactions of deliveries that go on at
the same time share a commit. Nothing is reported as delivered before that commit is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Literal, Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from stalwart.delivery import replies
from stalwart.delivery.lists import PreparedPost, prepare_post, queue_post
from stalwart.delivery.queue_reports import note_notification, note_report
from stalwart.delivery.replies import LmtpError, Reply, reply
from stalwart.delivery.trace import trace_fields, without_return_path
from stalwart.delivery.vacation import Complaints, NoAnswer, PreparedAnswer, prepare_answer, queue_answer
from stalwart.mail import dsn, mdn
from stalwart.mail.dsn import Report
from stalwart.mail.mdn import Notification
from stalwart.mail.message import Part
from stalwart.mail.summary import Digest, summarize
from stalwart.store import (
    DiskFull,
    InvalidAddress,
    NewEmail,
    NotFound,
    OverQuota,
    RecipientCache,
    Session,
    Store,
    StoredEmail,
    StoreError,
    add_email,
    find_list,
    find_mailbox,
    find_recipient,
    reaches_somebody,
)

_log = Logger(namespace="stalwart.delivery")

T = TypeVar("T")
Place = tuple[Literal["account", "list"], int]
"""Where a message ends up: one that is named twice gets it once."""

Also = Callable[[Session, Place], None]
"""Is called in the transaction that stores the message at a place."""


class Pool(Protocol):
    """Where blocking work is done; `stalwart.ops.threads.ThreadPool` is one."""

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Run the function off the reactor."""


class Writer(Protocol):
    """Where writes are collected into shared transactions; a `BatchThread` over `Store.run_batch` is one."""

    def submit(self, job: Callable[[Session], T]) -> Deferred[T]:
        """Run the job in a transaction; fires after its commit."""


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted recipient: the address as given, and the account or the mailing list that it belongs to."""

    address: str
    account_id: int | None = None
    list_id: int | None = None

    @property
    def place(self) -> Place:
        """Which of the two."""
        if self.account_id is not None:
            return "account", self.account_id
        assert self.list_id is not None, self
        return "list", self.list_id


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """One message handed over. `peer` is the client's IP address or empty; `protocol` as in Received fields."""

    id: str
    sender: str
    recipients: tuple[Recipient, ...]
    client: str
    peer: str
    protocol: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the message for one recipient. `error` is for the log, never for the peer."""

    recipient: Recipient
    reply: Reply
    email_id: int | None = None
    error: Exception | None = None


class _Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose octets are on disk and which only lacks its rows."""

    account_id: int
    new: NewEmail
    report: Report | None
    notification: Notification | None
    answer: PreparedAnswer | NoAnswer | None


class _Queued(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message to a list: its id in the queue."""

    message_id: int


class Mailroom:
    """Puts messages into the inboxes of local accounts. `hostname` is this server's, `clock` gives epoch seconds."""

    def __init__(
        self,
        store: Store,
        *,
        pool: Pool,
        writer: Writer,
        recipients: RecipientCache,
        hostname: str,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._recipients = recipients
        self._pool = pool
        self._writer = writer
        self._hostname = hostname
        self._clock = clock
        self._complaints = Complaints(clock)

    async def find(self, address: str, size: int | None) -> Recipient:
        """The recipient behind an address, if they can take a message of that size (octets; None: unknown).

        Raises `LmtpError`: 550 5.1.1, 452 4.2.2, 451 4.3.0.
        """
        return await self._pool.run(partial(self._find, address, size))

    async def deliver(self, transfer: Transfer, content: bytearray, also: Also | None = None) -> list[Outcome]:
        """Store the message; one outcome per recipient, in their order.

        A report about a message that the account has sent is noted there, too (RFC 3464).

        The content is emptied on the way, since it may be large. An account that is named twice, perhaps by an alias,
        gets the message once and the same answer twice.
        Trouble in the store becomes the outcome of those it touches; anything else that raises stored nothing.
        """
        firsts: dict[Place, Recipient] = {}
        for recipient in transfer.recipients:
            firsts.setdefault(recipient.place, recipient)
        prepared = await self._pool.run(partial(self._prepare, transfer, tuple(firsts.values()), content))
        stored = await gatherResults([Deferred.fromCoroutine(self._store_one(each, also)) for each in prepared])
        by_place = dict(zip(firsts, stored, strict=True))
        return [_outcome(transfer.id, recipient, by_place[recipient.place]) for recipient in transfer.recipients]

    # In a thread

    def _find(self, address: str, size: int | None) -> Recipient:
        # RFC 5321 §4.5.1: postmaster without a domain is this server's.
        wanted = f"postmaster@{self._hostname}" if address == "postmaster" else address
        try:
            with self._store.read() as session:
                account = find_recipient(session, wanted, self._recipients)
                if account is None:
                    return _find_list(session, wanted)
        except InvalidAddress as error:
            raise LmtpError(replies.NO_SUCH_USER, str(error)) from error
        except StoreError as error:
            raise LmtpError(_answer(error), str(error)) from error
        if account.quota is not None and account.used + max(size or 0, 1) > account.quota:
            reason = f"account {account.address}: {account.used} of {account.quota} octets used, {size or 0} offered"
            raise LmtpError(replies.OVER_QUOTA, reason)
        return Recipient(address=wanted, account_id=account.id)

    def _prepare(
        self, transfer: Transfer, recipients: Sequence[Recipient], content: bytearray
    ) -> list[_Prepared | PreparedPost | Exception]:
        """Write the message with each recipient's own header fields, and work out once what the rows need."""
        now = self._clock()
        body = without_return_path(bytes(content))
        content.clear()
        digest: Digest | None = None
        report: Report | None = None
        notification: Notification | None = None
        first = 0
        prepared: list[_Prepared | PreparedPost | Exception] = []
        for recipient in recipients:
            if recipient.account_id is None:
                prepared.append(self._prepare_post(transfer, recipient, body, now))
                continue
            fields = self._trace(transfer, recipient.address, transfer.sender, now)
            message = fields + body
            if recipient is recipients[-1]:
                body = b""  # a large message shouldn't be held twice while it is read
            if digest is None:
                digest, first = summarize(message), len(fields)
                report, notification = _reports(transfer, digest, message)
            try:
                blob_hash = self._store.blobs.put(message)
            except StoreError as error:
                prepared.append(error)
                continue
            new = NewEmail(
                blob_hash=blob_hash,
                size=len(message),
                received_at=int(now),
                mailbox_ids=(),
                digest=shift(digest, len(fields) - first),
            )
            answer = self._answer(transfer, recipient.account_id, recipient.address, message, new, now)
            prepared.append(
                _Prepared(
                    account_id=recipient.account_id, new=new, report=report, notification=notification, answer=answer
                )
            )
        return prepared

    def _prepare_post(
        self, transfer: Transfer, recipient: Recipient, body: bytes, now: float
    ) -> PreparedPost | Exception:
        assert recipient.list_id is not None, recipient
        trace = partial(self._trace, transfer, recipient.address, None, now)
        try:
            return prepare_post(self._store, recipient.list_id, transfer.sender, body, trace)
        except (LmtpError, StoreError) as error:
            return error

    def _trace(self, transfer: Transfer, address: str, sender: str | None, now: float) -> bytes:
        return trace_fields(
            delivery_id=transfer.id,
            sender=sender,
            recipient=address,
            client=transfer.client,
            peer=transfer.peer,
            hostname=self._hostname,
            protocol=transfer.protocol,
            at=now,
        )

    def _answer(
        self, transfer: Transfer, account_id: int, address: str, message: bytes, new: NewEmail, now: float
    ) -> PreparedAnswer | NoAnswer | None:
        try:
            return prepare_answer(
                self._store,
                account_id=account_id,
                recipient=address,
                sender=transfer.sender,
                message=message,
                root=new.digest.structure,
                hostname=self._hostname,
                now=now,
            )
        except NoAnswer as error:
            return error
        except Exception:  # noqa: BLE001 - no fault in this may keep the mail out
            _log.failure("making a vacation answer from {recipient} failed", recipient=address)
            return None

    def _forget(self, blob_hash: str) -> None:
        # Octets that no row names do no harm; the sweep of unused blobs finds what is left here.
        with suppress(StoreError):
            self._store.blobs.delete(blob_hash)

    # On the reactor

    async def _store_one(
        self, prepared: _Prepared | PreparedPost | Exception, also: Also | None
    ) -> StoredEmail | _Queued | Exception:
        if isinstance(prepared, Exception):
            return prepared
        try:
            if isinstance(prepared, PreparedPost):
                return await self._writer.submit(partial(_queue, prepared, also))
            if isinstance(prepared.answer, NoAnswer) and self._complaints.is_due(prepared.answer):
                _log.warn("{reason}; the mail itself is not concerned", reason=str(prepared.answer))
            return await self._writer.submit(partial(_add, prepared, also))
        except (OverQuota, NotFound) as error:
            # This job alone was undone. The octets are no other message's: the delivery id is in them. After any
            # other error the commit may still have reached the disk, so they stay.
            octets = prepared.message if isinstance(prepared, PreparedPost) else prepared.new
            await self._pool.run(partial(self._forget, octets.blob_hash))
            return error
        except Exception as error:  # noqa: BLE001 - one recipient's trouble, told in its outcome
            return error


def _reports(transfer: Transfer, digest: Digest, message: bytes) -> tuple[Report | None, Notification | None]:
    """What the message says of one that was sent from here, if it can be such: of its delivery, or its reader."""
    # RFC 3464 §2, RFC 8098 §3: both have an empty return path. What else is a multipart/report isn't worth reading.
    if transfer.sender or digest.structure.type != "multipart/report":
        return None, None
    try:
        report, notification = dsn.parse(message), mdn.parse(message)
    except Exception:  # noqa: BLE001 - no fault in this may keep the mail out
        _log.failure("reading the report {delivery_id} failed", delivery_id=transfer.id)
        return None, None
    return report if report is not None and report.env_id is not None else None, notification


def _add(prepared: _Prepared, also: Also | None, session: Session) -> StoredEmail:
    """In the shared transaction: put the message into the inbox, with what else goes along."""
    inbox = find_mailbox(session, prepared.account_id, role="inbox")
    if inbox is None:
        raise NotFound(f"account {prepared.account_id} is gone, or has no mailbox with the role inbox")
    stored = add_email(session, prepared.account_id, msgspec.structs.replace(prepared.new, mailbox_ids=(inbox.id,)))
    if prepared.report is not None:
        note_report(session, prepared.account_id, prepared.report, prepared.new.blob_hash)
    if prepared.notification is not None:
        note_notification(session, prepared.account_id, prepared.notification, prepared.new.blob_hash)
    if isinstance(prepared.answer, PreparedAnswer):
        queue_answer(session, prepared.answer)
    if also is not None:
        also(session, ("account", prepared.account_id))
    return stored


def _queue(post: PreparedPost, also: Also | None, session: Session) -> _Queued:
    """In the shared transaction: have the message sent to everybody on the list, with what else goes along."""
    queued = _Queued(message_id=queue_post(session, post))
    if also is not None:
        also(session, ("list", post.list_id))
    return queued


def _find_list(session: Session, address: str) -> Recipient:
    row = find_list(session, address)
    if row is None:
        raise LmtpError(replies.NO_SUCH_USER)
    if not reaches_somebody(session, row.id):
        raise LmtpError(replies.LIST_EMPTY)
    return Recipient(address=row.address, list_id=row.id)


def shift(digest: Digest, octets: int) -> Digest:
    """The digest of the same message with a header that is longer by so many octets."""
    if not octets:
        return digest
    structure = msgspec.structs.replace(_shift_part(digest.structure, octets), header_start=0)
    return msgspec.structs.replace(digest, structure=structure)


def _shift_part(part: Part, octets: int) -> Part:
    sub_parts = part.sub_parts
    return msgspec.structs.replace(
        part,
        header_start=part.header_start + octets,
        body_start=part.body_start + octets,
        body_end=part.body_end + octets,
        sub_parts=None if sub_parts is None else tuple(_shift_part(sub, octets) for sub in sub_parts),
    )


def _answer(error: Exception) -> Reply:
    """What the peer is told of trouble in the store."""
    match error:
        case LmtpError():
            return error.reply
        case OverQuota():
            return replies.OVER_QUOTA
        case DiskFull():
            return replies.DISK_FULL
        case _:
            return replies.LOCAL_TROUBLE


def _outcome(delivery_id: str, recipient: Recipient, result: StoredEmail | _Queued | Exception) -> Outcome:
    if isinstance(result, Exception):
        return Outcome(recipient=recipient, reply=_answer(result), error=result)
    if isinstance(result, _Queued):
        text = f"Queued for the list as message {result.message_id}, id {delivery_id}"
        return Outcome(recipient=recipient, reply=reply(250, "2.0.0", text))
    return Outcome(recipient=recipient, reply=reply(250, "2.0.0", f"Stored, id {delivery_id}"), email_id=result.id)
