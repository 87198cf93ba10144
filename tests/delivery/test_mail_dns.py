"""Asking a DNS server on real sockets, and fetching policies over HTTPS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.internet.task import deferLater
from twisted.names import dns
from twisted.trial.unittest import TestCase
from twisted.web._newclient import ResponseNeverReceived
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from stalwart.delivery import mta_sts
from stalwart.delivery.mail_dns import DnsFailed, ResolverDns
from stalwart.delivery.mta_sts import BadPolicy, HttpsFetch
from stalwart.ops.public_endpoints import AddressRefused
from tests.delivery.smtp_server import Authority, reactor


class Data(Resource):
    """A page."""

    isLeaf = True

    def __init__(self, octets: bytes, media_type: str, code: int = 200) -> None:
        super().__init__()
        self.code = code
        self.octets = octets
        self.media_type = media_type

    def render_GET(self, request: Any) -> bytes:
        """The page."""
        request.setResponseCode(self.code)
        request.setHeader("Content-Type", self.media_type)
        return self.octets


class Hanging(Resource):
    """A page that never ends."""

    isLeaf = True

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__()
        self.pieces = pieces

    def render_GET(self, request: Any) -> int:
        """The beginning of it."""
        request.setHeader("Content-Type", "text/plain")
        request.setHeader("Content-Length", "100")
        request.notifyFinish().addErrback(lambda _: None)
        for piece in self.pieces:
            request.write(piece)
        return NOT_DONE_YET


class Server(DatagramProtocol):
    """Answers every question alike. It says that answers are authentic only to those who want to know."""

    def __init__(self, code: int = dns.OK, *, truncated: bool = False, aliases: Sequence[tuple[str, str]] = ()) -> None:
        self.aliases = aliases
        self.code = code
        self.truncated = truncated

    def answer(self, octets: bytes, *, truncated: bool) -> bytes:
        """The answer to a query."""
        query = dns.Message()
        query.fromStr(octets)
        answer = dns.Message(id=query.id, answer=1, rCode=self.code, trunc=int(truncated))
        answer.authenticData = query.authenticData
        answer.queries = query.queries
        if not truncated and self.code == dns.OK:
            name = query.queries[0].name.name
            answer.answers = [dns.RRHeader(one, dns.CNAME, payload=dns.Record_CNAME(to)) for one, to in self.aliases]
            answer.answers += [dns.RRHeader(name, dns.MX, payload=dns.Record_MX(5, "mx.example.net"))]
        return answer.toStr()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """A query over UDP."""
        transport: Any = self.transport
        transport.write(self.answer(datagram, truncated=self.truncated), addr)


class Streams(Factory[Any]):
    """The same over TCP."""

    noisy = False

    def __init__(self, server: Server) -> None:
        self.server = server

    def buildProtocol(self, addr: object) -> Any:
        """One connection."""
        made: Any = dns.DNSProtocol(self)
        made.stringReceived = lambda octets: made.sendString(self.server.answer(octets, truncated=False))
        return made

    def connectionMade(self, protocol: object) -> None:
        """See DNSProtocol."""

    connectionLost = connectionMade


class ResolverTests(TestCase):
    """`ResolverDns`."""

    def listen(self, server: Server) -> int:
        """The port of a server, the same over UDP and TCP."""
        stream = reactor.listenTCP(0, Streams(server), interface="127.0.0.1")
        port: int = stream.getHost().port
        datagrams = reactor.listenUDP(port, server, interface="127.0.0.1")
        self.addCleanup(stream.stopListening)
        self.addCleanup(datagrams.stopListening)
        return port

    async def test_answers(self) -> None:
        """RFC 6840 §5.7: a trusted server is asked whether an answer is authentic, and believed; NXDOMAIN is one."""
        asked = ResolverDns(reactor, "127.0.0.1", self.listen(Server()))
        answer = await asked.ask("example.net", dns.MX)
        self.assertEqual((str(answer.payloads[0].name), answer.is_secure), ("mx.example.net", True))
        self.assertEqual((answer.claims_secure, answer.aliases), (True, ()))
        asked = ResolverDns(reactor, "127.0.0.1", self.listen(Server(dns.ENAME)))
        answer = await asked.ask("example.net", dns.MX)
        self.assertEqual((answer.payloads, answer.exists), ((), False))

    async def test_aliases(self) -> None:
        """RFC 1034 §3.6.2: where the aliases in an answer lead, in whatever order and case they come; a ring ends."""
        for aliases, canonical in (
            ((), None),
            ((("EXAMPLE.net", "b.example"),), "b.example"),
            ((("b.example", "C.example"), ("example.net", "b.example")), "c.example"),
            ((("example.net", "b.example"), ("b.example", "example.net")), None),
        ):
            asked = ResolverDns(reactor, "127.0.0.1", self.listen(Server(aliases=aliases)))
            self.assertEqual((await asked.ask("example.net", dns.MX)).canonical, canonical)

    async def test_truncated(self) -> None:
        """RFC 7766 §5: an answer that is too long for UDP is asked for over TCP, with the same question."""
        asked = ResolverDns(reactor, "127.0.0.1", self.listen(Server(truncated=True)))
        answer = await asked.ask("example.net", dns.MX)
        self.assertEqual((len(answer.payloads), answer.is_secure), (1, True))
        asked.close()
        await deferLater(reactor, 0.05, lambda: None)

    async def test_failures(self) -> None:
        """SERVFAIL, which DNSSEC that doesn't fit is as well, is no answer."""
        asked = ResolverDns(reactor, "127.0.0.1", self.listen(Server(dns.ESERVER)))
        with self.assertRaisesRegex(DnsFailed, "SERVFAIL \\(2\\) for example.net"):
            await asked.ask("example.net", dns.MX)

    async def test_no_host(self) -> None:
        """A name that an alias led to, of octets beyond ASCII, is asked for no more, and no fault of this server."""
        with self.assertRaisesRegex(DnsFailed, "no host"):
            await ResolverDns(reactor, "127.0.0.1").ask("_25._tcp.mx\ufffd.example", 52)


