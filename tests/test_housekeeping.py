"""The rounds by the clock: they run, remove what is old, survive a failure, and stop."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth.browser import LIFETIME_SECONDS, begin_session
from stalwart.housekeeping import Housekeeping
from stalwart.store import (
    BlobMissing,
    CannotCalculateChanges,
    FsBlobs,
    GrantRow,
    NewMessage,
    NewRecipient,
    NewSubmission,
    NotFound,
    Store,
    add_grant,
    add_token,
    add_upload,
    cancel_submission,
    changes,
    create_account,
    create_domain,
    create_mailbox,
    create_submission,
    destroy_mailbox,
    enqueue,
    find_upload,
    get_grant,
    list_browser_sessions,
    list_queue,
    list_submissions,
    queue_control,
    state,
    sweep,
)

T = TypeVar("T")
DAY = 86_400.0


class HereAndNow:
    """A pool that runs what it is given at once, or fails."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.runs = 0

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Run it."""
        self.runs += 1

        def work() -> T:
            if self.error is not None:
                raise self.error
            return function()

        return maybeDeferred(work)


class HousekeepingTests(SynchronousTestCase):
    """Over a real store and a clock of our own."""

    def setUp(self) -> None:
        """A store at the time 2,000,000,000, and the service."""
        root = Path(self.mktemp())
        root.mkdir(parents=True)
        self.time = 2_000_000_000.0
        blobs = FsBlobs(str(root / "blobs"), clock=lambda: self.time)
        self.store = Store.open(str(root / "mail.sqlite"), blobs, clock=lambda: self.time, exclusive=True)
        self.addCleanup(self.store.close)
        self.clock = Clock()
        self.pool = HereAndNow()
        self.service = Housekeeping(self.store, self.pool, self.clock, upload_seconds=7200.0)

    def test_old_blobs_go(self) -> None:
        """A blob that nothing names is kept for a day and then removed."""
        self.service.startService()
        name = self.store.blobs.put(b"nobody's")
        self.clock.advance(600)
        self.assertEqual(self.store.blobs.get(name), b"nobody's")
        self.time += 2 * DAY
        self.clock.advance(DAY)
        self.assertRaises(BlobMissing, self.store.blobs.get, name)

    def test_sent_mail_forgotten(self) -> None:
        """What became of mail is kept for a week after it was done."""
        self.service.startService()
        with self.store.write() as s:
            new = NewMessage(
                account_id=None,
                blob_hash="x",
                size=1,
                return_path="",
                recipients=(NewRecipient(address="a@example.net"),),
            )
            message = enqueue(s, new)
            queue_control.cancel(s, message)
        self.time += 6 * DAY
        self.clock.advance(600)
        with self.store.read() as s:
            self.assertEqual(len(list_queue(s, finished=True)), 1)
        self.time += 2 * DAY
        self.clock.advance(DAY)
        with self.store.read() as s:
            self.assertEqual(list_queue(s, finished=True), [])

    def test_tokens_expire(self) -> None:
        """Tokens that have expired, and what they belonged to, go within the hour."""
        self.service.startService()
        with self.store.write() as s:
            create_domain(s, "example.org")
            account = create_account(s, "ada@example.org", password_hash="x")
            row = GrantRow(
                account_id=account.id,
                credential_version=1,
                client_row_id=None,
                client_id="phone",
                client_name="Phone",
                scope=("openid",),
                signed_in_at=0,
                address="192.0.2.1",
            )
            grant = add_grant(s, row)
            for number in range(600):  # more than are removed at once
                add_token(s, str(number), "access", grant, ("openid",), expires_at=s.now() + 3600)
        self.clock.advance(3600)
        with self.store.read() as s:
            self.assertEqual(get_grant(s, grant).client_id, "phone")
        self.time += 3600
        self.clock.advance(3600)
        with self.store.read() as s:
            self.assertRaises(NotFound, get_grant, s, grant)

    def test_browsers_expire(self) -> None:
        """Sign-ins of browsers whose time is up go every day."""
        self.service.startService()
        with self.store.write() as s:
            create_domain(s, "example.org")
            account = create_account(s, "ada@example.org", password_hash="x")
            begin_session(s, account.id, 1, address="192.0.2.1", agent="")
        self.clock.advance(600)
        with self.store.read() as s:
            self.assertEqual(len(list_browser_sessions(s, account.id)), 1)
        self.time += LIFETIME_SECONDS
        self.clock.advance(86_400)
        with self.store.read() as s:
            self.assertEqual(list_browser_sessions(s, account.id), [])

    def test_uploads_expire(self) -> None:
        """An upload that nothing names is gone within an hour after its time; its octets too."""
        self.service.startService()
        name = self.store.blobs.put(b"upload")
        with self.store.write() as s:
            create_domain(s, "example.org")
            account = create_account(s, "ada@example.org", password_hash="h").id
            add_upload(s, account, account, name, 6, "a/b")
        for hours, there in ((2, True), (3, False)):
            self.time = 2_000_000_000.0 + hours * 3600
            self.clock.advance(hours * 3600 - self.clock.seconds())
            with self.store.read() as s:
                self.assertEqual(find_upload(s, account, account, name) is not None, there)
        self.assertRaises(BlobMissing, self.store.blobs.get, name)

    def test_destroyed_are_remembered(self) -> None:
        """RFC 8620 §5.2: what was destroyed is told for 30 days; then the states before it are refused."""
        with self.store.write() as s:
            create_domain(s, "example.org")
            account = create_account(s, "ada@example.org", password_hash="h").id
            mailbox = create_mailbox(s, account, "Old").id
            since = state(s, account, "Mailbox")
        with self.store.write() as s:
            destroy_mailbox(s, account, mailbox)
        self.service.startService()
        for days, known in ((29, True), (32, False)):
            self.time = 2_000_000_000.0 + days * DAY
            self.clock.advance(days * DAY - self.clock.seconds())
            with self.store.read() as s:
                if known:
                    self.assertEqual(list(changes(s, account, "Mailbox", since, None).destroyed), [mailbox])
                else:
                    self.assertRaises(CannotCalculateChanges, changes, s, account, "Mailbox", since, None)

    def test_submissions_expire(self) -> None:
        """What was sent is forgotten thirty days after it was done with, and so is what the queue knew of it."""
        self.service.startService()
        blob = self.store.blobs.put(b"message")
        with self.store.write() as s:
            create_domain(s, "example.org")
            account = create_account(s, "ada@example.org", password_hash="h").id
            new = NewSubmission(identity_id=1, email_id=1, thread_id=1, envelope="{}", send_at=0)
            message = NewMessage(
                account_id=account,
                blob_hash=blob,
                size=7,
                return_path="ada@example.org",
                recipients=(NewRecipient(address="bob@example.net"),),
            )
            ids = [create_submission(s, account, new, message) for _ in range(2)]
            self.assertTrue(cancel_submission(s, ids[0]))
        self.clock.advance(600)
        for days, left, queued in ((29, ids, 2), (31, ids[1:], 1)):
            self.time = 2_000_000_000.0 + days * DAY
            self.clock.advance(DAY)
            with self.store.read() as s:
                self.assertEqual([row.id for row in list_submissions(s, account, 9)], left)
                self.assertEqual(len(list_queue(s, finished=True)), queued)

    def test_failure_does_not_end_it(self) -> None:
        """A run that fails is logged, and the next day's run comes."""
        self.service.startService()
        self.pool.error = OSError("no disk")
        self.clock.advance(600)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.pool.error = None
        self.clock.advance(DAY)
        self.assertEqual(self.pool.runs, 3)

    def test_stop(self) -> None:
        """After the stop nothing is planned."""
        self.service.startService()
        self.clock.advance(600)
        self.service.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_ends_a_run(self) -> None:
        """A run that is under way when the daemon stops leaves the rest for another day."""
        names = [self.store.blobs.put(b"%d" % number) for number in range(3)]
        self.time += 2 * DAY
        self.patch(sys.modules[sweep.__module__], "_AT_ONCE", 1)
        delete = self.store.blobs.delete_untouched

        def delete_and_stop(blob_hash: str, time: float) -> bool:
            self.service.stopService()
            return delete(blob_hash, time)

        self.patch(self.store.blobs, "delete_untouched", delete_and_stop)
        self.service.startService()
        self.clock.advance(600)
        self.assertEqual(len(set(names) & set(self.store.blobs.untouched_since(self.time))), 2)
