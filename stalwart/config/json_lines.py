"""On which line each key of a JSON document stands, and whether a key is there twice, which `json` does not tell.

The document must be one that `json` accepted.
"""

from __future__ import annotations

import json
import re

from stalwart.config.errors import KeyPath, quoted

_MARK = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}\[\],:]|[^\s{}\[\],:"]+')


class KeyTwice(ValueError):
    """An object has a key twice; `line` is that of the second."""

    def __init__(self, key: str, line: int) -> None:
        super().__init__(f"the key {quoted(key)} is there twice")
        self.line = line


class _Open:
    """An object or array that is being read."""

    def __init__(self, path: KeyPath, *, is_array: bool) -> None:
        self.path = path
        self.is_array = is_array
        self.index = 0
        self.at_key = not is_array


def json_lines(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, of every key and array element. Raises `KeyTwice`."""
    found: dict[KeyPath, int] = {}
    stack: list[_Open] = []
    current: KeyPath = ()
    line, counted = 1, 0
    for match in _MARK.finditer(text):
        line += text.count("\n", counted, match.start())
        counted = match.start()
        mark = match[0]
        around = stack[-1] if stack else None
        if mark in "]}":
            stack.pop()
        elif mark == ",":
            assert around is not None
            around.index += 1
            around.at_key = not around.is_array
        elif mark != ":":
            if around is not None and around.at_key:
                key = str(json.loads(mark))
                current = (*around.path, key)
                if current in found:
                    raise KeyTwice(key, line)
                found[current] = line
                around.at_key = False
                continue
            if around is not None and around.is_array:
                current = (*around.path, around.index)
                found[current] = line
            if mark in "[{":
                stack.append(_Open(current, is_array=mark == "["))
    return found
