"""Sending to servers on real sockets, among them those that hang, lie, close early and have wrong certificates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from stalwart.delivery.outgoing import Outcome, Outgoing, OutRecipient
from stalwart.delivery.routes import NoRoute, Target, Tlsa
from stalwart.delivery.smtp_client import Sender
from stalwart.delivery.smtp_commands import Credentials
from stalwart.delivery.smtp_connection import Times
from stalwart.delivery.smtp_tls import tls_options
from stalwart.mail.seven_bit import NotConvertible
from tests.delivery.smtp_server import CLOSE, HANG, Authority, Script, SmtpServer, reactor

DATA = b"Subject: x\r\n\r\n.dot\r\n"
SHORT = Times(connect=5.0, command=0.2, content=0.2, final=0.2, quit=0.2)
STARTTLS = b"250-mx\r\n250 STARTTLS\r\n"


class Fixed:
    """Routes that are known."""

    def __init__(self, *targets: Target) -> None:
        self.targets = targets

    async def find(self, destination: str) -> tuple[Target, ...]:
        """See `Routes`."""
        return self.targets


def message(*recipients: str, data: bytes = DATA, **more: Any) -> Outgoing:
    """A message from jane."""
    return Outgoing(
        return_path="jane@example.org",
        recipients=tuple(OutRecipient(address=each) for each in recipients or ("a@example.net",)),
        data=data,
        size=len(data),
        **more,
    )


def told(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Kind and reply of each."""
    return [(outcome.kind, outcome.reply) for outcome in outcomes]


class Bed(TestCase):
    """Servers and senders that are closed after the test."""

    def server(self, script: Script | None = None, **more: Any) -> SmtpServer:
        """A server."""
        server = SmtpServer(script, **more)
        self.addCleanup(lambda: _deferred(server.close()))
        return server

    def target(self, server: SmtpServer, **more: Any) -> Target:
        """That server as it is routed to."""
        values = {"host": "mx.example.net", "tls": "none", "addresses": ("127.0.0.1",)} | more
        return Target(port=server.port, **values)

    def sender(self, *targets: Target, times: Times = SHORT, trust_root: Any = None) -> Sender:
        """A sender to these servers."""
        sender = Sender(
            hostname="mail.example.org", routes=Fixed(*targets), reactor=reactor, times=times, trust_root=trust_root
        )
        self.addCleanup(_rest)
        self.addCleanup(sender.close)
        return sender

    async def send(self, script: Script, *recipients: str, **more: Any) -> list[tuple[str, str]]:
        """What becomes of a message at a server with this script."""
        sender = self.sender(self.target(self.server(script), **more))
        return told(await sender.send(message(*recipients), "example.net"))


def _deferred(coroutine: Any) -> Any:
    return Deferred.fromCoroutine(coroutine)


def _rest() -> Any:
    """Let connections that are being closed end."""
    return deferLater(reactor, 0.05, lambda: None)


