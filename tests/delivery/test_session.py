"""LMTP sessions on a transport in memory: back-pressure, time limits, memory, shutdown, log lines and counts."""

from __future__ import annotations

import tracemalloc
from itertools import count

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from stalwart.delivery import replies
from stalwart.delivery.lmtp import Limits
from stalwart.delivery.lmtp_server import LmtpFactory, Times
from stalwart.delivery.lmtp_session import LmtpSession
from stalwart.delivery.local import Outcome, Recipient, Transfer
from stalwart.delivery.memory import MessageMemory
from stalwart.delivery.replies import LmtpError, reply
from stalwart.ops.metrics import Metrics
from stalwart.store import DiskFull
from tests.delivery.test_lmtp import codes

OPENING = b"LHLO c\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n"


class Room:
    """A mailroom in memory: knows everybody but `no…`, and keeps what it gets. It can be told to wait or fail."""

    def __init__(self) -> None:
        self.kept: list[tuple[Transfer, bytes]] = []
        self.asked: list[tuple[str, int | None]] = []
        self.gate: Deferred[None] | None = None
        self.error: Exception | None = None
        self.outcome_error: Exception | None = None

    async def find(self, address: str, size: int | None) -> Recipient:
        """See `Mailroom.find`."""
        self.asked.append((address, size))
        await self._pass()
        if address.startswith("no"):
            raise LmtpError(replies.NO_SUCH_USER, "nobody")
        return Recipient(address=address, account_id=len(self.asked))

    async def deliver(self, transfer: Transfer, content: bytearray) -> list[Outcome]:
        """See `Mailroom.deliver`."""
        await self._pass()
        self.kept.append((transfer, bytes(content)))
        if self.outcome_error is not None:
            return [
                Outcome(recipient=recipient, reply=replies.DISK_FULL, error=self.outcome_error)
                for recipient in transfer.recipients
            ]
        stored = reply(250, "2.0.0", f"Stored, id {transfer.id}")
        return [Outcome(recipient=recipient, reply=stored, email_id=7) for recipient in transfer.recipients]

    async def _pass(self) -> None:
        if self.gate is not None:
            await self.gate
        if self.error is not None:
            raise self.error


class Wire(StringTransport):
    """A transport in memory that tells whether it was cut."""

    aborted = False

    def abortConnection(self) -> None:
        """Note it."""
        self.aborted = True
        self.loseConnection()


class SessionCase(SynchronousTestCase):
    """A factory with a mailroom in memory, and sessions on it."""

    def setUp(self) -> None:
        """Make the factory."""
        self.room = Room()
        self.clock = Clock()
        self.metrics = Metrics("0")
        self.memory = MessageMemory(1000)
        numbers = count(1)
        self.factory = LmtpFactory(
            listener="lmtp",
            hostname="mx.example",
            mailroom=self.room,
            memory=self.memory,
            metrics=self.metrics,
            reactor=self.clock,
            new_id=lambda: f"id{next(numbers)}",
            limits=Limits(message=600),
            times=Times(progress=300, farewell=30),
        )
        self._captured = self.enterContext(capturedLogs())

    @property
    def events(self) -> list[LogEvent]:
        """What was written to the log."""
        return [event for event in self._captured if event["log_namespace"] == "stalwart.delivery"]

    def connect(self, peer: IAddress | None = None) -> tuple[LmtpSession, Wire]:
        """A connection whose greeting was read."""
        session = self.factory.buildProtocol(None)
        assert session is not None
        wire = Wire(peerAddress=peer or IPv4Address("TCP", "192.0.2.7", 1234))
        session.makeConnection(wire)
        self.assertEqual(wire.value(), b"220 mx.example LMTP ready\r\n")
        wire.clear()
        return session, wire

    def hang_up(self, session: LmtpSession) -> None:
        """The client leaves."""
        session.connectionLost(Failure(ConnectionDone()))

    def counted(self, outcome: str) -> float:
        """How many recipients were answered so."""
        labels = {"listener": "lmtp", "outcome": outcome}
        return self.metrics.registry.get_sample_value("stalwart_lmtp_deliveries_total", labels) or 0.0


