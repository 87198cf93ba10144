"""What the DNS says of a mail domain, and whether that is authentic."""

from __future__ import annotations

from typing import Any
from typing import Protocol as Shape

import msgspec
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.names import client, dns

QUERY_SECONDS = 15.0
_RESOLV_CONF = "/etc/resolv.conf"
_CODES = {dns.EFORMAT: "FORMERR", dns.ESERVER: "SERVFAIL", dns.ENOTIMP: "NOTIMP", dns.EREFUSED: "REFUSED"}
_RETRIES = (2, 4)  # seconds until a query is repeated, and until it is given up


class DnsFailed(Exception):
    """No server answered, or it could not find out. The text says which name and why."""


class DnsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The payloads of the records of the type asked for; `exists` is False for NXDOMAIN.

    `is_secure`: DNSSEC proves it, says a resolver that is trusted; `claims_secure`: says whoever answered. `aliases`
    are the names that CNAME records lead to, in order.
    """

    payloads: tuple[Any, ...] = ()
    exists: bool = True
    is_secure: bool = False
    claims_secure: bool = False
    aliases: tuple[str, ...] = ()


class MailDns(Shape):
    """Where records are asked for."""

    async def ask(self, name: str, kind: int) -> DnsAnswer:
        """The records of a type of `twisted.names.dns`, or of a number that it doesn't know. Raises DnsFailed."""


class _Datagrams(dns.DNSDatagramProtocol):
    noisy = False

    def writeMessage(self, message: dns.Message, address: tuple[str, int]) -> None:
        message.authenticData = 1  # RFC 6840 §5.7: the answer is to say whether it is authentic
        super().writeMessage(message, address)


class _Stream(dns.DNSProtocol):
    def writeMessage(self, message: dns.Message) -> None:
        message.authenticData = 1
        super().writeMessage(message)  # type: ignore[no-untyped-call]


class _StreamFactory(client.DNSClientFactory):
    noisy = False

    def buildProtocol(self, addr: object) -> _Stream:
        protocol = _Stream(self.controller)  # type: ignore[no-untyped-call]
        protocol.factory = self
        return protocol


class _Resolver(client.Resolver):
    def __init__(self, reactor: Any, server: str | None, port: int) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            resolv=None if server else _RESOLV_CONF,
            servers=[(server, port)] if server else [],
            timeout=_RETRIES,
            reactor=reactor,
        )
        self.factory = _StreamFactory(self, _RETRIES)  # type: ignore[no-untyped-call]

    def _connectedProtocol(self, interface: str = "") -> dns.DNSDatagramProtocol:
        protocol = _Datagrams(self, reactor=self._reactor)  # type: ignore[no-untyped-call]
        self._reactor.listenUDP(0, protocol, interface=interface)
        return protocol


class ResolverDns:
    """Asks the system's resolvers, or the one that is trusted to validate."""

    def __init__(self, reactor: Any, trusted: str | None = None, port: int = dns.PORT) -> None:
        """`trusted` is the IP address of a validating resolver; without it no answer counts as authentic."""
        self._reactor = reactor
        self._trusted = trusted
        self._port = port
        self._resolver: _Resolver | None = None

    async def ask(self, name: str, kind: int) -> DnsAnswer:
        """See `MailDns`."""
        if self._resolver is None:
            self._resolver = _Resolver(self._reactor, self._trusted, self._port)
        query = dns.Query(name.encode("ascii"), kind, dns.IN)
        try:
            message = await self._bounded(self._resolver, "queryUDP", query)
            if message.trunc:
                message = await self._bounded(self._resolver, "queryTCP", query)
        except CancelledError:
            raise
        except (defer.TimeoutError, dns.DNSQueryTimeoutError):
            raise DnsFailed(f"no DNS server answered for {name}") from None
        except OSError as error:
            raise DnsFailed(f"the DNS could not be asked for {name}: {error}") from None
        if message.rCode not in (dns.OK, dns.ENAME):
            raise DnsFailed(f"the DNS server says {_CODES.get(message.rCode, 'RCODE')} ({message.rCode}) for {name}")
        return DnsAnswer(
            payloads=tuple(record.payload for record in message.answers if record.type == kind),
            exists=message.rCode == dns.OK,
            is_secure=self._trusted is not None and bool(message.authenticData),
            claims_secure=bool(message.authenticData),
            aliases=tuple(str(record.payload.name).lower() for record in message.answers if record.type == dns.CNAME),
        )

    def close(self) -> None:
        """Look at /etc/resolv.conf no more, and close connections to servers."""
        for connection in list(getattr(self._resolver, "connections", ())):
            connection.transport.loseConnection()
        call = getattr(self._resolver, "_parseCall", None)
        if call is not None and call.active():
            call.cancel()

    def _bounded(self, resolver: Any, method: str, query: dns.Query) -> Deferred[Any]:
        asked: Deferred[Any] = getattr(resolver, method)([query])
        return asked.addTimeout(QUERY_SECONDS, self._reactor)
