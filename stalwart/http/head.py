"""The heads of HTTP/1.1 messages (RFC 9112): a request's are read, into a `Head` or a `Problem`; an answer's written.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus

import msgspec

from stalwart.http.limits import Limits
from stalwart.http.problem import Problem

# RFC 9110 §5.6.2: token.
TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORBIDDEN = bytes(octet for octet in range(32) if octet != 9) + b"\x7f"
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]\Z")
# What could be read in two ways if it came twice.
SINGLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization", b"content-type"))
_FRAMING = SINGLE | {b"connection", b"expect"}
_MOST_DIGITS = 18
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus}


class Head(msgspec.Struct, kw_only=True):
    """A request line and its header fields, with what they say about the message's framing."""

    method: bytes
    target: bytes
    version: bytes
    fields: list[tuple[bytes, bytes]]
    """Names in lower case, in the order sent."""

    length: int | None
    """The body's octets; 0 for no body, None for the chunked coding."""

    keep_alive: bool
    expects_continue: bool


def find_end(buffer: bytes, searched: int, limits: Limits) -> int:
    """Where the head at the start of `buffer` ends, behind its empty line; 0 if more octets are needed.

    `searched` octets were looked at before. Raises Problem as soon as the head is too large or can't be HTTP;
    the verdict doesn't depend on how the octets were cut.
    """
    if buffer[0] not in TOKEN:
        raise Problem(400, "This is not an HTTP request.")
    line_end = buffer.find(b"\n", 0, limits.target_size + 2)
    if line_end < 0:
        if len(buffer) >= limits.target_size + 2:
            raise Problem(414, f"A request line may have at most {limits.target_size} octets.")
        return 0
    if buffer[line_end - 1] != 13:
        # RFC 9112 §2.2 lets a recipient refuse a bare LF; taking it has been used to smuggle requests.
        raise Problem(400, "The request line must end with CR LF.")
    end = buffer.find(b"\r\n\r\n", max(0, searched - 3)) + 4
    if end > limits.head_size or (end == 3 and len(buffer) >= limits.head_size):
        raise Problem(431, f"The request line and the header fields may have at most {limits.head_size} octets.")
    return 0 if end == 3 else end


def parse_head(head: bytes, limits: Limits) -> Head:
    """Read a whole head, its empty line included; raises Problem."""
    lines = head[:-4].split(b"\r\n")
    if len(head.translate(None, _FORBIDDEN)) != len(head) - 2 * len(lines) - 2:
        raise Problem(400, "There is a control character in the request's head.")
    request_line = lines[0].split(b" ")
    if len(request_line) != 3 or not request_line[0] or not request_line[1]:
        raise Problem(400, "The request line must be a method, a target and a version with one space between them.")
    method, target, version = request_line
    if method.translate(None, TOKEN):
        raise Problem(400, "The method has a character that is not allowed in one.")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        if _VERSION.match(version):
            raise Problem(505, "This server speaks HTTP/1.1 here.")
        raise Problem(400, "The request line does not end with an HTTP version.")
    if len(lines) - 1 > limits.head_fields:
        raise Problem(431, f"A request may have at most {limits.head_fields} header fields.")
    fields: list[tuple[bytes, bytes]] = []
    framing: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        # RFC 9112 §5.1: no whitespace before the colon. §5.2: a folded line, too, ends here.
        if not colon or not name or name.translate(None, TOKEN):
            raise Problem(400, "A header field must be a name, a colon and a value on one line.")
        name = name.lower()
        value = value.strip(b" \t")
        fields.append((name, value))
        if name in _FRAMING:
            if name in framing:
                if name in SINGLE:
                    # RFC 9112 §3.2 and §6.3: more than one of these is an attack or a fault.
                    raise more_than_one(name)
                value = framing[name] + b"," + value
            framing[name] = value
    options = _list(framing[b"connection"]) if b"connection" in framing else ()
    modern = version == b"HTTP/1.1"
    if modern and b"host" not in framing:
        # RFC 9112 §3.2
        raise Problem(400, "An HTTP/1.1 request must have a Host field.")
    return Head(
        method=method,
        target=target,
        version=version,
        fields=fields,
        length=_length(framing, modern=modern),
        keep_alive=modern and b"close" not in options,
        expects_continue=b"expect" in framing and _expects_continue(framing[b"expect"], modern=modern),
    )


def more_than_one(name: bytes) -> Problem:
    """The refusal of a request that has a field of `SINGLE` twice."""
    return Problem(400, f"There is more than one {name.decode('ascii').title()} field.")


def _list(value: bytes) -> list[bytes]:
    return [item.strip(b" \t").lower() for item in value.split(b",")]


def _length(framing: dict[bytes, bytes], *, modern: bool) -> int | None:
    """RFC 9112 §6.3, in its strictest reading: whatever two servers could read in two ways is refused."""
    coding = framing.get(b"transfer-encoding")
    length = framing.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise Problem(400, "A request must not have both Transfer-Encoding and Content-Length.")
        if not modern:
            raise Problem(400, "An HTTP/1.0 request must not have a Transfer-Encoding field.")
        if coding.lower() != b"chunked":
            raise Problem(501, "The only transfer coding that this server takes is chunked.")
        return None
    if length is None:
        return 0
    if not length.isdigit():
        raise Problem(400, "Content-Length must be a decimal number.")
    if len(length) > _MOST_DIGITS:
        raise Problem(413, "Content-Length is beyond any body.")
    return int(length)


def _expects_continue(value: bytes, *, modern: bool) -> bool:
    # RFC 9110 §10.1.1: ignored in HTTP/1.0; any other expectation can't be met.
    if not modern:
        return False
    if value.lower() != b"100-continue":
        raise Problem(417, "The only expectation that this server meets is 100-continue.")
    return True


def encode_head(status: int, *fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An answer's status line and header fields, and the empty line behind them."""
    parts = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
    for some in fields:
        for name, value in some:
            parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)
