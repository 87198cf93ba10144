"""The documentation of every key, made from the declarations; `docs/configuration.md` is this text."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from stalwart.config.errors import key_text
from stalwart.config.schema import Group, Section, Setting, Table, sections
from stalwart.config.settings import Declared
from stalwart.config.show import toml_value

_INTRODUCTION = """\
# Configuration

This page is printed by `stalwart config reference`; every key that the program knows is here.

The configuration is one [TOML](https://toml.io/en/v1.0.0) file, a JSON file whose name ends in `.json`, or a file of
`stalwart-jmap` whose name ends in `.yml` or `.yaml`. It is the first of these that is there:

1. the file after `--config` (`-c`) of `twistd stalwart` and of `stalwart`,
2. the file that the environment variable `STALWART_CONFIG` names,
3. `/etc/stalwart/stalwart.toml`,
4. none: the defaults that stand with each key below. Data then lies under `$STALWART_HOME`, or under
   `./stalwart-data`.

`stalwart check FILE` reports all errors of a file at once, each with its line, and warns of what works but is hardly
meant. The daemon does not start with a file that has an error. `stalwart config show` prints the settings that result,
and where each comes from.

## Values

* **Text** stands in quotes. Numbers and booleans may stand in quotes too.
* **Durations** are texts of a number and a unit, `d`, `h`, `m`, `s` or `ms`: `"5m"`. A bare number is
  milliseconds. **Sizes** are plain numbers of octets.
* **Several values** are an array; a single one may stand without the brackets. A table with the keys `0`, `1`, ...
  (or `0000`, `0001`, ...) is an array too.
* **Expressions** stand in quotes; one that is just a number may do without.
* A setting whose default is "not set" is switched off by `""`, `false`, `"disable"` or `"never"`.
* **Relative paths** count from the folder of the configuration file.

In every text, `%{env:NAME}%` stands for the environment variable NAME, and `%{file:/path}%` for the content of a file
(at most 1 MiB, without the line ends at its end). A variable that is not set, or a file that cannot be read, is an
error. Keep secrets in files or in the environment, and the configuration can be shown to anybody.

## Reload

`stalwart reload`, or SIGHUP, has the running daemon read its file and the files named in it again: all or nothing, and
no connection is dropped. Settings marked "at a reload" then hold at once, for open connections too; changes to the
others wait for a restart, and the log names them. See [policy.md](policy.md).

## Rules

A setting whose type is "rule" is one expression, or clauses: the first whose `if` holds gives the result. They can be
written in any of these ways, in JSON too:

```toml
allowed-endpoint = 200
allowed-endpoint = [{ if = "is_tls", then = "200" }, { else = "404" }]
allowed-endpoint = { match = [{ if = "is_tls", then = "200" }], else = "404" }
allowed-endpoint = { match = { 0 = { if = "is_tls", then = "200" } }, else = "404" }
```

An `else` at the end is required, and each `if` has its `then`: anything else is an error.

## The file of `stalwart-jmap`

The flat YAML file that `stalwart-jmap` had in 2022 is taken as it is, by its name, which ends in `.yml` or `.yaml`:
`twistd stalwart -c old.yml`, `stalwart check old.yml`. `stalwart config convert old.yml` prints the same as TOML.

| Key | Without it | Today |
|---|---|---|
| `jmap-bind-addr`, `jmap-port` | `127.0.0.1`, `8080` | `bind` of `[server.listener.http]` |
| `jmap-url` | as the client asked | `http.url` |
| `jmap-cert-path`, `jmap-key-path` | no TLS | `[certificate.jmap]`, `tls.implicit` of that listener; both or none |
| `log-level` | `info` | `log-level` |
| `strict-cors` | `false` | `http.permissive-cors`, which is its opposite |
| `cache-size-ids` | `33554432` | `cache.ids.size` |
| `cache-tti-ids` | `3600` | `cache.ids.tti` |
| `cache-tti-sharings` | `300` | `cache.sharings.tti` |
| `cache-tti-acl` | `3600` | `cache.acl.tti` |
| `cache-tti-recipients` | `86400` | `cache.recipients.tti` |
| `worker-pool-size` | the number of CPUs | `worker-pool-size` |

Times are whole seconds there. Without `strict-cors` pages of every origin may use the server from a browser, as it was
then. Relative paths count from the folder of the file. Only lines of the form `key: value` are read: lists, mappings,
anchors, aliases and tags are errors, and so is a key that is there twice. Mail comes in at `127.0.0.1:8024`, as without
a file: the old one had no key for it. Nor had it one for where data goes: that is `$STALWART_HOME`, else
`./stalwart-data`.

## JSON

A JSON file has the same keys as a TOML file, nested as its tables. The settings of `http` may also stand in an object
`Http`, or at the top, with names as those of Stalwart 0.16:

OBJECT_NAMES
"""


def reference() -> str:
    """The whole reference as Markdown, with a line end at its end."""
    parts = [_INTRODUCTION.replace("OBJECT_NAMES", "\n".join(_object_names()))]
    for section in sections(Declared):
        parts.extend(_section(section))
    return "\n".join(parts)


def _object_names() -> Iterator[str]:
    yield "| Object | Name | Setting |"
    yield "|---|---|---|"
    for section in sections(Declared):
        if isinstance(section.note, Group) and section.note.object_name:
            for setting in section.settings:
                yield f"| `{section.note.object_name}` | `{setting.note.object_name}` | `{key_text(setting.path)}` |"


def _section(section: Section) -> Iterator[str]:
    title = f"`[{key_text(section.path)}]`" if section.path else "General"
    yield f"## {title}\n"
    if section.note is not None:
        yield f"{section.note.doc}\n"
    if isinstance(section.note, Table):
        if section.note.built_in_doc:
            yield f"{section.note.built_in_doc}\n"
        if section.note.inherits is not None:
            yield f"Where a key falls back on one of `[{section.note.inherits}]`, that is used before the default.\n"
    for setting in section.settings:
        yield from _setting(setting, section)


def _setting(setting: Setting, section: Section) -> Iterator[str]:
    variant = f' (type `"{setting.variant}"`)' if setting.variant is not None else ""
    yield f"### `{key_text(setting.path)}`{variant}\n"
    yield f"{setting.note.doc}\n"
    many = "one or several: " if setting.shape.many else ""
    yield f"* Type: {many}{setting.shape.kind.name}"
    yield f"* Default: {_default(setting)}"
    if setting.fallback is not None:
        yield f"* Falls back on: `{key_text(setting.fallback)}`"
    yield f"* Takes effect: {'at a reload' if setting.reloaded else 'at the start'}"
    name = key_text(setting.path[len(section.path) :])
    yield f"\n```toml\n{name} = {setting.note.example}\n```\n"


def _default(setting: Setting) -> str:
    if setting.note.default is not None:
        return setting.note.default
    if setting.default is msgspec.NODEFAULT:
        return "none, it is required"
    if setting.default is None:
        return "not set"
    if isinstance(setting.default, tuple):
        shown = [setting.shape.kind.show(item) for item in setting.default]
        return f"`{toml_value(shown)}`" if shown else "none"
    return f"`{toml_value(setting.shape.kind.show(setting.default))}`"
