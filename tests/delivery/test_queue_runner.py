"""The queue at work, its sender a script, its threads replaced by calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from stalwart import store
from stalwart.delivery import queue_outcomes
from stalwart.delivery.local import Transfer
from stalwart.delivery.queue_schedule import back_off
from stalwart.delivery.queue_slots import Limits
from stalwart.mail import dsn
from stalwart.store import (
    NotFound,
    Session,
    Store,
    create_account,
    delete_account,
    enqueue,
    get_queue_message,
    list_queue,
    queue,
    queue_control,
    queue_reports,
)
from tests.delivery.queue_bed import MESSAGE, NOW, RunnerCase
from tests.mail.test_mdn import mdn

T = TypeVar("T")


def _as_deferred(waiting: Awaitable[bytes]) -> Deferred[bytes]:
    async def wait() -> bytes:
        return await waiting

    return Deferred.fromCoroutine(wait())


def _fail_always(*arguments: object, **named: object) -> Any:
    """What raises whatever it is called with."""
    raise ZeroDivisionError


class SendTests(RunnerCase):
    """What is sent, when, and to whom together."""

    def test_at_once(self) -> None:
        """A queued message leaves at once, signed, with its envelope, and is recorded as relayed."""
        message = self.put("a@example.net", notify="SUCCESS", ret="HDRS")
        ((outgoing, destination),) = self.sender.sent
        self.assertEqual((outgoing.data, destination), (b"DKIM-Signature: x\r\n" + MESSAGE, "example.net"))
        self.assertEqual(outgoing.size, len(outgoing.data))
        row = self.get(message)
        self.assertEqual(
            (outgoing.return_path, outgoing.env_id, outgoing.ret), ("jane@example.org", row.env_id, "HDRS")
        )
        self.assertEqual(outgoing.recipients[0].notify, "SUCCESS")
        (recipient,) = row.recipients
        self.assertEqual(
            (recipient.status, recipient.attempts, recipient.reply, recipient.peer),
            ("relayed", 1, "250 2.0.0 taken", "mx.example.net [192.0.2.1]"),
        )
        self.assertEqual(row.finished_at, NOW)

    def test_grouped(self) -> None:
        """Recipients of one message at one destination go in one transaction, others in others."""
        self.put("a@example.net", "b@example.com", "c@EXAMPLE.net")
        self.assertEqual(sorted(self.sender.addresses), [["a@example.net", "c@EXAMPLE.net"], ["b@example.com"]])

    def test_eight_bit(self) -> None:
        """A message with 8-bit octets comes with a way to make it one without, signed as well."""
        data = (
            b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            b"gr\xc3\xbc\xc3\x9fe\r\n"
        )
        self.put("a@example.net", data=data)
        self.put("b@example.net")
        (first, _), (second, _) = self.sender.sent
        self.assertTrue(first.is_8bit)
        assert first.seven_bit is not None
        converted = self.successResultOf(_as_deferred(first.seven_bit()))
        self.assertTrue(converted.isascii() and converted.startswith(b"DKIM-Signature: "))
        self.assertEqual((second.is_8bit, second.seven_bit), (False, None))

    def test_same_address_twice(self) -> None:
        """An address that is there twice is given once, and both are recorded."""
        message = self.put("a@example.net", "a@example.net")
        self.assertEqual(self.sender.addresses, [["a@example.net"]])
        self.assertEqual(self.statuses(message), ["relayed", "relayed"])

    def test_many_recipients(self) -> None:
        """More recipients than a transaction may have go in several, and all are reached."""
        message = self.put(*(f"user{number}@example.net" for number in range(950)))
        self.clock.pump([0.0] * 5)
        self.assertEqual({len(each) for each in self.sender.addresses}, {100, 50})
        self.assertEqual(set(self.statuses(message)), {"relayed"})

    def test_later(self) -> None:
        """What is to go later isn't sent before its time."""
        self.put("a@example.net", not_before=NOW + 120)
        self.clock.pump([1.0] * 119)
        self.assertEqual(self.sender.sent, [])
        self.clock.pump([1.0] * 2)
        self.assertEqual(len(self.sender.sent), 1)

    def test_other_process(self) -> None:
        """What another process queues, pauses or resumes is seen within seconds."""
        self.clock.pump([1.0] * 2)
        other = Store.open(self.path, self.blobs, clock=self.now, exclusive=False)
        self.addCleanup(other.close)
        self.put("a@example.net", store=other)
        self.assertEqual(self.sender.sent, [])
        self.clock.pump([1.0] * 2)
        self.assertEqual(len(self.sender.sent), 1)
        with other.write() as s:
            queue_control.set_paused(s, True)
        self.put("b@example.net")
        self.clock.pump([1.0] * 5)
        self.assertEqual(len(self.sender.sent), 1)
        with other.write() as s:
            queue_control.set_paused(s, False)
        self.clock.pump([1.0] * 2)
        self.assertEqual(len(self.sender.sent), 2)

    def test_ended_in_the_store(self) -> None:
        """While the answer is awaited the store says that the message may have arrived, and no transaction is open."""
        self.sender.wait = True
        message = self.put("a@example.net")
        (recipient,) = self.get(message).recipients
        self.assertEqual((recipient.begun_at, recipient.ending_at), (NOW, NOW))
        self.put("b@example.com")  # would wait for ever behind an open transaction
        self.sender.answer()
        (recipient,) = self.get(message).recipients
        self.assertEqual((recipient.status, recipient.begun_at, recipient.ending_at), ("relayed", None, None))

    def test_account_deleted(self) -> None:
        """An account that is deleted while its mail is sent ends that: nobody is told, and nothing is tried again."""
        self.sender.wait = True
        self.sender.kinds |= {"a@example.net": "permanent", "b@example.com": "temporary"}
        message = self.put("a@example.net", "b@example.com", submission_id=7)
        with self.store.write() as s:
            delete_account(s, self.jane)
            create_account(s, "jane@example.org", password_hash="x")
        self.sender.answer()
        self.pass_hours(6)
        self.assertEqual(len(self.sender.sent), 2)
        with self.store.read() as s:
            self.assertEqual(store.list_queue(s, finished=True), [])
            self.assertRaises(NotFound, get_queue_message, s, message)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_lost_octets(self) -> None:
        """A message whose octets are gone fails for good, its sender is told, and the log has it."""
        self.runner.stopService()
        message = self.put("a@example.net")
        self.blobs.delete(self.get(message).blob_hash)
        self.runner.startService()
        self.clock.pump([0.0] * 5)
        self.assertEqual(self.statuses(message), ["failed"])
        self.assertEqual(len(self.inbox()), 1)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_sender_raises(self) -> None:
        """A fault in the sender is logged and counts as a passing failure."""
        self.sender.fault = ZeroDivisionError()
        message = self.put("a@example.net")
        self.assertEqual(self.statuses(message), ["queued"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.get(message).recipients[0].begun_at, None)


class SlowDisk:
    """A pool that does its work at `go_on`."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """See `Pool`."""
        deferred: Deferred[T] = Deferred()
        self.waiting.append(lambda: deferred.callback(function()))
        return deferred

    def go_on(self) -> None:
        """Do what waits."""
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each()


class FewAtATimeTests(RunnerCase):
    """How much goes on at once."""

    limits = Limits(attempts=5, per_destination=2, memory=len(MESSAGE) * 8)  # of which an account has half

    def test_per_destination(self) -> None:
        """One destination has few attempts at a time, others go on beside it, and all are made."""
        self.put("user@slow.example")  # it answers, so that it gets more than one
        self.sender.sent.clear()
        self.sender.wait = True
        for number in range(6):
            self.put(f"user{number}@slow.example")
        self.put("a@example.net")
        self.assertEqual([destination for _, destination in self.sender.sent], ["slow.example"] * 2 + ["example.net"])
        for _ in range(4):
            self.sender.answer()
            self.clock.advance(0)
        self.assertEqual(len(self.sender.sent), 7)

    def test_larger_than_memory(self) -> None:
        """A message that alone takes more memory than its account may have goes by itself."""
        self.sender.wait = True
        large = self.put("a@example.com", data=MESSAGE * 5)
        small = self.put("a@example.net")
        self.assertEqual(self.sender.addresses, [["a@example.com"]])
        self.sender.answer()
        self.clock.pump([0.0] * 3)
        self.sender.answer()
        self.assertEqual(self.statuses(large) + self.statuses(small), ["relayed", "relayed"])

    def test_overall(self) -> None:
        """No more attempts than may be, and messages than fit into memory, are under way; all are made in the end."""
        self.sender.wait = True
        for number in range(20):
            self.put(f"a@d{number}.example")
        self.assertEqual(len(self.sender.sent), 4)
        while self.sender.waiting:
            self.sender.answer()
            self.clock.advance(0)
        self.assertEqual((len(self.sender.sent), self.sender.busiest), (20, 4))


class HangingPeersTests(RunnerCase):
    """Mail within this server while other servers take their time."""

    limits = Limits(attempts=2)

    def test_local(self) -> None:
        """Peers that hang in all attempts there may be don't keep mail from those on this server."""
        self.sender.wait = True
        away = self.put("a@example.net", "b@example.com", "c@example.edu")
        message = self.put("jane@example.org")
        self.assertEqual(self.statuses(message), ["delivered"])
        self.assertEqual((self.statuses(away), len(self.sender.waiting)), (["queued"] * 3, 2))


class TarpitTests(RunnerCase):
    """Servers that never answer."""

    def test_others_go_on(self) -> None:
        """200 mails arrive within half a minute although 50 servers that hang have older ones waiting."""
        self.sender.hanging = frozenset(f"tarpit{number}.example" for number in range(50))
        for number in range(200):
            self.put(f"a@tarpit{number % 50}.example")
        for number in range(200):
            self.put(f"a@d{number % 40}.example")
        self.clock.pump([1.0] * 30)
        arrived = [each for _, each in self.sender.sent if each not in self.sender.hanging]
        self.assertEqual(len(arrived), 200)
        self.clock.pump([1.0] * 40)
        # Each of the others was tried, and with one message only.
        self.assertEqual(len(self.sender.waiting), 50)

    def test_other_accounts(self) -> None:
        """Whoever sends to more servers that hang than there are slots keeps nobody else's mail back, though it is to
        servers of which nothing is known, and was queued later."""
        with self.store.write() as s:
            joe = create_account(s, "joe@example.org", password_hash="x").id
        self.sender.hanging = frozenset(f"tarpit{number}.example" for number in range(300))
        for destination in sorted(self.sender.hanging):
            self.put(f"a@{destination}")
        self.clock.pump([1.0] * 120)
        self.assertEqual(len(self.sender.waiting), 58)  # half of 100 that last, and of 20 without the four kept
        self.jane, jane = joe, self.jane
        self.put("b@example.net", return_path="joe@example.org")
        self.put("c@example.com", return_path="joe@example.org")
        self.jane = jane
        self.assertEqual(self.sender.addresses[-2:], [["b@example.net"], ["c@example.com"]])

    def test_servers_that_begin_to_hang(self) -> None:
        """The same if the servers were quick at first."""
        self.sender.hanging = frozenset(f"tarpit{number}.example" for number in range(40))
        for destination in sorted(self.sender.hanging):
            self.put(f"a@{destination}")
        self.sender.hanging, hanging = frozenset(), self.sender.hanging
        for _ in range(5):
            self.sender.answer()
            self.clock.advance(1)
        self.sender.hanging = hanging
        for number in range(160):
            self.put(f"a@tarpit{number % 40}.example")
        self.clock.pump([1.0] * 120)
        with self.store.write() as s:
            self.jane = create_account(s, "joe@example.org", password_hash="x").id
        self.put("b@example.net", return_path="joe@example.org")
        self.assertEqual(self.sender.addresses[-1], ["b@example.net"])

    def test_more_than_there_is_room_for(self) -> None:
        """Beyond the slots for servers that hang, destinations that have answered go on; nobody is forgotten."""
        self.put("a@example.net")
        self.sender.hanging = frozenset(f"tarpit{number}.example" for number in range(300))
        with self.store.write() as s:
            accounts = [self.jane, create_account(s, "joe@example.org", password_hash="x").id]
        for number, destination in enumerate(sorted(self.sender.hanging)):
            self.jane = accounts[number % 2]
            self.put(f"a@{destination}")
        self.clock.pump([1.0] * 120)
        self.assertEqual(len(self.sender.waiting), 116)  # 100 that last, and 20 without the four that are kept
        self.put("b@example.net")
        self.assertEqual(self.sender.addresses[-1], ["b@example.net"])
        for _ in range(8):
            self.sender.answer()
            self.clock.pump([1.0] * 20)
        self.assertEqual({each for _, each in self.sender.sent} - {"example.net"}, self.sender.hanging)

    def test_slow_once(self) -> None:
        """A server that took long gets one message at a time, until it answers soon again."""
        self.sender.wait = True
        for number in range(6):
            self.put(f"user{number}@example.net")
        self.clock.pump([1.0] * 20)
        self.sender.answer()
        self.clock.advance(0)
        self.assertEqual(len(self.sender.waiting), 1)
        self.sender.answer()
        self.clock.advance(0)
        self.assertEqual(len(self.sender.waiting), 4)

    def test_memory(self) -> None:
        """Large messages to servers that hang don't take the memory that others need."""
        self.limits = Limits(memory=len(MESSAGE) * 4)
        self.stop()
        self.runner = self.make_runner()
        self.runner.startService()
        self.clock.advance(0)
        self.sender.hanging = frozenset({"tarpit1.example", "tarpit2.example"})
        for destination in sorted(self.sender.hanging):
            self.put(f"a@{destination}")
        self.put("a@example.net")
        self.assertEqual(len(self.sender.sent), 2)
        self.clock.pump([1.0] * 12)
        self.assertEqual(self.sender.addresses[-1], ["a@example.net"])

    def test_memory_of_other_accounts(self) -> None:
        """Large messages of one account, to servers that hang, never take all memory."""
        self.limits = Limits(memory=len(MESSAGE) * 4)
        self.stop()
        self.runner = self.make_runner()
        self.runner.startService()
        self.clock.advance(0)
        self.sender.hanging = frozenset(f"tarpit{number}.example" for number in range(9))
        for destination in sorted(self.sender.hanging):
            self.put(f"a@{destination}", data=MESSAGE * 9)
        self.clock.pump([1.0] * 40)
        self.assertEqual(len(self.sender.waiting), 2)
        with self.store.write() as s:
            self.jane = create_account(s, "joe@example.org", password_hash="x").id
        mail = self.put("a@example.net", "joe@example.org", return_path="joe@example.org")
        self.assertEqual(self.statuses(mail), ["relayed", "delivered"])

    def test_relay(self) -> None:
        """One relay that takes its time doesn't get more connections for that."""
        self.limits = Limits(slow_after=None)
        self.stop()
        self.runner = self.make_runner()
        self.runner.startService()
        self.clock.advance(0)
        self.sender.wait = True
        for number in range(100):
            self.put(f"a@d{number}.example")
        self.clock.pump([1.0] * 60)
        self.assertEqual(len(self.sender.waiting), 20)


class RelayTests(RunnerCase):
    """All goes through one server, which several accounts wait for."""

    limits = Limits(slow_after=None)

    def setUp(self) -> None:
        """Two accounts; the relay answers when it is told to."""
        super().setUp()
        self.sender.wait = True
        with self.store.write() as s:
            self.joe = create_account(s, "joe@example.org", password_hash="x").id

    def put_by_joe(self, *addresses: str) -> None:
        """Queue messages of the other account, one for each address."""
        self.jane, jane = self.joe, self.jane
        for address in addresses:
            self.put(address, return_path="joe@example.org")
        self.jane = jane

    def began_next(self) -> list[str]:
        """To whom the attempts are that begin when those under way have ended."""
        before = len(self.sender.sent)
        self.sender.answer()
        self.clock.advance(0)
        return [each for addresses in self.sender.addresses[before:] for each in addresses]

    def test_alone(self) -> None:
        """As long as nobody else waits, an account has all that there is."""
        for number in range(60):
            self.put(f"a@d{number}.example")
        self.assertEqual(len(self.sender.waiting), 20)
        self.began_next()
        self.assertEqual(len(self.sender.waiting), 20)

    def test_many_domains(self) -> None:
        """Who comes after another's hundred messages goes next, and not after them."""
        for number in range(100):
            self.put(f"a@d{number}.example")
        self.put_by_joe("joe1@late.example", "joe2@later.example")
        began = self.began_next()
        self.assertLessEqual({"joe1@late.example", "joe2@later.example"}, set(began))
        self.assertEqual(len(self.sender.waiting), 20)

    def test_one_domain(self) -> None:
        """The same where all is to one domain, with its few attempts at a time."""
        for number in range(100):
            self.put(f"a{number}@example.net")
        self.put_by_joe("joe1@example.net", "joe2@example.net")
        began = self.began_next() + self.began_next()
        self.assertLessEqual({"joe1@example.net", "joe2@example.net"}, set(began))
        self.assertEqual(len(self.sender.waiting), 4)

    def test_both_have_many(self) -> None:
        """However much one account has queued, the other has a part of what goes on; all is sent in the end."""
        for number in range(90):
            self.put(f"a@d{number}.example")
        self.put_by_joe(*(f"joe@d{number}.example" for number in range(60)))
        for _ in range(3):
            began = self.began_next()
            self.assertGreaterEqual(sum(each.startswith("joe@") for each in began), 6, began)
        for _ in range(10):
            self.began_next()
        sent = [each for addresses in self.sender.addresses for each in addresses]
        self.assertEqual((len(sent), len(set(sent))), (150, 150))


class AgainTests(RunnerCase):
    """What is tried again, and when it is given up."""

    def test_deferred(self) -> None:
        """A recipient put off is tried again later, by itself, and less and less often."""
        self.sender.kinds["b@example.net"] = "temporary"
        message = self.put("a@example.net", "b@example.net")
        self.assertEqual(self.statuses(message), ["relayed", "queued"])
        self.pass_hours(3)
        self.assertEqual(self.sender.addresses, [["a@example.net", "b@example.net"]] + [["b@example.net"]] * 5)
        self.sender.kinds.clear()
        self.pass_hours(3)
        self.assertEqual(self.statuses(message), ["relayed", "relayed"])

    def test_warned_once(self) -> None:
        """After four hours the sender is told once that the message is late."""
        self.sender.kinds["a@example.net"] = "temporary"
        self.put("a@example.net")
        self.pass_hours(3.9)
        self.assertEqual(self.inbox(), [])
        self.pass_hours(0.2)
        (mail,) = self.inbox()
        report = dsn.parse(mail)
        assert report is not None
        self.assertEqual([(each.action, each.status) for each in report.recipients], [("delayed", "4.7.1")])
        self.pass_hours(24)
        self.assertEqual(len(self.inbox()), 1)

    def test_expired(self) -> None:
        """After four days, and a last try, a message is given up and its sender told, with the last answer."""
        self.sender.kinds["a@example.net"] = "temporary"
        message = self.put("a@example.net")
        self.clock.pump([600.0] * (6 * 96 - 1))
        self.assertEqual(self.statuses(message), ["queued"])
        self.clock.pump([600.0] * 2)
        self.assertEqual(self.statuses(message), ["expired"])
        mail = self.inbox()[-1]
        report = dsn.parse(mail)
        assert report is not None
        self.assertEqual(report.env_id, self.get(message).env_id)
        (about,) = report.recipients
        self.assertEqual((about.action, about.status), ("failed", "5.4.7"))
        self.assertIn("451 4.7.1 later", about.diagnostic or "")

    def test_unknown(self) -> None:
        """A lost answer is logged as what may make a double, and the message is sent again."""
        self.sender.kinds["a@example.net"] = "unknown"
        message = self.put("a@example.net")
        self.assertEqual(self.statuses(message), ["queued"])
        self.assertEqual(self.metrics.value("stalwart_queue_attempts_total"), 1)
        self.sender.kinds.clear()
        self.pass_hours(0.2)
        self.assertEqual(self.statuses(message), ["relayed"])

    def test_warned_about_all(self) -> None:
        """One warning names all who wait for the message, at whatever server, and also who wasn't tried yet."""
        late = ("a@example.net", "b@example.com", "c@example.info")
        self.sender.kinds |= dict.fromkeys(late, "temporary")
        self.put(*late, "d@example.net")
        self.pass_hours(30)
        (mail,) = self.inbox()
        report = dsn.parse(mail)
        assert report is not None
        self.assertEqual(sorted(each.address for each in report.recipients), sorted(late))
        self.assertEqual({each.action for each in report.recipients}, {"delayed"})

    def test_warned_once_at_the_same_time(self) -> None:
        """Attempts at several servers that end late together warn once."""
        self.sender.kinds |= {"a@example.net": "temporary", "b@example.com": "temporary"}
        self.sender.wait = True
        self.put("a@example.net", "b@example.com")
        self.pass_hours(5)
        self.sender.answer()
        self.clock.pump([0.0] * 5)
        self.assertEqual(len(self.inbox()), 1)

    def test_report_impossible(self) -> None:
        """A report that can't be made is tried some times and given up with a line in the log; the outcome is noted
        at once, and nothing is sent again."""
        self.sender.kinds["a@example.net"] = "permanent"
        self.patch(queue_outcomes, "build_report", _fail_always)
        message = self.put("a@example.net")
        self.assertEqual(self.statuses(message), ["failed"])
        self.clock.pump([10.0] * 20)
        self.assertEqual((len(self.sender.sent), self.inbox()), (1, []))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 6)

    def test_report_later(self) -> None:
        """A report that can't be queued for a moment is, soon after the outcome."""
        self.sender.kinds["a@example.net"] = "permanent"
        self.patch(queue_outcomes, "enqueue", _fail_always)
        message = self.put("a@example.net")
        self.assertEqual(self.statuses(message), ["failed"])
        self.patch(queue_outcomes, "enqueue", enqueue)
        self.clock.pump([10.0] * 2)
        self.assertEqual(len(self.inbox()), 1)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    def test_disk_full(self) -> None:
        """What became of a message is noted as soon as the store can; meanwhile it isn't sent again."""
        self.sender.wait = True
        message = self.put("a@example.net")
        self.writer.store = None  # type: ignore[assignment]
        self.sender.answer()
        self.clock.pump([5.0] * 3)
        self.writer.store = self.store
        self.clock.pump([5.0] * 3)
        self.assertEqual((self.statuses(message), len(self.sender.sent)), (["relayed"], 1))
        self.assertTrue(self.flushLoggedErrors())


