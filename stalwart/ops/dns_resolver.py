"""Asks DNS servers over UDP, and over TCP for what is too long: the system's, or those that are named."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any

from twisted.names import client, dns

_RESOLV_CONF = "/etc/resolv.conf"


def _is_whole(octets: bytes) -> bool:
    """Whether it is an answer that can be read to its last record: twisted.names passes over what can't be."""
    message = dns.Message()
    try:
        message.fromStr(octets)
    except (EOFError, ValueError):
        return False
    if not message.answer:
        return False
    # RFC 1035 §4.1.1; one that is cut off (TC) is asked for again, over TCP.
    counts = struct.unpack_from("!HH", octets, 4)
    return bool(message.trunc) or counts == (len(message.queries), len(message.answers))


def _is_sound(line: bytes) -> bool:
    words = line.split()
    if not words or not words[0].startswith(b"nameserver"):
        return True
    try:
        ip_address(words[1].decode("ascii"))
    except (IndexError, ValueError):
        return False
    return True


class _Datagrams(dns.DNSDatagramProtocol):
    noisy = False

    def datagramReceived(self, data: bytes, addr: tuple[str, int]) -> None:
        if _is_whole(data):
            super().datagramReceived(data, addr)

    def writeMessage(self, message: dns.Message, address: tuple[str, int]) -> None:
        message.authenticData = 1  # RFC 6840 §5.7: the answer is to say whether it is authentic
        super().writeMessage(message, address)


class _Stream(dns.DNSProtocol):
    def stringReceived(self, data: bytes) -> None:
        if _is_whole(data):
            super().stringReceived(data)

    def writeMessage(self, message: dns.Message) -> None:
        message.authenticData = 1
        super().writeMessage(message)  # type: ignore[no-untyped-call]


class _StreamFactory(client.DNSClientFactory):
    noisy = False

    def buildProtocol(self, addr: object) -> _Stream:
        protocol = _Stream(self.controller)  # type: ignore[no-untyped-call]
        protocol.factory = self
        return protocol


class DnsResolver(client.Resolver):
    """Twisted's resolver, with a socket of the system's choice for each query, and without a log line for each."""

    def __init__(
        self, reactor: Any, *, servers: Sequence[tuple[str, int]] | None = None, retries: tuple[int, ...]
    ) -> None:
        """`servers` (address and port) instead of those of /etc/resolv.conf; `retries` are the seconds until a query is
        repeated, the last until it is given up. `reactor` provides IReactorUDP, -TCP and -Time.
        """
        super().__init__(  # type: ignore[no-untyped-call]
            resolv=None if servers else _RESOLV_CONF, servers=list(servers or ()), timeout=retries, reactor=reactor
        )
        self.factory = _StreamFactory(self, retries)  # type: ignore[no-untyped-call]

    def parseConfig(self, resolvConf: Iterable[bytes]) -> None:
        """Take the servers of /etc/resolv.conf; lines that name none are passed over, as the C library does."""
        super().parseConfig([line for line in resolvConf if _is_sound(line)])  # type: ignore[no-untyped-call]

    def _connectedProtocol(self, interface: str = "") -> dns.DNSDatagramProtocol:
        protocol = _Datagrams(self, reactor=self._reactor)  # type: ignore[no-untyped-call]
        self._reactor.listenUDP(0, protocol, interface=interface)
        return protocol

    def close(self) -> None:
        """Look at /etc/resolv.conf no more, and close connections to servers."""
        for connection in list(self.connections):
            connection.transport.loseConnection()
        call = getattr(self, "_parseCall", None)
        if call is not None and call.active():
            call.cancel()
