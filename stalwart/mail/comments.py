"""Comments in structured fields (RFC 5322 §3.2.2): nested parentheses with quoted pairs."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["comment_end", "strip_comments"]

_MARK: Final = re.compile(r"\\.|[()]", re.DOTALL)
_OUTSIDE: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|<[^<>]*+>|\(|[^"<(]++|.', re.DOTALL)


def comment_end(text: str, start: int) -> int:
    """The index after the comment whose "(" is at `start`, or -1 when it is never closed."""
    depth = 0
    for mark in _MARK.finditer(text, start):
        found = mark[0]
        if found == "(":
            depth += 1
        elif found == ")":
            depth -= 1
            if depth == 0:
                return mark.end()
    return -1


def strip_comments(text: str) -> str:
    """Text with each comment outside quotes and angle brackets replaced by a space."""
    if "(" not in text:
        return text
    out: list[str] = []
    position = 0
    while position < len(text):
        found = _OUTSIDE.match(text, position)
        if found is None:
            break
        piece = found[0]
        if piece == "(":
            end = comment_end(text, position)
            if end < 0:
                out.append(text[position:])
                break
            out.append(" ")
            position = end
            continue
        out.append(piece)
        position = found.end()
    return "".join(out)
