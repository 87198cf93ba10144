"""Vacation answers with local delivery: queued in the same transaction, once for each sender."""

from __future__ import annotations

import email
from email.message import EmailMessage
from email.policy import default
from typing import cast

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, capturedLogs, globalLogPublisher

from stalwart.delivery import local
from stalwart.delivery.local import Outcome, Transfer
from stalwart.delivery.vacation import Complaints, NoAnswer, TooManyAnswers
from stalwart.mail import dsn
from stalwart.store import QueueMessageRow, delete_account, list_queue, set_quota, set_vacation, vacation
from tests.delivery.test_local import LocalCase

MESSAGE = (
    b"From: Sam <s@example.net>\r\nTo: Jane <jane@example.org>\r\nSubject: hello\r\n"
    b"Message-ID: <1@example.net>\r\n\r\nbody\r\n"
)


class VacationTests(LocalCase):
    """`Mailroom.deliver` while Jane is away."""

    def setUp(self) -> None:
        """Jane is away."""
        super().setUp()
        self.set(is_enabled=True, subject="Away", text_body="Later.")

    def set(self, **values: object) -> None:
        """Change her response."""
        with self.store.write() as session:
            set_vacation(session, self.jane.id, values)

    def send(self, *recipients: str, sender: str = "s@example.net", message: bytes = MESSAGE) -> list[Outcome]:
        """Deliver a message of that sender."""
        transfer = Transfer(
            id="id1",
            sender=sender,
            recipients=tuple(self.find(address) for address in recipients or ("jane@example.org",)),
            client="mx.example.net",
            peer="192.0.2.7",
            protocol="LMTP",
        )
        outcomes = self.run_now(self.mailroom.deliver(transfer, bytearray(message)))
        for outcome in outcomes:
            self.assertEqual(outcome.reply.code, 250, outcome.error)
        return outcomes

    def queued(self) -> list[QueueMessageRow]:
        """What is on its way out."""
        with self.store.read() as session:
            return list_queue(session)

    def read(self, queued: QueueMessageRow) -> EmailMessage:
        """The message as Python's own reader has it."""
        return email.message_from_bytes(self.store.blobs.get(queued.blob_hash), policy=default)

    def test_fault(self) -> None:
        """A fault in the making of an answer or in the reading of a report is logged, and the mail is delivered."""

        def fail(*arguments: object, **named: object) -> None:
            raise ZeroDivisionError

        self.patch(local, "prepare_answer", fail)
        self.patch(dsn, "parse", fail)
        self.send()
        self.send(sender="", message=b"Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n\r\n--x--\r\n")
        self.assertEqual(self.queued(), [])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_answered(self) -> None:
        """RFC 3834 §3 and §4: the answer goes to the return path, from the address written to, and can't bounce."""
        self.send("sales@example.org", message=MESSAGE.replace(b"jane@", b"Sales@"))
        [queued] = self.queued()
        self.assertEqual((queued.return_path, queued.account_id), ("", self.jane.id))
        self.assertEqual([(each.address, each.notify) for each in queued.recipients], [("s@example.net", "NEVER")])
        answer = self.read(queued)
        self.assertEqual(answer["From"], "sales@example.org")
        self.assertEqual(answer["To"], "s@example.net")
        self.assertEqual(answer["Subject"], "Away")
        self.assertEqual(answer["In-Reply-To"], "<1@example.net>")
        self.assertEqual(answer.get_content().rstrip(), "Later.")
        self.assertFalse(queued.is_8bit or queued.needs_smtputf8)
        self.assertEqual(len(self.blobs.get(queued.blob_hash)), queued.size)

    def test_once(self) -> None:
        """A sender is answered once, also when several of their mails share a commit; another sender too."""
        self.writer.at_once = False
        transfers = [self.transfer("jane@example.org") for _ in range(3)]
        for transfer in transfers:
            self.run_later(transfer)
        self.writer.commit()
        self.assertEqual(self.writer.batches, [3])
        self.assertEqual(len(self.queued()), 1)
        self.writer.at_once = True
        self.send(sender="S@Example.NET")
        self.assertEqual(len(self.queued()), 1)
        self.send(sender="t@example.net")
        self.assertEqual(len(self.queued()), 2)
        self.assertEqual(len(self.emails(self.jane)), 5)

    def run_later(self, transfer: Transfer) -> None:
        """Begin a delivery that waits for its commit."""
        Deferred.fromCoroutine(self.mailroom.deliver(transfer, bytearray(MESSAGE)))

    def test_silent(self) -> None:
        """No answer to bounces, lists, oneself, return paths that nothing can be sent to, and where she isn't named."""
        self.send(sender="")
        self.send(sender="jane+x@example.org")
        self.send(sender="sales@example.org")
        self.send(sender='"a b"@example.net')
        self.send(sender="a@[192.0.2.1]")
        self.send(message=b"List-Id: <x>\r\n" + MESSAGE)
        self.send(message=b"Auto-Submitted: auto-replied\r\n" + MESSAGE)
        self.send(message=MESSAGE.replace(b"jane@", b"jim@"))
        self.send("john@example.org", message=MESSAGE.replace(b"jane@", b"john@"))
        self.assertEqual(self.queued(), [])
        self.send(message=MESSAGE.replace(b"jane@", b"jane+x@"))
        self.assertEqual(len(self.queued()), 1)

    def test_many_senders(self) -> None:
        """A flood from made-up senders is delivered, and answered a few times only; the log says once why."""
        for seconds, name in ((3600, "1 h"), (86_400, "24 h")):
            self.patch(vacation, "MOST_ANSWERS", ((3600, 3 if seconds == 3600 else 9), (86_400, 3)))
            self.patch(self.mailroom, "_complaints", Complaints(lambda: 0.0))
            self.set(is_enabled=True)  # anew
            before = len(self.queued()), len(self.emails(self.jane))
            with capturedLogs() as events:
                for number in range(6):
                    self.send(sender=f"forged{number}@example.net")
            after = len(self.queued()), len(self.emails(self.jane))
            self.assertEqual((after[0] - before[0], after[1] - before[1]), (3, 6))
            (reason,) = [str(event["reason"]) for event in events if "no vacation answer" in str(event.get("reason"))]
            self.assertIn(f"3 senders had one in the last {name},", reason)

    def test_complaints(self) -> None:
        """Too many answers are logged once an hour for an account, other trouble each time."""
        now = [0.0]
        complaints = Complaints(lambda: now[0])
        wanted = []
        for now[0] in (0.0, 0.0, 3599.0, 3600.0, 3601.0):
            wanted.append([complaints.is_due(TooManyAnswers(account, "x")) for account in (1, 2)])
            self.assertTrue(complaints.is_due(NoAnswer("x")))
        self.assertEqual(wanted, [[True] * 2, [False] * 2, [False] * 2, [True] * 2, [False] * 2])

    def test_no_loop(self) -> None:
        """Two who are away don't answer each other for ever, also when a relay on the way made up a return path."""
        with self.store.write() as session:
            set_vacation(session, self.john.id, {"is_enabled": True})
            set_quota(session, self.john.id, None)
        self.send(sender="john@example.org")
        [answer] = self.queued()
        octets = self.store.blobs.get(answer.blob_hash)
        for sender in ("", "jane@example.org"):
            self.send("john@example.org", sender=sender, message=octets)
        self.assertEqual(len(self.queued()), 1)

    def test_off(self) -> None:
        """No answer when it isn't enabled, or ended between the preparation of the mail and its commit."""
        self.set(is_enabled=False)
        self.send()
        self.set(is_enabled=True)
        self.writer.at_once = False
        self.run_later(self.transfer("jane@example.org"))
        self.set(is_enabled=False)
        self.writer.commit()
        self.assertEqual(self.queued(), [])
        self.assertEqual(len(self.emails(self.jane)), 2)

    def test_with_the_mail(self) -> None:
        """A mail that wasn't stored isn't answered: both are one transaction."""
        transfer = self.transfer("jane@example.org")
        with self.store.write() as session:
            delete_account(session, self.jane.id)
        [outcome] = self.run_now(self.mailroom.deliver(transfer, bytearray(MESSAGE)))
        self.assertNotEqual(outcome.reply.code, 250)
        self.assertEqual(self.queued(), [])

    def test_several_recipients(self) -> None:
        """Of several recipients only who is away answers, once, though named twice by an alias."""
        self.send("john@example.org", "jane@example.org", "sales@example.org")
        [queued] = self.queued()
        self.assertEqual(self.read(queued)["From"], "jane@example.org")

    def test_no_room_for_the_answer(self) -> None:
        """When the answer can't be written the mail is delivered all the same, and the log says so."""
        events: list[LogEvent] = []
        observer = cast(ILogObserver, events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.blobs.puts_left = 1
        self.send()
        self.assertEqual(self.queued(), [])
        self.assertEqual(len(self.emails(self.jane)), 1)
        [event] = [event for event in events if event.get("log_namespace") == "stalwart.delivery"]
        self.assertIn("no vacation answer from jane@example.org to s@example.net", event["reason"])
