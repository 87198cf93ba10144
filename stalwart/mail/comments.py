"""Comments in structured fields (RFC 5322 §3.2.2): nested parentheses with quoted pairs."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["comment_end", "outside_quotes", "strip_comments"]

_MARK: Final = re.compile(r"\\.|[()]", re.DOTALL)
_NOT_MARKED: Final = re.compile(r'[^"<(]*+')
_QUOTED: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_ANGLE: Final = re.compile(r"<[^<>]*+>")


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
    position, length = 0, len(text)
    unclosed_quote = False
    while position < length:
        found = _NOT_MARKED.match(text, position)
        end = found.end() if found else position
        out.append(text[position:end])
        if end == length:
            break
        mark, start = text[end], end
        closed: re.Match[str] | None = None
        if mark == "(":
            end = comment_end(text, start)
            if end < 0:
                out.append(text[start:])
                break
            out.append(" ")
        else:
            if mark == "<":
                closed = _ANGLE.match(text, start)
            elif not unclosed_quote:
                closed = _QUOTED.match(text, start)
                unclosed_quote = closed is None  # and isn't searched for again
            end = closed.end() if closed else start + 1
            out.append(text[start:end])
        position = end
    return "".join(out)


def outside_quotes(text: str, pattern: re.Pattern[str]) -> str:
    """Text without what the pattern matches outside quoted strings."""
    out: list[str] = []
    position = 0
    while (quote := text.find('"', position)) >= 0:
        closed = _QUOTED.match(text, quote)
        if closed is None:
            break
        out.append(pattern.sub("", text[position:quote]))
        out.append(closed[0])
        position = closed.end()
    out.append(pattern.sub("", text[position:]))
    return "".join(out)
