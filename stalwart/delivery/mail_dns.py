"""What the DNS says of a mail domain, and whether that is authentic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import Protocol as Shape

import msgspec
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.names import dns

from stalwart.ops.dns_resolver import DnsResolver

QUERY_SECONDS = 15.0
_CODES = {dns.EFORMAT: "FORMERR", dns.ESERVER: "SERVFAIL", dns.ENOTIMP: "NOTIMP", dns.EREFUSED: "REFUSED"}
_RETRIES = (2, 4)  # seconds until a query is repeated, and until it is given up


class DnsFailed(Exception):
    """No server answered, or it could not find out. The text says which name and why."""


class DnsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The payloads of the records of the type asked for; `exists` is False for NXDOMAIN.

    `is_secure`: DNSSEC proves it, says a resolver that is trusted; `claims_secure`: says whoever answered. `aliases`
    are the names that CNAME records lead to from the one that was asked for, in order (A-labels in lower case).
    """

    payloads: tuple[Any, ...] = ()
    exists: bool = True
    is_secure: bool = False
    claims_secure: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def canonical(self) -> str | None:
        """The name at the end of the aliases (RFC 1034 §3.6.2); None if the name that was asked for is none."""
        return self.aliases[-1] if self.aliases else None


class MailDns(Shape):
    """Where records are asked for."""

    async def ask(self, name: str, kind: int) -> DnsAnswer:
        """The records of a type of `twisted.names.dns`, or of a number that it doesn't know. Raises DnsFailed."""


class ResolverDns:
    """Asks the system's resolvers, or the one that is trusted to validate."""

    def __init__(self, reactor: Any, trusted: str | None = None, port: int = dns.PORT) -> None:
        """`trusted` is the IP address of a validating resolver; without it no answer counts as authentic."""
        self._reactor = reactor
        self._trusted = trusted
        self._port = port
        self._resolver: DnsResolver | None = None

    async def ask(self, name: str, kind: int) -> DnsAnswer:
        """See `MailDns`."""
        if self._resolver is None:
            servers = [(self._trusted, self._port)] if self._trusted else None
            self._resolver = DnsResolver(self._reactor, servers=servers, retries=_RETRIES)
        if not name.isascii():  # an alias may lead to whatever octets its owner likes
            raise DnsFailed(f"the DNS names {name!r}, which is no host")
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
        if [(_text(each.name), each.type) for each in message.queries] != [(name.lower().rstrip("."), kind)]:
            raise DnsFailed(f"the DNS server answers another question than the one for {name}")
        if message.trunc:
            raise DnsFailed(f"the DNS server's answer for {name} is cut off, over TCP too")
        aliases = _aliases(name, message.answers)
        owners = (name.lower().rstrip("."), *aliases)
        found = [record for record in message.answers if record.type == kind and _text(record.name) in owners]
        return DnsAnswer(
            # RFC 2308 §2.1: where the name doesn't exist there is nothing but aliases, whatever stands beside them.
            payloads=tuple(record.payload for record in found) if message.rCode == dns.OK else (),
            exists=message.rCode == dns.OK,
            is_secure=self._trusted is not None and bool(message.authenticData),
            claims_secure=bool(message.authenticData),
            aliases=aliases,
        )

    def close(self) -> None:
        """Look at /etc/resolv.conf no more, and close connections to servers."""
        if self._resolver is not None:
            self._resolver.close()

    def _bounded(self, resolver: Any, method: str, query: dns.Query) -> Deferred[Any]:
        asked: Deferred[Any] = getattr(resolver, method)([query])
        return asked.addTimeout(QUERY_SECONDS, self._reactor)


def _aliases(name: str, answers: Sequence[dns.RRHeader]) -> tuple[str, ...]:
    """Where the aliases among the answers lead from a name, step by step; a ring back to it leads nowhere."""
    leads: dict[str, str] = {}
    for record in answers:
        if record.type == dns.CNAME:
            payload: Any = record.payload
            leads[_text(record.name)] = _text(payload.name)
    found: list[str] = []
    start = at = name.lower().rstrip(".")
    while at in leads:
        at = leads.pop(at)
        found.append(at)
    return () if at == start else tuple(found)


def _text(name: dns.Name) -> str:
    return name.name.decode("ascii", "replace").lower().rstrip(".")
