"""The way to the recipients' own servers: MX records (RFC 5321 §5.1), and what MTA-STS and DANE ask for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

import msgspec
from twisted.logger import Logger
from twisted.names import dns

from stalwart.delivery.dane import read_tlsa
from stalwart.delivery.mail_dns import DnsFailed, MailDns
from stalwart.delivery.mta_sts import Policies
from stalwart.delivery.replies import reply
from stalwart.delivery.routes import RouteFailed, Target
from stalwart.ops.networks import is_public

_log = Logger(namespace="stalwart.routes")

SMTP_PORT = 25
_TLSA = 52
_DOMAIN = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_MOST_EXCHANGERS = 10
_MOST_ADDRESSES = 2
"""Of each family, for one exchanger: a domain's other exchangers are to have their turn."""


class Exchanger(msgspec.Struct, frozen=True, kw_only=True):
    host: str
    preference: int


class _Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Those of a host, whether the DNS proves them, and the name at the end of aliases."""

    addresses: tuple[str, ...]
    is_secure: bool
    canonical: str | None


def is_own_address(address: str) -> bool:
    """Whether a connection to an address would end on this machine, or nowhere."""
    found = ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_loopback or found.is_unspecified or found.is_multicast or found.is_link_local


def may_reach(address: str, *, allow_private: bool = False) -> bool:
    """Whether mail may be brought to an address: its domain's owner says which it is, and sees what answers there."""
    return not is_own_address(address) and (allow_private or is_public(address))


class _Refused(Exception):
    """A host has only addresses that mail may not be brought to."""

    def __init__(self, addresses: Sequence[str]) -> None:
        super().__init__(", ".join(addresses))


