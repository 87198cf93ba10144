"""What is wrong with an expression, and where.

`ExprError` is raised for a text that can't be used; it carries one `Finding` for each fault. `EvalError` is raised when
a sound expression fails on the values of one request: the caller denies then.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

Part = Literal["if", "then", "else"]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Which text of a rule is meant; clauses count from zero, `else` has the number after the last."""

    clause: int
    part: Part


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to say about a text: from `position` up to `end` (both in characters, from zero)."""

    text: str
    position: int
    end: int
    message: str
    hint: str | None = None
    place: Place | None = None

    def caret(self) -> str:
        """The line of the text with carets under the place, then the message and the hint."""
        start = max(self.text.rfind("\n", 0, self.position), self.text.rfind("\r", 0, self.position)) + 1
        stop = min((at for at in (self.text.find(c, start) for c in "\r\n") if at >= 0), default=len(self.text))
        first = max(start, self.position - 70)
        line = self.text[first : min(stop, first + 110)]
        shown = "".join(c if c.isprintable() else " " for c in line)
        width = max(1, min(self.end, first + len(line)) - self.position)
        lines = [f"  {shown}", f"  {' ' * (self.position - first)}{'^' * width}", self.message]
        if self.hint is not None:
            lines.append(self.hint)
        return "\n".join(lines)


class ExprError(Exception):
    """A text that is no usable expression; `findings` has every fault, the attributes speak of the first."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        first = self.findings[0]
        self.text = first.text
        self.position = first.position
        self.message = first.message
        self.hint = first.hint
        self.place = first.place
        super().__init__(first.message)

    def caret(self) -> str:
        """The first fault as `Finding.caret` shows it."""
        return self.findings[0].caret()

    def __str__(self) -> str:
        return "\n".join(finding.caret() for finding in self.findings)


class EvalError(Exception):
    """An evaluation that could not be finished."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """A hint naming what was probably meant."""
    folded = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower()[:80], sorted(folded), n=1, cutoff=0.6)
    return f'Did you mean "{folded[found[0]]}"?' if found else None
