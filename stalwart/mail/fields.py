"""The lines of a header: where each field lies in the octets of a message (RFC 5322 §2.2).

A line ends in LF, with any CR before it. Octets without a single LF end their lines in CR; elsewhere a bare
CR is an octet like others, so that no field can be smuggled past a relay that reads lines as SMTP does.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = [
    "MAX_FIELDS",
    "HeaderBlock",
    "Span",
    "begins_like_mail",
    "blank_line",
    "leading_lines",
    "line_view",
    "scan_header",
]

#: Fields after this many are not read.
MAX_FIELDS: Final = 100_000

# RFC 5322 §2.2, with the obsolete white space before the colon (§4.5). Possessive: linear in time, flat in memory.
_FIELD: Final = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?")
_BLANK: Final = re.compile(rb"\n\r*+\n")
_LEADING_BLANKS: Final = re.compile(rb"(?:\r*+\n)++(?=[!-9;-~]++[ \t]*+:)")
_ENVELOPE_LINE: Final = re.compile(rb">?From (?![ \t]*+:)[^\n]*+\n")


class Span(NamedTuple):
    """One field: its name in lower case, and where the name and the value lie."""

    name: bytes
    name_start: int
    name_end: int
    value_start: int
    value_end: int


class HeaderBlock(NamedTuple):
    """The fields of a header, and where the body after it starts."""

    fields: list[Span]
    body_start: int


def line_view(data: bytes) -> bytes:
    """Octets of the same length in which each line ends in LF."""
    return data if b"\n" in data else data.replace(b"\r", b"\n")


def blank_line(view: bytes, start: int) -> tuple[int, int]:
    """The first empty line at or after `start`, itself the start of a line: (its start, the octet after it)."""
    if start == 0 and (first := re.match(rb"\r*+\n", view)):
        return 0, first.end()
    found = _BLANK.search(view, max(start - 1, 0))
    if found is None:
        return len(view), len(view)
    return found.start() + 1, found.end()


def leading_lines(view: bytes) -> int:
    """Where the header of a whole message starts: after empty lines, if a field follows, and mbox's "From " line."""
    start = 0
    if blanks := _LEADING_BLANKS.match(view):
        start = blanks.end()
    if envelope := _ENVELOPE_LINE.match(view, start):
        start = envelope.end()
    return start


def begins_like_mail(data: bytes) -> bool:
    """Whether a header field, or mbox's "From " line and one, comes first, so that these octets are meant as mail."""
    view = line_view(data)
    return _FIELD.match(view, leading_lines(view)) is not None


def scan_header(view: bytes, start: int, end: int, body: int) -> HeaderBlock:
    """The fields in `view[start:end]`, where the empty line lies from `end` to `body`.

    Lines between fields that are no fields are passed over. Such lines after the last field begin the body:
    their sender forgot the empty line.
    """
    if view.find(b"\n", start, body) < 0 and view.find(b"\r", start, end) >= 0:
        # The end of a message, cut off before its first LF: read as it is read when it is all that is known.
        view = view.replace(b"\r", b"\n")
    fields: list[Span] = []
    match = _FIELD.match
    position = resume = start
    while position < end:
        found = match(view, position, end)
        if found is None:
            newline = view.find(b"\n", position, end)
            if newline < 0:
                break
            position = newline + 1
            continue
        name_start, name_end = found.span(1)
        value_start, value_end = found.span(2)
        while value_end > value_start and view[value_end - 1] == 13:
            value_end -= 1
        fields.append(Span(found[1].lower(), name_start, name_end, value_start, value_end))
        position = resume = found.end()
        if len(fields) == MAX_FIELDS:
            resume = end
            break
    return HeaderBlock(fields, resume if resume < end else body)
