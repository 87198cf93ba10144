"""Local delivery into a real store, its threads replaced by calls."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stalwart.delivery import replies
from stalwart.delivery.local import Mailroom, Outcome, Recipient, Transfer, shift
from stalwart.delivery.replies import LmtpError
from stalwart.delivery.trace import without_return_path
from stalwart.mail.summary import summarize
from stalwart.ops.cache import Cache
from stalwart.store import (
    AccountRow,
    EmailRow,
    FsBlobs,
    RecipientCache,
    Session,
    Store,
    StoredEmail,
    StoreError,
    add_alias,
    create_account,
    create_domain,
    delete_account,
    find_mailbox,
    get_account,
    get_emails,
    list_email_ids,
)

T = TypeVar("T")
NOW = 1_763_644_560.0
MESSAGE = b"Return-Path: <old@example.net>\r\nSubject: hello\r\nMessage-ID: <1@example.net>\r\n\r\nbody\r\n"


class Here:
    """A pool that does the work at once."""

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """See `Pool`."""
        try:
            return succeed(function())
        except Exception:  # noqa: BLE001 - handed to whoever waits
            return fail()


class Together:
    """A writer that keeps jobs until `commit`, or does each at once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.at_once = True
        self.waiting: list[tuple[Callable[[Session], Any], Deferred[Any]]] = []
        self.batches: list[int] = []

    def submit(self, job: Callable[[Session], T]) -> Deferred[T]:
        """See `Writer`."""
        deferred: Deferred[T] = Deferred()
        self.waiting.append((job, deferred))
        if self.at_once:
            self.commit()
        return deferred

    def commit(self) -> None:
        """Run what waits in one transaction."""
        waiting, self.waiting = self.waiting, []
        self.batches.append(len(waiting))
        results: list[StoredEmail | BaseException]
        try:
            results = self.store.run_batch([job for job, _ in waiting])
        except StoreError as error:
            results = [error] * len(waiting)
        for (_, deferred), result in zip(waiting, results, strict=True):
            if isinstance(result, BaseException):
                deferred.errback(result)
            else:
                deferred.callback(result)


class Blobs(FsBlobs):
    """Blobs on a disk that can be made to fill up after a number of puts."""

    puts_left = 1_000_000
    full: Exception = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _write(self, path: str, data: bytes) -> None:
        if not self.puts_left:
            raise self.full
        self.puts_left -= 1
        super()._write(path, data)


class LocalCase(SynchronousTestCase):
    """A store with the accounts jane (alias sales) and john, and a mailroom in front of it."""

    def setUp(self) -> None:
        """Make them."""
        home = os.path.abspath(self.mktemp())
        os.makedirs(home)
        self.blobs = Blobs(f"{home}/blobs", clock=lambda: NOW)
        self.store = Store.open(f"{home}/s.sqlite", self.blobs, clock=lambda: NOW, exclusive=True)
        self.addCleanup(self.store.close)
        with self.store.write() as session:
            create_domain(session, "example.org")
            self.jane = create_account(session, "jane@example.org", password_hash="x")
            self.john = create_account(session, "john@example.org", password_hash="x", quota=1000)
            add_alias(session, self.jane.id, "sales@example.org")
        self.writer = Together(self.store)
        self.recipients: RecipientCache = Cache("recipients", octets=100_000, tti=60.0, clock=lambda: NOW)
        self.mailroom = Mailroom(
            self.store,
            pool=Here(),
            writer=self.writer,
            recipients=self.recipients,
            hostname="mail.example.org",
            clock=lambda: NOW,
        )

    def run_now(self, work: Coroutine[Deferred[object], object, T]) -> T:
        """The result of a coroutine that has nothing to wait for."""
        result: T = self.successResultOf(Deferred.fromCoroutine(work))
        return result

    def find(self, address: str, size: int | None = None) -> Recipient:
        """Who receives mail for the address."""
        return self.run_now(self.mailroom.find(address, size))

    def refusal(self, address: str, size: int | None = None) -> LmtpError:
        """How the address is refused."""
        failure = self.failureResultOf(Deferred.fromCoroutine(self.mailroom.find(address, size)), LmtpError)
        assert isinstance(failure.value, LmtpError)
        return failure.value

    def transfer(self, *addresses: str) -> Transfer:
        """A message for these addresses."""
        return Transfer(
            id="id1",
            sender="s@example.net",
            recipients=tuple(self.find(address) for address in addresses),
            client="mx.example.net",
            peer="192.0.2.7",
            protocol="LMTP",
        )

    def deliver(self, *addresses: str, message: bytes = MESSAGE) -> list[Outcome]:
        """Deliver a message."""
        return self.run_now(self.mailroom.deliver(self.transfer(*addresses), bytearray(message)))

    def emails(self, account: AccountRow) -> list[EmailRow]:
        """What the account holds."""
        with self.store.read() as session:
            ids = list_email_ids(session, account.id, 100)
            rows = get_emails(session, account.id, ids)
        return [rows[number] for number in ids]

    def blob_files(self) -> int:
        """How many files there are in the blob store."""
        return sum(len(files) for _, _, files in os.walk(self.blobs._root))


