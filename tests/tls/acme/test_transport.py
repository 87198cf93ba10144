"""One request, and answers that no HTTP library would send."""

from __future__ import annotations

from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from twisted.internet import reactor
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import TestCase

from stalwart.tls.acme import AcmeError, checked_agent
from stalwart.tls.acme.transport import Answer, Transport

_OK = b"HTTP/1.1 200 OK\r\n"


class _Says(Protocol):
    """Answers the first octets of a request, and leaves."""

    factory: Any
    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.factory.answer)
        self.transport.loseConnection()


class AnswerTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        """Listen with a certificate of our own."""
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        pair = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
        key: Any = load_pem_private_key(pair.private_key_pem.bytes(), None)
        certificate: Any = x509.load_pem_x509_certificate(pair.cert_chain_pems[0].bytes())
        self.factory: Any = Factory.forProtocol(_Says)
        options = CertificateOptions(privateKey=key, certificate=certificate)
        listening: Any = reactor
        port: IListeningPort = listening.listenSSL(0, self.factory, options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        host: Any = port.getHost()
        self.url = f"https://127.0.0.1:{host.port}/x"
        agent = checked_agent(reactor, authority.cert_pem.bytes().decode("ascii"))
        self.transport = Transport(agent, reactor, clock=lambda: 1_000_000.0)

    async def ask(self, answer: bytes) -> Answer:
        """What becomes of an answer."""
        self.factory.answer = answer
        return await self.transport.request(b"GET", self.url, seconds=10.0)

    async def test_no_http(self) -> None:
        """What is no HTTP is an error of one line, which names the URL."""
        for octets in (
            b"",
            b"garbage\r\n\r\n",
            b"HTTP/9 200 OK\r\n\r\n{}",
            b"HTTP/1.1 abc OK\r\n\r\n",
            _OK + b"Content-Length: x\r\n\r\n",
            _OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            _OK + b"Transfer-Encoding: odd\r\n\r\nabc",
            _OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
            _OK + b"A: " + b"x" * 200_000 + b"\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
        ):
            try:
                await self.ask(octets)
            except AcmeError as error:
                self.assertEqual(error.type, "unreachable")
                self.assertEqual(str(error).splitlines(), [str(error)])
                self.assertIn(self.url, str(error))
            else:
                raise self.failureException(octets[:60])

    async def test_a_head_without_end(self) -> None:
        """An answer whose head goes on and on is not read to its end."""
        with self.assertRaises(AcmeError) as caught:
            await self.ask(_OK + b"A: b\r\n" * 500_000)
        self.assertEqual(caught.exception.type, "unreachable")

    async def test_fields_in_other_alphabets(self) -> None:
        """Fields that aren't text are as if they weren't there, or are read as they are."""
        odd = b"Retry-After: \xff\xfe\r\nDate: \xff\r\nLocation: \xe4\r\nContent-Length: 2\r\n\r\n{}"
        answer = await self.ask(_OK + odd)
        self.assertEqual((answer.retry_after, answer.header("Location"), answer.body), (None, "ä", b"{}"))

    async def test_without_a_date(self) -> None:
        """Retry-After's date is compared to our own clock when the CA doesn't tell the time."""
        answer = await self.ask(_OK + b"Retry-After: Mon, 12 Jan 1970 13:47:40 GMT\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(answer.retry_after, 60.0)

    async def test_until_the_connection_ends(self) -> None:
        """A body without a length is what came before the end."""
        answer = await self.ask(b"HTTP/1.0 200 OK\r\n\r\n{}")
        self.assertEqual(answer.body, b"{}")

    async def test_an_empty_problem(self) -> None:
        """An error about which the CA says nothing has at least its status."""
        answer = await self.ask(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n{}")
        self.assertEqual(str(answer.error()), f"{self.url}: HTTP status 403 (about:blank)")
