"""Whether an SPF record lets an address send (RFC 7208), worked out over any way to ask the DNS.

Macros are not expanded, and `ptr` is not looked up: what depends on them is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal

from stalwart.zone.asking import Asks, Unknown, addresses, is_name
from stalwart.zone.values import Mx

Result = Literal["pass", "fail", "softfail", "neutral", "none"]

_RESULTS: dict[str, Result] = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_MOST_LOOKUPS = 10  # RFC 7208 §4.6.4
_MOST_HOSTS = 10
_TERM = re.compile(r"([+?~-]?)([A-Za-z][A-Za-z0-9._-]*)(?:([:=])([^/]*))?(?:/([0-9]{1,2}))?(?://([0-9]{1,3}))?")
_IP = re.compile(r"([+?~-]?)(ip[46]):([0-9a-f.:]+(?:/[0-9]{1,3})?)", re.IGNORECASE)
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)", re.DOTALL)
_LOOKED_UP = ("include", "a", "mx", "ptr", "exists")

IP = IPv4Address | IPv6Address


class BadSpf(Exception):
    """The record is none that a receiver can use (permerror). The text says why."""


class SpfCheck:
    """Works out the results of one domain's record for addresses; each with its own count of lookups."""

    def __init__(self, ask: Asks) -> None:
        self._ask = ask
        self._lookups = 0

    async def result(self, domain: str, address: str) -> Result:
        """What the record says of mail from an IP address. Raises BadSpf and Unknown."""
        self._lookups = 0
        return await self._evaluate(domain, ip_address(address))

    async def _evaluate(self, domain: str, address: IP) -> Result:
        record = await spf_record(self._ask, domain)
        if record is None:
            return "none"
        redirect: str | None = None
        for term in record.split()[1:]:
            modifier = _MODIFIER.fullmatch(term)
            if modifier is not None:
                if modifier[1].lower() == "redirect":
                    if redirect is not None:
                        raise BadSpf("redirect= is there twice")
                    redirect = modifier[2]
                continue
            qualifier, matches = await self._mechanism(term, domain, address)
            if matches:
                return _RESULTS[qualifier or "+"]
        if redirect is None:
            return "neutral"  # RFC 7208 §4.7
        self._count()
        result = await self._evaluate(_target(redirect), address)
        if result == "none":
            raise BadSpf(f"redirect={redirect!r} leads to no SPF record")  # RFC 7208 §6.1
        return result

    async def _mechanism(self, term: str, domain: str, address: IP) -> tuple[str, bool]:
        network = _IP.fullmatch(term)
        if network is not None:
            return network[1], _in_network(term, network[2].lower(), network[3], address)
        found = _TERM.fullmatch(term)
        if found is None or found[3] == "=":
            raise BadSpf(f"{term!r} is no mechanism")
        name = found[2].lower()
        if name in _LOOKED_UP:
            self._count()
        if (name in ("include", "exists") and not found[4]) or (found[3] and not found[4]):
            raise BadSpf(f"{term!r} names no domain")
        target = _target(found[4]) if found[4] else domain
        match name:
            case "all":
                return found[1], True
            case "include":
                return found[1], await self._includes(target, address)
            case "a":
                return found[1], await self._is_host(target, found[5], found[6], address)
            case "mx":
                return found[1], await self._is_exchanger(target, found[5], found[6], address)
            case "exists":
                return found[1], bool((await self._ask(target, "A")).values)
            case "ptr":
                raise Unknown("the SPF record has ptr, which depends on the reverse name (and is not to be used)")
        raise BadSpf(f"{term!r} is no mechanism")

    async def _includes(self, target: str, address: IP) -> bool:
        result = await self._evaluate(target, address)
        if result == "none":
            raise BadSpf(f"include:{target} leads to no SPF record")  # RFC 7208 §5.2
        return result == "pass"

    async def _is_host(self, host: str, four: str | None, six: str | None, address: IP) -> bool:
        found, _ = await addresses(self._ask, host)
        bits = four if address.version == 4 else six
        return any(_near(one, bits, address) for one in found)

    async def _is_exchanger(self, target: str, four: str | None, six: str | None, address: IP) -> bool:
        answer = await self._ask(target, "MX")
        hosts = [value.host for value in answer.of(Mx) if value.host]
        if len(hosts) > _MOST_HOSTS:
            raise BadSpf(f"mx:{target} leads to more than {_MOST_HOSTS} hosts")
        for host in hosts:
            if await self._is_host(host, four, six, address):
                return True
        return False

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups > _MOST_LOOKUPS:
            raise BadSpf(f"it takes more than {_MOST_LOOKUPS} lookups, so that receivers give up (RFC 7208 §4.6.4)")


async def spf_record(ask: Asks, domain: str) -> str | None:
    """The SPF record of a domain, None if it has none. Raises BadSpf if it has several, and Unknown."""
    found = spf_texts((await ask(domain, "TXT")).texts("v=spf1"))
    if len(found) > 1:
        raise BadSpf(f"{domain} has {len(found)} SPF records, so that none counts")  # RFC 7208 §4.5
    return found[0] if found else None


def spf_texts(texts: Sequence[str]) -> list[str]:
    """Those that are SPF records: `v=spf10` is none (RFC 7208 §4.5)."""
    return [text for text in texts if text.lower() == "v=spf1" or text[:7].lower() == "v=spf1 "]


def _target(text: str) -> str:
    if "%" in text:
        raise Unknown(f"the SPF record has the macro {text!r}, which is worked out for each message")
    name = text.lower().removesuffix(".")
    if not is_name(name):
        raise BadSpf(f"{text!r} is no domain name")
    return name


def _in_network(term: str, name: str, text: str, address: IP) -> bool:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise BadSpf(f"{term!r} has no network") from None
    if network.version != int(name[-1]):
        raise BadSpf(f"{term!r} has no address of IPv{name[-1]}")
    return address in network


def _near(one: str, bits: str | None, address: IP) -> bool:
    host = ip_address(one)
    if host.version != address.version:
        return False
    if bits is not None and int(bits) > host.max_prefixlen:
        raise BadSpf(f"/{bits} is longer than an address")
    return address in ip_network(f"{one}/{bits if bits is not None else host.max_prefixlen}", strict=False)
