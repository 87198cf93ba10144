"""Brings the settings that Stalwart spelled differently over the years under one name each.

`server.http.hsts` (0.10), `http.hsts` (0.12) and `enableHsts` of the object `Http` (0.16) are one setting. A document
keeps the spelling that was written, so that errors name the key as it stands in the file.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stalwart.config.document import Document
from stalwart.config.errors import KeyPath
from stalwart.config.schema import Group, Key, Member, members, split

Path = tuple[str, ...]


class Clash(msgspec.Struct, frozen=True, kw_only=True):
    """One setting under two spellings, as they were written."""

    first: Path
    second: Path


def unify(document: Document, struct: type[msgspec.Struct]) -> tuple[Document, tuple[Clash, ...]]:
    """The document with every setting of `struct` under its present name, and the settings that it has twice."""
    moving = _Moving(document)
    for member in members(struct):
        if isinstance(member.note, Group) and (member.note.earlier or member.note.object_name):
            moving.group(member, member.note)
            moving.single(member, member.note)
    unified = msgspec.structs.replace(
        document,
        table=moving.table,
        lines=document.lines | moving.lines(),
        written=document.written | {at: document.as_written(written) for at, written in moving.written.items()},
    )
    return unified, tuple(moving.clashes)


class _Moving:
    def __init__(self, document: Document) -> None:
        self._document = document
        self.table: dict[str, object] = dict(document.table)
        self.written: dict[KeyPath, KeyPath] = {}
        self.clashes: list[Clash] = []

    def group(self, member: Member, note: Group) -> None:
        """Gather the settings of one group from the places where it may stand."""
        target = split(note.name)
        keys = [inner.note for inner in members(member.type) if isinstance(inner.note, Key)]
        settings = {(*target, *split(key.name)) for key in keys}
        names = {key.object_name: (*target, *split(key.name)) for key in keys if key.object_name is not None}
        for place in (target, *(split(name) for name in note.earlier)):
            for key, value in self._take(place).items():
                self._put((*target, key), (*place, key), value, settings)
        if note.object_name is not None:
            for key, value in self._take((note.object_name,)).items():
                self._put(names.get(key, (*target, key)), (note.object_name, key), value, settings)
        if self._document.is_json:
            for name, path in names.items():
                if name in self.table:
                    self._put(path, (name,), self.table.pop(name), settings)

    def single(self, member: Member, note: Group) -> None:
        """Move the settings of one group that stood in other tables, each by itself."""
        for inner in members(member.type):
            if isinstance(inner.note, Key) and inner.note.earlier is not None:
                place = split(inner.note.earlier)
                around = self._around(place)
                if around is not None and place[-1] in around:
                    value = around.pop(place[-1])
                    self._put((*split(note.name), *split(inner.note.name)), place, value, set())
                    self._drop_empty(place[:-1])

    def _around(self, place: Path) -> dict[str, object] | None:
        """The table that a setting stands in, as a copy that may be changed; None if there is none."""
        around = self.table
        for part in place[:-1]:
            inner = around.get(part)
            if not isinstance(inner, Mapping):
                return None
            around[part] = around = dict(inner)
        return around

    def _drop_empty(self, place: Path) -> None:
        """Take out a table, and those around it, that had nothing but what was moved."""
        for end in range(len(place), 0, -1):
            around = self._around(place[:end])
            if around is None or around.get(place[end - 1]) != {}:
                return
            del around[place[end - 1]]

    def _take(self, place: Path) -> dict[str, object]:
        """The table that stands there, which is taken out; nothing if it is none."""
        around = self._around(place)
        found = around.get(place[-1]) if around is not None else None
        if around is None or not isinstance(found, Mapping):
            return {}
        del around[place[-1]]
        return dict(found)

    def _put(self, at: Path, written: Path, value: object, settings: set[Path]) -> None:
        if isinstance(value, Mapping) and any(len(path) > len(at) and path[: len(at)] == at for path in settings):
            for key, inner in value.items():
                self._put((*at, key), (*written, key), inner, settings)
            return
        table = self.table
        for part in at[:-1]:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                return  # a value where a table belongs, which is reported as such
            table = inner
        if at in self.written or at[-1] in table:
            self.clashes.append(Clash(first=self._as_written(at), second=written))
            return
        table[at[-1]] = value
        self.written[at] = written

    def _as_written(self, at: Path) -> Path:
        return tuple(str(part) for part in self.written.get(at, at))

    def lines(self) -> dict[KeyPath, int]:
        """The lines of what was moved, under the present names."""
        old = {written: at for at, written in self.written.items() if at != written}
        found: dict[KeyPath, int] = {}
        for path, line in self._document.lines.items():
            for end in range(1, min(len(path), 8) + 1):
                at = old.get(path[:end])
                if at is not None:
                    found[(*at, *path[end:])] = line
                    for part in range(1, len(at)):
                        found.setdefault(at[:part], line)
        return {path: line for path, line in found.items() if path not in self._document.lines or path in self.written}
