"""What a reload changes: settings that take effect while the daemon runs, and those that wait for its next start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from stalwart.config.acme_settings import AcmeProvider
from stalwart.config.errors import key_text
from stalwart.config.listener_settings import Listener
from stalwart.config.loader import rule_names
from stalwart.config.schema import members
from stalwart.config.settings import Certificate, Declared, Entry, Settings
from stalwart.config.store_settings import FsStore, SqliteStore

_FALLBACK_ADMIN = "authentication.fallback-admin"


class Reload(msgspec.Struct, frozen=True, kw_only=True):
    """A reload that can be done. `settings` is what holds then: what waits has its old value there.

    `changed` and `waiting` are keys, or the names of whole tables.
    """

    settings: Settings
    changed: tuple[str, ...]
    waiting: tuple[str, ...]


def plan_reload(running: Settings, wanted: Settings) -> Reload:
    """What becomes of `running` when the file says `wanted`."""
    kept = {
        member.attribute: getattr(running, member.attribute) for member in members(Declared) if not member.note.reloaded
    }
    kept["listeners"] = _listeners(running, wanted)
    kept["stores"] = _stores(running, wanted)
    settings = msgspec.structs.replace(
        wanted,
        **kept,
        data=running.data,
        blob=running.blob,
        fts=running.fts,
        entries=tuple(_entries(running, wanted)),
    )
    settings = msgspec.structs.replace(settings, rule_names=rule_names(settings))
    # What is shown of these is masked in part: they are compared as a whole.
    masked = ("certificate.", "acme.", f"{_FALLBACK_ADMIN}.")
    keys = (key for key in _changed_keys(running.entries, settings.entries) if not key.startswith(masked))
    waiting = [*_other_listeners(running, wanted), *_changed_keys(settings.entries, _comparable(settings, wanted))]
    return Reload(
        settings=settings,
        changed=(
            *_changed_by_id("certificate", running.certificates, wanted.certificates),
            *_changed_by_id("acme", running.acme, wanted.acme),
            *([_FALLBACK_ADMIN] if running.fallback_admin != wanted.fallback_admin else ()),
            *keys,
        ),
        waiting=tuple(waiting),
    )


def _listeners(running: Settings, wanted: Settings) -> tuple[Listener, ...]:
    """The running listeners with those of their settings that are reloaded."""
    by_id = {listener.id: listener for listener in wanted.listeners}
    reloaded = [member.attribute for member in members(Listener) if member.note.reloaded]
    return tuple(
        msgspec.structs.replace(
            listener, **{name: getattr(by_id.get(listener.id, listener), name) for name in reloaded}
        )
        for listener in running.listeners
    )


def _in_use(running: Settings) -> set[str]:
    return {running.data.id, running.blob.id}


def _stores(running: Settings, wanted: Settings) -> tuple[SqliteStore | FsStore, ...]:
    """Those that are in use as they run, and the others, which only rules ask, as they are wanted."""
    in_use = _in_use(running)
    return (
        *(store for store in running.stores if store.id in in_use),
        *(store for store in wanted.stores if store.id not in in_use),
    )


def _only_asked(running: Settings, wanted: Settings) -> tuple[str, ...]:
    """What the keys of stores begin with that only rules ask."""
    names = {store.id for store in (*running.stores, *wanted.stores)} - _in_use(running)
    return tuple(key_text(("store", name)) + "." for name in names)


def _prefix(listener: str) -> str:
    return key_text(("server", "listener", listener)) + "."


def _entries(running: Settings, wanted: Settings) -> Iterator[Entry]:
    """The entries of what holds after the reload."""
    gone, new = _gone_and_new(running, wanted)
    asked = _only_asked(running, wanted)
    old = {entry.key: entry for entry in running.entries}
    for entry in wanted.entries:
        if entry.key.startswith(tuple(map(_prefix, new))):
            continue
        if entry.reloaded or entry.key.startswith(asked):
            yield entry
        elif entry.key in old:
            yield old[entry.key]
    names = {entry.key for entry in wanted.entries}
    for entry in running.entries:
        reloaded = entry.reloaded or entry.key.startswith(asked)
        if entry.key not in names and (not reloaded or entry.key.startswith(tuple(map(_prefix, gone)))):
            yield entry


def _gone_and_new(running: Settings, wanted: Settings) -> tuple[list[str], list[str]]:
    before = {listener.id for listener in running.listeners}
    after = {listener.id for listener in wanted.listeners}
    return sorted(before - after), sorted(after - before)


def _other_listeners(running: Settings, wanted: Settings) -> Iterator[str]:
    gone, new = _gone_and_new(running, wanted)
    for name in gone:
        yield f"{key_text(('server', 'listener', name))} (removed)"
    for name in new:
        yield f"{key_text(('server', 'listener', name))} (new)"


def _comparable(settings: Settings, wanted: Settings) -> list[Entry]:
    """The wanted entries, but for listeners that come or go: those are told as a whole."""
    gone, new = _gone_and_new(settings, wanted)
    others = tuple(_prefix(name) for name in gone + new)
    return [entry for entry in wanted.entries if not entry.key.startswith(others)] + [
        entry for entry in settings.entries if entry.key.startswith(others)
    ]


def _changed_keys(before: tuple[Entry, ...], after: tuple[Entry, ...] | list[Entry]) -> Iterator[str]:
    """The keys that have another value, in the order of `after`, then those that are gone."""
    old = {entry.key: entry.value for entry in before}
    new = {entry.key: entry.value for entry in after}
    yield from (key for key, value in new.items() if key not in old or old[key] != value)
    yield from (key for key in old if key not in new)


def _changed_by_id(
    table: str, running: Sequence[Certificate | AcmeProvider], wanted: Sequence[Certificate | AcmeProvider]
) -> Iterator[str]:
    """The entries of a table that are new, gone or different."""
    old = {entry.id: entry for entry in running}
    new = {entry.id: entry for entry in wanted}
    for name in [*new, *(name for name in old if name not in new)]:
        if old.get(name) != new.get(name):
            yield key_text((table, name))
