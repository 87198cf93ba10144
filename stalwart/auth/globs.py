"""Patterns of paths with `*` and `?`, without regard to case, all of them tested at once in linear time. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import re2

_WILDCARDS = {"*": ".*", "?": "."}


class PathGlobs:
    """Some patterns. `*` stands for any number of characters, slashes too, `?` for one; others stand for themselves."""

    def __init__(self, patterns: Iterable[str]) -> None:
        alternatives = ["".join(_WILDCARDS.get(c) or re2.escape(c) for c in pattern) for pattern in patterns]
        self._pattern = re2.compile("(?is)" + "|".join(f"(?:{one})" for one in alternatives)) if alternatives else None

    def match(self, path: str) -> bool:
        """Whether one of the patterns is that of the whole path."""
        return self._pattern is not None and self._pattern.fullmatch(path) is not None
