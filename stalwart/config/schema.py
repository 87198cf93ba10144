"""How settings are declared: notes beside the fields of frozen structs, and the list of keys that follows from them.

`Key` is one setting, `Group` a table with fixed keys, `Table` a table of named entries. Loader, reference, `show`
and the check for unknown keys all read these declarations, so that a new setting is one new field.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from stalwart.config import kinds
from stalwart.config.kinds import Kind

ID = "<id>"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One setting. `name` is dotted and counts from its table; `example` is a TOML value.

    A field without a default is required, unless `default` describes one that the loader works out. A field of
    a `Table` with `inherits` that is `inherited` is also looked for there. `object_name` is what the object calls
    it that its `Group` names. A setting of several values `may_be_empty` if none of them is a choice of its own.
    One that is `reloaded` takes effect while the daemon runs; the others wait for its next start.
    `earlier` is the dotted name, from the top, that a setting of a `Group` had when it stood in another table.
    """

    name: str
    doc: str
    example: str
    default: str | None = None
    inherited: bool = False
    object_name: str | None = None
    may_be_empty: bool = False
    reloaded: bool = False
    earlier: str | None = None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A table with fixed keys: the field's type is a struct of further declarations.

    `earlier` are names that the table had before; `object_name` is that of the object with the same settings, whose
    keys are the `object_name` of each. `reloaded`: all of its settings are.
    """

    name: str
    doc: str
    inherited: bool = False
    earlier: tuple[str, ...] = ()
    object_name: str | None = None
    reloaded: bool = False


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of named entries, `[name.<id>]`: the field's type is a tuple of structs that have an `id`.

    With a union of structs, the entry's key `type` chooses one by its tag. `built_in` stands in for an absent
    table; `inherits` is the table that is asked for keys that an entry leaves open. `reloaded`: all of its settings
    are, and its entries come and go.
    """

    name: str
    doc: str
    inherits: str | None = None
    built_in: Mapping[str, Mapping[str, object]] = msgspec.field(default_factory=dict)
    built_in_doc: str = ""
    reloaded: bool = False


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A field's type as the loader sees it: a kind, one or many of it, and whether it may be switched off."""

    kind: Kind
    many: bool = False
    optional: bool = False
    may_be_empty: bool = False


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A declared field of a struct."""

    attribute: str
    note: Key | Group | Table
    type: Any
    default: object  # msgspec.NODEFAULT if there is none


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the configuration, with all that is declared about it; `<id>` in the path is any name."""

    path: tuple[str, ...]
    note: Key
    shape: Shape
    default: object
    variant: str | None = None
    fallback: tuple[str, ...] | None = None
    reloaded: bool = False
    used_by: tuple[str, ...] | None = None  # of a fallback: the path of the setting that falls back on it


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that belong together, for the reference."""

    path: tuple[str, ...]
    note: Group | Table | None
    settings: tuple[Setting, ...]


@functools.cache
def members(struct: type[msgspec.Struct]) -> tuple[Member, ...]:
    """The declared fields of a struct, in order; those without a note (such as `id`) are left out."""
    found = []
    for field in msgspec.structs.fields(struct):
        notes = [note for note in _notes(field.type) if isinstance(note, Key | Group | Table)]
        if notes:
            found.append(Member(attribute=field.name, note=notes[0], type=_bare(field.type), default=field.default))
    return tuple(found)


def _notes(hint: Any) -> tuple[object, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def _bare(hint: Any) -> Any:
    """`hint` without the notes of this module; a kind stays attached."""
    kinds_only = [note for note in _notes(hint) if isinstance(note, Kind)]
    if not kinds_only:
        return get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return Annotated[get_args(hint)[0], kinds_only[0]]


def shape(hint: Any) -> Shape:
    """The shape of a setting from its Python type. Raises TypeError for a type that no kind is known for."""
    attached = [note for note in _notes(hint) if isinstance(note, Kind)]
    if attached:
        return Shape(kind=attached[0])
    if hint is bool:
        return Shape(kind=kinds.BOOLEAN)
    if hint is str:
        return Shape(kind=kinds.TEXT)
    if get_origin(hint) is Literal:
        return Shape(kind=kinds.choice(*get_args(hint)))
    if get_origin(hint) is tuple:
        return Shape(kind=shape(get_args(hint)[0]).kind, many=True)
    if get_origin(hint) in (Union, types.UnionType):
        inner = [arm for arm in get_args(hint) if arm is not types.NoneType]
        if len(inner) == 1:
            return msgspec.structs.replace(shape(inner[0]), optional=True)
    raise TypeError(f"no kind of value is known for {hint!r}")


def key_shape(hint: Any, note: Key) -> Shape:
    """The shape of a declared setting."""
    return msgspec.structs.replace(shape(hint), may_be_empty=note.may_be_empty)


def variants(hint: Any) -> Mapping[str | None, type[msgspec.Struct]]:
    """The structs of a table's entries by their tag; the single struct of an untagged table stands under None."""
    entry = get_args(hint)[0]
    structs = get_args(entry) if get_origin(entry) in (Union, types.UnionType) else (entry,)
    if len(structs) == 1:
        return {None: structs[0]}
    return {str(struct.__struct_config__.tag): struct for struct in structs}


