"""The header of the PROXY protocol, versions 1 and 2, by which a balancer says for whom it connects. Pure.

The protocol is described in HAProxy's doc/proxy-protocol.txt; the sections named here are its.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import msgspec

_V1 = b"PROXY "
_V1_MOST = 107  # §2.1: octets of the longest line, its CR LF included
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED = 16
_V2_MOST = 4096
"""§2.2 lets a header say up to 65535 octets; addresses with a certificate's names take some hundreds."""

_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_UNIX_PATH = 108


class BadHeader(ValueError):
    """What came is no header of the PROXY protocol; the text says why."""


class Tcp(msgspec.Struct, frozen=True, kw_only=True):
    """An end of a TCP connection."""

    host: str
    port: int


class Unix(msgspec.Struct, frozen=True, kw_only=True):
    """An end of a connection over a Unix socket; the path is empty for one without a name."""

    path: bytes


class ProxyHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Who connected to whom."""

    local: bool = False
    """The balancer speaks for itself (§2.2, LOCAL): its own addresses hold."""

    source: Tcp | Unix | None = None
    """None where the balancer doesn't know, or doesn't tell it here (UNKNOWN, UNSPEC)."""

    destination: Tcp | Unix | None = None


class HeaderReader:
    """Reads one header, however its octets are cut. What is wrong is told at the first octet that shows it."""

    def __init__(self) -> None:
        self.rest = b""
        """What came behind the header."""

        self._buffer = b""

    @property
    def started(self) -> bool:
        """Whether anything has come."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> ProxyHeader | None:
        """The header when it is whole, None while more octets are needed. Raises BadHeader."""
        buffer = self._buffer = self._buffer + data
        if not buffer:
            return None
        found = self._first(buffer) if buffer[0] == _V1[0] else self._second(buffer)
        if found is None:
            return None
        header, end = found
        self.rest = buffer[end:]
        return header

    @staticmethod
    def _first(buffer: bytes) -> tuple[ProxyHeader, int] | None:
        """§2.1: one line of text."""
        if not _begins(buffer, _V1):
            raise BadHeader("it starts neither with a line that says PROXY nor with the signature of version 2")
        end = buffer.find(b"\n", 0, _V1_MOST) + 1
        if not end:
            if len(buffer) >= _V1_MOST:
                raise BadHeader(f"its line is longer than {_V1_MOST} octets")
            return None
        if not buffer.endswith(b"\r\n", 0, end):
            raise BadHeader("its line doesn't end with CR LF")
        return _line(buffer[len(_V1) : end - 2]), end

    @staticmethod
    def _second(buffer: bytes) -> tuple[ProxyHeader, int] | None:
        """§2.2: binary."""
        if not _begins(buffer, _V2):
            raise BadHeader("it starts neither with a line that says PROXY nor with the signature of version 2")
        if len(buffer) > 12 and buffer[12] not in (0x20, 0x21):
            raise BadHeader(f"its version and command are {buffer[12]:#04x}, where 0x20 or 0x21 was wanted")
        if len(buffer) < _V2_FIXED:
            return None
        length = int.from_bytes(buffer[14:16])
        if length > _V2_MOST:
            raise BadHeader(f"it says that it has {length} octets, and at most {_V2_MOST} are taken")
        local = buffer[12] == 0x20
        family, kind = divmod(buffer[13], 16)
        needed = 0 if local else _needed(family, kind)
        if length < needed:
            raise BadHeader(f"it says that it has {length} octets, and its addresses take {needed}")
        end = _V2_FIXED + length
        if len(buffer) < end:
            return None
        if local:
            # §2.2: the receiver must use the connection's own addresses and discard the block.
            return ProxyHeader(local=True), end
        return _block(family, buffer[_V2_FIXED : _V2_FIXED + needed]), end


def _begins(buffer: bytes, mark: bytes) -> bool:
    return buffer.startswith(mark) if len(buffer) >= len(mark) else mark.startswith(buffer)


def _line(line: bytes) -> ProxyHeader:
    words = line.split(b" ")
    if words[0] == b"UNKNOWN":
        # §2.1: the rest of the line is ignored, and may be missing.
        return ProxyHeader()
    if words[0] not in (b"TCP4", b"TCP6") or len(words) != 5:
        raise BadHeader("its line is not UNKNOWN, or TCP4 or TCP6 with two addresses and two ports")
    make = IPv4Address if words[0] == b"TCP4" else IPv6Address
    try:
        # The text is parsed, not the octets: those would be taken for a packed address.
        hosts = [make(word.decode("ascii")) for word in words[1:3]]
    except (AddressValueError, UnicodeDecodeError):
        raise BadHeader(f"its line has what is no address of {words[0].decode('ascii')}") from None
    source, destination = (_tcp(host, _port(word)) for host, word in zip(hosts, words[3:], strict=True))
    return ProxyHeader(source=source, destination=destination)


def _port(word: bytes) -> int:
    if not _PORT.fullmatch(word) or int(word) > 65_535:
        raise BadHeader("its line has what is no port")
    return int(word)


def _tcp(host: IPv4Address | IPv6Address, port: int) -> Tcp:
    if isinstance(host, IPv6Address):
        if host.scope_id is not None:
            raise BadHeader("its line has an address with a zone")
        return Tcp(host=str(host.ipv4_mapped or host), port=port)
    return Tcp(host=str(host), port=port)


def _needed(family: int, kind: int) -> int:
    """How many octets the addresses take."""
    if family > 3 or kind > 2:
        raise BadHeader(f"its family and transport are {family:x}{kind:x}, which no version has")
    # §2.2: UNSPEC, in whichever half, tells no address; all octets behind are ignored.
    if not family or not kind:
        return 0
    return (0, 12, 36, 2 * _UNIX_PATH)[family]


def _block(family: int, block: bytes) -> ProxyHeader:
    if not block:
        return ProxyHeader()
    if family == 3:
        source, destination = block[:_UNIX_PATH], block[_UNIX_PATH:]
        return ProxyHeader(source=_unix(source), destination=_unix(destination))
    make, size = (IPv4Address, 4) if family == 1 else (IPv6Address, 16)
    ports = block[2 * size :]
    return ProxyHeader(
        source=_tcp(make(block[:size]), int.from_bytes(ports[:2])),
        destination=_tcp(make(block[size : 2 * size]), int.from_bytes(ports[2:])),
    )


def _unix(path: bytes) -> Unix:
    # An abstract name starts with NUL; others end with one.
    return Unix(path=path.rstrip(b"\x00") if path[:1] == b"\x00" else path.partition(b"\x00")[0])
