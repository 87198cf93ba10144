"""Reads YAML that is one flat mapping of plain values, with the line of each; anything else in it is a fault.

Works on the parser's events, so that no alias is ever followed and nothing is built that the file could make large.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from stalwart.config.errors import describe, printable

_DEEPEST = 20  # collections within each other that are stepped over


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """`key: value` on a line, counted from 1. Booleans and whole numbers are read as such, null as None."""

    key: str
    value: object
    line: int


class NotFlat(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has no place in such a file. `key` is empty outside of any value; `found` is quoted."""

    key: str
    line: int
    found: str
    wanted: str


class YamlSyntax(ValueError):
    """The text is no YAML. The message says why, `line` where, if that is known."""

    def __init__(self, reason: str, line: int | None) -> None:
        super().__init__(reason)
        self.line = line


def read_flat(text: str) -> Iterator[Line | NotFlat]:
    """The lines of the file and its faults, as they come. Raises `YamlSyntax`."""
    try:
        loader = yaml.SafeLoader(text)
        try:
            yield from _document(loader)
        except YamlSyntax:
            raise
        except (ValueError, OverflowError):  # such as "\U00110000", which is beyond Unicode
            raise YamlSyntax("an escape that stands for no character", loader.line + 1) from None
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else None
        raise YamlSyntax("a character that cannot stand there", line) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(filter(None, (error.context, error.problem)))
        column = "" if mark is None else f", at column {mark.column + 1}"
        raise YamlSyntax(printable(reason) + column, None if mark is None else mark.line + 1) from None


def _document(loader: Any) -> Iterator[Line | NotFlat]:
    loader.get_event()  # the beginning of the stream
    if loader.check_event(yaml.StreamEndEvent):
        return
    loader.get_event()  # the beginning of the document
    root = loader.get_event()
    if isinstance(root, yaml.MappingStartEvent):
        if (mark := _mark(root)) is not None:
            yield _fault("", root, mark)
        yield from _pairs(loader)
    elif not (isinstance(root, yaml.ScalarEvent) and _value(loader, root) is None):
        yield NotFlat(
            key="", line=_line(root), found=_oddity(root) or _name(root), wanted="lines of the form `key: value`"
        )
        _skip(loader, root)
    loader.get_event()  # the end of the document
    if not loader.check_event(yaml.StreamEndEvent):
        event = loader.get_event()
        yield NotFlat(key="", line=_line(event), found="a second document", wanted="one document")


def _pairs(loader: Any) -> Iterator[Line | NotFlat]:
    while not isinstance(event := loader.get_event(), yaml.MappingEndEvent):
        key = event.value if isinstance(event, yaml.ScalarEvent) else ""
        if (odd := _oddity(event)) is not None:
            yield _fault(key, event, odd)
        _skip(loader, event)
        value = loader.get_event()
        if (odd := _oddity(value)) is not None:
            yield _fault(key, value, odd)
        elif isinstance(event, yaml.ScalarEvent):
            yield Line(key=key, value=_value(loader, value), line=_line(event))
        _skip(loader, value)


def _fault(key: str, event: Any, odd: str) -> NotFlat:
    return NotFlat(key=key, line=_line(event), found=odd, wanted="a single plain value: text, a number, true or false")


def _oddity(event: Any) -> str | None:
    """What keeps the event from being a plain value, None if nothing does."""
    return _mark(event) or (None if isinstance(event, yaml.ScalarEvent) else _name(event))


def _mark(event: Any) -> str | None:
    """The alias, anchor or tag, None if there is none."""
    if isinstance(event, yaml.AliasEvent):
        return f"an alias, {describe(f'*{event.anchor}')}"
    if event.anchor is not None:
        return f"an anchor, {describe(f'&{event.anchor}')}"
    return None if event.tag is None else f"a tag, {describe(event.tag)}"


def _name(event: Any) -> str:
    if isinstance(event, yaml.ScalarEvent):
        return describe(event.value)
    return "a list" if isinstance(event, yaml.SequenceStartEvent) else "a mapping"


def _skip(loader: Any, event: Any) -> None:
    """Step over the rest of what `event` begins."""
    depth = 0
    while True:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth == 0:
            return
        if depth > _DEEPEST:
            raise YamlSyntax("values nested too deeply", _line(event))
        event = loader.get_event()


def _value(loader: Any, event: Any) -> object:
    """As YAML 1.1 reads it, but only what settings can be."""
    text = event.value
    kind = loader.resolve(yaml.ScalarNode, text, event.implicit).rpartition(":")[2]
    node = yaml.ScalarNode(tag="", value=text)
    if kind == "null":
        return None
    if kind == "bool":
        return loader.construct_yaml_bool(node)
    if kind == "int" and ":" not in text:  # 1:30 is 90 to YAML 1.1, and a piece of an address to everybody else
        try:
            return loader.construct_yaml_int(node)
        except ValueError:  # more digits than Python reads
            return text
    return text


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
