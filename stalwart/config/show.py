"""The effective settings with the source of each, as text (which is TOML) and as values for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stalwart.config.errors import key_text, printable, quoted
from stalwart.config.settings import Entry, Origin, Settings

_COLUMN = 60  # where the sources stand, if the values leave room


def as_text(settings: Settings) -> str:
    """One line for each setting, `key = value  # source`; settings that are off are comments."""
    head = "built-in defaults" if settings.source is None else printable(settings.source)
    return "\n".join([f"# Effective settings from {head}", *(_line(entry) for entry in settings.entries)])


def as_values(settings: Settings) -> Iterator[dict[str, object]]:
    """The same for JSON. What is not known of a source is left out; off is null."""
    for entry in settings.entries:
        origin = entry.origin
        value: dict[str, object] = {"key": entry.key, "value": entry.value, "source": origin.kind}
        if origin.file is not None:
            value["file"] = origin.file
        if origin.line is not None:
            value["line"] = origin.line
        if origin.variables:
            value["variables"] = list(origin.variables)
        if origin.key is not None:
            value["inheritedFrom"] = origin.key
        yield value


def _line(entry: Entry) -> str:
    if entry.value is None:
        text = f"# {entry.key} is not set"
    else:
        text = f"{entry.key} = {toml_value(entry.value)}"
    return f"{text.ljust(_COLUMN - 1)} # {source_text(entry.origin)}"


def source_text(origin: Origin) -> str:
    """Where a value comes from, such as `/etc/stalwart/stalwart.toml:12, environment THREADS`."""
    parts = []
    if origin.file is not None:
        line = "" if origin.line is None else f":{origin.line}"
        inherited = "" if origin.key is None else f" ({origin.key})"
        parts.append(f"{printable(origin.file)}{line}{inherited}")
    if origin.variables:
        parts.append(f"environment {printable(', '.join(origin.variables))}")
    return ", ".join(parts) or "default"


def toml_value(value: object) -> str:
    """A boolean, number, text, or a list or table of them, as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key_text((key,))} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, int | float):
        return repr(value)
    return quoted(str(value))
