"""X-Forwarded-For, -Proto and -Host, the customs that RFC 7239 was to replace. Octets in, values out; pure."""

from __future__ import annotations

from collections.abc import Sequence

from stalwart.http.forwarded import UNKNOWN, BadForwarded, Node, parse_node


def list_items(values: Sequence[bytes]) -> list[str]:
    """The items of a comma-separated field that may come in several lines, the last proxy's last; no empty ones."""
    items = (item.strip(b" \t").decode("latin-1") for value in values for item in value.split(b","))
    return [item for item in items if item]


def parse_forwarded_for(values: Sequence[bytes]) -> list[Node]:
    """The addresses of X-Forwarded-For, some with ports. What is no address is a node that tells none."""
    return [_node(item) for item in list_items(values)]


def _node(item: str) -> Node:
    try:
        return parse_node(item.strip('"'))
    except BadForwarded:
        return UNKNOWN
