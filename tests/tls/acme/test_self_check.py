"""The look at one's own port 80 before an order: what it says about each way in which challenges go astray."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from stalwart.tls.acme.self_check import self_check

TOKEN = "DGyRejmCefe7v4NfDGDKfA"
OURS = b"HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n" + TOKEN.encode() + b".print"


@implementer(IHostnameResolver)
class Names:
    """A DNS in memory; a name without an entry is never told."""

    def __init__(self, **entries: list[str]) -> None:
        self.entries = entries

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """Tell the addresses at once."""
        if hostName in self.entries:
            resolutionReceiver.resolutionBegan(None)
            for address in self.entries[hostName]:
                kind = IPv6Address if ":" in address else IPv4Address
                resolutionReceiver.addressResolved(kind("TCP", address, portNumber))
            resolutionReceiver.resolutionComplete()
        return None


class SelfCheckTests(SynchronousTestCase):
    """`self_check`."""

    def setUp(self) -> None:
        """A reactor in memory that knows some names."""
        self.reactor = MemoryReactorClock()
        names = Names(
            one=["192.0.2.1"], two=["192.0.2.1", "2001:db8::1"], none=[], many=[f"192.0.2.{n}" for n in range(99)]
        )
        self.patch(self.reactor, "nameResolver", names)
        self.answers = 0

    def check(self, name: str) -> Deferred[str | None]:
        """Begin to look."""
        looking: Coroutine[Any, Any, str | None] = self_check(name, "print", token=TOKEN, reactor=self.reactor)
        return Deferred.fromCoroutine(looking)

    def connect(self, number: int = 0) -> tuple[Any, StringTransport]:
        """The other end takes a connection; what was sent on it."""
        factory: Any = self.reactor.tcpClients[number][2]
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        transport.abortConnection = lambda: None  # type: ignore[method-assign]
        protocol.makeConnection(transport)
        return protocol, transport

    def answer(self, octets: bytes, number: int = 0, *, close: bool = False) -> bytes:
        """The other end answers; gives what it was asked."""
        protocol, transport = self.connect(number)
        protocol.dataReceived(octets)
        if close:
            protocol.connectionLost(Failure(error.ConnectionDone()))
        asked: bytes = transport.value()
        return asked

    def break_off(self, reason: Exception, number: int = 0) -> None:
        """The connection can't be made."""
        factory: Any = self.reactor.tcpClients[number][2]
        factory.clientConnectionFailed(None, Failure(reason))

    def said(self, looking: Deferred[str | None]) -> str:
        """What was found wrong."""
        line = self.successResultOf(looking)
        assert line is not None
        return line

    def test_reached(self) -> None:
        """The right answer at port 80 of the address is nothing to talk about; the name is asked for as it is."""
        looking = self.check("one")
        asked = self.answer(OURS)
        self.assertEqual(self.reactor.tcpClients[0][:2], ("192.0.2.1", 80))
        self.assertTrue(asked.startswith(b"GET /.well-known/acme-challenge/" + TOKEN.encode() + b" HTTP/1.1\r\n"))
        self.assertIn(b"Host: one\r\n", asked)
        self.assertIsNone(self.successResultOf(looking))

    def test_no_address(self) -> None:
        """A name without addresses can't be reached; nor one whose server of names is silent."""
        self.assertIn("no address in the DNS", self.said(self.check("none")))
        looking = self.check("silent")
        self.reactor.advance(10)
        self.assertIn("look at this machine's resolver", self.said(looking))

    def test_address(self) -> None:
        """An IP address is looked at without the DNS."""
        looking = self.check("2001:db8::7")
        self.assertIn(b"Host: [2001:db8::7]\r\n", self.answer(OURS))
        self.assertIsNone(self.successResultOf(looking))

    def test_closed(self) -> None:
        """A closed port is told with its address, and that NAT may be why."""
        looking = self.check("one")
        self.break_off(error.ConnectionRefusedError())
        line = self.said(looking)
        self.assertIn("port 80 of 192.0.2.1 is closed", line)
        self.assertIn("NAT", line)

    def test_no_route(self) -> None:
        """So is a network that isn't there."""
        looking = self.check("one")
        self.break_off(error.NoRouteError())
        self.assertIn("can't be reached", self.said(looking))

    def test_silent(self) -> None:
        """A port that takes no connection, and one that takes it and says nothing, are given up after ten seconds."""
        looking = self.check("one")
        self.reactor.advance(10)
        self.assertIn("doesn't answer within 10 s", self.said(looking))
        looking = self.check("one")
        self.connect(1)
        self.reactor.advance(10)
        self.assertIn("doesn't answer within 10 s", self.said(looking))

    def test_stalled_body(self) -> None:
        """A body that never ends counts as no answer."""
        looking = self.check("one")
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        self.reactor.advance(10)
        self.assertIn("doesn't answer within 10 s", self.said(looking))

    def test_something_else(self) -> None:
        """Another server is told by its status and its name, without what could spoil a log line."""
        looking = self.check("one")
        self.answer(b"HTTP/1.1 404 Not Found\r\nServer: ngi\x1bnx\r\nContent-Length: 0\r\n\r\n")
        line = self.said(looking)
        self.assertIn("something else answers: status 404, Server: ngi", line)
        self.assertNotIn("\x1b", line)
        looking = self.check("one")
        self.answer(OURS.replace(b".print", b".other"), 1)
        self.assertIn("something else answers: status 200", self.said(looking))

    def test_long_body(self) -> None:
        """Of a long body no more is read than an answer can have."""
        looking = self.check("one")
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 5000)
        self.assertIn("something else answers: status 200", self.said(looking))

    def test_redirect(self) -> None:
        """A redirect is told with where it leads."""
        looking = self.check("one")
        self.answer(b"HTTP/1.1 301 Moved\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n")
        self.assertIn("redirects to https://elsewhere.example/", self.said(looking))

    def test_not_http(self) -> None:
        """What takes connections and speaks something else, or nothing, is told."""
        looking = self.check("one")
        self.answer(b"SSH-2.0-OpenSSH_9.2\r\n", close=True)
        self.assertIn("doesn't speak HTTP", self.said(looking))
        looking = self.check("one")
        self.answer(b"", 1, close=True)
        self.assertIn("doesn't speak HTTP", self.said(looking))

    def test_one_of_two(self) -> None:
        """Every address is looked at: the authority may take any."""
        looking = self.check("two")
        self.answer(OURS, 0)
        self.assertNoResult(looking)
        self.break_off(error.ConnectionRefusedError(), 1)
        line = self.said(looking)
        self.assertIn("1 of its 2 addresses answer as they should", line)
        self.assertIn("port 80 of 2001:db8::1 is closed", line)

    def test_bounded(self) -> None:
        """A name with very many addresses is looked at by some of them."""
        looking = self.check("many")
        self.assertEqual(len(self.reactor.tcpClients), 8)
        self.reactor.advance(10)
        self.said(looking)