class FindTests(LocalCase):
    """`Mailroom.find`."""

    def test_addresses(self) -> None:
        """An account is found by its address, an alias and with a tag, without regard to case."""
        for address in ("jane@example.org", "JANE@Example.ORG", "sales@example.org", "jane+lists@example.org"):
            self.assertEqual(self.find(address), Recipient(address=address, account_id=self.jane.id))

    def test_unknown(self) -> None:
        """Unknown users and foreign domains, and addresses that the store can't read, get 550 5.1.1."""
        for address in ("nobody@example.org", "jane@example.net", "jane@[192.0.2.1]", '"a b"@example.org'):
            self.assertEqual(self.refusal(address).reply, replies.NO_SUCH_USER)

    def test_postmaster(self) -> None:
        """Postmaster without a domain is this server's (RFC 5321 §4.5.1)."""
        self.assertEqual(self.refusal("postmaster").reply, replies.NO_SUCH_USER)
        with self.store.write() as session:
            create_domain(session, "mail.example.org")
            add_alias(session, self.jane.id, "postmaster@mail.example.org")
        recipient = Recipient(address="postmaster@mail.example.org", account_id=self.jane.id)
        self.assertEqual(self.find("postmaster"), recipient)

    def test_over_quota(self) -> None:
        """A full mailbox, or one that the announced size would fill, gets 452 4.2.2, with figures in the log."""
        self.assertEqual(self.find("john@example.org", 1000).account_id, self.john.id)
        error = self.refusal("john@example.org", 1001)
        self.assertEqual(error.reply, replies.OVER_QUOTA)
        self.assertIn("0 of 1000 octets", error.reason)

    def test_trouble(self) -> None:
        """A store that can't answer is 451 4.3.0, with the reason in the log."""
        self.store.close()
        error = self.refusal("jane@example.org")
        self.assertEqual(error.reply, replies.LOCAL_TROUBLE)
        self.assertIn("closed", error.reason)


