"""Posting to push services over real sockets and TLS: whom it trusts, where it connects to, how much it reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import trustme
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, ContextFactory, trustRootFromCertificates
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from stalwart.ops.public_endpoints import AddressRefused
from stalwart.web.jmap_push_client import PushAnswer, PushClient

Answer = Callable[[Any], None]


class Speaker(Protocol):
    """Notes what it is sent and answers, once the head and the body are in."""

    transport: Any

    def __init__(self, service: Service) -> None:
        self._service = service
        self._received = b""

    def connectionMade(self) -> None:
        """Count it."""
        self._service.connections += 1

    def dataReceived(self, data: bytes) -> None:
        """Answer when all is there."""
        self._received += data
        head, mark, body = self._received.partition(b"\r\n\r\n")
        if not mark:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(body) == int(fields[b"content-length"]):
            self._received = b""
            self._service.requests.append((head.split(b"\r\n")[0], fields, body))
            self._service.answer(self.transport)


class Service(Factory):
    """A push service on loopback."""

    noisy = False

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[tuple[bytes, dict[bytes, bytes], bytes]] = []
        self.answer: Answer = lambda transport: None

    def buildProtocol(self, addr: IAddress | None) -> Speaker:
        """One for each connection."""
        return Speaker(self)

    def says(self, octets: bytes) -> None:
        """Answer this, and close."""

        def say(transport: Any) -> None:
            transport.write(octets)
            transport.loseConnection()

        self.answer = say


class Contexts(ContextFactory):
    """A context factory with one context; Twisted's own passes on what pyOpenSSL has deprecated."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def getContext(self) -> SSL.Context:
        """The context."""
        return self._context


class PushClientTests(TestCase):
    """`PushClient`."""

    timeout = 20

    def setUp(self) -> None:
        """A service with a certificate for localhost."""
        self.authority = trustme.CA()
        self.service = Service()
        self.port = self.listen(self.authority, "localhost")

    def listen(self, authority: trustme.CA, name: str) -> int:
        """The port of a listener with a certificate of that name."""
        issued = authority.issue_cert(name)
        context = SSL.Context(SSL.TLS_METHOD)
        with issued.private_key_and_cert_chain_pem.tempfile() as path:
            context.use_certificate_chain_file(path)
            context.use_privatekey_file(path)
        port = reactor.listenSSL(0, self.service, Contexts(context), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def client(self, *, allow_private: bool = True, timeout: float = 10.0) -> PushClient:
        """A client that trusts the authority."""
        trusted = trustRootFromCertificates([Certificate.loadPEM(self.authority.cert_pem.bytes())])
        return PushClient(reactor, timeout=timeout, allow_private=allow_private, trust_root=trusted)

    def post(self, client: PushClient, url: str | None = None) -> Deferred[PushAnswer]:
        """Post something."""
        target = url or f"https://localhost:{self.port}/push/secret?x=y"
        return Deferred.fromCoroutine(client.post(target, {"TTL": "60"}, b"\x00body", now=1_000_000.0))

    async def error(self, client: PushClient, url: str | None = None) -> BaseException:
        """What a post ends with."""
        result = await self.post(client, url).addErrback(lambda failure: failure.value)
        assert isinstance(result, BaseException), result
        return result

    async def test_post(self) -> None:
        """The request is a POST with the fields and the octets; the answer is its status."""
        self.service.says(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(await self.post(self.client()), PushAnswer(status=201))
        ((line, fields, body),) = self.service.requests
        self.assertEqual((line, body), (b"POST /push/secret?x=y HTTP/1.1", b"\x00body"))
        self.assertEqual(fields[b"ttl"], b"60")
        self.assertEqual(fields[b"host"], b"localhost:%d" % self.port)
        self.assertTrue(fields[b"user-agent"].startswith(b"stalwart/"))

    async def test_retry_after(self) -> None:
        """RFC 9110 §10.2.3: seconds, or a date; at most a day; nonsense counts for nothing."""
        for field, seconds in (
            (b"120", 120.0),
            (b"99999999999", 86_400.0),
            (b"Mon, 12 Jan 1970 13:48:20 GMT", 100.0),
            (b"Mon, 12 Jan 1970 13:46:20 GMT", 0.0),
            (b"soon", None),
            (b"-1", None),
        ):
            self.service.says(b"HTTP/1.1 429 Slow down\r\nRetry-After: " + field + b"\r\nContent-Length: 0\r\n\r\n")
            self.assertEqual(await self.post(self.client()), PushAnswer(status=429, retry_after=seconds), field)

    async def test_no_redirects(self) -> None:
        """A redirect is an answer, and is not followed."""
        self.service.says(
            b"HTTP/1.1 307 Elsewhere\r\nLocation: https://localhost:%d/\r\nContent-Length: 0\r\n\r\n" % self.port
        )
        self.assertEqual((await self.post(self.client())).status, 307)
        self.assertEqual(len(self.service.requests), 1)

    async def test_private_addresses(self) -> None:
        """Unless it is allowed, no connection is made to this machine: by name, by address, in whichever spelling."""
        client = self.client(allow_private=False)
        for host in ("localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f.1"):
            error = await self.error(client, f"https://{host}:{self.port}/")
            self.assertIsInstance(error, AddressRefused | DNSLookupError, (host, error))
        self.assertEqual(self.service.connections, 0)
        error = await self.error(client)
        self.assertIn("127.0.0.1", str(error))

    async def test_https_only(self) -> None:
        """Nothing but https."""
        error = await self.error(self.client(), f"http://localhost:{self.port}/")
        self.assertIsInstance(error, AddressRefused)

    async def test_strange_certificate(self) -> None:
        """A certificate of an authority that isn't trusted, or of another name, ends it before anything is sent."""
        for authority, name in ((trustme.CA(), "localhost"), (self.authority, "other.example")):
            port = self.listen(authority, name)
            error = await self.error(self.client(), f"https://localhost:{port}/")
            self.assertIsInstance(error, ResponseNeverReceived)
        self.assertEqual(self.service.requests, [])
        # The service sees the client hang up inside the handshake.
        self.flushLoggedErrors()

    async def test_silence(self) -> None:
        """A service that doesn't answer is given up after the timeout."""
        started = time.monotonic()
        await self.error(self.client(timeout=0.2))
        self.assertLess(time.monotonic() - started, 5)

    async def test_endless_head(self) -> None:
        """An answer whose head never ends is broken off at 64 KiB."""

        def talk(transport: Any) -> None:
            transport.write(b"HTTP/1.1 200 OK\r\n" + b"X-More: again and again\r\n" * 100_000)

        self.service.answer = talk
        self.assertIsInstance(await self.error(self.client()), ResponseFailed)

    async def test_dripping_body(self) -> None:
        """RFC 8620 §8.6: a body that comes in drips, or not at all, keeps no connection for longer than it may take."""
        lost: Deferred[None] = Deferred()

        def drip(transport: Any) -> None:
            transport.protocol.connectionLost = lambda reason: lost.callback(None)
            transport.write(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\nx")

        self.service.answer = drip
        self.assertEqual((await self.post(self.client(timeout=0.3))).status, 201)
        await lost.addTimeout(5, reactor)

    async def test_endless_body(self) -> None:
        """Of a body that never ends the status counts, and the connection is closed."""
        self.service.answer = lambda transport: transport.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 500_000)
        started = time.monotonic()
        self.assertEqual((await self.post(self.client())).status, 200)
        self.assertLess(time.monotonic() - started, 5)
