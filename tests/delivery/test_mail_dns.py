"""Asking a DNS server on real sockets, and fetching policies over HTTPS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.names import dns
from twisted.trial.unittest import TestCase
from twisted.web._newclient import ResponseNeverReceived
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from stalwart.delivery import mta_sts
from stalwart.delivery.mail_dns import DnsFailed, ResolverDns
from stalwart.delivery.mta_sts import BadPolicy, HttpsFetch
from stalwart.ops import dns_resolver
from stalwart.ops.dns_resolver import DnsResolver
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

    async def test_odd_answers(self) -> None:
        """Records of other names, and beside NXDOMAIN, count for nothing; other questions aren't answered."""

        def mx(name: str, to: str = "mx.example.net") -> dns.RRHeader:
            return dns.RRHeader(name, dns.MX, payload=dns.Record_MX(5, to))

        class Odd(Server):
            question = "example.net"
            records = (mx("example.org"),)

            def answer(self, octets: bytes, *, truncated: bool) -> bytes:
                query = dns.Message()
                query.fromStr(octets)
                message = dns.Message(id=query.id, answer=1, rCode=self.code, trunc=int(self.truncated))
                message.queries = [dns.Query(self.question, dns.MX)]
                message.answers = list(self.records)
                return message.toStr()

        server = Odd()
        asked = ResolverDns(reactor, "127.0.0.1", self.listen(server))
        self.assertEqual((await asked.ask("example.net", dns.MX)).payloads, ())
        server.code, server.records = dns.ENAME, (mx("example.net"),)
        answer = await asked.ask("example.net", dns.MX)
        self.assertEqual((answer.payloads, answer.exists), ((), False))
        server.code, server.question = dns.OK, "example.org"
        with self.assertRaisesRegex(DnsFailed, "another question"):
            await asked.ask("example.net", dns.MX)
        server.question, server.truncated = "EXAMPLE.net", True
        with self.assertRaisesRegex(DnsFailed, "cut off, over TCP too"):
            await asked.ask("example.net", dns.MX)
        asked.close()
        await deferLater(reactor, 0.05, lambda: None)

    def test_half(self) -> None:
        """An answer of which a record can't be read, and what is no answer, is waited past, over UDP and TCP."""
        message = dns.Message(id=7, answer=1)
        message.queries = [dns.Query("example.net", dns.A)]
        message.answers = [dns.RRHeader("example.net", dns.A, payload=dns.Record_A("192.0.2.1"))]
        whole = message.toStr()
        query = whole[:2] + b"\x01" + whole[3:]
        for octets, taken in ((whole, True), (whole[:-1], False), (query, False), (whole[:11], False)):
            controller = Mock()
            resolver: Any = DnsResolver(Mock(), servers=[("192.0.2.53", 53)], retries=(1,))
            datagrams: Any = resolver._connectedProtocol()
            datagrams.controller = controller
            datagrams.startProtocol()
            datagrams.datagramReceived(octets, ("192.0.2.53", 53))
            self.assertEqual(controller.messageReceived.called, taken)
            stream: Any = resolver.factory.buildProtocol(None)
            stream.controller = Mock()
            stream.makeConnection(StringTransport())
            stream.dataReceived(len(octets).to_bytes(2, "big") + octets)
            self.assertEqual(stream.controller.messageReceived.called, taken)

    async def test_system(self) -> None:
        """Without a trusted server those of /etc/resolv.conf are asked, and their word on DNSSEC is only a claim."""
        path = self.mktemp()
        Path(path).write_text("nameserver 127.0.0.1\n")
        self.patch(dns_resolver, "_RESOLV_CONF", path)
        self.patch(dns, "PORT", self.listen(Server()))
        asked = ResolverDns(reactor)
        self.addCleanup(asked.close)
        answer = await asked.ask("example.net", dns.MX)
        self.assertEqual((len(answer.payloads), answer.is_secure, answer.claims_secure), (1, False, True))

    def test_resolv_conf(self) -> None:
        """Lines of /etc/resolv.conf that name no address are passed over; without any it is this machine."""
        resolver: Any = DnsResolver(Mock(), servers=[("192.0.2.53", 53)], retries=(1,))
        lines = (
            b"garbage",
            b"nameserver",
            b"nameserver ns.example",
            b"nameserver \xff",
            b"nameserver 192.0.2.1 # ours",
        )
        resolver.parseConfig((*lines, b"nameserver 2001:db8::53\n", b"search example.org"))
        self.assertEqual(resolver.dynServers, [("192.0.2.1", 53), ("2001:db8::53", 53)])
        resolver.parseConfig(lines[:3])
        self.assertEqual(resolver.dynServers, [("127.0.0.1", 53)])

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
