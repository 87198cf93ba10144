"""Who sent a request that proxies have passed on: counted from the right, as far as the proxies are trusted. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from stalwart.http.forwarded import BadForwarded, Element, parse_forwarded
from stalwart.http.problem import Problem
from stalwart.http.x_forwarded import list_items, parse_forwarded_for
from stalwart.ops.networks import IPNetwork, Networks

# RFC 3986 §3.2.2, without the signs of sub-delims that no host has.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_MOST_KNOWN = 1024
_MOST_REMEMBERED = 256  # octets of one request's fields

Fields = tuple[tuple[bytes, bytes], ...]

FORWARDING = frozenset((b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"))
"""The fields by which proxies say for whom they ask, as far as they are believed."""

UNKNOWN = "unknown"
"""The address of a client that trusted proxies don't tell: in no network, and nobody's own."""

_PASSED_ON = FORWARDING | {b"via", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"cf-connecting-ip", b"cdn-loop"}


def was_passed_on(name: bytes) -> bool:
    """Whether a field of this name (in lower case) tells that a proxy passed the request on."""
    return name in _PASSED_ON or name.startswith(b"x-forwarded")


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What trusted proxies say of a request."""

    address: str
    port: int | None = None
    """None where no proxy tells it."""

    scheme: str | None = None
    """"http" or "https"; None where no proxy tells it."""

    host: str | None = None
    """A host, maybe with a port; None where no proxy tells it, or tells what is no host."""


def plain_authority(host: str, scheme: str) -> str:
    """`host` in lower case without the scheme's default port (RFC 9110 §4.2.3); '' if it is none."""
    if not _AUTHORITY.fullmatch(host):
        return ""
    return host.lower().removesuffix(_DEFAULT_PORTS[scheme])


class TrustedProxies:
    """Those whose word on where a request comes from is taken. Remembers what it has read: clients come again."""

    def __init__(self, networks: Iterable[IPNetwork]) -> None:
        """The peer of a Unix socket is trusted where loopback is."""
        self._trusted = Networks(networks)
        self._known: dict[tuple[str, Fields], Origin] = {}

    def __contains__(self, address: str) -> bool:
        return address in self._trusted

    def origin(self, peer: str, fields: Sequence[tuple[bytes, bytes]]) -> Origin | None:
        """Who sent the request that came from `peer`; None if it is as it seems. Names of `fields` in lower case.

        Raises Problem 400 for a `Forwarded` that can't be read: else a client could hide behind the proxy by sending
        what makes the proxy's own words unreadable. So it does where `Forwarded` and the older fields contradict each
        other: most proxies write the older ones only, and pass on what the client wrote into the other.
        """
        if peer not in self._trusted:
            return None
        said = tuple(field for field in fields if field[0] in FORWARDING)
        if not said:
            return None
        origin = self._known.get((peer, said))
        if origin is None:
            origin = self._read(peer, said)
            if sum(len(value) for _, value in said) <= _MOST_REMEMBERED:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[peer, said] = origin
        return origin

    def _read(self, peer: str, said: Fields) -> Origin:
        found: dict[bytes, list[bytes]] = {}
        for name, value in said:
            found.setdefault(name, []).append(value)
        if b"forwarded" not in found:
            return self._customary(peer, found)
        try:
            elements = parse_forwarded(found[b"forwarded"])
        except BadForwarded as error:
            raise Problem(400, f"The Forwarded field can't be read: {error}") from error
        origin = self._walk(peer, elements)
        if len(found) > 1 and not _agree(origin, self._customary(peer, found)):
            raise Problem(
                400,
                "Forwarded and X-Forwarded-… contradict each other. The proxy before this server must remove the one "
                "that it does not write itself.",
            )
        return origin

    def _walk(self, peer: str, elements: list[Element]) -> Origin:
        """RFC 7239 §8.1: what stands left of an element by someone who isn't trusted may be invented."""
        address, port, scheme, host = peer, None, None, None
        while elements and address in self._trusted:
            element = elements.pop()
            scheme = _SCHEMES.get((element.proto or "").lower(), scheme)
            host = _host(element.host) or host
            if element.for_ is None:
                break
            if element.for_.address is None:
                address, port = UNKNOWN, None
                break
            address, port = element.for_.address, element.for_.port
        return Origin(address=address, port=port, scheme=scheme, host=host)

    def _customary(self, peer: str, found: dict[bytes, list[bytes]]) -> Origin:
        address, port, hops = peer, None, 0
        nodes = parse_forwarded_for(found.get(b"x-forwarded-for", ()))
        while address in self._trusted:
            hops += 1
            if not nodes:
                break
            node = nodes.pop()
            if node.address is None:
                address, port = UNKNOWN, None
                break
            address, port = node.address, node.port
        proto = _counted(list_items(found.get(b"x-forwarded-proto", ())), hops)
        host = _counted(list_items(found.get(b"x-forwarded-host", ())), hops)
        return Origin(address=address, port=port, scheme=_SCHEMES.get((proto or "").lower()), host=_host(host))


def _agree(one: Origin, other: Origin) -> bool:
    return (one.address, one.scheme, one.host) == (other.address, other.scheme, other.host)


def _counted(items: list[str], hops: int) -> str | None:
    """What the outermost of `hops` proxies said. A list that is shorter was set by one of them, not added to."""
    return items[max(0, len(items) - hops)] if items else None


def _host(text: str | None) -> str | None:
    return text if text is not None and _AUTHORITY.fullmatch(text) else None
