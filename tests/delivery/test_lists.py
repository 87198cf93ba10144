"""Mail for mailing lists: taken, queued once for everybody, refused, and what the owner hears."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from stalwart.delivery import replies
from stalwart.delivery.local import Outcome, Recipient, Transfer
from stalwart.store import (
    Grants,
    ListRow,
    QueueMessageRow,
    add_list_member,
    create_account,
    create_list,
    delete_list,
    get_queue_messages,
    list_queue,
    principal_of_account,
    set_grants,
    set_quota,
)
from tests.delivery.queue_bed import RunnerCase
from tests.delivery.test_local import LocalCase

MESSAGE = b"Return-Path: <old@example.net>\r\nFrom: Sam <s@example.net>\r\nTo: all@example.org\r\n\r\nbody\r\n"


class PostTests(LocalCase):
    """`Mailroom` in front of the list all@example.org with jane and somebody elsewhere, owned by john."""

    def setUp(self) -> None:
        """Make the list."""
        super().setUp()
        self.list = self.make("all@example.org", "jane@example.org", "zoe@example.net")

    def make(self, address: str, *members: str, is_members_only: bool = False) -> ListRow:
        """A list with members."""
        with self.store.write() as session:
            row = create_list(session, address, owner="john@example.org", is_members_only=is_members_only)
            for member in members:
                add_list_member(session, row.id, member)
        return row

    def post(self, *addresses: str, sender: str = "s@example.net", message: bytes = MESSAGE) -> list[Outcome]:
        """Send to lists, and others perhaps."""
        transfer = Transfer(
            id="id1",
            sender=sender,
            recipients=tuple(self.find(address) for address in addresses or ("all@example.org",)),
            client="mx.example.net",
            peer="192.0.2.7",
            protocol="LMTP",
        )
        return self.run_now(self.mailroom.deliver(transfer, bytearray(message)))

    def queued(self) -> list[QueueMessageRow]:
        """What is on its way out."""
        with self.store.read() as session:
            return list_queue(session)

    def assert_refused(self, outcomes: list[Outcome], wanted: replies.Reply) -> None:
        """One answer, and nothing queued or kept."""
        self.assertEqual([outcome.reply for outcome in outcomes], [wanted])
        self.assertEqual((self.queued(), self.blob_files()), ([], 0))

    def test_queued(self) -> None:
        """RFC 5321 §3.9.2: one message for all members, from the owner; only trace fields come on top of the header."""
        self.assertEqual(self.find("ALL@example.org"), Recipient(address="all@example.org", list_id=self.list.id))
        (outcome,) = self.post("ALL@example.org")
        (queued,) = self.queued()
        self.assertEqual(str(outcome.reply), f"250 2.0.0 Queued for the list as message {queued.id}, id id1")
        self.assertEqual((queued.return_path, queued.account_id), ("john@example.org", None))
        self.assertEqual(
            [(each.address, each.destination, each.notify) for each in queued.recipients],
            [("jane@example.org", "local", None), ("zoe@example.net", "example.net", None)],
        )
        octets = self.blobs.get(queued.blob_hash)
        self.assertEqual(
            octets,
            b"Delivered-To: all@example.org\r\n"
            b"Received: from mx.example.net ([192.0.2.7])\r\n"
            b"\tby mail.example.org with LMTP id id1;\r\n"
            b"\tThu, 20 Nov 2025 13:16:00 +0000\r\n"
            b"From: Sam <s@example.net>\r\nTo: all@example.org\r\n\r\nbody\r\n",
        )
        self.assertEqual(queued.size, len(octets))
        self.assertFalse(queued.is_8bit or queued.needs_smtputf8)

    def test_eight_bits(self) -> None:
        """What other servers have to be able to take is seen from the message."""
        self.post(message=MESSAGE + b"\xc3\xa4\r\n")
        self.post(message="Subject: ä\r\n".encode() + MESSAGE)
        self.assertEqual([(each.is_8bit, each.needs_smtputf8) for each in self.queued()], [(True, False), (True, True)])

    def test_beside_others(self) -> None:
        """In one transaction a list is answered like the accounts beside it, and named twice queues one message."""
        self.writer.at_once = False
        names = ("jane@example.org", "all@example.org", "john@example.org", "All@example.org")
        transfer = self.transfer(*names)
        delivery = Deferred.fromCoroutine(self.mailroom.deliver(transfer, bytearray(MESSAGE)))
        self.assertNoResult(delivery)
        self.assertEqual(self.queued(), [])
        self.writer.commit()
        outcomes = self.successResultOf(delivery)
        self.assertEqual([outcome.reply.code for outcome in outcomes], [250] * 4)
        self.assertEqual(self.writer.batches, [3])
        self.assertEqual([len(self.emails(each)) for each in (self.jane, self.john)], [1, 1])
        (queued,) = self.queued()
        self.assertIn(b"\r\n\r\nbody\r\n", self.blobs.get(queued.blob_hash))

    def test_nobody(self) -> None:
        """A list that nobody is on, nor on those on it, refuses its mail, at RCPT and later."""
        with self.store.write() as session:
            inner = create_list(session, "inner@example.org", owner="john@example.org")
            outer = create_list(session, "outer@example.org", owner="john@example.org")
            add_list_member(session, outer.id, "inner@example.org")
        for row in (inner, outer):
            self.assertEqual(self.refusal(row.address).reply, replies.LIST_EMPTY)
        transfer = Transfer(
            id="id1",
            sender="s@example.net",
            recipients=(Recipient(address="outer@example.org", list_id=outer.id),),
            client="c",
            peer="",
            protocol="LMTP",
        )
        self.assert_refused(self.run_now(self.mailroom.deliver(transfer, bytearray(MESSAGE))), replies.LIST_EMPTY)

    def test_members_only(self) -> None:
        """Who isn't a member gets 550 5.7.2; who is, by an alias too, can post."""
        self.make("closed@example.org", "jane@example.org", is_members_only=True)
        self.assert_refused(self.post("closed@example.org"), replies.NOT_A_MEMBER)
        (outcome,) = self.post("closed@example.org", sender="Sales@example.org")
        self.assertEqual((outcome.reply.code, len(self.queued())), (250, 1))

    def test_reports(self) -> None:
        """A report, which has an empty return path, isn't spread."""
        self.assert_refused(self.post(sender=""), replies.NO_REPORTS)

    def test_loops(self) -> None:
        """What has come through the list already, or through too many servers, goes no further; other trace may be."""
        for trace in (
            b"Delivered-To: all@example.org\r\n",
            b"X: y\r\ndelivered-to:\r\n <ALL@Example.org>\r\n",
            b"Received: x\r\n" * 100,
        ):
            self.assert_refused(self.post(message=trace + MESSAGE), replies.LOOP)
        fine = b"Delivered-To: other@example.org\r\nDelivered-To: ?\r\nList-Id: all@example.org\r\n" + MESSAGE
        (outcome,) = self.post(message=fine + b"Delivered-To: all@example.org\r\n" + b"Received: x\r\n" * 100)
        self.assertEqual(outcome.reply.code, 250)

    def test_comes_back(self) -> None:
        """What the list itself has sent is recognised."""
        self.post()
        (queued,) = self.queued()
        (outcome,) = self.post(message=self.blobs.get(queued.blob_hash))
        self.assertEqual((outcome.reply, len(self.queued())), (replies.LOOP, 1))

    def test_many(self) -> None:
        """Ten thousand members are one message in the queue, with one copy of its octets."""
        with self.store.write() as session:
            session.connection.exec_driver_sql(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9998)"
                " INSERT INTO list_member SELECT ?, 'm' || i || '@example.net' FROM n",
                (self.list.id,),
            )
        (outcome,) = self.post()
        self.assertEqual(outcome.reply.code, 250)
        (queued,) = self.queued()
        self.assertEqual(len({each.address for each in queued.recipients}), 10_000)
        self.assertEqual(self.blob_files(), 1)

    def test_gone(self) -> None:
        """A list that is deleted between RCPT and the commit takes nothing, and leaves no octets."""
        self.writer.at_once = False
        transfer = self.transfer("all@example.org")
        delivery = Deferred.fromCoroutine(self.mailroom.deliver(transfer, bytearray(MESSAGE)))
        with self.store.write() as session:
            delete_list(session, self.list.id)
        self.writer.commit()
        self.assert_refused(self.successResultOf(delivery), replies.LOCAL_TROUBLE)
        self.assertEqual(self.refusal("all@example.org").reply, replies.NO_SUCH_USER)


