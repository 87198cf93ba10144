"""Base subjects (RFC 5256 §2.1) and what makes two subjects one conversation's (RFC 8621 §3)."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["base_subject", "thread_subject"]

#: Characters that are looked at: work may grow with the square of the prefixes.
_MAX_SUBJECT: Final = 2000

_SPACES: Final = re.compile(r"\s+")
_LEADER: Final = re.compile(r"\s*+(?:\[[^\[\]]*+\]\s*+)*(?:re|fwd?)\s*+(?:\[[^\[\]]*+\]\s*+)?:", re.IGNORECASE)
_BLOB: Final = re.compile(r"\s*+\[[^\[\]]*+\]\s*+")
_TRAILER: Final = "(fwd)"

# The words that other languages' mail programs put for "Re" and "Fwd".
_LOCAL_LEADER: Final = re.compile(
    r"\s*+(?:\[[^\[\]]*+\]\s*+)*(?:"
    "re|fwd?|aw|antw|antwort|wg|sv|vs|vb|vl|ref|rif|res|rv|enc|tr|fs|odp|pd|ynt|ilt|vá|továbbítás|bls|"
    "доп|отв|на|от|תשובה|回复|回覆|答复|答覆|转发|轉寄|轉發|返信|転送|답장|전달"
    r")\s*+(?:\[[^\[\]]*+\]|\(\d{1,4}\)|\d{1,4})?\s*+[:\uff1a]",
    re.IGNORECASE,
)


def base_subject(subject: str) -> str:
    """The base subject of a decoded subject: without "Re:", "Fwd:", "[list]" and "(fwd)", letter case kept."""
    return _strip(subject, _LEADER)


def thread_subject(subject: str) -> str:
    """What two subjects of one thread share: the base subject without white space and letter case.

    Other languages' words for "Re:" and "Fwd:" are taken off too.
    """
    return _SPACES.sub("", _strip(subject, _LOCAL_LEADER)).casefold()


def _strip(subject: str, leader: re.Pattern[str]) -> str:
    # RFC 5256 §2.1, the steps by their numbers.
    text = _SPACES.sub(" ", subject[:_MAX_SUBJECT])  # (1)
    start, end = 0, len(text)
    while True:
        while True:  # (2)
            while end > start and text[end - 1] == " ":
                end -= 1
            if end - start < len(_TRAILER) or text[end - len(_TRAILER) : end].lower() != _TRAILER:
                break
            end -= len(_TRAILER)
        while True:
            if found := leader.match(text, start, end):  # (3)
                start = found.end()
                continue
            found = _BLOB.match(text, start, end)  # (4)
            if found is None or found.end() == end:
                break
            start = found.end()  # (5)
        while start < end and text[start] == " ":
            start += 1
        if text[start : start + 5].lower() == "[fwd:" and end - start >= 6 and text[end - 1] == "]":  # (6)
            start, end = start + 5, end - 1
            continue
        return text[start:end]
