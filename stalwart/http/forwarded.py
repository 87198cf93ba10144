"""The Forwarded field: who asked a proxy, for which host, by which scheme (RFC 7239). Octets in, values out; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from stalwart.ops.networks import plain_address

# RFC 7239 §4: a token or a quoted-string. Addresses with colons and brackets are often sent without their quotes.
_PAIR = re.compile(
    rb"""[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:([!#$%&'*+.^_`|~0-9A-Za-z:\[\]/@-]+)|"((?:[^"\\]|\\.)*)")[ \t]*""",
    re.DOTALL,
)
_EMPTY = re.compile(rb"[ \t]*")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
# RFC 7239 §6.3
_OBFUSCATED = re.compile(r"_[A-Za-z0-9._-]+", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


class BadForwarded(ValueError):
    """The field's value is not of the form of RFC 7239."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message came from or went to (RFC 7239 §6)."""

    address: str | None
    """The IP address in canonical form; None where the proxy doesn't tell it (`unknown`, `_secret`)."""

    port: int | None = None
    """None where it is not told, or obfuscated."""


UNKNOWN = Node(address=None)


class Element(msgspec.Struct, frozen=True, kw_only=True):
    """What one proxy says (RFC 7239 §4). None for what it leaves out."""

    for_: Node | None = None
    by: Node | None = None
    host: str | None = None
    proto: str | None = None


def parse_forwarded(values: Iterable[bytes]) -> list[Element]:
    """The elements of all Forwarded fields of a message, the last proxy's last. Raises BadForwarded."""
    return [element for value in values for element in _elements(value)]


def _elements(value: bytes) -> list[Element]:
    elements: list[Element] = []
    pairs: dict[bytes, str] = {}
    at, end = 0, len(value)
    while True:
        match = _PAIR.match(value, at)
        if match is not None:
            name = match[1].lower()
            if name in pairs:
                # RFC 7239 §4: each parameter must not occur more than once per element.
                raise BadForwarded(f"There is more than one {name.decode('ascii')} in one element.")
            text = match[2] if match[2] is not None else _ESCAPE.sub(rb"\1", match[3])
            pairs[name] = text.decode("latin-1")
            at = match.end()
        else:
            empty = _EMPTY.match(value, at)
            assert empty is not None
            at = empty.end()
        if at < end and value[at] == 0x3B:  # ;
            at += 1
            continue
        if at < end and value[at] != 0x2C:  # ,
            raise BadForwarded(f"There is neither a pair nor a separator at octet {at}.")
        if pairs:  # RFC 9110 §5.6.1.2: empty elements of a list count for nothing
            elements.append(_element(pairs))
            pairs = {}
        if at == end:
            return elements
        at += 1


def _element(pairs: dict[bytes, str]) -> Element:
    for_, by = pairs.get(b"for"), pairs.get(b"by")
    return Element(
        for_=None if for_ is None else parse_node(for_),
        by=None if by is None else parse_node(by),
        host=pairs.get(b"host"),
        proto=pairs.get(b"proto"),
    )


def parse_node(text: str) -> Node:
    """The node that `text` names: an address, or one that tells none; raises BadForwarded (RFC 7239 §6)."""
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in name or (rest and not rest.startswith(":")):
            raise BadForwarded("An IPv6 address must stand in brackets, with a port behind them or nothing.")
        port: str | None = rest[1:] if rest else None
    elif text.count(":") > 1:
        name, port = text, None  # an IPv6 address without its brackets
    else:
        name, colon, after = text.partition(":")
        port = after if colon else None
    number = None if port is None else _port(port)
    if name.lower() == "unknown" or _OBFUSCATED.fullmatch(name):
        return Node(address=None, port=number)
    address = plain_address(name)
    if address is None:
        raise BadForwarded("A node must be an IP address, unknown, or an identifier that starts with an underscore.")
    return Node(address=str(address), port=number)


def _port(text: str) -> int | None:
    if _OBFUSCATED.fullmatch(text):
        return None
    if not _PORT.fullmatch(text) or int(text) > 65_535:
        raise BadForwarded("A port must be a number up to 65535, or an identifier that starts with an underscore.")
    return int(text)
