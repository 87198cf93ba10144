"""What rules ask of the DNS: answers as texts, kept for as long as their TTL says, within bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, Protocol, TypeAlias

import msgspec
from twisted.internet import defer
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.names import dns
from twisted.names.error import DNSNameError, DomainError, ResolverError
from twisted.python.failure import Failure

from stalwart.expr import EvalError
from stalwart.expr.addresses import parse_address
from stalwart.ops.dns_resolver import DnsResolver

Texts: TypeAlias = "tuple[str, ...]"
Records: TypeAlias = "tuple[list[dns.RRHeader], list[dns.RRHeader], list[dns.RRHeader]]"

QUERY_SECONDS = 5.0
MOST_AT_ONCE = 64
MOST_KEPT = 2_048
LONGEST_KEPT = 3_600.0
"""Seconds: a longer TTL counts as this."""

_LEAST_KEPT = 1.0
# RFC 2308 §5: a denial without an SOA record has no time to live of its own.
_DENIAL_SECONDS = 30.0
_LONGEST_DENIAL = 300.0
_MOST_TEXTS = 256
_RETRIES = (1, 2)  # seconds until a query is repeated, and until it is given up

_RECORDS = {
    "ip": (dns.A, dns.AAAA),
    "ipv4": (dns.A,),
    "ipv6": (dns.AAAA,),
    "mx": (dns.MX,),
    "txt": (dns.TXT,),
    "ptr": (dns.PTR,),
}


class Resolver(Protocol):
    """The part of Twisted's `IResolver` that is used."""

    def query(self, query: dns.Query, timeout: Sequence[int] | None = None) -> Deferred[Records]:
        """Answers, authority and additional records; fails with a `DomainError` for other codes than NOERROR."""


def system_resolver(reactor: Any, servers: Sequence[tuple[str, int]] | None = None) -> DnsResolver:
    """Asks the servers of /etc/resolv.conf, or `servers`; it gives up soon, since a request waits."""
    return DnsResolver(reactor, servers=servers, retries=_RETRIES)


class _Kept(msgspec.Struct, frozen=True):
    texts: Texts
    until: float


class DnsAnswers:
    """Asks a resolver. Belongs to the reactor thread."""

    def __init__(self, make: Callable[[], Resolver], reactor: IReactorTime) -> None:
        """`make` gives the resolver when it is first needed."""
        self._make = make
        self._reactor = reactor
        self._resolver: Resolver | None = None
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._waiting: dict[tuple[str, str], set[Deferred[object]]] = {}
        # In the order asked; nobody's query is one too many, when clients come and go faster than servers answer.
        self._queued: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._running = 0
        self._starting = False

    def ask(self, name: str, kind: str) -> object:
        """The records as texts, '' if there are none; a Deferred of that if they have to be asked for.

        Raises EvalError, or fails with it, if the servers fail or don't answer in time.
        """
        if kind not in _RECORDS:
            raise EvalError(f"dns_query knows no type {kind!r}; it knows {', '.join(_RECORDS)}")
        asked = _wire_name(name, kind)
        if asked is None:
            return ""  # no such name can exist
        key = (asked, kind)
        kept = self._kept.get(key)
        if kept is not None and kept.until > self._reactor.seconds():
            self._kept.move_to_end(key)
            return kept.texts or ""
        # Who asks meanwhile shares the answer, and one that leaves doesn't take it from the others.
        first = key not in self._waiting
        waiting = self._waiting.setdefault(key, set())
        deferred: Deferred[object] = Deferred(lambda leaving: self._leave(leaving, waiting, key))
        waiting.add(deferred)
        if first:
            self._queued[key] = None
            self._start_queued()
        return deferred

    def close(self) -> None:
        """Stop what the resolver does by itself."""
        if isinstance(self._resolver, DnsResolver):
            self._resolver.close()

    def _leave(self, leaving: Deferred[object], waiting: set[Deferred[object]], key: tuple[str, str]) -> None:
        waiting.discard(leaving)
        if not waiting and self._waiting.get(key) is waiting and key in self._queued:
            del self._queued[key], self._waiting[key]

    def _start_queued(self) -> None:
        """Start as many as may run. One that fails at once comes back to this loop, not deeper."""
        if self._starting:
            return
        self._starting = True
        while self._queued and self._running < MOST_AT_ONCE:
            key, _ = self._queued.popitem(last=False)
            self._running += 1
            maybeDeferred(self._query, *key).addBoth(self._answered, key)
        self._starting = False

    def _query(self, name: str, kind: str) -> Deferred[list[tuple[Texts, float]]]:
        if self._resolver is None:
            self._resolver = self._make()
        resolver = self._resolver
        queries = []
        for number in _RECORDS[kind]:
            query = resolver.query(dns.Query(name.encode("ascii"), number, dns.IN))
            query.addTimeout(QUERY_SECONDS, self._reactor)
            queries.append(query.addCallbacks(_found, _denied, callbackArgs=(number,)))
        return gatherResults(queries, consumeErrors=True)

    def _answered(self, result: list[tuple[Texts, float]] | Failure, key: tuple[str, str]) -> None:
        self._running -= 1
        waiting = self._waiting.pop(key)
        answer: object
        if isinstance(result, Failure):
            answer = Failure(EvalError(f"dns_query('{key[0]}', '{key[1]}') failed: {_reason(result)}"))
        else:
            texts = tuple(text for found, _ in result for text in found)[:_MOST_TEXTS]
            seconds = min(kept for _, kept in result)
            self._kept[key] = _Kept(texts, self._reactor.seconds() + seconds)
            self._kept.move_to_end(key)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            answer = texts or ""
        while waiting:  # one that is told may have another leave
            waiting.pop().callback(answer)
        self._start_queued()


