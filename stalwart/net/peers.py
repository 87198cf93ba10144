"""The addresses of peers as texts that can be compared."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from stalwart.ops.networks import UNIX, plain_address


def address_text(address: IAddress) -> str:
    """A peer's IP address in canonical form, as ban lists and networks know it; "unix" for a Unix socket."""
    if isinstance(address, IPv4Address | IPv6Address):
        return str(plain_address(address.host) or address.host)
    return UNIX if isinstance(address, UNIXAddress) else "unknown"
