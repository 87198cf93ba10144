"""Content-Transfer-Encoding undone (RFC 2045 §6), however broken the input is.

Every function takes any octets and gives octets; nothing here raises.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from mmap import mmap

__all__ = ["Encoding", "decode", "decode_base64", "decode_quoted_printable", "decoded_size", "encoding_named", "pieces"]

Encoding = Literal["identity", "base64", "quoted-printable"]

_BASE64_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64: Final = bytes(octet for octet in range(256) if octet not in _BASE64_ALPHABET)
_BASE64_LINE: Final = re.compile(rb"[=\s]*+([A-Za-z0-9+/]{4,}+=*+)[ \t\r]*+(?:\n|\Z)")
_MAX_SEGMENTS: Final = 1000
#: Octets that are decoded at once, so that a large part costs no more memory than it must.
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
    if encoding == "identity":
        return octets
    return b"".join(pieces(octets, 0, len(octets), encoding))


def decoded_size(octets: bytes, start: int, end: int, encoding: Encoding) -> int:
    """How many octets `octets[start:end]` stand for, found without holding them all."""
    if encoding == "identity":
        return end - start
    return sum(map(len, pieces(octets, start, end, encoding)))


def decode_base64(octets: bytes) -> bytes:
    """Undo base64: characters outside the alphabet are skipped, padding may be missing or in the middle."""
    return decode(octets, "base64")


def decode_quoted_printable(octets: bytes) -> bytes:
    """Undo quoted-printable: what is no valid escape stays as it stands (RFC 2045 §6.7)."""
    return decode(octets, "quoted-printable")


def pieces(octets: bytes | mmap, start: int, end: int, encoding: Encoding) -> Iterator[bytes]:
    """What `octets[start:end]` stand for, about a mebibyte at a time."""
    if encoding == "identity":
        return (octets[at : min(at + _CHUNK, end)] for at in range(start, end, _CHUNK))
    return (_base64_pieces if encoding == "base64" else _quoted_printable_pieces)(octets, start, end)


def _base64_pieces(octets: bytes | mmap, start: int, end: int) -> Iterator[bytes]:
    # Two encoded texts may have been joined; a footer that a mailing list appended is not a third.
    for _ in range(_MAX_SEGMENTS):
        pad = octets.find(b"=", start, end)
        yield from _segment_pieces(octets, start, end if pad < 0 else pad)
        more = None if pad < 0 else _BASE64_LINE.match(octets, pad, end)
        if more is None:
            break
        start = more.start(1)


def _segment_pieces(octets: bytes | mmap, start: int, end: int) -> Iterator[bytes]:
    """Base64 without padding inside."""
    rest = b""
    for at in range(start, end, _CHUNK):
        # RFC 2045 §6.8: all characters not found in Table 1 must be ignored by decoding software.
        kept = rest + octets[at : min(at + _CHUNK, end)].translate(None, _NOT_BASE64)
        whole = len(kept) // 4 * 4
        rest = kept[whole:]
        yield binascii.a2b_base64(kept[:whole])
    if len(rest) > 1:  # six bits are no octet
        yield binascii.a2b_base64(rest + b"==="[: 4 - len(rest)])


def _quoted_printable_pieces(octets: bytes | mmap, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        # Cut after a line break: no escape and no trailing blank goes over one.
        cut = octets.find(b"\n", min(start + _CHUNK, end), end) + 1 or end
        yield _decode_quoted_lines(octets[start:cut])
        start = cut


def _decode_quoted_lines(octets: bytes) -> bytes:
    if b"=\r" in octets:
        # A soft line break may end in CRLF or, in old Mac mail, in CR alone.
        octets = octets.replace(b"=\r\n", b"=\n").replace(b"=\r", b"=\n")
    if _ends_in_blank(octets):
        # RFC 2045 §6.7 rule 3: trailing white space on an encoded line must be deleted.
        octets = _TRAILING_BLANKS.sub(b"", octets)
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
