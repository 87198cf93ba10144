"""Turns a document into the declared structs, one setting at a time, and goes on after an error.

A value that cannot be read is reported and something readable takes its place, so that the checks that follow
find what else is wrong; nothing of that leaves the loader, since there is an error by then.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from stalwart.config.document import Document, ReadFile
from stalwart.config.errors import KeyPath, describe, key_text, kind_of
from stalwart.config.kinds import BadValue, Kind
from stalwart.config.macros import BadMacro, Expanded, expand
from stalwart.config.report import Report
from stalwart.config.rules import SourceText, indexed, is_index
from stalwart.config.schema import (
    Key,
    Member,
    Shape,
    Table,
    every_setting,
    key_shape,
    members,
    split,
    type_shape,
    variants,
)
from stalwart.config.settings import Entry, FileValue, Origin

S = TypeVar("S", bound=msgspec.Struct)

_MISSING = object()  # no such key
_INVALID = object()  # the value was reported
_OFF = ("", "false", "disable", "disabled", "never", "0")
_ONE_MACRO = re.compile(r"\s*%\{[A-Za-z]+:[^}]{0,200}\}%\s*")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A setting's value and where it comes from."""

    value: object
    origin: Origin


class Reader:
    """Reads one document. `computed` has the defaults that are worked out, by key path."""

    def __init__(
        self,
        document: Document,
        report: Report,
        *,
        environ: Mapping[str, str],
        read: ReadFile,
        computed: Mapping[tuple[str, ...], object],
    ) -> None:
        self.document = document
        self.report = report
        self.entries: list[Entry] = []
        self.file_values: dict[KeyPath, FileValue] = {}
        """The values that name other files."""
        self._environ = environ
        self._read_file = read
        self._computed = computed
        self._built_in: dict[tuple[str, ...], object] = {}
        self._known: dict[tuple[str, ...], Found | None] = {}

    def struct(
        self,
        struct: type[S],
        prefix: tuple[str, ...] = (),
        fallback: tuple[str, ...] | None = None,
        *,
        reloaded: bool = False,
        **given: object,
    ) -> S | None:
        """The struct below `prefix`, None if a part of it cannot be had.

        `reloaded`: the group or table around it is; `given` are fields that are not declared.
        """
        values: dict[str, object] = dict(given)
        complete = True
        for member in members(struct):
            value: object
            if isinstance(member.note, Key):
                value = self._setting(member, member.note, prefix, fallback, reloaded=reloaded)
            elif isinstance(member.note, Table):
                value = tuple(self._table(member, member.note))
            else:
                below = split(member.note.name)
                onward = (*fallback, *below) if fallback is not None and member.note.inherited else None
                value = self.struct(member.type, (*prefix, *below), onward, reloaded=reloaded or member.note.reloaded)
                value = _INVALID if value is None else value
            complete = complete and value is not _INVALID
            values[member.attribute] = value
        return struct(**values) if complete else None

    def check_unused(self, struct: type[msgspec.Struct]) -> None:
        """Read also the settings that nothing fell back on, so that their errors show."""
        for setting in every_setting(struct):
            if setting.used_by is not None:
                self._look_up(setting.path, setting.shape)

    def _setting(
        self,
        member: Member,
        note: Key,
        prefix: tuple[str, ...],
        fallback: tuple[str, ...] | None,
        *,
        reloaded: bool,
    ) -> object:
        name = split(note.name)
        path, wanted = (*prefix, *name), key_shape(member.type, note)
        found = self._look_up(path, wanted)
        if found is None and fallback is not None and note.inherited:
            found = self._look_up((*fallback, *name), wanted)
            if found is not None:
                origin = msgspec.structs.replace(found.origin, key=key_text((*fallback, *name)))
                found = Found(value=found.value, origin=origin)
        default = self._default(member, path)
        if found is None:
            found = default
        if found is None:
            self.report.error(path, found=None, wanted=f"{wanted.kind.wanted}; the key is required")
            return _stand_in(wanted)
        if found.value is _INVALID:
            return _stand_in(wanted) if default is None else default.value
        shown = _shown(wanted, found.value)
        self.entries.append(
            Entry(key=key_text(path), value=shown, origin=found.origin, reloaded=reloaded or note.reloaded)
        )
        return found.value

    def _default(self, member: Member, path: tuple[str, ...]) -> Found | None:
        if path in self._computed:
            return Found(value=self._computed[path], origin=Origin(kind="default"))
        if member.default is msgspec.NODEFAULT:
            return None
        return Found(value=member.default, origin=Origin(kind="default"))

    def _table(self, member: Member, note: Table) -> Iterator[msgspec.Struct]:
        path = split(note.name)
        table = self._raw(path)
        if not isinstance(table, Mapping) or not table:
            table = note.built_in
            for name, entry in note.built_in.items():
                self._built_in.update(((*path, name, key), value) for key, value in entry.items())
        tags = variants(member.type)
        fallback = split(note.inherits) if note.inherits else None
        for name, entry in table.items():
            if not isinstance(entry, Mapping):
                continue  # reported with the unknown keys
            at = (*path, name)
            if not name or not name.isprintable() or name != name.strip() or len(name) > 100:
                self.report.error(at, found=describe(name), wanted="a name of 1 to 100 printable characters")
            tag = self._tag(at, tags) if None not in tags else None
            if tag in tags:
                value = self.struct(tags[tag], at, fallback, reloaded=note.reloaded, id=name)
                if value is not None:
                    yield value

    def _tag(self, path: tuple[str, ...], tags: Mapping[str | None, type[msgspec.Struct]]) -> str | None:
        wanted = type_shape(tags)
        found = self._look_up((*path, "type"), wanted)
        if found is None:
            self.report.error((*path, "type"), found=None, wanted=f"{wanted.kind.wanted}; the key is required")
            return None
        if found.value is _INVALID:
            return None
        self.entries.append(Entry(key=key_text((*path, "type")), value=found.value, origin=found.origin))
        return str(found.value)

    def _look_up(self, path: tuple[str, ...], wanted: Shape) -> Found | None:
        """What the document says at `path`, None if nothing. An error is reported the first time only."""
        if path not in self._known:
            raw = self._raw(path)
            self._known[path] = None if raw is _MISSING else self._convert(path, wanted, raw)
        return self._known[path]

    def _raw(self, path: tuple[str, ...]) -> object:
        value: object = self.document.table
        for part in path:
            if not isinstance(value, Mapping) or part not in value:
                return self._built_in.get(path, _MISSING)
            value = value[part]
        return value

    def _convert(self, path: tuple[str, ...], wanted: Shape, raw: object) -> Found:
        variables: list[str] = []
        if not wanted.many:
            value = self._one(path, wanted, raw, variables)
        elif isinstance(raw, list):
            value = self._several(path, wanted, [((*path, index), item) for index, item in enumerate(raw)], variables)
        elif isinstance(raw, Mapping) and raw and all(is_index(key) for key in raw):
            items = indexed(path, raw, _Place(self, variables))
            value = _INVALID if items is None else self._several(path, wanted, items, variables)
        elif isinstance(raw, Mapping) and wanted.kind.from_table is not None:
            from_table = wanted.kind.from_table
            items = [((*path, key), from_table(key, item)) for key, item in raw.items()]
            value = self._several(path, wanted, items, variables)
        else:
            value = self._one(path, wanted, raw, variables)
            value = value if value is _INVALID else (value,)
        return Found(value=value, origin=self._origin(path, variables))

    def _several(
        self, path: KeyPath, wanted: Shape, items: Sequence[tuple[KeyPath, object]], variables: list[str]
    ) -> object:
        if not items and wanted.may_be_empty:
            return ()
        if not items:
            self.report.error(path, found="an empty array", wanted=f"at least one: {wanted.kind.wanted}")
            return _INVALID
        values = [self._one(at, wanted, item, variables) for at, item in items]
        return tuple(value for value in values if value is not _INVALID) or _INVALID

    def _origin(self, path: tuple[str, ...], variables: list[str]) -> Origin:
        if path in self._built_in:
            return Origin(kind="default")
        return Origin(
            kind="environment" if variables else "file",
            file=self.document.file,
            line=self.document.line(path),
            variables=tuple(dict.fromkeys(variables)),
        )

    def _one(self, path: KeyPath, wanted: Shape, raw: object, variables: list[str]) -> object:
        kind, expanded, value = wanted.kind, None, raw
        if kind.build is not None:
            if wanted.optional and _is_off(raw):
                return None
            built = kind.build(path, raw, _Place(self, variables))
            return _INVALID if built is None else built
        if isinstance(raw, str):
            expanded = self.expand(path, raw, _found(kind, raw, None), variables)
            if expanded is None:
                return _INVALID
            value = expanded.value
            if expanded.files:
                folder = self.document.folder
                files = tuple(os.path.join(folder, file) for file in expanded.files)
                self.file_values[path] = FileValue(text=raw, files=files)
        try:
            return kind.read(value, self.document.folder)
        except BadValue as error:
            if wanted.optional and _is_off(value):
                return None
            self.report.error(path, found=_found(kind, raw, expanded), wanted=str(error) or kind.wanted)
            return _INVALID

    def expand(self, path: KeyPath, raw: str, found: str, variables: list[str]) -> Expanded | None:
        """The text with its macros replaced; `variables` gets those of the environment. None if it was reported."""
        try:
            expanded = expand(raw, self._environ, self.document.folder, self._read_file)
        except BadMacro as error:
            self.report.error(path, found=found, wanted=str(error))
            return None
        variables.extend(expanded.variables)
        return expanded