class DirectRoutes:
    """Finds the servers of each domain."""

    def __init__(
        self,
        *,
        hostname: str,
        asked: MailDns,
        policies: Policies,
        shuffle: Callable[[list[Exchanger]], None],
        may_reach: Callable[[str], bool] = may_reach,
        port: int = SMTP_PORT,
    ) -> None:
        """`hostname` is this server's; `shuffle` mixes exchangers of the same preference.

        `may_reach` says of an IP address whether mail may be brought there.
        """
        self._hostname = hostname.lower()
        self._dns = asked
        self._policies = policies
        self._shuffle = shuffle
        self._may_reach = may_reach
        self._port = port

    async def find(self, destination: str) -> tuple[Target, ...]:
        """See `Routes`."""
        domain = destination.lower().rstrip(".")
        if domain.startswith("["):
            return (self._literal(domain),)
        if not _DOMAIN.fullmatch(domain) or len(domain) > 253:
            raise RouteFailed("permanent", reply(550, "5.1.2", f"There can be no domain {domain[:80]!r}"))
        exchangers, is_secure, names = await self._exchangers(domain)
        policy = await self._policies.of(domain)
        targets = []
        trouble = ""
        refused: list[str] = []
        for exchanger in exchangers:
            if policy is not None and policy.mode != "none" and not policy.allows(exchanger.host):
                # RFC 8461 §5: with "testing" it is only reported.
                _log.warn(
                    "MTA-STS ({mode}): {domain} has the mail exchanger {host}, which its policy doesn't name",
                    mode=policy.mode, domain=domain, host=exchanger.host,
                )  # fmt: skip
                if policy.mode == "enforce":
                    trouble = f"{exchanger.host} isn't among the mail exchangers of the MTA-STS policy"
                    continue
            enforced = policy is not None and policy.mode == "enforce"
            try:
                target = await self._target(exchanger.host, names, is_secure=is_secure, enforced=enforced)
            except DnsFailed as error:
                trouble = str(error)
                continue
            except _Refused as error:
                refused.append(f"{exchanger.host} [{error}]")
                continue
            if target is not None:
                targets.append(target)
        if targets:
            return tuple(targets)
        if trouble:
            raise RouteFailed("temporary", reply(451, "4.4.3", f"No way to {domain} for now: {trouble}"))
        if refused:
            raise _not_public("; ".join(refused))
        raise RouteFailed("permanent", reply(550, "5.4.4", f"The mail exchangers of {domain} have no address"))

    def _literal(self, domain: str) -> Target:
        """RFC 5321 §4.1.3: an address in place of a domain."""
        text = domain.strip("[]").removeprefix("ipv6:")
        try:
            address = str(ip_address(text))
        except ValueError:
            raise RouteFailed("permanent", reply(550, "5.1.2", f"{domain} is no address")) from None
        if not self._may_reach(address):
            raise _not_public(domain)
        return Target(host=address, port=self._port, tls="offered", addresses=(address,))

    async def _exchangers(self, domain: str) -> tuple[Sequence[Exchanger], bool, tuple[str, ...]]:
        """The exchangers in the order to try them, whether the DNS proves them, and all names of the domain."""
        try:
            answer = await self._dns.ask(domain, dns.MX)
        except DnsFailed as error:
            raise RouteFailed("temporary", reply(451, "4.4.3", str(error))) from None
        if not answer.exists:
            raise RouteFailed("permanent", reply(550, "5.1.2", f"There is no domain {domain}"))
        found = [_exchanger(payload) for payload in answer.payloads]
        if found and all(each.host == "" for each in found):
            # RFC 7505 §3, §4.1
            raise RouteFailed("permanent", reply(556, "5.1.10", f"{domain} takes no mail (null MX)"))
        # RFC 5321 §5.1: without MX records the domain is its own exchanger.
        exchangers = [each for each in found if _DOMAIN.fullmatch(each.host)]
        if not found:
            exchangers = [Exchanger(host=domain, preference=0)]
        self._shuffle(exchangers)
        exchangers.sort(key=lambda each: each.preference)
        # RFC 5321 §5.1: from ourselves on, mail would come back to us.
        own = [each.preference for each in exchangers if each.host == self._hostname]
        if own:
            exchangers = [each for each in exchangers if each.preference < min(own)]
            if not exchangers:
                raise _loop(domain)
        names = (domain, answer.canonical) if answer.canonical is not None else (domain,)
        return exchangers[:_MOST_EXCHANGERS], answer.is_secure, names

    async def _target(self, host: str, names: tuple[str, ...], *, is_secure: bool, enforced: bool) -> Target | None:
        """An exchanger as it is to be reached; None if it has no address. Raises DnsFailed, _Refused."""
        found = await self._addresses(host, is_secure=is_secure)
        if not found.addresses:
            return None
        target = Target(host=host, port=self._port, tls="offered", addresses=found.addresses)
        if is_secure:
            for base in await self._tlsa_bases(host, found):
                answer = await self._dns.ask(f"_{self._port}._tcp.{base}", _TLSA)
                if not answer.is_secure or not answer.payloads:
                    continue
                # RFC 7672 §2.2: with records TLS is a must, also where none of them can be used.
                usable = tuple(filter(None, (read_tlsa(payload.data) for payload in answer.payloads)))
                if usable or not enforced:
                    # RFC 7672 §3.2.2: the base domain first, then the domain of the mail and what it is an alias for.
                    return msgspec.structs.replace(
                        target, tls="required", tlsa=usable, names=(base, *names) if usable else ()
                    )
                break
        if enforced:
            return msgspec.structs.replace(target, tls="required", names=(host,))
        return target

    async def _tlsa_bases(self, host: str, found: _Addresses) -> Sequence[str]:
        """RFC 7672 §2.2.2, §2.2.3: under which names TLSA records may be, in their order. Raises DnsFailed."""
        if found.canonical is None:
            return (host,) if found.is_secure else ()
        if found.is_secure:
            return (found.canonical, host)
        # An alias that is proven may lead to where nothing is.
        alias = await self._dns.ask(host, dns.CNAME)
        return (host,) if alias.is_secure and alias.payloads else ()

    async def _addresses(self, host: str, *, is_secure: bool) -> _Addresses:
        """Raises DnsFailed, _Refused."""
        try:
            given = str(ip_address(host))
        except ValueError:
            pass
        else:
            if not self._may_reach(given):
                raise _Refused([given])
        found: list[str] = []
        refused: list[str] = []
        proven = True
        canonical: str | None = None
        trouble: DnsFailed | None = None
        for kind in (dns.AAAA, dns.A):
            try:
                answer = await self._dns.ask(host, kind)
            except DnsFailed as error:
                if is_secure:
                    raise  # RFC 7672 §2.1.2: it may be somebody who wants DANE not to count
                trouble = error
                continue
            texts = [_address(payload) for payload in answer.payloads]
            found.extend([text for text in texts if self._may_reach(text)][:_MOST_ADDRESSES])
            refused.extend(text for text in texts if not self._may_reach(text))
            proven = proven and answer.is_secure
            canonical = answer.canonical or canonical
        if trouble is not None and not found:
            raise trouble
        if refused and not found:
            raise _Refused(refused[:_MOST_ADDRESSES])
        return _Addresses(addresses=tuple(found), is_secure=proven, canonical=canonical)


def _exchanger(payload: Any) -> Exchanger:
    host: bytes = payload.name.name
    return Exchanger(host=host.decode("ascii", "replace").lower().rstrip("."), preference=payload.preference)


def _address(payload: Any) -> str:
    return str(payload.dottedQuad()) if isinstance(payload, dns.Record_A) else str(ip_address(payload.address))


def _not_public(where: str) -> RouteFailed:
    text = f"{where}: mail isn't brought to addresses of this machine, nor to those of private networks unless "
    return RouteFailed("permanent", reply(550, "5.4.4", text + "relay.allow-private-addresses is set"))


def _loop(domain: str) -> RouteFailed:
    text = f"The mail exchanger of {domain} is this server, where it is not a domain of its own"
    return RouteFailed("permanent", reply(554, "5.4.6", text))
