"""Whether an address lies in one of some networks: who is trusted to say for whom it speaks. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IPNetwork = IPv4Network | IPv6Network

UNIX = "unix"
"""Stands where an address would, for the peer of a Unix socket."""

_MOST_KNOWN = 4096
_LOOPBACK: tuple[IPNetwork, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


def plain_address(text: str) -> IPv4Address | IPv6Address | None:
    """The IP address that `text` is, None if it is none. IPv4 in IPv6 is IPv4; a zone is left out."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        # RFC 4291 §2.5.5.2: what a dual-stack socket shows.
        return address.ipv4_mapped or address
    return address


class Networks:
    """Some networks. Answers for addresses as text, and remembers its answers.

    The peer of a Unix socket is a process of this machine that its owner let in: it belongs where loopback does.
    """

    def __init__(self, networks: Iterable[IPNetwork]) -> None:
        self._networks = tuple(networks)
        self._known: dict[str, bool] = {}
        self._unix = any(
            network.version == loopback.version and network.overlaps(loopback)
            for network in self._networks
            for loopback in _LOOPBACK
        )

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        known = self._known.get(address)
        if known is None:
            known = self._look(address)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[address] = known
        return known

    def _look(self, address: str) -> bool:
        if address == UNIX:
            return self._unix
        parsed = plain_address(address)
        return parsed is not None and any(parsed in network for network in self._networks)


LOOPBACK = Networks(_LOOPBACK)
"""127.0.0.0/8 and ::1."""

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1


def is_public(text: str) -> bool:
    """Whether `text` is the address of a host that anybody on the Internet may reach.

    Private, loopback, link-local, multicast and reserved addresses are not, nor is IPv6 that stands for such an IPv4.
    """
    address = plain_address(text)
    if address is None:
        return False
    if isinstance(address, IPv6Address):
        inner = address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if address.teredo is not None or address.is_site_local or (inner is not None and not is_public(str(inner))):
            return False
        if int(address) >> 32 == 0:  # RFC 4291 §2.5.5.1: IPv4-compatible addresses are deprecated
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