class _Place:
    """The ground of one setting's value; see `rules.Ground`."""

    def __init__(self, reader: Reader, variables: list[str]) -> None:
        self._reader = reader
        self._variables = variables

    def error(self, path: KeyPath, *, found: str | None, wanted: str) -> None:
        self._reader.report.error(path, found=found, wanted=wanted)

    def expand(self, path: KeyPath, text: str) -> str | None:
        expanded = self._reader.expand(path, text, describe(text), self._variables)
        return None if expanded is None else expanded.value

    def source(self, path: KeyPath, text: str) -> SourceText:
        document = self._reader.document
        return SourceText(text=text, file=document.file, line=document.line(path), key=self.key(path))

    def key(self, path: KeyPath) -> str:
        return self._reader.report.key(path)


def _is_off(value: object) -> bool:
    """Whether an optional setting is switched off in one of the ways that Stalwart knows."""
    if isinstance(value, str):
        return value.strip().lower() in _OFF
    return value is None or value is False or (isinstance(value, int) and value == 0)


def _found(kind: Kind, raw: object, expanded: Expanded | None) -> str:
    if kind.opaque:
        if not isinstance(raw, str):
            return kind_of(raw)
        return describe(raw) if _ONE_MACRO.fullmatch(raw) else f"a text of {len(raw)} characters"
    if expanded is not None and expanded.variables and not expanded.files:
        return f"{describe(raw)}, which gives {describe(expanded.value)}"
    return describe(raw)


def _stand_in(wanted: Shape) -> object:
    if wanted.kind.stand_in is None:
        return _INVALID
    return (wanted.kind.stand_in,) if wanted.many else wanted.kind.stand_in


def _shown(wanted: Shape, value: object) -> object:
    if value is None:
        return None
    if wanted.many and isinstance(value, tuple):
        return [wanted.kind.show(item) for item in value]
    return wanted.kind.show(value)
