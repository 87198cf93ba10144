"""Content-Transfer-Encoding done (RFC 2045 §6): which one suits some octets, and the octets encoded.

Octets come and go in pieces, so that a large attachment is never in memory as a whole.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from stalwart.mail.build_fields import MAX_LINE

__all__ = ["Traits", "TransferEncoding", "choose", "encode", "look_at"]

#: "binary" is not among them: no relay need take it (RFC 3030 §3).
TransferEncoding = Literal["7bit", "8bit", "quoted-printable", "base64"]

_HIGH: Final = bytes(range(128, 256))
_UNSAFE: Final = re.compile(rb"[^\t -<>-~]")
_TRAILING: Final = re.compile(rb"[ \t]\Z")
_LINE: Final = 76
#: Octets of base64's input that make a line, and those that are encoded at once.
_BASE64_LINE: Final = 57
_BASE64_CHUNK: Final = _BASE64_LINE * 4096
_LONGEST_KEPT: Final = 65_536


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how octets may be sent. `is_text`: lines of at most 998 octets that end in CRLF, and no NUL."""

    size: int
    high: int
    is_text: bool
    holds_mark: bool


def look_at(pieces: Iterable[bytes], mark: bytes) -> Traits:
    """Go through the octets once. `mark` is looked for, also where two pieces meet."""
    size = high = column = 0
    is_text, holds_mark = True, False
    before = b""
    for piece in pieces:
        size += len(piece)
        high += len(piece) - len(piece.translate(None, _HIGH))
        holds_mark = holds_mark or mark in before + piece[: len(mark)] or mark in piece
        if is_text:
            joined = before[-1:] + piece if before.endswith(b"\r") else piece
            breaks = joined.count(b"\r\n")
            # A CR at the end waits for the next piece.
            ends_in_cr = joined.endswith(b"\r")
            lines = joined.split(b"\r\n")
            column += len(lines[0]) - (len(joined) - len(piece))
            longest = max(column, *map(len, lines)) if len(lines) > 1 else column
            column = len(lines[-1]) if len(lines) > 1 else column
            is_text = (
                joined.count(b"\n") == breaks
                and joined.count(b"\r") - ends_in_cr == breaks
                and longest - ends_in_cr <= MAX_LINE
                and b"\0" not in piece
            )
        before = (before + piece)[-len(mark) :] if len(piece) < len(mark) else piece[-len(mark) :]
    return Traits(size=size, high=high, is_text=is_text and not before.endswith(b"\r"), holds_mark=holds_mark)


def choose(media_type: str, traits: Traits) -> TransferEncoding:
    """The encoding for octets of that type.

    Text that is not ASCII is encoded as well, so that every relay takes the mail as it is and signatures stay whole.
    """
    if traits.is_text and not traits.high:
        return "7bit"
    if media_type.startswith("message/"):
        # RFC 2046 §5.2.1: nothing but 7bit, 8bit and binary is allowed; what only binary could carry is sent as base64,
        # which all readers undo.
        return "8bit" if traits.is_text else "base64"
    return "quoted-printable" if media_type.startswith("text/") and traits.high * 6 <= traits.size else "base64"


def encode(pieces: Iterable[bytes], encoding: TransferEncoding) -> Iterator[bytes]:
    """The octets encoded, without a line break after the last line."""
    match encoding:
        case "base64":
            return _base64(pieces)
        case "quoted-printable":
            return _quoted_printable(pieces)
        case _:
            return iter(pieces)


def _base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    first = True
    rest = b""
    for piece in pieces:
        for start in range(0, len(piece), _BASE64_CHUNK):
            rest += piece[start : start + _BASE64_CHUNK]
            whole = len(rest) // _BASE64_LINE * _BASE64_LINE
            if whole:
                yield (b"" if first else b"\r\n") + _base64_lines(rest[:whole])
                first = False
                rest = rest[whole:]
    if rest:
        yield (b"" if first else b"\r\n") + _base64_lines(rest)


def _base64_lines(octets: bytes) -> bytes:
    encoded = binascii.b2a_base64(octets, newline=False)
    return b"\r\n".join(encoded[start : start + _LINE] for start in range(0, len(encoded), _LINE))


def _quoted_printable(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\r\n")
        if lines:
            yield b"".join(_quoted_line(line) + b"\r\n" for line in lines)
        if len(rest) > _LONGEST_KEPT:
            # RFC 2045 §6.7 rule 5: a soft line break. The last octet may be the CR of a line break, and waits.
            yield _wrapped(_escaped(rest[:-1]), _LINE - 1) + b"=\r\n"
            rest = rest[-1:]
    if rest:
        yield _quoted_line(rest)


def _quoted_line(line: bytes) -> bytes:
    # RFC 2045 §6.7 rule 3: white space at the end of a line is encoded.
    return _wrapped(_TRAILING.sub(lambda found: b"=%02X" % found[0][0], _escaped(line)))


def _escaped(octets: bytes) -> bytes:
    return _UNSAFE.sub(lambda found: b"=%02X" % found[0][0], octets)


def _wrapped(escaped: bytes, last: int = _LINE) -> bytes:
    """RFC 2045 §6.7 rule 5: lines of at most 76 characters, the last one of at most `last`; no escape cut in two."""
    out: list[bytes] = []
    start, length = 0, len(escaped)
    while length - start > last:
        end = start + _LINE - 1
        if escaped[end - 1 : end] == b"=":
            end -= 1
        elif escaped[end - 2 : end - 1] == b"=":
            end -= 2
        out.append(escaped[start:end])
        start = end
    out.append(escaped[start:])
    return b"=\r\n".join(out)
