"""Asks real DNS servers what the checks of a domain want to know."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import DeferredSemaphore
from twisted.names import dns

from stalwart.delivery.mail_dns import DnsFailed, MailDns
from stalwart.zone import Answer, Unknown
from stalwart.zone.asking import is_name
from stalwart.zone.values import Address, Alias, Caa, Mx, Raw, RecordType, Srv, Tlsa, Txt, Value

_NUMBERS: dict[RecordType, int] = {
    "A": dns.A,
    "NS": dns.NS,
    "CNAME": dns.CNAME,
    "MX": dns.MX,
    "TXT": dns.TXT,
    "AAAA": dns.AAAA,
    "SRV": dns.SRV,
    "TLSA": 52,  # RFC 6698 §7.1
    "CAA": 257,  # RFC 8659 §4.1
}
_MOST_ALIASES = 8
_MOST_AT_ONCE = 16


class DnsAsking:
    """Implements `stalwart.zone.Asks` over resolvers, or over the domain's own servers."""

    def __init__(self, asked: MailDns) -> None:
        self._dns = asked
        self._places = DeferredSemaphore(_MOST_AT_ONCE)

    async def __call__(self, name: str, kind: RecordType) -> Answer:
        """See `Asks`. Where a server tells only an alias, what that leads to is asked for next."""
        aliases: list[str] = []
        secure = True
        while True:
            at = aliases[-1] if aliases else name
            if not is_name(at):
                raise Unknown(f"{at!r} is no name that can be asked for")
            await self._places.acquire()
            try:
                told = await self._dns.ask(at, _NUMBERS[kind])
            except DnsFailed as error:
                raise Unknown(str(error)) from None
            finally:
                self._places.release()
            secure = secure and told.claims_secure
            aliases += told.aliases
            if told.payloads or not told.aliases or not told.exists:
                values = tuple(_value(kind, payload) for payload in told.payloads)
                return Answer(values=values, exists=told.exists, aliases=tuple(aliases), secure=secure)
            if len(aliases) > _MOST_ALIASES:
                raise Unknown(f"{name} leads through more than {_MOST_ALIASES} aliases")


def _value(kind: RecordType, payload: Any) -> Value:
    match payload:
        case dns.Record_A():
            return Address(ip_address(payload.dottedQuad()))
        case dns.Record_AAAA():
            return Address(ip_address(payload.address))
        case dns.Record_CNAME():
            return Alias(_host(payload.name))
        case dns.Record_MX():
            return Mx(payload.preference, _host(payload.name))
        case dns.Record_SRV():
            return Srv(payload.priority, payload.weight, payload.port, _host(payload.target))
        case dns.Record_TXT():
            # RFC 7208 §3.3: the strings of a record belong together.
            return Txt(b"".join(payload.data).decode("ascii", "surrogateescape"))
    return _unknown(kind, payload.data)


def _host(name: Any) -> str:
    octets: bytes = name.name
    return octets.decode("ascii", "backslashreplace").lower().rstrip(".")


def _unknown(kind: RecordType, data: bytes) -> Value:
    """The data of a type that `twisted.names` doesn't know."""
    if kind == "TLSA" and len(data) > 3:
        return Tlsa(data[0], data[1], data[2], data[3:])  # RFC 6698 §2.1
    if kind == "CAA" and len(data) > 2 and 0 < data[1] <= len(data) - 2:
        end = 2 + data[1]  # RFC 8659 §4.1
        return Caa(data[0], data[2:end].decode("ascii", "replace"), data[end:].decode("ascii", "surrogateescape"))
    return Raw(data)