class DeliveryTests(Bed):
    """What goes well."""

    async def test_sent_and_kept(self) -> None:
        """Messages arrive octet for octet, one after the other over the same connection, pipelined."""
        server = self.server()
        sender = self.sender(self.target(server))
        for number in range(3):
            outcomes = await sender.send(message("a@example.net", "b@example.net"), "example.net")
            self.assertEqual(told(outcomes), [("accepted", "250 2.0.0 queued")] * 2)
            self.assertEqual(outcomes[0].peer, "mx.example.net [127.0.0.1]")
            self.assertEqual((server.messages[number].octets, len(server.messages[number].recipients)), (DATA, 2))
        self.assertEqual(server.connections, 1)

    async def test_closed_while_idle(self) -> None:
        """A kept connection that the server closes meanwhile costs nothing."""
        server = self.server({"MAIL": (b"250 ok\r\n", CLOSE, b"250 ok\r\n")})
        sender = self.sender(self.target(server))
        for _ in range(2):
            self.assertEqual(told(await sender.send(message(), "x")), [("accepted", "250 2.0.0 queued")])
        server.drop()
        self.assertEqual(told(await sender.send(message(), "x")), [("accepted", "250 2.0.0 queued")])
        self.assertEqual((len(server.messages), server.connections), (3, 3))

    async def test_large(self) -> None:
        """Many octets, which the connection takes in pieces, arrive whole."""
        data = b"Subject: large\r\n\r\n" + b".a line of some length\r\n" * 200_000
        server = self.server()
        sender = self.sender(self.target(server), times=Times(command=20.0, content=20.0, final=20.0))
        self.assertEqual(told(await sender.send(message(data=data), "x")), [("accepted", "250 2.0.0 queued")])
        self.assertEqual(server.messages[0].octets, data)

    async def test_many_recipients(self) -> None:
        """RFC 5321 §4.5.3.1.8: no transaction has more than 100 recipients."""
        server = self.server()
        sender = self.sender(self.target(server), times=Times(command=20.0))
        outcomes = await sender.send(message(*(f"r{number}@x" for number in range(250))), "x")
        self.assertEqual([outcome.recipient for outcome in outcomes], [f"r{number}@x" for number in range(250)])
        self.assertEqual([len(each.recipients) for each in server.messages], [100, 100, 50])
        self.assertEqual(server.connections, 1)

    async def test_begun(self) -> None:
        """The attempt is noted with those who were accepted, before the end is sent; without the note there is none."""
        server = self.server({"RCPT": (b"550 no\r\n", b"250 ok\r\n")})
        noted: list[tuple[tuple[str, ...], int]] = []

        async def begun(recipients: tuple[str, ...]) -> None:
            noted.append((recipients, len(server.messages)))

        async def broken(recipients: tuple[str, ...]) -> None:
            raise OSError("disk full")

        sender = self.sender(self.target(server))
        await sender.send(message("a@x", "b@x"), "x", begun)
        self.assertEqual((noted, len(server.messages)), ([(("b@x",), 0)], 1))
        ((kind, reply),) = told(await sender.send(message(), "x", broken))
        self.assertEqual((kind, "disk full" in reply, len(server.messages)), ("temporary", True, 1))

    async def test_cancelled(self) -> None:
        """What is known of the first recipients is told all the same; without anything known it is just cancelled."""
        server = self.server({"DOT": (b"250 ok\r\n", HANG)})
        sender = self.sender(self.target(server), times=Times(command=20.0))
        sending = Deferred.fromCoroutine(sender.send(message(*(f"r{number}@x" for number in range(250))), "x"))
        while len(server.messages) < 2:
            await deferLater(reactor, 0.01, lambda: None)
        sending.cancel()
        kinds = [outcome.kind for outcome in await sending]
        self.assertEqual(kinds, ["accepted"] * 100 + ["unknown"] * 100 + ["temporary"] * 50)
        for step in ("GREETING", "MAIL"):
            server = self.server({"EHLO": b"250 mx\r\n", step: HANG})
            sending = Deferred.fromCoroutine(self.sender(self.target(server)).send(message(), "x"))
            await deferLater(reactor, 0.05, lambda: None)
            sending.cancel()
            with self.assertRaises(CancelledError):
                await sending

    async def test_seven_bit(self) -> None:
        """RFC 6152 §3: for a server without 8BITMIME the message is made 7-bit, or refused with 5.6.3."""
        data = "Subject: x\r\n\r\nüber\r\n".encode()
        server = self.server({"EHLO": b"250 mx\r\n"})
        sender = self.sender(self.target(server))

        async def convert() -> bytes:
            await deferLater(reactor, 0.01, lambda: None)
            return DATA

        async def refuse() -> bytes:
            raise NotConvertible("no")

        outgoing = message(data=data, is_8bit=True, seven_bit=convert)
        self.assertEqual(told(await sender.send(outgoing, "x")), [("accepted", "250 2.0.0 queued")])
        self.assertEqual(server.messages[0].octets, DATA)
        for more in ({"seven_bit": refuse}, {}):
            (outcome,) = await sender.send(message(data=data, is_8bit=True, **more), "x")
            self.assertEqual((outcome.kind, outcome.enhanced), ("permanent", "5.6.3"))
        self.assertEqual(len(server.messages), 1)

    async def test_seven_bit_takes_long(self) -> None:
        """A server that leaves, or a stop, while the message is made anew for it: nothing was sent."""
        data = "Subject: x\r\n\r\nüber\r\n".encode()
        server = self.server({"EHLO": b"250 mx\r\n"})
        sender = self.sender(self.target(server))
        converting: list[Deferred[bytes]] = []

        async def convert() -> bytes:
            converting.append(Deferred())
            return await converting[-1]

        outgoing = message(data=data, is_8bit=True, seven_bit=convert)
        for leave in (server.drop, None):
            sending = Deferred.fromCoroutine(sender.send(outgoing, "x"))
            while not converting:
                await deferLater(reactor, 0.01, lambda: None)
            if leave is None:
                sending.cancel()
                with self.assertRaises(CancelledError):
                    await sending
                break
            leave()
            await _rest()
            converting.pop().callback(DATA)
            ((kind, reply),) = told(await sending)
            self.assertEqual((kind, reply[:9]), ("temporary", "451 4.4.2"))
        self.assertEqual(server.messages, [])

    async def test_bare_line_ends(self) -> None:
        """RFC 5321 §2.3.8: CR or LF alone is never sent, so that no second message can hide in a first."""
        server = self.server()
        for data in (b"a\n.\r\nMAIL", b"a\r.\r\n", b"\n"):
            (outcome,) = await self.sender(self.target(server)).send(message(data=data), "x")
            self.assertEqual((outcome.kind, outcome.enhanced), ("permanent", "5.6.0"))
        self.assertEqual(server.connections, 0)

    async def test_no_route(self) -> None:
        """Without settings mail waits, and the reply says for what."""
        sender = Sender(hostname="h", routes=NoRoute(), reactor=reactor)
        (outcome,) = await sender.send(message(), "x")
        self.assertEqual((outcome.kind, outcome.enhanced), ("temporary", "4.3.5"))
        self.assertIn("relay.host", outcome.reply)