def _wire_name(name: str, kind: str) -> str | None:
    """The name as it is asked for: A-labels in lower case, an address for `ptr` as its reverse name; None for none."""
    if kind == "ptr":
        address = parse_address(name)
        if address is not None:
            return address.reverse_pointer
    name = name.removesuffix(".").lower()
    try:
        name = name.encode("idna").decode("ascii")
    except UnicodeError:
        return None
    # RFC 1035 §2.3.4
    if not 0 < len(name) <= 253 or not all(0 < len(label) <= 63 for label in name.split(".")):
        return None
    return name


def _found(records: Records, number: int) -> tuple[Texts, float]:
    """The texts of an answer, and for how many seconds they hold. Aliases on the way to them are left out."""
    answers, authority, _ = records
    wanted = [record for record in answers if record.type == number]
    if not wanted:
        return (), _denial_seconds(authority)
    payloads: list[Any] = [record.payload for record in wanted]
    if number == dns.MX:
        payloads.sort(key=lambda payload: payload.preference)
    seconds = min(record.ttl for record in answers)
    return tuple(map(_text, payloads)), min(max(seconds, _LEAST_KEPT), LONGEST_KEPT)


def _text(payload: Any) -> str:
    if isinstance(payload, dns.Record_A):
        return str(payload.dottedQuad())
    if isinstance(payload, dns.Record_AAAA):
        return str(ip_address(payload.address))
    if isinstance(payload, dns.Record_TXT):
        # RFC 7208 §3.3: the strings of a record belong together.
        return b"".join(payload.data).decode("utf-8", "replace")
    name: bytes = payload.name.name
    return name.decode("ascii", "replace").lower()


def _denied(failure: Failure) -> tuple[Texts, float]:
    """NXDOMAIN is an answer: there is nothing. Anything else is a failure."""
    failure.trap(DNSNameError)
    error: Any = failure.value
    message: dns.Message = error.args[0]
    return (), _denial_seconds(message.authority)


def _denial_seconds(authority: Sequence[dns.RRHeader]) -> float:
    # RFC 2308 §5
    for record in authority:
        if record.type == dns.SOA:
            payload: Any = record.payload
            return float(min(max(min(record.ttl, payload.minimum), _LEAST_KEPT), _LONGEST_DENIAL))
    return _DENIAL_SECONDS


def _reason(failure: Failure) -> str:
    error = failure.value
    if isinstance(error, defer.FirstError):
        error = error.subFailure.value
    if isinstance(error, defer.TimeoutError | dns.DNSQueryTimeoutError):
        return "no server answered in time"
    if isinstance(error, DomainError):
        code = error.args[0].rCode
        names = {dns.EFORMAT: "FORMERR", dns.ESERVER: "SERVFAIL", dns.ENOTIMP: "NOTIMP", dns.EREFUSED: "REFUSED"}
        return f"the server says {names.get(code, f'RCODE {code}')}"
    if isinstance(error, ResolverError | OSError):
        return str(error)
    return f"{type(error).__name__}: {error}"
