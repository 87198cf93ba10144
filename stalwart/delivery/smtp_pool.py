"""Connections to mail servers that are kept for the next message, few and for a short while."""

from __future__ import annotations

from collections import deque

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from stalwart.delivery.routes import Target
from stalwart.delivery.smtp_connection import SmtpConnection

IDLE_SECONDS = 15.0
MOST_KEPT = 20
MOST_PER_TARGET = 2
MOST_MESSAGES = 100
"""Over one connection."""


class _Kept(msgspec.Struct, eq=False):
    target: Target
    connection: SmtpConnection
    limit: IDelayedCall


class ConnectionPool:
    """The connections that wait. One that the peer closes leaves by itself."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._kept: deque[_Kept] = deque()
        self._closed = False

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, target: Target) -> SmtpConnection | None:
        """A connection on which the next message can be sent; it is the caller's."""
        key = _key(target)
        for kept in tuple(self._kept):
            if _key(kept.target) == key:
                self._forget(kept)
                if kept.connection.usable:
                    return kept.connection
        return None

    def give_back(self, target: Target, connection: SmtpConnection) -> None:
        """Keep a connection if it can be used on, else close it."""
        same = sum(1 for kept in self._kept if _key(kept.target) == _key(target))
        if self._closed or not connection.usable or connection.messages >= MOST_MESSAGES or same >= MOST_PER_TARGET:
            connection.close()
            return
        kept = _Kept(target, connection, self._reactor.callLater(IDLE_SECONDS, lambda: self._expire(kept)))
        self._kept.append(kept)
        connection.when_lost(lambda _: self._forget(kept))
        if len(self._kept) > MOST_KEPT:
            self._expire(self._kept[0])

    def close(self) -> None:
        """Close all, and keep none from now on."""
        self._closed = True
        for kept in tuple(self._kept):
            self._expire(kept)

    def _expire(self, kept: _Kept) -> None:
        self._forget(kept)
        kept.connection.close()

    def _forget(self, kept: _Kept) -> None:
        if kept in self._kept:
            self._kept.remove(kept)
        if kept.limit.active():
            kept.limit.cancel()


def _key(target: Target) -> Target:
    """What must be the same for a connection to be good for another message; addresses may come in any order."""
    return msgspec.structs.replace(target, addresses=())
