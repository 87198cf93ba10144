"""Content-Transfer-Encoding undone (RFC 2045 §6), however broken the input is.

Every function takes any octets and gives octets; nothing here raises.
"""

from __future__ import annotations

import binascii
import re
from typing import Final, Literal

__all__ = ["Encoding", "decode", "decode_base64", "decode_quoted_printable", "encoding_named"]

Encoding = Literal["identity", "base64", "quoted-printable"]

_BASE64_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64: Final = bytes(octet for octet in range(256) if octet not in _BASE64_ALPHABET)
_BASE64_LINE: Final = re.compile(rb"[=\s]*+([A-Za-z0-9+/]{4,}+=*+)[ \t\r]*+(?:\n|\Z)")
_MAX_SEGMENTS: Final = 1000
_CHUNK: Final = 1 << 20

# The look-behind keeps a long run of blanks from being tried at each of its octets.
_TRAILING_BLANKS: Final = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n|\Z)")

_IDENTITIES: Final = frozenset(
    # RFC 2045 §6.1, and the ways in which the three are misspelt in the wild.
    {"7bit", "8bit", "binary", "", "7-bit", "8-bit", "7bits", "8bits", "7 bit", "8 bit", "none", "identity"}
)


def encoding_named(value: str) -> tuple[Encoding, bool]:
    """The encoding that a Content-Transfer-Encoding value names, and whether the name is a known one.

    RFC 8621 §4.1.4: an unknown transfer encoding is treated as though there were none.
    """
    name = value.partition(";")[0].strip(" \t\r\n\"'").lower()
    if name == "base64":
        return "base64", True
    if name in ("quoted-printable", "quoted printable", "quotedprintable"):
        return "quoted-printable", True
    return "identity", name in _IDENTITIES


def decode(octets: bytes, encoding: Encoding) -> bytes:
    """The octets that were encoded."""
    if encoding == "base64":
        return decode_base64(octets)
    if encoding == "quoted-printable":
        return decode_quoted_printable(octets)
    return octets


def decode_base64(octets: bytes) -> bytes:
    """Undo base64: characters outside the alphabet are skipped, padding may be missing or in the middle."""
    # RFC 2045 §6.8: all characters not found in Table 1 must be ignored by decoding software.
    first_pad = octets.find(b"=")
    if first_pad < 0:
        return _decode_segment(octets)
    pieces = [_decode_segment(octets[:first_pad])]
    position = first_pad
    # Two encoded texts may have been joined; a footer that a mailing list appended is not a third.
    while len(pieces) < _MAX_SEGMENTS:
        more = _BASE64_LINE.match(octets, position)
        if more is None:
            break
        start = more.start(1)
        end = octets.find(b"=", start)
        end = len(octets) if end < 0 else end
        pieces.append(_decode_segment(octets[start:end]))
        position = end
    return b"".join(pieces)


def _decode_segment(octets: bytes) -> bytes:
    kept = octets.translate(None, _NOT_BASE64)
    surplus = len(kept) % 4
    if surplus == 1:  # six bits are no octet
        kept = kept[:-1]
    elif surplus:
        kept += b"==="[: 4 - surplus]
    return binascii.a2b_base64(kept)


def decode_quoted_printable(octets: bytes) -> bytes:
    """Undo quoted-printable: what is no valid escape stays as it stands (RFC 2045 §6.7)."""
    if b"=\r" in octets:
        # A soft line break may end in CRLF or, in old Mac mail, in CR alone.
        octets = octets.replace(b"=\r\n", b"=\n").replace(b"=\r", b"=\n")
    if _ends_in_blank(octets):
        octets = _strip_lines(octets)
    return binascii.a2b_qp(octets)


def _ends_in_blank(octets: bytes) -> bool:
    """Whether some line ends in a blank: few do, and asking is much faster than substituting."""
    return (
        b" \r\n" in octets
        or b" \n" in octets
        or b"\t\r\n" in octets
        or b"\t\n" in octets
        or octets.endswith((b" ", b"\t"))
    )


def _strip_lines(octets: bytes) -> bytes:
    """RFC 2045 §6.7 rule 3: trailing white space on an encoded line must be deleted.

    Done in chunks that end at line breaks, since substitution takes memory for each of its matches.
    """
    if len(octets) <= _CHUNK:
        return _TRAILING_BLANKS.sub(b"", octets)
    pieces: list[bytes] = []
    start = 0
    while start < len(octets):
        end = octets.find(b"\n", start + _CHUNK) + 1 or len(octets)
        pieces.append(_TRAILING_BLANKS.sub(b"", octets[start:end]))
        start = end
    return b"".join(pieces)
