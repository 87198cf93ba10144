"""Fetching over https what somebody else answers, on real sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection
from twisted.trial.unittest import TestCase

from stalwart.cli.dns_fetching import PublicWeb
from stalwart.zone import Answer, Unknown
from stalwart.zone.values import RecordType
from tests.delivery.smtp_server import Authority

reactor: Any = _reactor


class Raw(Protocol):
    """Answers whatever it is asked with these octets."""

    octets = b""

    def dataReceived(self, data: bytes) -> None:
        """The answer, and its end."""
        transport: Any = self.transport
        transport.write(self.octets)
        transport.loseConnection()


class FetchingTests(TestCase):
    """`PublicWeb.get`."""

    async def test_not_http(self) -> None:
        """Answers that aren't HTTP are unknown, and none of them ends the command; odd types are only odd."""
        authority, name = Authority(), "mail.example.org"
        factory: Any = Factory.forProtocol(Raw)
        listening = reactor.listenSSL(0, factory, authority.server(name), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)

        async def ask(name: str, kind: RecordType) -> Answer:
            raise AssertionError(name)

        web = PublicWeb(reactor, ask, trust_root=authority.trust_root, seconds=10.0)
        url = f"https://{name}:{listening.getHost().port}/"
        head = b"HTTP/1.1 200 OK\r\n"
        self.addCleanup(setattr, Raw, "octets", Raw.octets)
        for octets in (
            b"",
            b"garbage\r\n\r\n",
            b"HTTP/1.1 abc OK\r\n\r\n",
            head + b"Content-Length: x\r\n\r\n",
            head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabc",
            head + b"Content-Length: 100\r\n\r\nabc",
            head + b"no colon\r\n\r\n",
            head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        ):
            Raw.octets = octets
            with self.assertRaises(Unknown, msg=octets):
                await web.get(url, "127.0.0.1")
        Raw.octets = head + b"Content-Type: te\x1bxt\xff; a\r\nContent-Length: 0\r\n\r\n"
        self.assertEqual((await web.get(url, "127.0.0.1")).media_type, "te\x1bxt\ufffd")
        while any(isinstance(each, Connection) for each in reactor.getReaders()):
            await deferLater(reactor, 0.01, lambda: None)
