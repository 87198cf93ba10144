"""Encoded words in header fields (RFC 2047), and header text made from octets."""

from __future__ import annotations

import binascii
import re
from typing import Final

from stalwart.mail import charsets
from stalwart.mail.normal import normalized
from stalwart.mail.transfer import decode_base64

__all__ = ["decode_anywhere", "decode_words", "nfc", "unfold"]

# RFC 2047 §2, with RFC 2231 §5's language; "?" is let pass inside the text, since senders forget to encode it.
# "=?" is not, which keeps words without an end from being read again at each of their beginnings. Not possessive:
# Python 3.11.2, Debian 12's, doesn't match a look-ahead inside a possessive group.
_WORD: Final = re.compile(r"=\?([^?*\s]{1,64})(?:\*[^?\s]*+)?\?([bBqQ])\?((?:[^?=\s]|=(?!\?(?!=))|\?(?!=)){0,2000})\?=")
_SPACE: Final = re.compile(r"([ \t\r\n]+)")
# The look-behind keeps a long run of line breaks from being tried at each of them.
_FOLD: Final = re.compile(r"(?<![\r\n])[\r\n]++(?=[ \t])")
_CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160)))
_BARE: Final = {0: None, 10: " ", 13: " "}


def unfold(text: str) -> str:
    """RFC 5322 §2.2.3: a line break before white space is removed. NUL is dropped, other breaks become spaces."""
    if "\n" in text or "\r" in text:
        text = _FOLD.sub("", text).rstrip("\r\n")
    if "\0" in text or "\n" in text or "\r" in text:
        text = text.translate(_BARE)
    return text


def nfc(text: str) -> str:
    """Normalization Form C (RFC 8621 §4.1.2.2, step 5)."""
    return normalized("NFC", text)


def decode_words(text: str) -> str:
    """Unstructured text or a phrase with its encoded words decoded, where they stand by themselves.

    RFC 8621 §4.1.2.2: what looks like an encoded word but isn't set off by white space must not be decoded
    (RFC 2047 §5); nor is one in an unknown charset.
    """
    if "=?" not in text:
        return text
    out: list[str] = []
    run: list[tuple[str, bytes]] = []
    pieces = _SPACE.split(text)
    for index in range(0, len(pieces), 2):
        piece = pieces[index]
        space = pieces[index - 1] if index else ""
        word = _decoded(_WORD.fullmatch(piece)) if piece.startswith("=?") else None
        if word is not None:
            # RFC 2047 §6.2: white space between two adjacent encoded words is not displayed.
            if not run:
                out.append(space)
            run.append(word)
            continue
        if run:
            out.append(_join(run))
            run = []
        out.append(space)
        out.append(piece)
    if run:
        out.append(_join(run))
    return "".join(out)


def decode_anywhere(text: str) -> str:
    """Text with every encoded word decoded wherever it stands, also inside quotes.

    For parameters such as file names: RFC 2047 §5 forbids encoded words there, many senders use nothing else.
    """
    if "=?" not in text:
        return text
    out: list[str] = []
    run: list[tuple[str, bytes]] = []
    position = 0
    for found in _WORD.finditer(text):
        gap = text[position : found.start()]
        word = _decoded(found)
        if word is None:
            continue
        if not run or gap.strip():
            if run:
                out.append(_join(run))
                run = []
            out.append(gap)
        run.append(word)
        position = found.end()
    if run:
        out.append(_join(run))
    out.append(text[position:])
    return "".join(out)


def _decoded(word: re.Match[str] | None) -> tuple[str, bytes] | None:
    if word is None:
        return None
    charset, encoding, text = word.groups()
    codec = charsets.codec_named(charset)
    if codec is None and charset.lower() not in ("unknown-8bit", "x-unknown", "unknown"):
        return None
    octets = text.encode("utf-8", "surrogateescape")
    if encoding in "bB":
        return codec or charset, decode_base64(octets)
    return codec or charset, binascii.a2b_qp(octets, header=True)


def _join(run: list[tuple[str, bytes]]) -> str:
    """Adjacent words of one charset are decoded together: senders cut characters in two (against RFC 2047 §5)."""
    texts: list[str] = []
    charset, octets = run[0]
    parts = [octets]
    for next_charset, next_octets in run[1:]:
        if next_charset != charset:
            texts.append(charsets.decode(b"".join(parts), charset, guess=False).text)
            charset, parts = next_charset, []
        parts.append(next_octets)
    texts.append(charsets.decode(b"".join(parts), charset, guess=False).text)
    # RFC 8621 §4.1.2.2, step 4: NUL octets and control characters that were encoded are dropped.
    return "".join(texts).translate(_CONTROLS)