class BackOffTests(SynchronousTestCase):
    """The schedule."""

    @given(st.integers(1, 10_000), st.floats(0, 1))
    @settings(deadline=None, max_examples=100)
    def test_bounds(self, attempts: int, chance: float) -> None:
        """Between four minutes and just under five hours, however often it was tried."""
        self.assertTrue(240 <= back_off(attempts, chance) <= 4.8 * 3600)

    def test_doubles(self) -> None:
        """Each wait is twice the one before, up to four hours."""
        self.assertEqual([back_off(n, 0.5) for n in range(1, 9)], [300, 600, 1200, 2400, 4800, 9600, 14400, 14400])


class ReportTests(RunnerCase):
    """What the sender is told."""

    def test_bounce(self) -> None:
        """Who is refused for good comes back to the sender as a report with the header alone; who isn't, doesn't."""
        self.sender.kinds["b@example.net"] = "permanent"
        message = self.put("a@example.net", "b@example.net")
        self.assertEqual(self.statuses(message), ["relayed", "failed"])
        (mail,) = self.inbox()
        self.assertIn(b"Return-Path: <>", mail)
        self.assertIn(b"Subject: hello", mail)
        self.assertNotIn(b"secret body", mail)
        report = dsn.parse(mail)
        assert report is not None
        self.assertEqual(
            [(each.address, each.action, each.status) for each in report.recipients],
            [("b@example.net", "failed", "5.1.1")],
        )

    def test_full(self) -> None:
        """With RET=FULL the whole message comes back. RFC 3461 §4.3"""
        self.sender.kinds["b@example.net"] = "permanent"
        self.put("b@example.net", ret="FULL")
        self.assertIn(b"secret body", self.inbox()[0])

    def test_never(self) -> None:
        """With NOTIFY=NEVER nobody is told of anything. RFC 3461 §4.1"""
        self.sender.kinds["b@example.net"] = "permanent"
        self.put("b@example.net", notify="NEVER")
        self.assertEqual(self.inbox(), [])

    def test_no_report_about_reports(self) -> None:
        """A report that can't be delivered causes none."""
        self.sender.kinds["b@example.net"] = "permanent"
        message = self.put("b@example.net", return_path="")
        self.assertEqual((self.statuses(message), self.inbox()), (["failed"], []))

    def test_bounce_leaves(self) -> None:
        """The report about a message from elsewhere is sent there, with an empty return path."""
        self.sender.kinds["b@example.net"] = "permanent"
        self.put("b@example.net", return_path="them@example.com")
        outgoing, destination = self.sender.sent[-1]
        self.assertEqual((outgoing.return_path, destination), ("", "example.com"))

    def test_listed_with_the_message(self) -> None:
        """A report that was delivered here is found with the message that it is about."""
        self.sender.kinds["b@example.net"] = "permanent"
        message = self.put("b@example.net")
        with self.store.read() as s:
            (blob,) = queue_reports.list_reports(s, message)
        self.assertEqual(self.blobs.get(blob), self.inbox()[0])


