"""JMAP over WebSocket: the handshake at `/jmap/ws` (RFC 6455 §4.2, RFC 8887 §4)."""

from __future__ import annotations

import base64
import binascii
import hashlib

from stalwart.http import Endpoint, Problem, Request, Response
from stalwart.web.jmap_socket import JmapSocket
from stalwart.web.jmap_streams import Streams

_SUBPROTOCOL = "jmap"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_UPGRADE = ("Upgrade", "websocket")


class WebSocket(Endpoint):
    """`GET /jmap/ws`."""

    surface = "jmap-websocket"
    isLeaf = True

    def __init__(self, streams: Streams) -> None:
        super().__init__()
        self._streams = streams

    async def admit(self, request: Request) -> None:
        """Sign in: RFC 8887 §4.1 has the handshake refused with 401 otherwise."""
        await self._streams.sign_in(request, "websocket")

    async def get(self, request: Request) -> Response:
        """Switch protocols."""
        key = check_handshake(request)
        streams = self._streams
        streams.count(request)
        accounts = await streams.accounts(request)
        return Response(
            status=101,
            headers=(
                _UPGRADE,
                ("Sec-WebSocket-Accept", accept_token(key)),
                # RFC 8887 §4.1: the answer names the subprotocol
                ("Sec-WebSocket-Protocol", _SUBPROTOCOL),
            ),
            upgrade=JmapSocket(streams, request, accounts),
        )


def accept_token(key: bytes) -> str:
    """What Sec-WebSocket-Accept says for a Sec-WebSocket-Key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode("ascii")


def check_handshake(request: Request) -> bytes:
    """The key of a client's opening handshake (RFC 6455 §4.2.1). Raises Problem, which says what is wrong with it."""
    if request.channel is None or not request.channel.can_upgrade:
        raise Problem(400, "WebSocket is spoken over HTTP/1.1 here, not over HTTP/2.")
    # Fields are lists of tokens, compared without case: Firefox sends `Connection: keep-alive, Upgrade`.
    if request.method != b"GET" or b"websocket" not in _tokens(request, b"upgrade"):
        raise Problem(426, "This is for WebSocket: the request must ask to upgrade to it.", headers=(_UPGRADE,))
    if request.clientproto != b"HTTP/1.1":
        raise Problem(400, "WebSocket needs HTTP/1.1 or later.")
    if b"upgrade" not in _tokens(request, b"connection"):
        raise Problem(400, "The Connection field must name Upgrade. A proxy before this server may have removed it.")
    if request.header_values(b"sec-websocket-version") != [b"13"]:
        raise Problem(
            426,
            "The version of WebSocket spoken here is 13.",
            headers=(_UPGRADE, ("Sec-WebSocket-Version", "13")),
        )
    keys = request.header_values(b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise Problem(400, "There must be one Sec-WebSocket-Key of 16 octets in base64.")
    if _SUBPROTOCOL.encode() not in _tokens(request, b"sec-websocket-protocol", lower=False):
        raise Problem(400, "The subprotocol must be jmap: send Sec-WebSocket-Protocol: jmap (RFC 8887 section 4.1).")
    return keys[0]


def _tokens(request: Request, name: bytes, *, lower: bool = True) -> list[bytes]:
    values = b",".join(request.header_values(name))
    return [token.strip(b" \t") for token in (values.lower() if lower else values).split(b",")]


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False