class QueuedPostTests(RunnerCase):
    """From the queue to the members, and what comes back."""

    def setUp(self) -> None:
        """A list of four, owned by bob."""
        super().setUp()
        with self.store.write() as session:
            self.bob = create_account(session, "bob@example.org", password_hash="x").id
            self.mute = create_account(session, "mute@example.org", password_hash="x").id
            set_grants(
                session, principal_of_account(session, self.mute).id, Grants(disabled=frozenset({"email-receive"}))
            )
            row = create_list(session, "all@example.org", owner="bob@example.org")
            for member in ("jane@example.org", "mute@example.org", "zoe@example.net", "nobody@example.net"):
                add_list_member(session, row.id, member)
        self.list = row

    def everything(self) -> list[QueueMessageRow]:
        """All that ever was queued."""
        with self.store.read() as session:
            return list_queue(session, finished=True)

    def test_submitted(self) -> None:
        """What a user sends to a list arrives once at each, here and elsewhere; the owner hears of who is refused."""
        self.sender.kinds = {"nobody@example.net": "permanent"}
        first = self.put("all@example.org", "jane@example.org")
        self.clock.pump([1.0] * 5)
        self.assertEqual(self.statuses(first), ["delivered", "delivered"])
        post = self.everything()[1]
        said = {each.address: each.status for each in post.recipients}
        self.assertEqual(
            said,
            {
                "jane@example.org": "delivered",
                "mute@example.org": "failed",
                "nobody@example.net": "failed",
                "zoe@example.net": "relayed",
            },
        )
        outgoing, _ = self.sender.sent[0]
        self.assertEqual(outgoing.return_path, "bob@example.org")
        self.assertIn(b"Delivered-To: all@example.org\r\n", outgoing.data)
        reports = [each for each in self.everything() if not each.return_path]
        self.assertEqual({each.recipients[0].address for each in reports}, {"bob@example.org"})
        self.assertEqual({each.recipients[0].status for each in reports}, {"delivered"})
        text = b"".join(self.blobs.get(each.blob_hash) for each in reports)
        for member in (b"mute@example.org", b"nobody@example.net"):
            self.assertIn(b"Final-Recipient: rfc822; " + member, text)

    def test_nobody_receives(self) -> None:
        """A list of members who receive nothing takes its mail, and the owner hears of it."""
        with self.store.write() as session:
            row = create_list(session, "mutes@example.org", owner="bob@example.org")
            add_list_member(session, row.id, "mute@example.org")
        self.put("mutes@example.org")
        self.clock.pump([1.0] * 5)
        _, post, report = self.everything()
        self.assertEqual([each.status for each in post.recipients], ["failed"])
        self.assertEqual([each.address for each in report.recipients], ["bob@example.org"])

    def test_refused_author(self) -> None:
        """A user whom a list refuses has a report of it, as from any recipient."""
        with self.store.write() as session:
            create_list(session, "closed@example.org", owner="bob@example.org", is_members_only=True)
            row = create_list(session, "closed2@example.org", owner="bob@example.org", is_members_only=True)
            add_list_member(session, row.id, "bob@example.org")
        for address, code in (("closed@example.org", "550 5.2.4"), ("closed2@example.org", "550 5.7.2")):
            message = self.put(address)
            self.clock.pump([1.0] * 5)
            with self.store.read() as session:
                (recipient,) = get_queue_messages(session, [message])[0].recipients
            self.assertEqual(recipient.status, "failed")
            self.assertIn(code, recipient.reply or "")
            self.assertEqual([each.address for each in self.everything()[-1].recipients], ["jane@example.org"])

    def test_success_asked_for(self) -> None:
        """RFC 3461 §5.2.7.1: that it reached the list is reported to who asked; members' reports aren't asked for."""
        self.put("all@example.org", notify="SUCCESS")
        self.clock.pump([1.0] * 5)
        report = next(each for each in self.everything() if not each.return_path and each.account_id == self.jane)
        self.assertIn(b"Action: delivered", self.blobs.get(report.blob_hash))
        post = next(each for each in self.everything() if each.return_path == "bob@example.org")
        self.assertEqual({each.notify for each in post.recipients}, {None})

    def test_full(self) -> None:
        """A member whose mailbox is full is tried again, as with any mail."""
        with self.store.write() as session:
            set_quota(session, self.jane, 1)
        self.put("all@example.org")
        self.clock.pump([1.0] * 5)
        post = next(each for each in self.everything() if each.return_path == "bob@example.org")
        self.assertEqual({each.address: each.status for each in post.recipients}["jane@example.org"], "queued")
        with self.store.write() as session:
            set_quota(session, self.jane, None)
        self.clock.pump([60.0] * 60)
        self.assertEqual(self.statuses(post.id)[0], "delivered")