class BadPeerTests(Bed):
    """What goes wrong."""

    async def test_hangs(self) -> None:
        """A server that says nothing, at any step, costs its time limit; after the dot nobody knows."""
        for step in ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "DOT"):
            ((kind, reply),) = await self.send({"EHLO": b"250 mx\r\n", step: HANG})
            self.assertEqual(kind, "unknown" if step == "DOT" else "temporary", step)
            self.assertRegex(reply, r"^451 4\.4\.2 .*: no .* within 0 s$")

    async def test_hangs_at_sign_in_and_handshake(self) -> None:
        """The same for STARTTLS, the handshake after it, AUTH and RSET."""
        sign_in = Credentials(username="jane", secret="secret")
        offer = {"EHLO": b"250-mx\r\n250 AUTH PLAIN\r\n"}
        for script, more in (
            ({"EHLO": STARTTLS, "STARTTLS": HANG}, {"tls": "required"}),
            (offer | {"AUTH": HANG}, {"credentials": sign_in}),
        ):
            ((kind, reply),) = await self.send(script, **more)
            self.assertEqual((kind, reply[:9]), ("temporary", "451 4.4.2"))
        server = self.server({"EHLO": STARTTLS})  # says 220 and then nothing
        times = Times(connect=0.3, command=0.3)
        sender = self.sender(self.target(server, tls="required"), times=times)
        ((kind, reply),) = told(await sender.send(message(), "x"))
        self.assertEqual((kind, "TLS handshake" in reply), ("temporary", True))
        server = self.server({"RCPT": b"550 no\r\n", "RSET": HANG})
        sender = self.sender(self.target(server), times=times)
        self.assertEqual(told(await sender.send(message(), "x")), [("permanent", "550 no")])

    async def test_slow_at_each_step(self) -> None:
        """A server that is just in time with each answer has no longer than a whole attempt may take."""
        server = self.server({"EHLO": b"250 mx\r\n"})
        build = server.buildProtocol

        def slow(addr: object) -> Any:
            session: Any = build(addr)
            line = session.lineReceived

            def received(octets: bytes) -> None:
                if session._in_data or octets == b"QUIT":
                    line(octets)
                else:
                    reactor.callLater(0.15, line, octets)

            session.lineReceived = received
            return session

        server.buildProtocol = slow  # type: ignore[method-assign]
        # EHLO, MAIL and the first RCPTs are answered; a large message has longer, by its size.
        for least_rate, kind in ((1e9, "temporary"), (len(DATA) / 10, "accepted")):
            times = Times(connect=5.0, command=1.0, final=1.0, quit=0.2, attempt=0.7, least_rate=least_rate)
            sender = self.sender(self.target(server), times=times)
            outcomes = await sender.send(message(*(f"r{number}@x" for number in range(5))), "x")
            self.assertEqual({each for each, _ in told(outcomes)}, {kind}, outcomes)
            if kind == "temporary":
                self.assertIn("the attempt took too long", outcomes[0].reply)

    async def test_slow_dns(self) -> None:
        """To find out where mail goes has its time as well."""

        class Hanging:
            async def find(self, destination: str) -> tuple[Target, ...]:
                return await Deferred()

        sender = Sender(hostname="h", routes=Hanging(), reactor=reactor, times=Times(routing=0.1))
        (outcome,) = await sender.send(message(), "example.net")
        self.assertEqual((outcome.kind, outcome.enhanced), ("temporary", "4.4.3"))

    async def test_closes(self) -> None:
        """A server that closes, at any step."""
        for step in ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "DOT"):
            ((kind, reply),) = await self.send({step: CLOSE})
            self.assertEqual((kind, reply[:9]), ("unknown" if step == "DOT" else "temporary", "451 4.4.2"), step)

    async def test_nonsense(self) -> None:
        """A server that speaks something else, at any step, or without end."""
        for octets in (b"HTTP/1.1 400 Bad Request\r\n", b"250-" + b"x" * 9000, b"250-x\r\n" * 400, b"\x16\x03\x01\r\n"):
            for step in ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "DOT"):
                ((kind, reply),) = await self.send({step: octets})
                self.assertEqual((kind, reply[:9]), ("unknown" if step == "DOT" else "temporary", "451 4.5.0"), step)

    async def test_refusals(self) -> None:
        """4xx is tried again, 5xx isn't, and the answer is told as it came; first 4xx, then 5xx."""
        for step in ("MAIL", "RCPT", "DATA", "DOT"):
            server = self.server({step: (b"451 4.3.0 later\r\n", b"554 5.7.1 never\r\n")})
            sender = self.sender(self.target(server))
            self.assertEqual(told(await sender.send(message(), "x")), [("temporary", "451 4.3.0 later")], step)
            self.assertEqual(told(await sender.send(message(), "x")), [("permanent", "554 5.7.1 never")], step)
            self.assertEqual(server.connections, 1)

    async def test_partial_refusals(self) -> None:
        """Each recipient has an answer of their own."""
        answers = (b"250 ok\r\n", b"550 5.1.1 who\r\n", b"450 4.2.0 later\r\n")
        found = await self.send({"RCPT": answers}, "a@x", "b@x", "c@x")
        self.assertEqual(
            found,
            [("accepted", "250 2.0.0 queued"), ("permanent", "550 5.1.1 who"), ("temporary", "450 4.2.0 later")],
        )

    async def test_wrong_pipelining(self) -> None:
        """Answers that nobody asked for, before or after those that were."""
        ((kind, reply),) = await self.send({"GREETING": b"220 hi\r\n250 you\r\n250 too\r\n"})
        self.assertEqual((kind, reply[:9]), ("temporary", "451 4.5.0"))
        ((kind, _),) = await self.send({"DATA": b"354 go\r\n250 taken\r\n"})
        self.assertEqual(kind, "temporary")
        found = await self.send({"DOT": b"250 one\r\n250 two\r\n"})
        self.assertEqual(found, [("accepted", "250 one")])

    async def test_next_address(self) -> None:
        """RFC 5321 §5.1: the next server is tried when there is no session with one, but not after a refusal."""
        good = self.server()
        closed = self.server()
        await closed.close()
        for bad in (closed, self.server({"GREETING": b"421 busy\r\n"}), self.server({"GREETING": b"554 no\r\n"})):
            sender = self.sender(self.target(bad), self.target(good))
            self.assertEqual(told(await sender.send(message(), "x")), [("accepted", "250 2.0.0 queued")])
        refusing = self.server({"MAIL": b"451 greylisted\r\n"})
        sender = self.sender(self.target(refusing), self.target(good))
        self.assertEqual(told(await sender.send(message(), "x")), [("temporary", "451 greylisted")])

    async def test_mixed_failures(self) -> None:
        """One server that refuses all mail doesn't make final what another one only can't do now."""
        busy, closed = self.server({"GREETING": b"421 busy\r\n"}), self.server({"GREETING": b"554 no\r\n"})
        for pair in ((busy, closed), (closed, busy)):
            sender = self.sender(*map(self.target, pair))
            self.assertEqual(told(await sender.send(message(), "x")), [("temporary", "421 busy")])
        sender = self.sender(self.target(closed))
        self.assertEqual(told(await sender.send(message(), "x")), [("permanent", "554 no")])

    async def test_nobody_there(self) -> None:
        """A port that nothing listens on; a sign-in that is refused never bounces mail."""
        closed = self.server()
        await closed.close()
        ((kind, reply),) = told(await self.sender(self.target(closed)).send(message(), "x"))
        self.assertEqual((kind, reply[:9]), ("temporary", "451 4.4.1"))
        found = await self.send(
            {"EHLO": b"250-mx\r\n250 AUTH PLAIN\r\n", "AUTH": b"535 5.7.8 wrong\r\n"},
            credentials=Credentials(username="jane", secret="no such"),
        )
        self.assertEqual(found, [("temporary", "535 5.7.8 wrong")])

    async def test_slow_reader(self) -> None:
        """A server that stops taking the message is given up."""
        server = self.server()
        original = server.buildProtocol

        def build(addr: object) -> Any:
            session: Any = original(addr)
            line = session.lineReceived

            def received(octets: bytes) -> None:
                line(octets)
                if octets == b"DATA":
                    session.transport.pauseProducing()

            session.lineReceived = received
            return session

        server.buildProtocol = build  # type: ignore[method-assign]
        data = b"x" * 70 + b"\r\n"
        sender = self.sender(self.target(server))
        ((kind, reply),) = told(await sender.send(message(data=data * 300_000), "x"))
        self.assertEqual((kind, "octets of the message" in reply), ("temporary", True))


