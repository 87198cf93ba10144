"""The states of an HTTP/1.1 connection and what leads from one to the other. docs/http.md draws them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

IDLE: Final = "idle"
"""Between requests."""
HEAD: Final = "head"
"""A part of a head is there."""
HELD: Final = "held"
"""The head is in; the request is being admitted, its body waits."""
BODY: Final = "body"
"""The body is coming in."""
DRAIN: Final = "drain"
"""The request was answered before its body was in; the small rest is thrown away."""
BUSY: Final = "busy"
"""The request is in, its answer isn't out."""
LINGER: Final = "linger"
"""The last answer is out; what still comes is thrown away until the client closes (RFC 9112 §9.6)."""
UPGRADED: Final = "upgraded"
"""Another protocol has the connection (RFC 9110 §7.8)."""
CLOSED: Final = "closed"
"""Closed from this side."""

# What leads where; an event that a state doesn't name can't happen in it. After an answer: see `Http1Channel.end`.
MOVES: Final[Mapping[str, Mapping[str, str]]] = {
    IDLE: {"octets": HEAD, "close": CLOSED},
    HEAD: {"no body": BUSY, "body": HELD, "refused": BUSY, "close": CLOSED},
    HELD: {"accept": BODY, "drain": DRAIN, "linger": LINGER, "close": CLOSED},
    BODY: {"complete": BUSY, "drain": DRAIN, "linger": LINGER, "close": CLOSED},
    DRAIN: {"complete": IDLE, "linger": LINGER, "close": CLOSED},
    BUSY: {"next": IDLE, "upgrade": UPGRADED, "linger": LINGER, "close": CLOSED},
    UPGRADED: {"close": CLOSED},
    LINGER: {"close": CLOSED},
    CLOSED: {"close": CLOSED},
}