@implementer(IHostnameResolver, IReactorPluggableNameResolver)
class Loopback:
    """The reactor, where every name is 127.0.0.1."""

    @property
    def nameResolver(self) -> Loopback:
        """Itself."""
        return self

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """See IHostnameResolver."""
        resolutionReceiver.resolutionBegan(self)
        resolutionReceiver.addressResolved(IPv4Address("TCP", "127.0.0.1", portNumber))
        resolutionReceiver.resolutionComplete()
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class FetchTests(TestCase):
    """`HttpsFetch`."""

    def setUp(self) -> None:
        """A server whose pages a test fills."""
        self.authority = Authority()
        self.folder = Resource()
        root = Resource()
        root.putChild(b".well-known", self.folder)
        options = self.authority.server("mta-sts.example.net")
        port = reactor.listenSSL(0, Site(root), options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        self.addCleanup(deferLater, reactor, 0.1, lambda: None)  # for connections that are being closed

    async def fetch(self, trust_root: Any = None, *, allow_private: bool = True) -> bytes:
        """Fetch the policy of example.net."""
        trust_root = trust_root or self.authority.trust_root
        return await HttpsFetch(Loopback(), trust_root, allow_private=allow_private, port=self.port)("example.net")

    async def test_private(self) -> None:
        """A policy's host that leads into a private network, or to this machine, is not connected to."""
        with self.assertRaisesRegex(AddressRefused, "127.0.0.1"):
            await self.fetch(allow_private=False)

    async def test_policy(self) -> None:
        """RFC 8461 §3.3: a text, checked by its certificate; no other type, no error page, at most 64 KB."""
        self.folder.putChild(b"mta-sts.txt", Data(b"version: STSv1\n", "text/plain; charset=utf-8"))
        self.assertEqual(await self.fetch(), b"version: STSv1\n")
        for octets, kind in ((b"x", "text/html"), (b"x" * 70_000, "text/plain")):
            self.folder.putChild(b"mta-sts.txt", Data(octets, kind))
            with self.assertRaises(BadPolicy):
                await self.fetch()
        self.folder.putChild(b"mta-sts.txt", Data(b"version: STSv1\n", "text/plain", 404))
        with self.assertRaises(BadPolicy):
            await self.fetch()

    async def test_hangs(self) -> None:
        """A server that stops before its answer, or in the middle of it, costs no more than the time there is."""
        for pieces in ((), (b"version: ",)):
            self.folder.putChild(b"mta-sts.txt", Hanging(pieces))
            with patch.object(mta_sts, "_FETCH_SECONDS", 0.3), self.assertRaises(Exception) as caught:
                await self.fetch()
            self.assertIn(type(caught.exception).__name__, ("TimeoutError", "ResponseNeverReceived", "BadPolicy"))

    async def test_certificate(self) -> None:
        """A certificate of another authority gives no policy."""
        self.folder.putChild(b"mta-sts.txt", Data(b"version: STSv1\n", "text/plain"))
        with self.assertRaisesRegex(ResponseNeverReceived, "certificate"):
            await self.fetch(Authority().trust_root)