class DeliverTests(LocalCase):
    """`Mailroom.deliver`."""

    def test_stored(self) -> None:
        """The message is in the inbox with our header fields on top and without a foreign Return-Path."""
        (outcome,) = self.deliver("jane+x@example.org")
        self.assertEqual(str(outcome.reply), "250 2.0.0 Stored, id id1")
        (email,) = self.emails(self.jane)
        self.assertEqual(email.id, outcome.email_id)
        octets = self.store.blobs.get(email.blob_hash)
        self.assertEqual(
            octets,
            b"Return-Path: <s@example.net>\r\n"
            b"Delivered-To: jane+x@example.org\r\n"
            b"Received: from mx.example.net ([192.0.2.7])\r\n"
            b"\tby mail.example.org with LMTP id id1;\r\n"
            b"\tThu, 20 Nov 2025 13:16:00 +0000\r\n"
            b"Subject: hello\r\nMessage-ID: <1@example.net>\r\n\r\nbody\r\n",
        )
        self.assertEqual((email.size, email.received_at), (len(octets), int(NOW)))
        with self.store.read() as session:
            inbox = find_mailbox(session, self.jane.id, role="inbox")
        assert inbox is not None
        self.assertEqual((email.mailbox_ids, email.keywords), ((inbox.id,), ()))
        self.assertEqual(msgspec.json.decode(email.summary)["subject"], "hello")

    def test_each_gets_their_own(self) -> None:
        """Several recipients: one answer each in order, each with their own Delivered-To, in one shared commit."""
        self.writer.at_once = False
        transfer = self.transfer("john@example.org", "jane@example.org")
        delivery = Deferred.fromCoroutine(self.mailroom.deliver(transfer, bytearray(MESSAGE)))
        self.assertNoResult(delivery)
        self.assertEqual(self.emails(self.jane), [])
        self.writer.commit()
        outcomes = self.successResultOf(delivery)
        self.assertEqual([outcome.recipient.account_id for outcome in outcomes], [self.john.id, self.jane.id])
        self.assertEqual([outcome.reply.code for outcome in outcomes], [250, 250])
        self.assertEqual(self.writer.batches, [2])
        for account, outcome in zip((self.john, self.jane), outcomes, strict=True):
            (email,) = self.emails(account)
            octets = self.store.blobs.get(email.blob_hash)
            self.assertIn(b"\r\nDelivered-To: %s\r\n" % outcome.recipient.address.encode(), octets)
            # The structure's places are those of this copy.
            digest = summarize(octets)
            self.assertEqual(msgspec.json.decode(email.structure), msgspec.to_builtins(digest.structure))

    def test_same_account_twice(self) -> None:
        """Who is named twice, by an alias or a tag, is answered each time and gets the message once."""
        outcomes = self.deliver("sales@example.org", "john@example.org", "jane@example.org", "jane+x@example.org")
        self.assertEqual([outcome.reply.code for outcome in outcomes], [250] * 4)
        self.assertEqual(
            [outcome.recipient.address for outcome in outcomes][0::2], ["sales@example.org", "jane@example.org"]
        )
        (email,) = self.emails(self.jane)
        self.assertIn(b"\r\nDelivered-To: sales@example.org\r\n", self.store.blobs.get(email.blob_hash))
        self.assertEqual(
            {outcome.email_id for outcome in outcomes if outcome.recipient.account_id == self.jane.id}, {email.id}
        )

    def test_content_is_given_up(self) -> None:
        """The octets handed over are not kept twice."""
        content = bytearray(MESSAGE)
        self.run_now(self.mailroom.deliver(self.transfer("jane@example.org"), content))
        self.assertEqual(content, b"")

    def test_quota_after_data(self) -> None:
        """Only the recipient whose mailbox is full hears 452 4.2.2; nothing of the message stays with them."""
        outcomes = self.deliver("jane@example.org", "john@example.org", message=b"Subject: x\r\n\r\n" + b"y" * 1000)
        self.assertEqual([outcome.reply.code for outcome in outcomes], [250, 452])
        self.assertEqual(outcomes[1].reply, replies.OVER_QUOTA)
        self.assertIn("john@example.org", str(outcomes[1].error))
        self.assertEqual((len(self.emails(self.jane)), len(self.emails(self.john))), (1, 0))
        self.assertEqual(self.blob_files(), 1)
        with self.store.read() as session:
            self.assertEqual(get_account(session, self.john.id).used, 0)

    def test_disk_full(self) -> None:
        """With no room for the octets the recipients concerned hear 452 4.3.1, and no row is made."""
        transfer = self.transfer("jane@example.org", "john@example.org")
        self.blobs.puts_left = 1
        outcomes = self.run_now(self.mailroom.deliver(transfer, bytearray(MESSAGE)))
        self.assertEqual([outcome.reply.code for outcome in outcomes], [250, 452])
        self.assertEqual(outcomes[1].reply, replies.DISK_FULL)
        self.assertEqual((len(self.emails(self.jane)), len(self.emails(self.john))), (1, 0))

    def test_other_trouble_with_the_octets(self) -> None:
        """Any other error of the disk is 451 4.3.0."""
        transfer = self.transfer("jane@example.org")
        self.blobs.puts_left = 0
        self.blobs.full = OSError(errno.EIO, os.strerror(errno.EIO))
        (outcome,) = self.run_now(self.mailroom.deliver(transfer, bytearray(MESSAGE)))
        self.assertEqual(outcome.reply, replies.LOCAL_TROUBLE)
        self.assertEqual(self.emails(self.jane), [])

    def test_failed_commit(self) -> None:
        """If the commit fails all of its recipients hear so. The octets stay, for the commit may have got through."""
        transfer = self.transfer("jane@example.org")
        self.store.close()
        (outcome,) = self.run_now(self.mailroom.deliver(transfer, bytearray(MESSAGE)))
        self.assertEqual(outcome.reply, replies.LOCAL_TROUBLE)
        self.assertIsInstance(outcome.error, StoreError)
        self.assertEqual(self.blob_files(), 1)

    def test_account_vanished(self) -> None:
        """An account that was deleted since RCPT is trouble for that recipient alone."""
        transfer = self.transfer("jane@example.org", "john@example.org")
        with self.store.write() as session:
            delete_account(session, self.jane.id)
        outcomes = self.run_now(self.mailroom.deliver(transfer, bytearray(MESSAGE)))
        self.assertEqual([outcome.reply.code for outcome in outcomes], [451, 250])

    def test_bug_in_the_transaction(self) -> None:
        """An error nobody foresaw is that recipient's trouble, handed on for the log."""
        transfer = self.transfer("jane@example.org")

        def broken(job: Callable[[Session], T]) -> Deferred[T]:
            return fail(ZeroDivisionError())

        self.patch(self.writer, "submit", broken)
        (outcome,) = self.run_now(self.mailroom.deliver(transfer, bytearray(MESSAGE)))
        self.assertEqual(outcome.reply, replies.LOCAL_TROUBLE)
        self.assertIsInstance(outcome.error, ZeroDivisionError)

    def test_odd_messages(self) -> None:
        """NUL, 8-bit octets, lone line ends, no header, no octets at all: everything is kept as it came."""
        for message in (b"", b"\x00\xff\n\r.", b"\r\n", b"no header", b" folded\r\n", b"a" * 2000 + b"\n.\n"):
            self.deliver("jane@example.org", message=message)
            self.assertTrue(self.store.blobs.get(self.emails(self.jane)[-1].blob_hash).endswith(b"+0000\r\n" + message))