class LocalTests(RunnerCase):
    """Recipients on this server."""

    def test_delivered(self) -> None:
        """A local recipient has the mail without any SMTP, and unsigned."""
        message = self.put("JANE@example.org")
        self.assertEqual((self.sender.sent, self.statuses(message)), ([], ["delivered"]))
        (mail,) = self.inbox()
        self.assertTrue(mail.endswith(MESSAGE))
        self.assertIn(b"Return-Path: <jane@example.org>", mail)

    def test_nobody(self) -> None:
        """An unknown local recipient fails at once, and the sender is told."""
        message = self.put("nobody@example.org")
        self.assertEqual(self.statuses(message), ["failed"])
        self.assertEqual(len(self.inbox()), 1)

    def test_twice(self) -> None:
        """Who is named twice gets the mail once."""
        message = self.put("jane@example.org", "jane+tag@example.org")
        self.assertEqual((self.statuses(message), len(self.inbox())), (["delivered", "delivered"], 1))

    def test_success(self) -> None:
        """Who asked to be told of success is. RFC 3461 §5.2.3"""
        self.put("jane@example.org", notify="SUCCESS")
        report = dsn.parse(self.inbox()[1])
        assert report is not None
        self.assertEqual([each.action for each in report.recipients], ["delivered"])

    def test_success_and_crash(self) -> None:
        """The report of success is queued by the commit that delivers: a crash right after it loses nothing."""
        run_batch = self.store.run_batch
        reports: list[int] = []  # that wait, after each commit

        def watched(jobs: Sequence[Callable[[Session], Any]]) -> list[Any]:
            done = run_batch(jobs)
            with self.store.read() as s:
                reports.append(sum(not each.return_path for each in list_queue(s)))
            return done

        self.patch(self.store, "run_batch", watched)
        self.put("jane@example.org", "jane+tag@example.org", notify="SUCCESS", ret="FULL")
        self.assertEqual((reports[:2], len(self.inbox())), ([0, 1], 2))  # begun, and delivered

    def test_success_unmade(self) -> None:
        """A fault in making the report of success doesn't keep the mail back, and is logged."""
        self.patch(queue_outcomes, "build_report", _fail_always)
        message = self.put("jane@example.org", notify="SUCCESS")
        self.assertEqual((self.statuses(message), len(self.inbox())), (["delivered"], 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_relayed(self) -> None:
        """RFC 3461 §5.2.2: they are also told that it went to a server that won't tell; others aren't."""
        self.put("a@example.net", notify="SUCCESS,FAILURE")
        report = dsn.parse(self.inbox()[0])
        assert report is not None
        self.assertEqual([(each.action, each.status) for each in report.recipients], [("relayed", "2.0.0")])
        self.sender.takes_dsn = True
        self.put("a@example.net", notify="SUCCESS")
        self.sender.takes_dsn = False
        for notify in (None, "NEVER", "FAILURE,DELAY"):
            self.put("a@example.net", notify=notify)
        self.assertEqual(len(self.inbox()), 1)


class IncomingReportTests(RunnerCase):
    """Reports of other servers."""

    def arrive(self, env_id: str, address: str, action: str, sender: str = "", to: str = "jane@example.org") -> None:
        """A report about a message comes in."""
        report = (
            "From: <>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b"
            "\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n"
            f"Original-Envelope-Id: {env_id}\r\n\r\nFinal-Recipient: rfc822; {address}\r\nAction: {action}\r\n"
            "Status: 5.1.1\r\n\r\n--b--\r\n"
        )
        self.receive(report.encode(), sender, to)

    def receive(self, octets: bytes, sender: str = "", to: str = "jane@example.org") -> None:
        """A mail comes in."""
        recipient = self.successResultOf(Deferred.fromCoroutine(self.mailroom.find(to, None)))
        transfer = Transfer(
            id="1", sender=sender, recipients=(recipient,), client="mx.example.net", peer="192.0.2.1", protocol="LMTP"
        )
        delivered = Deferred.fromCoroutine(self.mailroom.deliver(transfer, bytearray(octets)))
        self.assertTrue(self.successResultOf(delivered)[0].reply.positive)

    def test_failed(self) -> None:
        """A bounce that comes back makes of a relayed recipient a failed one, and is listed with the message."""
        message = self.put("a@example.net", "B@example.net")
        self.arrive(self.get(message).env_id, "b@EXAMPLE.net", "failed")
        self.assertEqual(self.statuses(message), ["relayed", "failed"])
        with self.store.read() as s:
            (blob,) = queue_reports.list_reports(s, message)
        self.assertEqual(self.blobs.get(blob), self.inbox()[0])

    def test_delivered(self) -> None:
        """So does one of success; one of a delay changes nothing."""
        message = self.put("a@example.net")
        self.arrive(self.get(message).env_id, "a@example.net", "delayed")
        self.assertEqual(self.statuses(message), ["relayed"])
        self.arrive(self.get(message).env_id, "a@example.net", "delivered")
        self.assertEqual(self.statuses(message), ["delivered"])

    def test_of_others(self) -> None:
        """Nobody else's report counts, nor what isn't one, nor an envelope that isn't known; all of it is mail."""
        with self.store.write() as s:
            create_account(s, "john@example.org", password_hash="x")
        message = self.put("a@example.net")
        env_id = self.get(message).env_id
        self.arrive(env_id, "a@example.net", "failed", to="john@example.org")
        self.arrive(env_id, "a@example.net", "failed", sender="x@example.net")
        self.arrive("other", "a@example.net", "failed")
        self.assertEqual((self.statuses(message), len(self.inbox())), (["relayed"], 2))

    def test_displayed(self) -> None:
        """RFC 8098: a recipient's notification shows that they were shown the message, and is listed with it."""
        message = self.put("bob@example.net", "a@example.net", submission_id=7, header_id="one@example.org")
        self.receive(mdn())
        self.assertEqual([each.is_displayed for each in self.get(message).recipients], [True, False])
        with self.store.read() as s:
            (blob,) = store.submission_reports(s, 7, "mdn")
            self.assertEqual(store.submission_reports(s, 7, "dsn"), [])
        self.assertEqual(self.blobs.get(blob), self.inbox()[0])

    def test_not_displayed(self) -> None:
        """One of another message, of nobody it was sent to, from a stranger, or to another account, is only mail."""
        with self.store.write() as s:
            create_account(s, "john@example.org", password_hash="x")
        message = self.put("bob@example.net", submission_id=7, header_id="one@example.org")
        eve = "rfc822; eve@example.net"
        self.receive(mdn(message_id="<two@example.org>"))
        self.receive(mdn(author="eve@example.net", final=eve, original=eve))
        self.receive(mdn(author="eve@example.net"))
        self.receive(mdn(), sender="bob@example.net")
        self.receive(mdn(), to="john@example.org")
        self.receive(mdn(disposition="manual-action/MDN-sent-manually; deleted"))
        self.assertFalse(self.get(message).recipients[0].is_displayed)
        with self.store.read() as s:
            self.assertEqual(len(store.submission_reports(s, 7, "mdn")), 1)


class StopTests(RunnerCase):
    """Stopping and starting."""

    def restart(self) -> None:
        """Start anew on what the store has."""
        self.runner.close()
        self.runner = self.make_runner()
        self.runner.startService()
        self.clock.advance(0)

    def test_waits(self) -> None:
        """Stopping waits for the answer that is on its way."""
        self.sender.wait = True
        message = self.put("a@example.net")
        stopped = self.runner.stopService()
        self.assertNoResult(stopped)
        self.sender.answer()
        self.successResultOf(stopped)
        self.assertEqual(self.statuses(message), ["relayed"])

    def test_given_up_before_the_end(self) -> None:
        """An attempt that is ended before the end of the message was sent counts for nothing."""
        self.sender.wait, self.sender.says_end = True, False
        message = self.put("a@example.net")
        stopped = self.runner.stopService()
        self.clock.advance(6)
        self.successResultOf(stopped)
        (recipient,) = self.get(message).recipients
        self.assertEqual(
            (recipient.status, recipient.attempts, recipient.begun_at, recipient.next_attempt_at),
            ("queued", 0, None, NOW + 6),
        )
        self.sender.wait = False
        self.restart()
        self.assertEqual(self.statuses(message), ["relayed"])
        self.assertEqual(self.metrics.value("stalwart_queue_attempts_total"), 1)

    def test_given_up_before_the_peer(self) -> None:
        """An attempt that is ended while the message is read from a slow disk talks to no peer any more."""
        pool = SlowDisk()
        self.attempts._pool = pool
        self.sender.wait = True
        message = self.put("a@example.net")
        stopped = self.runner.stopService()
        self.clock.advance(6)
        self.assertNoResult(stopped)
        pool.go_on()
        self.successResultOf(stopped)
        self.assertEqual(self.sender.sent, [])
        (recipient,) = self.get(message).recipients
        self.assertEqual((recipient.status, recipient.attempts, recipient.begun_at), ("queued", 0, None))

    def test_given_up_after_the_end(self) -> None:
        """An attempt that is ended after the end of the message was sent is one with a lost answer."""
        self.sender.wait = True
        message = self.put("a@example.net")
        stopped = self.runner.stopService()
        self.clock.advance(6)
        self.successResultOf(stopped)
        (recipient,) = self.get(message).recipients
        self.assertEqual((recipient.status, recipient.attempts, recipient.ending_at), ("queued", 1, None))

    def test_killed(self) -> None:
        """After a crash all that was begun is sent; only whose end may have been sent is said to arrive twice."""
        self.runner.stopService()
        first, second = self.put("a@example.net"), self.put("b@example.com")
        with self.store.write() as s:
            ids = [each.id for message in (first, second) for each in self.get(message).recipients]
            queue.begin(s, first, ids[:1])
            queue.begin(s, second, ids[1:])
            queue.end(s, ids[1:])
        self.restart()
        self.assertEqual((self.statuses(first), self.statuses(second)), (["relayed"], ["relayed"]))
        unknown = self.metrics.registry.get_sample_value("stalwart_queue_attempts_total", {"outcome": "unknown"})
        self.assertEqual(unknown, 1)

    def test_killed_and_no_room(self) -> None:
        """What was begun before a crash is given back as soon as the store takes writes again, and sent; a stop
        meanwhile doesn't wait for that."""
        self.runner.stopService()
        message = self.put("a@example.net")
        with self.store.write() as s:
            queue.begin(s, message, [each.id for each in self.get(message).recipients])
        run_batch = self.store.run_batch
        self.store.run_batch = _fail_always  # type: ignore[method-assign]
        self.restart()
        self.clock.pump([1.0] * 25)
        self.successResultOf(self.runner.stopService())
        self.restart()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)
        self.store.run_batch = run_batch  # type: ignore[method-assign]
        self.clock.pump([1.0] * 12)
        self.assertEqual((self.statuses(message), len(self.sender.sent)), (["relayed"], 1))


class FigureTests(RunnerCase):
    """Metrics."""

    def test_figures(self) -> None:
        """How many wait, how many are held, and for how long the oldest waits."""
        self.sender.kinds["a@example.net"] = "temporary"
        self.put("a@example.net")
        held = self.put("b@example.net", not_before=NOW + 999_999)
        with self.store.write() as s:
            queue_control.hold(s, held)
        self.clock.pump([1.0] * 30)
        value = self.metrics.registry.get_sample_value
        self.assertEqual(value("stalwart_queue_messages", {"state": "waiting"}), 1)
        self.assertEqual(value("stalwart_queue_messages", {"state": "held"}), 1)
        self.assertEqual(value("stalwart_queue_recipients"), 2)
        self.assertEqual(value("stalwart_queue_oldest_seconds"), 30)
        self.assertEqual(value("stalwart_queue_paused"), 0)
