"""A configuration file, TOML, JSON or old YAML, as a table with line numbers, or the one error that keeps it unread."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable

import msgspec

from stalwart.config.errors import ConfigError, ConfigErrors, KeyPath, describe, printable
from stalwart.config.flat_yaml import YamlSyntax
from stalwart.config.json_lines import KeyTwice, json_lines
from stalwart.config.lines import key_lines
from stalwart.config.old_file import EXTENSIONS, OldFile, read_old

SIZE_LIMIT = 1024 * 1024  # octets, of the file and of each file that a macro names

ReadFile = Callable[[str], bytes]

_PLACE = re.compile(r"^(?P<text>.*) \(at (?:line (?P<line>[0-9]+), column (?P<column>[0-9]+)|end of document)\)$", re.S)


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed file. `file` is its path as given, None for the built-in defaults; `folder` is absolute.

    `written` has, by their present names, the keys that can be spelled differently, as the file spells them.
    `old` is what the file says in its own words if it is one of `stalwart-jmap`.
    """

    file: str | None
    folder: str
    table: dict[str, object]
    lines: dict[KeyPath, int]
    is_json: bool = False
    written: dict[KeyPath, KeyPath] = {}
    old: OldFile | None = None

    def line(self, path: KeyPath) -> int | None:
        """The line of a key, or of the nearest table around it."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return None

    def as_written(self, path: KeyPath) -> KeyPath:
        """The key as the file spells it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.written:
                return (*self.written[path[:end]], *path[end:])
        return path


def read_file(path: str) -> bytes:
    """The content of a file, cut off at one octet more than `SIZE_LIMIT`. Raises OSError or ValueError."""
    with open(path, "rb") as file:
        return file.read(SIZE_LIMIT + 1)


def cannot_read(error: OSError | ValueError) -> str:
    """Why a file could not be read, in a few words."""
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return printable(reason or type(error).__name__)


def empty() -> Document:
    """The document that stands for having no file."""
    return Document(file=None, folder=os.getcwd(), table={}, lines={})


def read_document(path: str, read: ReadFile = read_file) -> Document:
    """Read and parse a file. Raises `ConfigErrors` with the single error that was met."""
    try:
        data = read(path)
    except (OSError, ValueError) as error:
        raise _fault(path, None, None, f"a file that can be read ({cannot_read(error)})") from None
    return parse_document(path, data)


def parse_document(path: str, data: bytes) -> Document:
    """Parse the content of the file `path`. Raises `ConfigErrors` with the single error that was met."""
    if len(data) > SIZE_LIMIT:
        raise _fault(path, None, f"more than {SIZE_LIMIT} octets", f"a file of at most {SIZE_LIMIT} octets")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _fault(path, line, f"the octet 0x{data[error.start]:02X}", "text in UTF-8") from None
    if path.lower().endswith(".json"):
        return _parse_json(path, text)
    if path.lower().endswith(EXTENSIONS):
        return _parse_old(path, text)
    try:
        table = tomllib.loads(text)
        lines = key_lines(text)
    except RecursionError:
        raise _fault(path, None, "values nested too deeply", "a configuration") from None
    except ValueError as error:  # TOMLDecodeError, or a number with more digits than Python reads
        raise _syntax_fault(path, text, str(error)) from None
    return Document(file=path, folder=os.path.dirname(os.path.abspath(path)), table=table, lines=lines)


def _parse_json(path: str, text: str) -> Document:
    wanted = "JSON (RFC 8259)"
    try:
        table = json.loads(text, parse_constant=_refuse_constant)
        lines = json_lines(text)
        json.dumps(table, ensure_ascii=False).encode()  # fails for half a surrogate pair, which is no text
    except RecursionError:
        raise _fault(path, None, "values nested too deeply", "a configuration") from None
    except json.JSONDecodeError as error:
        found = f"a syntax error ({printable(error.msg)}, at column {error.colno})"
        raise _fault(path, error.lineno, found, wanted) from None
    except KeyTwice as error:
        raise _fault(path, error.line, str(error), "each key once") from None
    except UnicodeEncodeError:
        raise _fault(path, None, "half of a surrogate pair in a text", "text in UTF-8") from None
    except ValueError as error:  # NaN, or a number with more digits than Python reads
        raise _fault(path, None, f"a syntax error ({printable(str(error))})", wanted) from None
    if not isinstance(table, dict):
        raise _fault(path, 1, describe(table), "an object, { … }")
    return Document(file=path, folder=os.path.dirname(os.path.abspath(path)), table=table, lines=lines, is_json=True)


def _parse_old(path: str, text: str) -> Document:
    try:
        old = read_old(path, text)
    except YamlSyntax as error:
        raise _fault(path, error.line, f"a syntax error ({error})", "YAML (see https://yaml.org/spec/1.1/)") from None
    lines: dict[KeyPath, int] = {}
    written: dict[KeyPath, KeyPath] = {}
    for setting in old.settings:
        for key, line in setting.origin.items():
            lines.setdefault(setting.path, line)
            written.setdefault(setting.path, (key,))
    folder = os.path.dirname(os.path.abspath(path))
    return Document(file=path, folder=folder, table=old.table(), lines=lines, written=written, old=old)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _syntax_fault(path: str, text: str, message: str) -> ConfigErrors:
    match = _PLACE.match(message)
    line = text.count("\n") + 1 if match is not None else None
    if match is not None and match["line"]:
        line = int(match["line"])
        message = f"{match['text']}, at column {match['column']}"
    elif match is not None:
        message = f"{match['text']}, at the end of the file"
    return _fault(path, line, f"a syntax error ({printable(message)})", "TOML (see https://toml.io/en/v1.0.0)")


def _fault(path: str, line: int | None, found: str | None, wanted: str) -> ConfigErrors:
    return ConfigErrors([ConfigError(file=path, line=line, key="", found=found, wanted=wanted)])
