"""An old file as TOML: what `stalwart config convert` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import groupby

from stalwart.config.errors import key_text, printable
from stalwart.config.old_file import OldFile, OldSetting
from stalwart.config.show import toml_value

_HEAD = """\
# Converted from {file}, a configuration of stalwart-jmap.
# That file did not say where data goes, so nothing here does: it goes to $STALWART_HOME, or to ./stalwart-data in the
# folder that the daemon is started in. [storage] and [store.<id>] can name another place.
"""


def as_toml(old: OldFile, file: str) -> str:
    """The settings of a file without faults, with a comment where a value needs one."""
    parts = [_HEAD.format(file=printable(file))]
    for table, settings in groupby(old.settings, key=_table):
        lines = [f"[{key_text(table)}]"] if table else []
        for setting in settings:
            lines.extend(_lines(setting, len(table)))
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _table(setting: OldSetting) -> tuple[str, ...]:
    """Where a setting stands: named entries have tables of their own, groups are one table each."""
    named = setting.path[:3] if setting.path[:2] == ("server", "listener") else setting.path[:2]
    if setting.path[0] in ("server", "certificate"):
        return named
    return setting.path[:1] if len(setting.path) > 1 else ()


def _lines(setting: OldSetting, depth: int) -> Iterator[str]:
    if setting.why:
        yield from textwrap.wrap(setting.why, 118, initial_indent="# ", subsequent_indent="# ")
    yield f"{key_text(setting.path[depth:])} = {toml_value(setting.value)}"