class SessionTests(SessionCase):
    """`LmtpSession`."""

    def test_delivery(self) -> None:
        """A message reaches the mailroom with its envelope; the answer, the log line and the counts follow."""
        session, wire = self.connect()
        session.dataReceived(OPENING.replace(b"DATA", b"RCPT TO:<no@example.org>\r\nDATA"))
        session.dataReceived(b"Subject: secret\r\n\r\nhi\r\n.\r\nQUIT\r\n")
        expected = [
            "250 ENHANCEDSTATUSCODES",
            "250 2.1.0",
            "250 2.1.5",
            "550 5.1.1",
            "354 Send",
            "250 2.0.0",
            "221 2.0.0",
        ]
        self.assertEqual(codes(wire.value()), expected)
        self.assertTrue(wire.disconnecting)
        transfer, octets = self.room.kept[0]
        self.assertEqual(octets, b"Subject: secret\r\n\r\nhi\r\n")
        self.assertEqual(
            transfer,
            Transfer(
                id="id1",
                sender="s@example.net",
                recipients=(Recipient(address="a@example.org", account_id=1),),
                client="c",
                peer="192.0.2.7",
                protocol="LMTP",
            ),
        )
        self.assertEqual([event["delivery_id"] for event in self.events], ["id1", "id1"])
        self.assertEqual([event["code"] for event in self.events], [550, 250])
        self.assertEqual(self.events[1]["email_id"], 7)
        self.assertEqual(self.events[1]["recipient"], "a@example.org")
        self.assertNotIn("secret", repr(self.events))
        self.assertEqual((self.counted("2xx"), self.counted("5xx")), (1.0, 1.0))
        bytes_total = self.metrics.registry.get_sample_value("stalwart_lmtp_received_bytes_total", {"listener": "lmtp"})
        self.assertEqual(bytes_total, 23.0)
        self.assertEqual(self.memory.free, 1000)

    def test_protocol_names(self) -> None:
        """A Unix socket has no address; SMTPUTF8 is told as UTF8LMTP (RFC 6531 §4.3)."""
        session, _ = self.connect(UNIXAddress(None))
        session.dataReceived(b"LHLO c\r\nMAIL FROM:<> SMTPUTF8\r\nRCPT TO:<a@x>\r\nDATA\r\n.\r\n")
        session.dataReceived(b".\r\n")
        transfer = self.room.kept[0][0]
        self.assertEqual((transfer.peer, transfer.protocol), ("", "UTF8LMTP"))

    def test_back_pressure(self) -> None:
        """While a recipient is looked up or a message stored, what comes is left unread behind the first octets."""
        self.room.gate = Deferred()
        session, wire = self.connect()
        session.dataReceived(OPENING)
        self.assertEqual(wire.producerState, "paused")
        self.assertEqual(codes(wire.value())[-1], "250 2.1.0")
        gate, self.room.gate = self.room.gate, None
        gate.callback(None)
        self.assertEqual(wire.producerState, "producing")
        self.assertEqual(codes(wire.value())[-1], "354 Send")
        self.room.gate = Deferred()
        session.dataReceived(b"hi\r\n.\r\nNOOP\r\n")
        self.assertEqual(wire.producerState, "paused")
        self.assertEqual(codes(wire.value())[-1], "354 Send")
        self.room.gate.callback(None)
        self.assertEqual(wire.producerState, "producing")
        self.assertEqual(codes(wire.value())[-2:], ["250 2.0.0", "250 2.0.0"])

    def test_answers_not_fetched(self) -> None:
        """A client that doesn't fetch its answers gets no more of them, and isn't read, until it does."""
        session, wire = self.connect()
        session.pauseProducing()
        session.dataReceived(b"NOOP\r\n" * 3)
        self.assertEqual((wire.value(), wire.producerState), (b"", "paused"))
        session.resumeProducing()
        self.assertEqual((codes(wire.value()), wire.producerState), (["250 2.0.0"] * 3, "producing"))

    def test_hang_up_inside_a_message(self) -> None:
        """A client that leaves before the final dot leaves nothing behind, and its octets are given back."""
        session, _ = self.connect()
        session.dataReceived(OPENING + b"half a message\r\n.\r")
        self.assertLess(self.memory.free, 1000)
        self.hang_up(session)
        self.assertEqual(self.room.kept, [])
        self.assertEqual(self.memory.free, 1000)
        self.assertIn("hung up after 14 octets", self.events[-1]["log_format"].format(**self.events[-1]))

    def test_hang_up_while_storing(self) -> None:
        """A whole message is stored even if nobody waits for the answer any more; what was behind it is forgotten."""
        session, wire = self.connect()
        session.dataReceived(OPENING)
        self.room.gate = Deferred()
        session.dataReceived(b"whole\r\n.\r\nMAIL FROM:<>\r\n")
        self.hang_up(session)
        wire.clear()
        drained = self.factory.drain()
        self.assertNoResult(drained)
        self.room.gate.callback(None)
        self.assertEqual([octets for _, octets in self.room.kept], [b"whole\r\n"])
        self.assertEqual(wire.value(), b"")
        self.assertEqual(self.memory.free, 1000)
        self.successResultOf(drained)

    def test_hang_up_while_looking_up(self) -> None:
        """A session that ends while a recipient is looked up is over when that is done."""
        self.room.gate = Deferred()
        session, _ = self.connect()
        session.dataReceived(OPENING)
        self.hang_up(session)
        self.room.gate.callback(None)
        self.successResultOf(self.factory.drain())

    def test_unforeseen_trouble(self) -> None:
        """An error nobody foresaw is 451 4.3.0 for the client and a traceback in the log, at RCPT and after DATA."""
        session, wire = self.connect()
        self.room.error = ZeroDivisionError()
        session.dataReceived(OPENING)
        self.assertEqual(codes(wire.value())[-2:], ["451 4.3.0", "503 5.5.1"])
        self.room.error = None
        session.dataReceived(b"RCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n")
        self.room.error = ZeroDivisionError()
        session.dataReceived(b"hi\r\n.\r\n")
        self.assertEqual(codes(wire.value())[-3:], ["354 Send", "451 4.3.0", "451 4.3.0"])
        self.assertEqual(self.counted("4xx"), 3.0)
        self.assertEqual(self.memory.free, 1000)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_trouble_in_the_store(self) -> None:
        """What the store can't do is told in the log line with its reason, without a traceback."""
        self.room.outcome_error = DiskFull("no space left on /var/lib/stalwart")
        session, wire = self.connect()
        session.dataReceived(OPENING + b"hi\r\n.\r\n")
        self.assertEqual(codes(wire.value())[-1], "452 4.3.1")
        self.assertIn("no space left", self.events[-1]["because"])

    def test_memory(self) -> None:
        """All sessions share a number of octets: DATA is refused, or the message dropped, with 452 4.3.1."""
        first, _ = self.connect()
        second, wire = self.connect()
        first.dataReceived(OPENING + b"x" * 500)
        second.dataReceived(OPENING.replace(b"net>", b"net> SIZE=600"))
        self.assertEqual(codes(wire.value())[-1], "452 4.3.1")
        second.dataReceived(b"DATA\r\nRSET\r\n" + OPENING[8:])
        self.assertEqual(codes(wire.value())[-1], "354 Send")
        second.dataReceived(b"y" * 400)
        second.dataReceived(b"y" * 199)
        self.assertEqual(self.memory.free, 500)
        second.dataReceived(b"\r\n.\r\n")
        self.assertEqual(codes(wire.value())[-2:], ["354 Send", "452 4.3.1"])
        first.dataReceived(b"\r\n.\r\n")
        self.assertEqual(self.memory.free, 1000)
        self.assertEqual(len(self.room.kept), 1)

    def test_small_segments(self) -> None:
        """A message that comes in two octets at a time takes little more memory than its octets."""
        self.factory.limits = Limits()
        self.memory.free = 1_000_000
        session, _ = self.connect()
        session.dataReceived(OPENING)
        octets = 60_000
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(octets // 2):
            session.dataReceived(b"ab")
        self.assertLess(tracemalloc.get_traced_memory()[0] - before, 2 * octets)
        self.assertEqual(self.memory.free, 1_000_000 - octets)
        session.dataReceived(b"\r\n.\r\n")
        self.assertEqual(len(self.room.kept[0][1]), octets + 2)

    def test_too_large(self) -> None:
        """A message over the limit isn't kept while it arrives; its recipients are answered, logged and counted."""
        session, wire = self.connect()
        session.dataReceived(OPENING + b"x" * 500)
        session.dataReceived(b"x" * 200)
        self.assertEqual(self.memory.free, 1000)
        session.dataReceived(b"\r\n.\r\n")
        self.assertEqual(codes(wire.value())[-1], "552 5.3.4")
        self.assertEqual(self.counted("5xx"), 1.0)
        self.assertEqual(self.room.kept, [])


class TimeTests(SessionCase):
    """Time limits."""

    def test_idle(self) -> None:
        """A client that sends no command for five minutes is told 421 4.4.2."""
        session, wire = self.connect()
        for _ in range(3):
            self.clock.pump([5.0] * 58)
            session.dataReceived(b"NOOP\r\n")
        self.assertFalse(wire.disconnecting)
        wire.clear()
        self.clock.pump([5.0] * 62)
        self.assertEqual(codes(wire.value()), ["421 4.4.2"])
        self.assertTrue(wire.disconnecting)

    def test_dripping(self) -> None:
        """Single octets are no progress, in a command as in a message."""
        for start in (b"", OPENING):
            session, wire = self.connect()
            session.dataReceived(start)
            for _ in range(62):
                session.dataReceived(b"x")
                self.clock.advance(5.0)
            self.assertTrue(wire.disconnecting)
            self.hang_up(session)
        self.assertEqual(self.memory.free, 1000)

    def test_our_own_time(self) -> None:
        """The time that a lookup takes isn't the client's."""
        self.room.gate = Deferred()
        session, wire = self.connect()
        session.dataReceived(OPENING)
        self.clock.pump([5.0] * 100)
        self.assertFalse(wire.disconnecting)
        self.room.gate.callback(None)
        self.clock.pump([5.0] * 58)
        self.assertFalse(wire.disconnecting)

    def test_deaf_client(self) -> None:
        """A client that doesn't even fetch the goodbye is cut off."""
        session, wire = self.connect()
        session.pauseProducing()
        session.dataReceived(b"NOOP\r\n")
        self.clock.pump([5.0] * 62)
        self.assertTrue(wire.disconnecting)
        self.assertFalse(wire.aborted)
        self.clock.pump([5.0] * 7)
        self.assertTrue(wire.aborted)

    def test_sweep_ends(self) -> None:
        """Nothing ticks while there is no session."""
        session, _ = self.connect()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.hang_up(session)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        session, _ = self.connect()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class DrainTests(SessionCase):
    """Shutdown."""

    def test_idle(self) -> None:
        """Idle sessions are told 421 4.3.2; nobody is let in any more."""
        session, wire = self.connect()
        drained = self.factory.drain()
        self.assertEqual(codes(wire.value()), ["421 4.3.2"])
        self.assertTrue(wire.disconnecting)
        self.assertIsNone(self.factory.buildProtocol(None))
        self.assertNoResult(drained)
        self.hang_up(session)
        self.successResultOf(drained)

    def test_message_on_its_way(self) -> None:
        """A message that is arriving is taken to its end, stored and answered; the next command isn't taken."""
        session, wire = self.connect()
        session.dataReceived(OPENING + b"first ")
        drained = self.factory.drain()
        self.assertFalse(wire.disconnecting)
        session.dataReceived(b"second\r\n.\r\n")
        self.assertEqual(codes(wire.value())[-2:], ["250 2.0.0", "421 4.3.2"])
        self.assertEqual(self.room.kept[0][1], b"first second\r\n")
        self.hang_up(session)
        self.successResultOf(drained)

    def test_while_looking_up(self) -> None:
        """A recipient that is being looked up is answered, then the session ends."""
        self.room.gate = Deferred()
        session, wire = self.connect()
        session.dataReceived(OPENING)
        self.factory.drain()
        self.room.gate.callback(None)
        self.assertEqual(codes(wire.value())[-2:], ["250 2.1.5", "421 4.3.2"])

    def test_nobody_there(self) -> None:
        """Without sessions it is done at once."""
        self.successResultOf(self.factory.drain())
