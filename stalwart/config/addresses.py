"""Where a listener listens: `ip:port`, `[v6]:port` and `unix:/path` as values, and when two of them collide."""

from __future__ import annotations

import ipaddress
import os
import re

import msgspec

_TCP = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<v4>[^:\[\]]+)):(?P<port>[0-9]{1,5})", re.ASCII)
_UNIX_PATH_LIMIT = 107  # octets: sun_path of unix(7) less the final NUL


class BadAddress(ValueError):
    """The text is no address; the message says what was wanted."""


class TcpAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An IP address (canonical text, no brackets) and a port; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The absolute path of a Unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress


def parse_address(text: str, folder: str) -> Address:
    """The address that `text` means; a relative socket path counts from `folder`. Raises `BadAddress`."""
    text = text.strip()
    if text.lower().startswith("unix:"):
        return _unix(text[5:], folder)
    match = _TCP.fullmatch(text)
    if match is None or match["v4"] == "*":
        raise BadAddress(_shape_wanted(text))
    try:
        host = ipaddress.IPv6Address(match["v6"]) if match["v6"] else ipaddress.IPv4Address(match["v4"])
    except ValueError:
        what = "an IPv6 address in the brackets" if match["v6"] else "an IPv4 address, not a name, before the colon"
        raise BadAddress(f'{what}, as in "127.0.0.1:8080" or "[::1]:8080"') from None
    port = int(match["port"])
    if port > 65535:
        raise BadAddress("a port from 0 to 65535 after the last colon")
    return TcpAddress(host=str(host), port=port)


def _unix(path: str, folder: str) -> UnixAddress:
    if not path or "\0" in path:
        raise BadAddress('the path of a socket after "unix:", as in "unix:/run/stalwart/lmtp.sock"')
    if path.startswith("@"):
        raise BadAddress(
            'a socket in a folder, as in "unix:/run/stalwart/lmtp.sock"; abstract ones guard nobody\'s access'
        )
    path = os.path.normpath(os.path.join(folder, path))
    if len(os.fsencode(path)) > _UNIX_PATH_LIMIT:
        raise BadAddress(f"a socket path of at most {_UNIX_PATH_LIMIT} octets, which is the system's limit")
    return UnixAddress(path=path)


def _shape_wanted(text: str) -> str:
    examples = '"127.0.0.1:8080", "[::1]:8080" or "unix:/run/stalwart.sock"'
    if text.startswith(("*:", ":")) and text.count(":") == 1:
        return f'an IP address before the port, "[::]{text[text.index(":") :]}" for all addresses of the machine'
    if text.startswith("/"):
        return f'"unix:{text}" for a Unix socket'
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        address = None
    if text.count(":") > 1 and "[" not in text:
        return f"an IPv6 address in brackets, then a colon and the port, as in {examples}"
    if address is None:
        return f"an IP address and a port, or a Unix socket: {examples}"
    shown = f"[{address}]" if address.version == 6 else str(address)
    return f'a port after the address, as in "{shown}:8080"'


def collide(one: Address, other: Address) -> bool:
    """Whether the system would refuse the second of the two (a wildcard takes the port of its whole family)."""
    if isinstance(one, UnixAddress) or isinstance(other, UnixAddress):
        return one == other
    if one.port != other.port or one.port == 0:
        return False
    first, second = _plain(one.host), _plain(other.host)
    return first == second or _covers(first, second) or _covers(second, first)


def _plain(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _covers(
    wildcard: ipaddress.IPv4Address | ipaddress.IPv6Address,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> bool:
    # [::] is bound dual-stack, so that it takes the IPv4 port too.
    return wildcard.is_unspecified and (wildcard.version == 6 or other.version == 4)
