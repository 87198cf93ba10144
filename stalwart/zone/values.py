"""The data of DNS records as values, and how a zone file writes them.

Host names are in A-labels and lower case, without the dot at the end; "" is the root.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

import msgspec

RecordType = Literal["A", "AAAA", "CNAME", "MX", "TXT", "SRV", "TLSA", "CAA", "NS"]

_STRING = 255  # RFC 1035 §3.3: octets of one character-string


class Address(msgspec.Struct, frozen=True):
    """A or AAAA."""

    address: IPv4Address | IPv6Address


class Alias(msgspec.Struct, frozen=True):
    """CNAME."""

    host: str


class Mx(msgspec.Struct, frozen=True):
    """MX; the host "" means that there is no mail (RFC 7505)."""

    preference: int
    host: str


class Txt(msgspec.Struct, frozen=True):
    """TXT, its strings put together. Octets that aren't ASCII stand as surrogates (PEP 383)."""

    text: str


class Srv(msgspec.Struct, frozen=True):
    """SRV (RFC 2782); the host "" means that there is no such service."""

    priority: int
    weight: int
    port: int
    host: str


class Tlsa(msgspec.Struct, frozen=True):
    """TLSA (RFC 6698 §2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


class Caa(msgspec.Struct, frozen=True):
    """CAA (RFC 8659 §4.1)."""

    flags: int
    tag: str
    value: str


class Raw(msgspec.Struct, frozen=True):
    """Data that could not be read as its type wants it."""

    data: bytes


Value = Address | Alias | Mx | Txt | Srv | Tlsa | Caa | Raw


def presentation(value: Value) -> str:
    """As a zone file has it after the type (RFC 1035 §5.1), with full names."""
    match value:
        case Address():
            return str(value.address)
        case Alias():
            return f"{value.host}."
        case Mx():
            return f"{value.preference} {value.host}."
        case Txt():
            return " ".join(_quoted(string) for string in _strings(value.text.encode("ascii", "surrogateescape")))
        case Srv():
            return f"{value.priority} {value.weight} {value.port} {value.host}."
        case Tlsa():
            return f"{value.usage} {value.selector} {value.matching} {value.data.hex()}"
        case Caa():
            return f"{value.flags} {value.tag} {_quoted(value.value.encode('ascii', 'surrogateescape'))}"
        case Raw():
            return rf"\# {len(value.data)} {value.data.hex()}".rstrip()  # RFC 3597 §5


def as_text(value: Value) -> str:
    """For people and programs: a TXT record is one text, however long; all else is as in a zone file."""
    if isinstance(value, Txt):
        return value.text.encode("ascii", "surrogateescape").decode("utf-8", "backslashreplace")
    return presentation(value)


def base64_octets(text: str) -> bytes | None:
    """The octets of base64 with white space anywhere (RFC 6376 §3.2); None if it is none."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return None


def _strings(octets: bytes) -> Iterator[bytes]:
    for start in range(0, max(len(octets), 1), _STRING):
        yield octets[start : start + _STRING]


def _quoted(octets: bytes) -> str:
    return '"' + "".join(map(_escaped, octets)) + '"'


def _escaped(octet: int) -> str:
    # RFC 1035 §5.1
    if octet in b'"\\':
        return "\\" + chr(octet)
    return chr(octet) if 0x20 <= octet < 0x7F else f"\\{octet:03d}"
