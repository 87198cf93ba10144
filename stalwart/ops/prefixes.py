"""Values that belong to networks, found by address in a few look-ups, however many networks there are. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Generic, TypeVar

from stalwart.ops.networks import IPNetwork

V = TypeVar("V")

_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291 §2.5.5.2


def packed(address: str) -> bytes | None:
    """The 4 or 16 octets of an address without a zone, IPv4 in IPv6 as IPv4; None for what is no address."""
    try:
        if ":" not in address:
            return inet_pton(AF_INET, address)
        octets = inet_pton(AF_INET6, address)
    except (OSError, ValueError):
        return None
    return octets[12:] if octets.startswith(_MAPPED) else octets


def client_key(address: str) -> str | bytes:
    """What stands for one client in counts: an IPv4 address, or the /64 of an IPv6 address: one client has all of it.

    All link-local addresses share one /64 (RFC 4291 §2.5.6): each stands for itself. So does what is no address: a Unix
    socket's peer, a client that proxies don't tell.
    """
    if ":" not in address:
        return address
    octets = packed(address)
    if octets is None:
        return address
    return octets[: _client_bits(octets) // 8] if len(octets) == 16 else ".".join(map(str, octets))


def client_network(address: str) -> IPNetwork | None:
    """The network that `client_key` stands for; None for what is no address."""
    octets = packed(address)
    if octets is None:
        return None
    if len(octets) == 4:
        return IPv4Network(octets)
    bits = _client_bits(octets)
    return IPv6Network((octets[: bits // 8].ljust(16, b"\x00"), bits))


def _client_bits(octets: bytes) -> int:
    return 128 if octets[0] == 0xFE and octets[1] & 0xC0 == 0x80 else 64


class PrefixTable(Generic[V]):
    """A value for each of some networks."""

    def __init__(self, entries: Iterable[tuple[IPNetwork, V]] = ()) -> None:
        # By the length of addresses in octets, then by how many bits are cut off; the narrowest networks first.
        self._tables: dict[int, dict[int, dict[int, V]]] = {4: {}, 16: {}}
        self._count = 0
        for network, value in entries:
            self.put(network, value)

    def __len__(self) -> int:
        return self._count

    def put(self, network: IPNetwork, value: V) -> None:
        """Set the value of a network."""
        size = network.max_prefixlen // 8
        cut = network.max_prefixlen - network.prefixlen
        lengths = self._tables[size]
        if cut not in lengths:
            lengths[cut] = {}
            self._tables[size] = lengths = dict(sorted(lengths.items()))
        key = int(network.network_address) >> cut
        self._count += key not in lengths[cut]
        lengths[cut][key] = value

    def remove(self, network: IPNetwork) -> None:
        """Forget a network, if it is there."""
        cut = network.max_prefixlen - network.prefixlen
        networks = self._tables[network.max_prefixlen // 8].get(cut, {})
        if networks.pop(int(network.network_address) >> cut, None) is not None:
            self._count -= 1

    def find(self, address: str) -> V | None:
        """The value of the narrowest network that the address lies in, if there is one."""
        octets = packed(address)
        if octets is None:
            return None
        number = int.from_bytes(octets, "big")
        for cut, networks in self._tables[len(octets)].items():
            value = networks.get(number >> cut)
            if value is not None:
                return value
        return None