class TlsTests(Bed):
    """Certificates."""

    def setUp(self) -> None:
        """An authority."""
        self.authority = Authority()

    async def attempt(self, options: Any, *, implicit: bool = False, **more: Any) -> tuple[SmtpServer, list[Any]]:
        """Send one message to a server with these options."""
        server = self.server({"EHLO": (STARTTLS, b"250 mx\r\n")}, tls=options, implicit=implicit)
        values = {"tls": "implicit" if implicit else "required", "names": ("mx.example.net",)} | more
        sender = self.sender(
            self.target(server, **values), times=Times(command=5.0), trust_root=self.authority.trust_root
        )
        return server, told(await sender.send(message(), "x"))

    async def test_checked(self) -> None:
        """STARTTLS and TLS from the first octet on, with a certificate for the name."""
        for implicit in (False, True):
            options = self.authority.server("mx.example.net")
            server, found = await self.attempt(options, implicit=implicit)
            self.assertEqual(found, [("accepted", "250 2.0.0 queued")])
            self.assertTrue(server.messages[0].secure)

    def test_name_told(self) -> None:
        """RFC 6066 §3, RFC 7672 §8.1: the server is told its name, or that of its TLSA records, but no address."""
        record = Tlsa(usage=3, selector=1, matching=1, data=bytes(32))
        protocol = SimpleNamespace(factory=SimpleNamespace(wrappedFactory=None))
        for host, more, told_name in (
            ("mx.example.net", {}, b"mx.example.net"),
            ("192.0.2.1", {}, None),
            ("2001:db8::1", {}, None),
            ("mx.example.net", {"names": ("real.example", "example.net"), "tlsa": (record,)}, b"real.example"),
        ):
            target = Target(host=host, port=25, tls="offered", **more)  # type: ignore[arg-type]
            connection = tls_options(target).clientConnectionForTLS(protocol)
            self.assertEqual(connection.get_servername(), told_name)

    async def test_bad_certificates(self) -> None:
        """One for another name, or of another authority: nothing is sent, not even the name of the sender."""
        for options in (self.authority.server("other.example.net"), Authority().server("mx.example.net")):
            for implicit in (False, True):
                server, ((kind, reply),) = await self.attempt(options, implicit=implicit)
                self.assertEqual((kind, reply[:9]), ("temporary", "451 4.7.5"))
                self.assertTrue(re.search("certificate", reply), reply)
                self.assertEqual((server.messages, [line for line in server.lines if "MAIL" in line]), ([], []))

    async def test_opportunistic(self) -> None:
        """Without a name to check any certificate will do; without STARTTLS it goes in clear."""
        server, found = await self.attempt(Authority().server("other.example"), tls="offered", names=())
        self.assertEqual((found, server.messages[0].secure), ([("accepted", "250 2.0.0 queued")], True))
        self.assertEqual(await self.send({}, tls="offered"), [("accepted", "250 2.0.0 queued")])

    async def test_no_end_of_tls(self) -> None:
        """A server that answers QUIT and then never ends TLS doesn't keep the connection open for good."""
        server = self.server(tls=self.authority.server("mx.example.net"), implicit=True)
        build = server.buildProtocol

        def deaf(addr: object) -> Any:
            session: Any = build(addr)
            line = session.lineReceived

            def received(octets: bytes) -> None:
                if octets == b"QUIT":
                    session.transport.write(b"221 bye\r\n")
                    session.transport.pauseProducing()
                else:
                    line(octets)

            session.lineReceived = received
            return session

        server.buildProtocol = deaf  # type: ignore[method-assign]
        target = self.target(server, tls="implicit", names=("mx.example.net",))
        times = Times(connect=5.0, command=5.0, quit=0.2)
        sender = self.sender(target, times=times, trust_root=self.authority.trust_root)
        await sender.send(message(), "x")
        connection = sender._pool.take(target)
        assert connection is not None
        gone: Deferred[object] = Deferred()
        connection.when_lost(gone.callback)
        connection.close()
        await gone.addTimeout(2.0, reactor)

    async def test_broken_tls(self) -> None:
        """RFC 7435 §3: a handshake that fails where TLS is only offered is followed by a session in clear, no other."""
        for tls, kind in (("offered", "accepted"), ("required", "temporary")):
            server = self.server({"EHLO": STARTTLS})  # there is no TLS behind its 220
            sender = self.sender(self.target(server, tls=tls), times=Times(connect=0.5, command=5.0))
            self.assertEqual([each for each, _ in told(await sender.send(message(), "x"))], [kind])
            self.assertEqual(len(server.messages), int(kind == "accepted"))

    async def test_required(self) -> None:
        """A server that offers no STARTTLS gets nothing where it is required."""
        ((kind, reply),) = await self.send({}, tls="required", names=("mx.example.net",))
        self.assertEqual((kind, reply[:9]), ("temporary", "451 4.7.4"))
