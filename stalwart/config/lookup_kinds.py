"""The values that rules read with `key_get`: a table of lookup stores, each a table of keys and texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from stalwart.config.errors import KeyPath, describe
from stalwart.config.kinds import Kind
from stalwart.config.rules import Ground

Lookups = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]

_WANTED = "tables of keys and texts, [lookup.<store>]"
_VALUE_WANTED = "a text, a number or a boolean"
_LONGEST_NAME = 256


def _read_lookups(path: KeyPath, raw: object, ground: Ground) -> Lookups | None:
    if not isinstance(raw, Mapping):
        ground.error(path, found=describe(raw), wanted=_WANTED)
        return None
    stores: list[tuple[str, tuple[tuple[str, str], ...]]] = []
    sound = True
    for store, table in raw.items():
        if not isinstance(table, Mapping):
            ground.error((*path, store), found=describe(table), wanted=_WANTED)
            sound = False
            continue
        values = [(key, _read_value((*path, store, key), key, item, ground)) for key, item in table.items()]
        sound = sound and all(value is not None for _, value in values)
        stores.append((store, tuple((key, value) for key, value in values if value is not None)))
    return tuple(stores) if sound else None


def _read_value(path: KeyPath, key: str, raw: object, ground: Ground) -> str | None:
    if len(key.encode("utf-8", "replace")) > _LONGEST_NAME:
        ground.error(path, found=describe(key), wanted=f"a key of at most {_LONGEST_NAME} octets")
        return None
    if isinstance(raw, bool):
        return "1" if raw else "0"
    if isinstance(raw, int | float) and not (isinstance(raw, int) and raw.bit_length() > 63):
        return str(raw)
    if isinstance(raw, str):
        return ground.expand(path, raw)
    ground.error(path, found=describe(raw), wanted=_VALUE_WANTED)
    return None


def _show_lookups(value: Any) -> object:
    return {store: dict(values) for store, values in value}


LOOKUPS = Kind(
    name="tables of keys and texts",
    wanted=_WANTED,
    read=lambda value, folder: value,
    show=_show_lookups,
    build=_read_lookups,
)

LookupTables = Annotated[Lookups, LOOKUPS]
