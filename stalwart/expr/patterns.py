"""Regular expressions under RE2: their time is linear in the text, whatever the pattern.

How steep that line is depends on the pattern. So the steps of a rule's patterns bound the text that they are given.
"""

from __future__ import annotations

from typing import Protocol

import re2

from stalwart.expr.errors import EvalError
from stalwart.expr.limits import MAX_PATTERN, MAX_PATTERN_MEMORY, MAX_PATTERN_WORK


class Match(Protocol):
    """A place where a pattern matched."""

    def group(self, number: int, /) -> bytes | None: ...


class Pattern(Protocol):
    """A compiled pattern over UTF-8."""

    @property
    def groups(self) -> int: ...

    @property
    def programsize(self) -> int: ...

    def search(self, text: bytes, /) -> Match | None: ...


class BadPattern(ValueError):
    """A text that is no regular expression."""


def compile_pattern(text: str) -> Pattern:
    """A pattern in RE2's syntax; raises `BadPattern` with RE2's own words."""
    if len(text) > MAX_PATTERN:
        raise BadPattern(f"it has {len(text)} characters, the bound is {MAX_PATTERN}")
    options = re2.Options()
    options.max_mem = MAX_PATTERN_MEMORY
    options.log_errors = False
    try:
        pattern: Pattern = re2.compile(text.encode(), options)
    except re2.error as error:
        reason = error.args[0] if error.args else "unknown error"
        raise BadPattern(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None
    except UnicodeEncodeError:
        raise BadPattern("it has a character that is no Unicode text") from None
    return pattern


def longest_text(steps: int) -> int:
    """Octets of text that each pattern of a rule may be given, if their programs have so many steps together."""
    return MAX_PATTERN_WORK // max(steps, 1)


def search(pattern: Pattern, text: str, longest: int) -> Match | None:
    """The first place where the pattern matches. Raises `EvalError` for a text of more than `longest` octets."""
    octets = text.encode("utf-8", "replace")
    if len(octets) > longest:
        raise EvalError(
            f"matches() was given a text of {len(octets)} octets; patterns as costly as those of this rule take "
            f"at most {longest}"
        )
    return pattern.search(octets)


def group(match: Match | None, number: int) -> str:
    """A group's text, '' for one that took no part or doesn't exist."""
    if match is None:
        return ""
    try:
        found = match.group(number)
    except IndexError:
        return ""
    return "" if found is None else found.decode(errors="replace")
