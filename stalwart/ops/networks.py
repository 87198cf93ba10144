"""Whether an address lies in one of some networks: who is trusted to say for whom it speaks. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

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

# IANA's registries of special-purpose addresses (RFC 6890), what isn't globally reachable. Python's own notion of it
# differs from version to version.
_NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast and reserved
        "2001::/23",  # Teredo and others that stand for something else
        "2001:db8::/32",
        "2002::/16",  # 6to4: any IPv4 address
        "3fff::/20",
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291 §2.4, as far as IANA has given it out
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1


def is_public(text: str) -> bool:
    """Whether `text` is the address of a host that anybody on the Internet may reach.

    Private, loopback, link-local, multicast and reserved addresses are not, nor is IPv6 that stands for such an IPv4.
    """
    address = plain_address(text)
    if address is None:
        return False
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(str(IPv4Address(int(address) & 0xFFFFFFFF)))
        if address not in _GLOBAL_UNICAST:
            return False
    return not any(address in network for network in _NOT_PUBLIC)