def type_key(tags: Mapping[str | None, type[msgspec.Struct]]) -> Key:
    """The setting that chooses among the structs of a table."""
    words = [tag for tag in tags if tag is not None]
    return Key(name="type", doc="What it is; the other keys depend on it.", example=f'"{words[0]}"')


def type_shape(tags: Mapping[str | None, type[msgspec.Struct]]) -> Shape:
    """The shape of `type_key`'s setting."""
    return Shape(kind=kinds.choice(*(tag for tag in tags if tag is not None)))


def split(name: str) -> tuple[str, ...]:
    """The parts of a dotted name from a declaration."""
    return tuple(name.split("."))


def sections(struct: type[msgspec.Struct]) -> Iterator[Section]:
    """All settings declared by a struct, grouped as they are declared."""
    plain = [member for member in members(struct) if isinstance(member.note, Key)]
    if plain:
        settings = tuple(_setting(member, (), None, None) for member in plain)
        yield Section(path=(), note=None, settings=settings)
    for member in members(struct):
        if isinstance(member.note, Group):
            path = split(member.note.name)
            settings = tuple(_within(member.type, path, None, None, reloaded=member.note.reloaded))
            yield Section(path=path, note=member.note, settings=settings)
        elif isinstance(member.note, Table):
            yield from _table(member, member.note)


def _table(member: Member, note: Table) -> Iterator[Section]:
    path = (*split(note.name), ID)
    tags = variants(member.type)
    fallback = split(note.inherits) if note.inherits else None
    found: list[Setting] = []
    if None not in tags:
        found.append(
            Setting(path=(*path, "type"), note=type_key(tags), shape=type_shape(tags), default=msgspec.NODEFAULT)
        )
    for tag, struct in tags.items():
        found.extend(_within(struct, path, tag, fallback, reloaded=note.reloaded))
    yield Section(path=path, note=note, settings=tuple(found))


def _within(
    struct: type[msgspec.Struct],
    path: tuple[str, ...],
    variant: str | None,
    fallback: tuple[str, ...] | None,
    *,
    reloaded: bool,
) -> Iterator[Setting]:
    for member in members(struct):
        if isinstance(member.note, Key):
            yield _setting(member, path, variant, fallback, reloaded=reloaded)
        elif isinstance(member.note, Group):
            below = split(member.note.name)
            onward = (*fallback, *below) if fallback is not None and member.note.inherited else None
            yield from _within(member.type, (*path, *below), variant, onward, reloaded=reloaded or member.note.reloaded)
        else:
            raise TypeError(f"{struct.__name__}.{member.attribute}: a table inside a table is not supported")


def _setting(
    member: Member,
    path: tuple[str, ...],
    variant: str | None,
    fallback: tuple[str, ...] | None,
    *,
    reloaded: bool = False,
) -> Setting:
    note = member.note
    assert isinstance(note, Key)
    name = split(note.name)
    return Setting(
        path=(*path, *name),
        note=note,
        shape=key_shape(member.type, note),
        default=member.default,
        variant=variant,
        fallback=(*fallback, *name) if fallback is not None and note.inherited else None,
        reloaded=reloaded or note.reloaded,
    )


def every_setting(struct: type[msgspec.Struct]) -> Iterator[Setting]:
    """All settings, and after each table those that its entries fall back on, unless these are declared themselves."""
    found = tuple(sections(struct))
    declared = {setting.path for section in found for setting in section.settings}
    for section in found:
        yield from section.settings
        for setting in section.settings:
            if setting.fallback is not None and setting.fallback not in declared:
                yield msgspec.structs.replace(setting, path=setting.fallback, fallback=None, used_by=setting.path)
