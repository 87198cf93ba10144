"""The control socket: one command, one answer, for its owner only, within bounds."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from stalwart.net.control import (
    LONGEST_ANSWER,
    LONGEST_COMMAND,
    Answer,
    Command,
    ControlConnection,
    ControlService,
    ReloadCommand,
    encode_answer,
    peer_uid,
)


class Transport(StringTransport):
    """A string transport with a socket whose other end is this process's."""

    aborted = False

    def __init__(self) -> None:
        super().__init__()
        self.pair = socket.socketpair(socket.AF_UNIX)

    def getHandle(self) -> socket.socket:
        """The socket."""
        return self.pair[0]

    def abortConnection(self) -> None:
        """Note it."""
        self.aborted = True


class ConnectionTests(SynchronousTestCase):
    """One connection, in memory."""

    def setUp(self) -> None:
        """A service that notes the commands."""
        self.clock = Clock()
        self.seen: list[Command] = []
        self.result: Answer | Deferred[Answer] = Answer(done=True, lines=("did it",))
        self.service = ControlService(self.clock, "/nowhere", self.obey)

    def obey(self, command: Command) -> Answer | Deferred[Answer]:
        """Note it."""
        self.seen.append(command)
        return self.result

    def connect(self) -> tuple[ControlConnection, Transport]:
        """A new connection."""
        connection = self.service.buildProtocol(UNIXAddress(None))
        assert connection is not None
        transport = Transport()
        for end in transport.pair:
            self.addCleanup(end.close)
        connection.makeConnection(transport)
        return connection, transport

    def answer(self, transport: Transport) -> Answer:
        """The answer, behind which the connection ends."""
        self.assertTrue(transport.disconnecting)
        octets: bytes = transport.value()
        self.assertTrue(octets.endswith(b"\n"))
        return msgspec.json.decode(octets, type=Answer)

    def test_command(self) -> None:
        """A command in pieces is obeyed once, and what follows it is left."""
        for sent, force in ((b'{"command":"reload","force":true}\n{}', True), (b'{"command":"reload"}\n', False)):
            connection, transport = self.connect()
            for octet in sent:
                connection.dataReceived(bytes([octet]))
            self.assertEqual(self.answer(transport), self.result)
            self.assertEqual(self.seen.pop(), ReloadCommand(force=force))
            self.assertEqual(self.seen, [])

    def test_later(self) -> None:
        """An answer may take its time."""
        waiting: Deferred[Answer] = Deferred()
        self.result = waiting
        connection, transport = self.connect()
        connection.dataReceived(b'{"command":"reload"}\n')
        self.clock.advance(3600)
        self.assertFalse(transport.disconnecting or transport.aborted)
        waiting.callback(Answer(done=False))
        self.assertFalse(self.answer(transport).done)

    def test_bug(self) -> None:
        """What fails is answered, and logged with its traceback."""
        failing: Deferred[Answer] = Deferred()
        self.result = failing
        connection, transport = self.connect()
        connection.dataReceived(b'{"command":"reload"}\n')
        failing.errback(ZeroDivisionError())
        self.assertIn("see its log", self.answer(transport).lines[0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_bad(self) -> None:
        """What is no command, or too long for one, is answered with the reason."""
        for sent, wanted in (
            (b"\n", "doesn't know"),
            (b'{"command":"dance"}\n', "doesn't know"),
            (b'{"command":"reload","force":7}\n', "doesn't know"),
            (b"x" * LONGEST_COMMAND, "at most"),
        ):
            connection, transport = self.connect()
            connection.dataReceived(sent)
            answer = self.answer(transport)
            self.assertFalse(answer.done)
            self.assertIn(wanted, answer.lines[0])
        self.assertEqual(self.seen, [])

    def test_others(self) -> None:
        """Another user is refused, whatever it sends; root isn't."""
        for uid, refused in ((os.geteuid() + 4711, True), (0, False)):
            self.service.uid_of = lambda transport: uid  # noqa: B023 - called before the next turn
            connection, transport = self.connect()
            connection.dataReceived(b'{"command":"reload"}\n')
            self.assertEqual("only root" in str(self.answer(transport).lines), refused)
        self.assertEqual(len(self.seen), 1)

    def test_own_user(self) -> None:
        """The kernel says who is at the other end."""
        _, transport = self.connect()
        self.assertEqual(peer_uid(transport), os.geteuid())

    def test_silence(self) -> None:
        """Who sends no command within ten seconds is cut off; one more than eight at a time is not let in."""
        connections = [self.connect() for _ in range(8)]
        self.assertIsNone(self.service.buildProtocol(UNIXAddress(None)))
        self.clock.advance(10)
        for connection, transport in connections:
            self.assertTrue(transport.aborted)
            connection.connectionLost()
        self.assertIsNotNone(self.service.buildProtocol(UNIXAddress(None)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_long_answer(self) -> None:
        """An answer that is too long loses its end, and says so."""
        octets = encode_answer(Answer(done=False, lines=tuple("x" * 1000 for _ in range(5000))))
        self.assertLess(len(octets), LONGEST_ANSWER + 1)
        answer = msgspec.json.decode(octets, type=Answer)
        self.assertEqual(answer.lines[0], "x" * 1000)
        self.assertIn("and more", answer.lines[-1])


class SocketTests(SynchronousTestCase):
    """The socket's file."""

    def serve(self, path: Path) -> ControlService:
        """A service at a path."""

        class Reactor(Clock):
            def addReader(self, reader: Any) -> None:
                """Nothing is read."""

            def removeReader(self, reader: Any) -> None:
                """Nothing is read."""

            def removeWriter(self, writer: Any) -> None:
                """Nothing is written."""

        service = ControlService(Reactor(), str(path), lambda command: Answer(done=True))
        service.startService()
        return service

    def test_file(self) -> None:
        """It is its owner's alone, takes the place of one that a killed daemon left, and goes with the daemon."""
        path = Path(self.mktemp()).resolve()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(os.path.relpath(path))
        service = self.serve(Path(os.path.relpath(path)))
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        service.stopService()
        self.assertFalse(path.exists())
        service.reactor.advance(0)

    def test_no_room(self) -> None:
        """Where there can be none, for a path that is too long or a file in its place, the daemon goes on without."""
        taken = Path(self.mktemp())
        taken.write_text("x")
        for path in (Path("/tmp/" + "x" * 200), taken):
            service = self.serve(path)
            self.assertIsNone(service._port)
            service.stopService()
        self.assertEqual(taken.read_text(), "x")
