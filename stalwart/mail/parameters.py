"""Values with parameters: Content-Type and Content-Disposition (RFC 2045 §5.1, RFC 2183, RFC 2231)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from stalwart.mail import charsets
from stalwart.mail.comments import strip_comments
from stalwart.mail.words import decode_anywhere

__all__ = ["Parameterized", "file_name", "parse_parameterized", "token"]

_MAX_VALUE: Final = 65_536
_MAX_PARAMETERS: Final = 1_000

_PARAMETER: Final = re.compile(
    r"[;\s]*+([^\s=;\"()]++)\s*+=\s*+(?:\"([^\"\\]*+(?:\\.[^\"\\]*+)*+)(?:\"|\\?\Z)|([^;]*+))", re.DOTALL
)
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_SECTION: Final = re.compile(r"([^*]+)(?:\*(\d{1,4}))?(\*)?")
_CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160)))


class Parameterized(NamedTuple):
    """A value in lower case, and its parameters: the names in lower case, the values decoded."""

    value: str
    parameters: dict[str, str]


def parse_parameterized(octets: bytes) -> Parameterized:
    """The value and the parameters of a field; what is malformed is passed over.

    Octets that are no UTF-8 stay in the values as surrogates (PEP 383), for a boundary must be found as it
    was written; `file_name` and `token` take them out.
    """
    text = octets[:_MAX_VALUE].decode("utf-8", "surrogateescape").replace("\r", "").replace("\n", "")
    value, semicolon, rest = text.partition(";")
    value = strip_comments(value).strip().lower()
    if not semicolon:
        # The semicolon before the first parameter is forgotten at times.
        value, space, rest = value.partition(" ") if "=" not in value else _split_value(text)
        if not space:
            return Parameterized(value, {})
    return Parameterized(value, _parameters(rest))


def _split_value(text: str) -> tuple[str, str, str]:
    value, space, rest = text.strip().partition(" ")
    return value.lower(), space, rest


def _parameters(text: str) -> dict[str, str]:
    plain: dict[str, str] = {}
    sections: dict[str, list[tuple[int, bool, str]]] = {}
    position = 0
    for _ in range(_MAX_PARAMETERS):
        found = _PARAMETER.match(text, position)
        if found is None:
            semicolon = text.find(";", position)
            if semicolon < 0:
                break
            position = semicolon + 1
            continue
        position = found.end()
        name, quoted, bare = found.groups()
        value = bare.strip() if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
        name = name.lower()
        if "*" not in name:
            plain.setdefault(name, value)
            continue
        section = _SECTION.fullmatch(name)
        if section is None:
            continue
        base, number, extended = section.groups()
        sections.setdefault(base, []).append((int(number or 0), extended is not None, value))
    for base, pieces in sections.items():
        plain[base] = _join_sections(pieces)
    return plain


def _join_sections(pieces: list[tuple[int, bool, str]]) -> str:
    """RFC 2231 §3 and §4: sections in the order of their numbers, percent-encoded where marked so."""
    pieces.sort(key=lambda piece: piece[0])
    charset: str | None = None
    octets: list[bytes] = []
    any_extended = False
    for index, (_, extended, value) in enumerate(pieces):
        if extended:
            any_extended = True
            if index == 0 and value.count("'") >= 2:
                charset, _, value = value.split("'", 2)
            octets.append(unquote_to_bytes(value.encode("utf-8", "surrogateescape")))
        else:
            octets.append(value.encode("utf-8", "surrogateescape"))
    joined = b"".join(octets)
    if not any_extended:
        return joined.decode("utf-8", "surrogateescape")
    return charsets.decode(joined, charset or "utf-8", guess=False).text


def token(value: str | None) -> str | None:
    """A parameter that must be a token, such as a charset: without comment, blanks and surplus quotes."""
    if value is None:
        return None
    cleaned = strip_comments(value).strip(" \t'\"")
    cleaned = cleaned.split(None, 1)[0] if cleaned else ""
    return _clean(cleaned) or None


def file_name(value: str | None, charset: str | None) -> str | None:
    """A parameter that is a file name: encoded words decoded wherever they stand, controls dropped.

    `charset` is that of the message's text, which 8-bit octets may be in.
    """
    if value is None:
        return None
    return _clean(decode_anywhere(value), charset).strip() or None


def _clean(value: str, charset: str | None = None) -> str:
    if not value.isprintable():  # surrogates aren't printable either
        value = charsets.decode_header(value.encode("utf-8", "surrogateescape"), charset).translate(_CONTROLS)
    return value
