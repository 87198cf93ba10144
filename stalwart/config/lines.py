"""On which line each key of a TOML document stands, which `tomllib` does not tell.

The document must be one that `tomllib` accepted: this reads just enough of it to follow tables, dotted keys and
nested values, and to step over everything else.
"""

from __future__ import annotations

import bisect
import re
import tomllib

from stalwart.config.errors import KeyPath

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*+")
_KEY = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*')[ \t]*""")
# TOML 1.0 "String": a multi-line string may end in up to two quotes of its own, before the three that close it.
_STRING = re.compile(
    r'''"""(?:[^\\]|\\.)*?"{3,5}'''
    r"""|'''.*?'{3,5}"""
    r"""|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*'""",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}#\n]+")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, of every table, key and array element of a valid TOML document.

    A table stands where its header does, or else where it is first mentioned. Elements of arrays, and tables of an
    array of tables, have their index in the path.
    """
    return _Scan(text).document()


class _Scan:
    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n")
        self.at = 0
        self.starts = [0, *(match.end() for match in re.finditer("\n", self.text))]
        self.found: dict[KeyPath, int] = {}
        self.arrays: dict[KeyPath, int] = {}  # tables seen so far of each array of tables

    def document(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while not self.end():
            line = self.line()
            if self.take("[["):
                table = self.next_of_array(self.key(), line)
                self.take("]]")
            elif self.take("["):
                table = self.resolve((), self.key(), line)
                self.found[table] = line
                self.take("]")
            else:
                self.pair(table)
        return self.found

    def end(self) -> bool:
        """Step over blanks, line ends and comments; true at the end of the document."""
        self.skip()
        return self.at >= len(self.text)

    def skip(self) -> None:
        if match := _BLANK.match(self.text, self.at):
            self.at = match.end()

    def take(self, mark: str) -> bool:
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def line(self) -> int:
        return bisect.bisect_right(self.starts, self.at)

    def key(self) -> list[str]:
        parts = []
        while match := _KEY.match(self.text, self.at):
            parts.append(_plain_key(match[1]))
            self.at = match.end()
            if not self.take("."):
                break
        return parts

    def resolve(self, table: KeyPath, parts: list[str], line: int) -> KeyPath:
        """The path of a key below `table`; each table on the way stands here unless it was met before."""
        path = table
        for part in parts:
            path = (*path, part)
            self.found.setdefault(path, line)
            if path in self.arrays:  # a header means the last table of an array
                path = (*path, self.arrays[path] - 1)
        return path

    def next_of_array(self, parts: list[str], line: int) -> KeyPath:
        array = (*self.resolve((), parts[:-1], line), parts[-1])
        self.found.setdefault(array, line)
        index = self.arrays.get(array, 0)
        self.arrays[array] = index + 1
        table = (*array, index)
        self.found[table] = line
        return table

    def pair(self, table: KeyPath) -> None:
        line = self.line()
        path = self.resolve(table, self.key(), line)
        self.take("=")
        self.skip()
        self.value(path)

    def value(self, path: KeyPath) -> None:
        if self.take("["):
            self.array(path)
        elif self.take("{"):
            self.skip()
            while not self.take("}"):
                self.pair(path)
                self.skip()
                self.take(",")
                self.skip()
        elif match := _STRING.match(self.text, self.at) or _PLAIN.match(self.text, self.at):
            self.at = match.end()

    def array(self, path: KeyPath) -> None:
        index = 0
        self.skip()
        while not self.take("]"):
            element = (*path, index)
            self.found[element] = self.line()
            self.value(element)
            self.skip()
            self.take(",")
            self.skip()
            index += 1


def _plain_key(written: str) -> str:
    if written[0] == "'":
        return written[1:-1]
    if written[0] == '"':
        return written[1:-1] if "\\" not in written else str(tomllib.loads(f"key = {written}")["key"])
    return written
