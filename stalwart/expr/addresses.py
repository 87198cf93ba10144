"""The functions on IP addresses. An IPv4 address mapped into IPv6 counts as what it is: IPv4."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

from stalwart.expr.values import Value, to_text

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_LONGEST_ADDRESS = 45  # characters: IPv6 with an IPv4 tail
_MOST_KNOWN = 4096


def parse_address(text: str) -> Address | None:
    """The address a text spells, without a port, brackets or a zone."""
    if len(text) > _LONGEST_ADDRESS or "%" in text:
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def parse_network(text: str) -> Network | None:
    """A network as `address/bits`, or one address; bits behind the prefix are ignored."""
    _, slash, bits = text.partition("/")
    if len(text) > 49 or "%" in text or (slash and not (bits.isascii() and bits.isdigit())):
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


class Members:
    """Tells whether texts spell addresses of one network, and remembers the latest answers."""

    __slots__ = ("_known", "_network")

    def __init__(self, network: Network) -> None:
        self._network = network
        self._known: dict[Value, bool] = {}

    def __call__(self, value: Value) -> bool:
        """`in_network`."""
        known = self._known.get(value)
        if known is None:
            known = in_network(value, self._network)
            if type(value) is str and len(value) <= _LONGEST_ADDRESS:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[value] = known
        return known


def in_network(value: Value, network: Network) -> bool:
    """Whether a text spells an address of the network."""
    address = parse_address(to_text(value))
    if address is None:
        return False
    if isinstance(address, ipaddress.IPv6Address) and network.version == 4 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address in network


def is_ip_addr(value: Value) -> bool:
    """Whether a text spells an address."""
    return parse_address(to_text(value)) is not None


def is_ipv4_addr(value: Value) -> bool:
    """Whether a text spells an IPv4 address."""
    return isinstance(parse_address(to_text(value)), ipaddress.IPv4Address)


def is_ipv6_addr(value: Value) -> bool:
    """Whether a text spells an IPv6 address."""
    return isinstance(parse_address(to_text(value)), ipaddress.IPv6Address)


def is_ip_in_cidr(value: Value, cidr: Value) -> bool:
    """Whether an address lies in a network; no for what is no address or no network."""
    network = parse_network(to_text(cidr))
    return network is not None and in_network(value, network)


def ip_reverse_name(value: Value) -> str:
    """The labels of the reverse zone without the zone, or '' for what is no address."""
    address = parse_address(to_text(value))
    if address is None:
        return ""
    # RFC 1035 §3.5, RFC 3596 §2.5
    return address.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
