"""Octets to Request objects and responses to octets, in I-JSON (RFC 7493) both ways (RFC 8620 §1.5).

`json` would let duplicate keys and NaN through, and msgspec duplicate keys; here nothing passes that two readers
could understand differently.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from stalwart.jmap.errors import NotJson, NotRequest

MAX_DEPTH = 128
"""Arrays and objects within each other in a request (RFC 8620 §8.4). Code here may recurse over a decoded request."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

# RFC 7493 §2.1: the noncharacters of Unicode, by octets that all of a group have. Plain searches for each are far
# faster than one expression for all.
_NONCHARACTERS = tuple(
    (common, tuple(chr(code).encode() for code in codes))
    for common, codes in (
        (b"\xef\xb7", range(0xFDD0, 0xFDF0)),
        (b"\xbf\xbe", range(0xFFFE, 0x110000, 0x10000)),
        (b"\xbf\xbf", range(0xFFFF, 0x110000, 0x10000)),
    )
)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()


class Request(msgspec.Struct, frozen=True):
    """RFC 8620 §3.3. Properties that it does not have are ignored, as that section asks."""

    using: list[str]
    # RFC 8620 §3.2: an Invocation is a name, arguments and a method call id
    method_calls: list[tuple[str, dict[str, Any], str]] = msgspec.field(name="methodCalls")
    created_ids: dict[str, str] | UnsetType = msgspec.field(name="createdIds", default=UNSET)


def decode_request(body: bytes) -> Request:
    """The Request object in `body`.

    Raises:
        NotJson: it is not I-JSON, or nested deeper than `MAX_DEPTH`.
        NotRequest: it is another kind of JSON value.
    """
    value = decode(body)
    try:
        return msgspec.convert(value, Request)
    except msgspec.ValidationError as error:
        raise NotRequest(f"This is JSON but not a Request object (RFC 8620 section 3.3): {error}.") from None


def decode(body: bytes) -> Any:
    """One I-JSON value, decoded. Raises NotJson."""
    try:
        value = _decode(body)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise NotJson(f"The request is not I-JSON (RFC 7493): {error}.") from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_deep(value):
        raise NotJson(f"Arrays and objects are nested more than {MAX_DEPTH} deep.")
    encoded = _encode(value)
    if _noncharacters(encoded):
        raise NotJson("A string has a Unicode noncharacter in it, which I-JSON forbids (RFC 7493 section 2.1).")
    if _has_duplicate(body, encoded):
        # RFC 7493 §2.3: objects MUST NOT have members with duplicate names
        raise NotJson("An object has two members of the same name (RFC 7493 section 2.3).")
    return value


def encode(value: object) -> bytes:
    """`value` as I-JSON: what message headers and bodies bring along that I-JSON forbids becomes U+FFFD."""
    encoded = _encode(value)
    for noncharacter in _noncharacters(encoded):
        encoded = encoded.replace(noncharacter, _REPLACEMENT)
    return encoded


def _has_duplicate(body: bytes, encoded: bytes) -> bool:
    """Whether decoding `body` dropped a member.

    A member that another of the same name replaced takes at least its own colon with it, and nothing else changes
    the number of colons but an escaped one in a string. So counting tells, and counting is a tenth of the price of
    a Python hook per object.
    """
    colons = body.count(b":")
    if b"\\u003" in body:  # perhaps an escaped colon
        colons += sum(match[0].lower() == b"\\u003a" for match in _ESCAPE.finditer(body))
    return colons != encoded.count(b":")


_ESCAPE = re.compile(rb"\\(?:u[0-9A-Fa-f]{4}|.)", re.DOTALL)


def _noncharacters(encoded: bytes) -> list[bytes]:
    if encoded.isascii():
        return []
    return [one for common, group in _NONCHARACTERS if common in encoded for one in group if one in encoded]


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if type(item) is dict:
                below.extend(child for child in item.values() if type(child) is dict or type(child) is list)
            elif type(item) is list:
                below.extend(child for child in item if type(child) is dict or type(child) is list)
        if not below:
            return False
        level = below
    return True
