"""What HTTP clients have in common."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from stalwart.ops.outgoing import LONGEST_WAIT, Bounded, http_date, retry_after_seconds

_NOW = 1_798_761_600.0  # 2027-01-01 00:00:00 UTC


class RetryAfterTests(SynchronousTestCase):
    def test_seconds_and_dates(self) -> None:
        """Both forms of RFC 9110 §10.2.3; the past is now, and a day is the longest."""
        for value, expected in (
            (b"120", 120.0),
            (b" 0 ", 0.0),
            (b"Fri, 01 Jan 2027 00:01:00 GMT", 60.0),
            (b"Friday, 01-Jan-27 00:01:00 GMT", 60.0),
            (b"Thu, 31 Dec 2026 00:00:00 GMT", 0.0),
            (b"999999999999999999", LONGEST_WAIT),
            (b"Fri, 01 Jan 2100 00:00:00 GMT", LONGEST_WAIT),
        ):
            self.assertEqual(retry_after_seconds(value, _NOW), expected, value)

    def test_neither(self) -> None:
        """What can't be read is as if it weren't there."""
        for value in (b"", b"soon", b"-1", b"1.5", b"\xb2", b"\xff", b"Fri, 01 Foo 2027 00:00:00 GMT"):
            self.assertIsNone(retry_after_seconds(value, _NOW), value)

    @given(st.binary(max_size=40))
    @settings(deadline=None, max_examples=150)
    def test_any_value(self, value: bytes) -> None:
        """Any octets are a bounded wait or none."""
        found = retry_after_seconds(value, _NOW)
        self.assertTrue(found is None or 0 <= found <= LONGEST_WAIT)

    def test_date(self) -> None:
        """A date is seconds since the epoch."""
        self.assertEqual(http_date(b"Fri, 01 Jan 2027 00:00:00 GMT"), _NOW)
        self.assertIsNone(http_date(b"never"))


@implementer(IStreamClientEndpoint)
class _Connected:
    """An endpoint whose connections are there at once, on a transport in memory."""

    def __init__(self) -> None:
        self.transport = StringTransport()
        self.protocol: Any = None

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        self.protocol = protocolFactory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        return succeed(self.protocol)


class _Inside(Protocol):
    """Keeps what it gets."""

    data = b""
    closed = False

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True


class BoundedTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A connection that may bring ten octets and last five seconds."""
        self.clock = Clock()
        self.peer = _Connected()
        bounded = Bounded(self.peer, self.clock, octets=10, seconds=5.0)
        self.inside: Any = self.successResultOf(bounded.connect(Factory.forProtocol(_Inside)))

    def test_octets(self) -> None:
        """What comes within the bound is passed on; the octet after it ends the connection."""
        self.peer.protocol.dataReceived(b"0123456789")
        self.assertFalse(self.peer.transport.disconnected)
        self.peer.protocol.dataReceived(b"!")
        self.assertTrue(self.peer.transport.disconnected)
        self.assertEqual(self.inside.data, b"0123456789")

    def test_seconds(self) -> None:
        """Whatever happens, the connection ends in time."""
        self.clock.advance(4.9)
        self.assertFalse(self.peer.transport.disconnected)
        self.clock.advance(0.2)
        self.assertTrue(self.peer.transport.disconnected)

    def test_silent(self) -> None:
        """A connection that comes and goes leaves no lines in the log."""
        factory = self.peer.protocol.factory
        factory.wrappedFactory.noisy = False
        with capturedLogs() as events:
            factory.doStart()
            factory.doStop()
        self.assertEqual(events, [])

    def test_nothing_left_behind(self) -> None:
        """A connection that has ended isn't waited for."""
        self.peer.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(self.inside.closed)
