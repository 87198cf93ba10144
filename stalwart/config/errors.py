"""What is wrong with a configuration, as values: place, what was found, what was wanted.

Texts from the file are quoted here so that they are short, stay on one line and cannot steer a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

KeyPath = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_LONGEST = 60  # characters of a value that an error quotes


class ConfigError(msgspec.Struct, frozen=True, kw_only=True):
    """One fault. `found` is quoted and shortened, hidden when the value is a secret, None when nothing was found.

    `text` is for faults inside an expression: it stands in place of both, and may have several lines.
    """

    file: str | None
    line: int | None
    key: str
    found: str | None = None
    wanted: str = ""
    text: str | None = None

    def __str__(self) -> str:
        place = _place(self.file, self.line)
        key = f"{self.key}: " if self.key else ""
        if self.text is not None:
            return f"{place}{key}{self.text}"
        if self.found is None:
            return f"{place}{key}wanted {self.wanted}"
        return f"{place}{key}found {self.found}; wanted {self.wanted}"


class ConfigWarning(msgspec.Struct, frozen=True, kw_only=True):
    """Something that works, but most likely not as it was meant."""

    file: str | None
    line: int | None
    key: str
    text: str

    def __str__(self) -> str:
        return f"{_place(self.file, self.line)}{self.key}: {self.text}"


class ConfigErrors(Exception):
    """All faults of one configuration, in the order of the file; `str()` is a list to be shown to a person."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors: tuple[ConfigError, ...] = tuple(errors)
        super().__init__(self.errors)

    def __str__(self) -> str:
        count = len(self.errors)
        head = "The configuration has an error:" if count == 1 else f"The configuration has {count} errors:"
        return "\n".join([head, *(f"  {error}" for error in self.errors)])


def _place(file: str | None, line: int | None) -> str:
    if file is None:
        return ""
    shown = printable(file)
    return f"{shown}: " if line is None else f"{shown}:{line}: "


def printable(text: str) -> str:
    """`text` with everything escaped that is not a printable character (controls, lone surrogates, bidi marks)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quoted(text: str) -> str:
    """`text` in double quotes, escaped as TOML and JSON escape it."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    text = text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    if text.isprintable():
        return f'"{text}"'
    return '"' + "".join(c if c.isprintable() else _escape(c) for c in text) + '"'


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def describe(value: object) -> str:
    """A value of a document as an error names it: short and on one line."""
    if isinstance(value, str):
        return quoted(value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…")
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # A hexadecimal literal may be larger than Python turns into decimals.
        return str(value) if value.bit_length() <= 128 else f"a whole number of {value.bit_length()} bits"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, Sequence):
        if any(isinstance(item, Mapping) for item in value):
            return "an array of tables"
        return "an empty array" if not value else f"an array of {len(value)}"
    return printable(str(value))


def kind_of(value: object) -> str:
    """What sort of value it is, without any of its content."""
    if isinstance(value, str):
        return "a text"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if value is None or isinstance(value, Mapping | Sequence):
        return describe(value)
    return "a date or time"


def key_text(path: KeyPath) -> str:
    """A key path as TOML writes it: `server.listener."my one".bind`; array indices as `[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        part = part if len(part) <= _LONGEST else part[: _LONGEST - 1] + "…"
        if not _BARE_KEY.fullmatch(part) and part != "<id>":
            part = quoted(part)
        text += f".{part}" if text else part
    return text
