"""Twisted's port for a Unix socket that is bound already, kept from changing who may use it."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

_logger = Logger(namespace="twisted.internet.unix")
UNIX_MODE = 0o660
"""The owner and the group may connect."""


class UnixPort(unix.Port):
    """Accepts on `sock`, which it takes over.

    `reactor.adoptStreamPort` would open the socket to everybody, shorten its backlog to 50, and fail to close it
    when its file is gone.
    """

    def __init__(
        self, sock: socket.socket, factory: IProtocolFactory, backlog: int, reactor: Any, *, mode: int = UNIX_MODE
    ) -> None:
        super().__init__(os.fsencode(sock.getsockname()), factory, backlog, mode, reactor)
        self._preexistingSocket = sock
        # Of the base class: else what Twisted tells of each accept without a free descriptor would be shown as ours.
        self._logger = _logger

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket; whoever bound it removes its file."""
        tcp.Port.connectionLost(self, reason)
