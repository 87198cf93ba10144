"""The control socket: how commands on this machine ask the running daemon for something.

One connection carries one command and its answer, each a line of JSON. Only the daemon's own user and root may ask.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.net.sockets import remove_stale
from stalwart.net.unix import UnixPort

_log = Logger(namespace="stalwart.net")

LONGEST_COMMAND = 4096
"""Octets of a command with its line end."""

LONGEST_ANSWER = 1 << 20
"""Octets of an answer with its line end."""

_SECONDS = 10.0  # for a command to come in whole
_MOST = 8  # connections at a time
_BACKLOG = 8
_MODE = 0o600
_CREDENTIALS = struct.Struct("3i")  # struct ucred of SO_PEERCRED: pid, uid, gid


class ReloadCommand(msgspec.Struct, frozen=True, kw_only=True, tag="reload", tag_field="command"):
    """Read the configuration again."""

    force: bool = False


class RenewCommand(msgspec.Struct, frozen=True, kw_only=True, tag="renew", tag_field="command"):
    """Order a new certificate for a name now."""

    name: str


Command = ReloadCommand | RenewCommand
"""Every command there is: a union, told apart by the member `command`."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a command: whether it was done, and what to tell the person, line by line."""

    done: bool
    lines: tuple[str, ...] = ()


def control_path(data_path: str) -> str:
    """Where the socket lies: beside the data file."""
    return f"{data_path}.control"


def encode_answer(answer: Answer) -> bytes:
    """The answer as a line; what is too long for one loses its last lines."""
    lines = answer.lines
    while len(encoded := msgspec.json.encode(answer)) >= LONGEST_ANSWER:
        lines = lines[: len(lines) // 2]
        answer = Answer(done=answer.done, lines=(*lines, "… and more: see the daemon's log"))
    return encoded + b"\n"


class ControlConnection(Protocol):
    """Waits for the one command."""

    def __init__(self, service: ControlService) -> None:
        self._service = service
        self._buffer = b""
        self._answering = False
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Look who asks, and start the deadline."""
        self._service.connections.add(self)
        self._deadline = self._service.reactor.callLater(_SECONDS, self._late)
        uid = self._service.uid_of(self.transport)
        if uid not in (0, os.geteuid()):
            _log.warn("control socket: refused the user with id {uid}", uid=uid)
            self._send(Answer(done=False, lines=("only root and the daemon's own user may ask for this",)))

    def dataReceived(self, data: bytes) -> None:
        """The command, or a part of it."""
        if self._answering:
            return
        self._buffer += data
        line, end, _ = self._buffer.partition(b"\n")
        if len(line) >= LONGEST_COMMAND:
            self._send(Answer(done=False, lines=(f"a command has at most {LONGEST_COMMAND} octets",)))
        elif end:
            self._act(line)

    def _act(self, line: bytes) -> None:
        self._answering = True
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()  # what is asked for may take longer than asking
        try:
            command = msgspec.json.decode(line, type=Command)
        except msgspec.DecodeError as error:
            self._send(Answer(done=False, lines=(f"the daemon doesn't know this command: {error}",)))
            return
        maybeDeferred(self._service.handle, command).addCallbacks(self._send, self._failed)

    def _failed(self, failure: Failure) -> None:
        _log.failure("a command of the control socket failed", failure)
        self._send(Answer(done=False, lines=("this is the daemon's fault: see its log",)))

    def _send(self, answer: Answer) -> None:
        self._answering = True
        assert self.transport is not None
        self.transport.write(encode_answer(answer))
        self.transport.loseConnection()

    def _late(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._service.connections.discard(self)
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()


class ControlService(Service, Factory):
    """Serves the control socket. One that can't be had is told in the log, and everything else goes on."""

    noisy = False

    def __init__(
        self,
        reactor: Any,
        path: str,
        handle: Callable[[Command], Answer | Deferred[Answer]],
        *,
        uid_of: Callable[[Any], int] | None = None,
    ) -> None:
        """`reactor` provides IReactorTime and IReactorFDSet; `handle` does what a command asks for."""
        self.reactor = reactor
        self.handle = handle
        self.uid_of = uid_of or peer_uid
        self.connections: set[ControlConnection] = set()
        self._path = path
        self._inode: int | None = None
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Bind and serve. The daemon must hold the lock on the data file, and have its final user."""
        super().startService()  # type: ignore[no-untyped-call]
        try:
            sock = _bind(self._path)
        except OSError as error:
            _log.warn(
                "no control socket at {path} ({reason}): `stalwart reload` can't reach this daemon, SIGHUP can",
                path=self._path,
                reason=error.strerror or str(error),
            )
            return
        self._inode = os.lstat(self._path).st_ino
        port = UnixPort(sock, self, _BACKLOG, self.reactor, mode=_MODE)
        port.startListening()  # type: ignore[no-untyped-call]
        self._port = port

    def stopService(self) -> Deferred[None]:
        """Close the socket and remove its file."""
        super().stopService()  # type: ignore[no-untyped-call]
        for connection in list(self.connections):
            transport: Any = connection.transport
            transport.abortConnection()
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        closed = port.stopListening()
        path = Path(self._path)
        if path.exists() and path.lstat().st_ino == self._inode:
            path.unlink()
        return closed if closed is not None else succeed(None)

    def buildProtocol(self, addr: IAddress) -> ControlConnection | None:  # type: ignore[override]
        """A connection; none over the limit, which closes it at once."""
        return ControlConnection(self) if len(self.connections) < _MOST else None


def peer_uid(transport: Any) -> int:
    """The user id of the process at the other end of a Unix socket, by the kernel's word."""
    sock: socket.socket = transport.getHandle()
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(found)[1]
    return uid


def _bind(path: str) -> socket.socket:
    """Bind and listen; only the owner may connect. Raises OSError, also for a path that is too long."""
    remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        umask = os.umask(0o777 & ~_MODE)
        try:
            sock.bind(path)
        finally:
            os.umask(umask)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
