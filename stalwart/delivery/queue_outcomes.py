"""Writes down what came of an attempt, and has the sender told where that is due.

The report goes into the queue in the transaction that notes the outcome. If it can't be made, that doesn't keep the
outcome from being noted, for then the message would be sent again: the report is tried some more times, and given up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from stalwart.delivery.local import Pool, Writer
from stalwart.delivery.queue_journal import QueueJournal
from stalwart.delivery.queue_reports import Result, build_report, is_sent_back_whole, late_as_well, told_of
from stalwart.mail.build_fields import InvalidValue
from stalwart.store import (
    BlobMissing,
    InvalidAddress,
    NewMessage,
    NewRecipient,
    NotFound,
    QueueMessageRow,
    Session,
    Store,
    StoreError,
    enqueue,
    queue,
    queue_reports,
)

_AGAIN_SECONDS = 10.0
_REPORT_TRIES = 5
_MOST_HEADER = 1 << 20  # octets that are read of a message of which only the header is sent back


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    new: NewMessage
    actions: set[str]


class _Untold(msgspec.Struct, frozen=True, kw_only=True):
    """Why the sender is told nothing, though a report was due."""

    reason: str


class Telling:
    """A report that lies on disk and is queued in the transaction that notes what it is about."""

    def __init__(self, message: QueueMessageRow, report: _Report, journal: QueueJournal) -> None:
        self._message = message
        self._report = report
        self._journal = journal
        self._told: int | _Untold | None = None

    def queue(self, session: Session) -> None:
        """In the transaction: have it sent, unless nobody may get it any more."""
        self._told = _tell(self._message, self._report, session)

    def log(self) -> None:
        """After the commit: say what became of it."""
        _log_report(self._journal, self._message, self._report, self._told)


class Outcomes:
    """Belongs to the reactor thread. `clock` gives epoch seconds."""

    def __init__(
        self,
        store: Store,
        *,
        pool: Pool,
        writer: Writer,
        journal: QueueJournal,
        reactor: IReactorTime,
        hostname: str,
        clock: Callable[[], float],
        random_token: Callable[[], str],
    ) -> None:
        self._store = store
        self._pool = pool
        self._writer = writer
        self._journal = journal
        self._reactor = reactor
        self._hostname = hostname
        self._clock = clock
        self._random_token = random_token
        self._stopping = False

    def stop(self) -> None:
        """Try nothing again any more: the next start finds an attempt that wasn't noted unresolved."""
        self._stopping = True

    async def note(self, message: QueueMessageRow, results: Sequence[Result]) -> None:
        """Write the results down, and tell the sender.

        What became of a message must not be forgotten, so that is tried until it succeeds.
        """
        due = True
        report: _Report | _Untold | None = None
        try:
            report = await self._pool.run(partial(self._report, message, results))
            due = False
        except Exception:  # noqa: BLE001 - whatever keeps the report from being made
            self._journal.trouble(f"making the report about message {message.id}", Failure())
        is_late = message.warn_at is not None and self._clock() >= message.warn_at
        while True:
            try:
                job = partial(_note, message, results, report if isinstance(report, _Report) else None, is_late)
                told = await self._writer.submit(job)
                break
            except NotFound:
                self._journal.gone(message)
                return
            except Exception:  # noqa: BLE001 - such as a full disk
                self._journal.trouble(f"noting what became of message {message.id}", Failure())
                if isinstance(report, _Report):
                    due, report = True, None  # perhaps it is the report that can't be queued
                    continue
                if self._stopping:
                    return
                await self._wait()
        if due:
            await self.tell(message, results)
        else:
            self._log(message, report, told)

    async def prepare(self, message: QueueMessageRow, results: Sequence[Result]) -> Telling | None:
        """Make the report about results before they are noted; None if none is due, or none can be made.

        Raises StoreError, such as DiskFull: what is to be noted would meet the same.
        """
        report: _Report | _Untold | None
        try:
            report = await self._pool.run(partial(self._report, message, results))
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - no fault in this may keep the mail itself back
            self._journal.trouble(f"making the report about message {message.id}", Failure())
            report = _Untold(reason=f"{type(error).__name__}: {error}")
        if isinstance(report, _Report):
            return Telling(message, report, self._journal)
        self._log(message, report, None)
        return None

    async def tell(self, message: QueueMessageRow, results: Sequence[Result]) -> None:
        """Have the sender told of results that are noted already, if a report is due."""
        for left in reversed(range(_REPORT_TRIES)):
            try:
                report = await self._pool.run(partial(self._report, message, results))
                told = None
                if isinstance(report, _Report):
                    told = await self._writer.submit(partial(_tell, message, report))
            except Exception as error:  # noqa: BLE001 - such as a full disk
                self._journal.trouble(f"making the report about message {message.id}", Failure())
                if self._stopping or not left:
                    self._journal.unreported(message, f"{type(error).__name__}: {error}")
                    return
                await self._wait()
            else:
                self._log(message, report, told)
                return

    async def _wait(self) -> None:
        await deferLater(self._reactor, _AGAIN_SECONDS, lambda: None)

    def _log(self, message: QueueMessageRow, report: _Report | _Untold | None, told: int | _Untold | None) -> None:
        _log_report(self._journal, message, report, told)

    def _report(self, message: QueueMessageRow, results: Sequence[Result]) -> _Report | _Untold | None:
        """In a thread: make the report to the sender, if one is due, and put it on disk."""
        now = int(self._clock())
        told = told_of(message, results, now)
        if any(action == "delayed" for _, action in told):
            with self._store.read() as session:
                told += told_of(message, late_as_well(session, message, results), now)
        if not told:
            return None
        is_whole = is_sent_back_whole(message, told)
        try:
            original = self._store.blobs.get(message.blob_hash, 0, None if is_whole else _MOST_HEADER)
        except BlobMissing:
            original = b""
        try:
            data = build_report(
                message,
                told,
                original,
                hostname=self._hostname,
                now=now,
                random_token=self._random_token,
            )
        except InvalidValue as error:
            return _Untold(reason=str(error))
        new = NewMessage(
            account_id=message.account_id,  # with which it goes if that is deleted
            blob_hash=self._store.blobs.put(data),
            size=len(data),
            return_path="",  # RFC 5321 §4.5.5
            recipients=(NewRecipient(address=message.return_path, notify="NEVER"),),
            is_8bit=not data.isascii(),
            needs_smtputf8=not message.return_path.isascii(),
        )
        return _Report(new=new, actions={action for _, action in told})


def _log_report(
    journal: QueueJournal, message: QueueMessageRow, report: _Report | _Untold | None, told: int | _Untold | None
) -> None:
    for one in (report, told):
        if isinstance(one, _Untold):
            journal.unreported(message, one.reason)
    if isinstance(report, _Report) and isinstance(told, int):
        journal.reported(message, told, report.actions)


# In a transaction


def _note(
    message: QueueMessageRow, results: Sequence[Result], report: _Report | None, is_late: bool, session: Session
) -> int | _Untold | None:
    for result in results:
        queue.record(session, result.recipient.id, result.attempt)
    # Other attempts at the same message may have begun before the sender was warned.
    is_news = is_late and queue_reports.warned(session, message.id)
    if report is None or (report.actions == {"delayed"} and not is_news):
        return None
    return _tell(message, report, session)


def _tell(message: QueueMessageRow, report: _Report, session: Session) -> int | _Untold:
    if not queue_reports.may_be_told(session, message):
        return _Untold(reason="the account is gone or receives no mail, or the address is no longer its own")
    try:
        return enqueue(session, report.new)
    except InvalidAddress as error:
        return _Untold(reason=str(error))