class AnythingTests(LocalCase):
    """Any message at all."""

    def stored_whole(self, message: bytes) -> None:
        """Deliver; what is stored ends with what was delivered, but for a Return-Path."""
        (outcome,) = self.deliver("jane@example.org", message=message)
        self.assertEqual(outcome.reply.code, 250, outcome.error)
        assert outcome.email_id is not None
        with self.store.read() as session:
            email = get_emails(session, self.jane.id, [outcome.email_id])[outcome.email_id]
        octets = self.store.blobs.get(email.blob_hash)
        self.assertTrue(octets.endswith(b" +0000\r\n" + without_return_path(message)))
        self.assertEqual(len(octets), email.size)

    def test_random_octets(self) -> None:
        """Random octets are stored whole, and so are messages with random octets in them."""
        random = Random(7)
        for number in range(60):
            octets = random.randbytes(random.randrange(2000))
            self.stored_whole(octets if number % 2 else MESSAGE + octets)

    def test_corpus(self) -> None:
        """Every file under STALWART_CORPUS, if that names a folder."""
        if "STALWART_CORPUS" not in os.environ:
            raise SkipTest("STALWART_CORPUS names no folder of messages")
        paths = [path for path in Path(os.environ["STALWART_CORPUS"]).rglob("*") if path.is_file()]
        self.assertNotEqual(paths, [])
        for path in paths:
            with self.subTest(str(path)):
                self.stored_whole(path.read_bytes())


class ShiftTests(SynchronousTestCase):
    """`shift`."""

    @settings(deadline=None, max_examples=50)
    @given(
        st.binary(max_size=300) | st.just(MESSAGE),
        st.sampled_from(
            [
                b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n"
                b"--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\n",
                b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
                b"Content-Type: multipart/alternative; boundary=c\r\n\r\n"
                b"--c\r\n\r\none\r\n--c\r\nContent-Transfer-Encoding: base64\r\n\r\neHg=\r\n--c--\r\n--b--\r\n",
                b"\r\nbody",
                b"",
            ]
        ),
    )
    def test_longer_header(self, tail: bytes, start: bytes) -> None:
        """A digest that was moved is the digest of the message with the longer header."""
        short = b"Return-Path: <>\r\nDelivered-To: a@x\r\n"
        long = b"Return-Path: <>\r\nDelivered-To: jane.doe@example.org\r\n"
        moved = shift(summarize(short + start + tail), len(long) - len(short))
        self.assertEqual(moved, summarize(long + start + tail))
