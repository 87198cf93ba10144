"""Who a message says it is from (RFC 5322 §3.6.2), read so that no receiving program can read another address.

Unlike `addresses`, this refuses what has more than one reading: what a sender may say is decided by it.
"""

from __future__ import annotations

import binascii
import re
import unicodedata
from typing import Final

from stalwart.mail.envelope import is_mailbox
from stalwart.mail.transfer import decode_base64
from stalwart.mail.words import unfold

__all__ = ["Ambiguous", "mailboxes"]

# Comments only where old programs write a name into one, and with nothing in them that could be taken for an address.
_TOKEN: Final = re.compile(
    r"""
      (?P<space>[ \t]+)
    | (?P<quoted>"(?:[^"\\]|\\.)*")
    | (?P<atom>[^\x00-\x20\x7f()<>\[\]:;@\\,"]+)
    | (?P<literal>\[[^\[\]\\]*\])
    | (?P<comment>\([^()<>@,;:"\\]*\))
    | (?P<mark>[<>@,])
    """,
    re.VERBOSE,
)
_COMMA: Final = ("mark", ",")
_ENCODED: Final = re.compile(r"\?([bBqQ])\?([^? \t]*)")


class Ambiguous(ValueError):
    """The field is no list of mailboxes, or one that programs may read differently."""


def mailboxes(raw: bytes) -> tuple[str, ...]:
    """The addresses of a mailbox-list (RFC 5322 §3.4), at least one; `raw` is the value with its folding.

    Not accepted are groups, routes and other obsolete syntax, comments that hold more than words, encoded words and
    invisible characters in an address, and names that decode to control characters. Raises Ambiguous.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Ambiguous("it is not UTF-8") from None
    found: list[str] = []
    tokens: list[tuple[str, str]] = []
    for one in [*_tokens(unfold(text)), _COMMA]:
        if one == _COMMA:
            found.append(_mailbox(tokens))
            tokens = []
        else:
            tokens.append(one)
    return tuple(found)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Ambiguous(f"{text[position:][:20]!r} is not expected there")
        tokens.append((match.lastgroup or "", match[0]))
        position = match.end()
    return tokens


def _mailbox(tokens: list[tuple[str, str]]) -> str:
    """The address of one mailbox: `local@domain`, or words and `<local@domain>`, and a comment behind it."""
    while tokens and tokens[-1][0] in ("space", "comment"):
        _check_words(tokens.pop()[1])
    while tokens and tokens[0][0] == "space":
        del tokens[0]
    if ("mark", "<") in tokens:
        start = tokens.index(("mark", "<"))
        name, tokens = tokens[:start], tokens[start + 1 :]
        if any(kind not in ("space", "quoted", "atom") for kind, _ in name):
            raise Ambiguous("the name before an address has characters that only quotes allow")
        _check_words("".join(token for _, token in name))
        if not tokens or tokens.pop() != ("mark", ">"):
            raise Ambiguous("an address has no end, or something behind it")
    address = "".join(token for _, token in tokens)
    kinds = [kind for kind, _ in tokens]
    if kinds not in (["atom", "mark", "atom"], ["quoted", "mark", "atom"], ["atom", "mark", "literal"]):
        raise Ambiguous(f"{address[:100]!r} is no address")
    # An encoded word is none in an address (RFC 2047 §5), but some programs decode it.
    if "=?" in address or not is_mailbox(address) or any(unicodedata.category(one)[0] in "CZ" for one in address):
        raise Ambiguous(f"{address[:100]!r} is no address")
    return address


def _check_words(text: str) -> None:
    """A name on one line, also for programs that show what its encoded words hold as it is."""
    if any(unicodedata.category(one) in ("Cc", "Zl", "Zp") and one != "\t" for one in text):
        raise Ambiguous("a name has control characters")
    for word in _ENCODED.finditer(text):
        octets = word[2].encode()
        octets = decode_base64(octets) if word[1] in "bB" else binascii.a2b_qp(octets, header=True)
        if not {0, 10, 13}.isdisjoint(octets):
            raise Ambiguous("a name hides a line break or NUL")
