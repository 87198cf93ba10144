"""The configuration file of `stalwart-jmap` (2022): flat YAML, turned into the settings of today.

Each of its keys becomes settings with the same effect, and so do those of its defaults that are different today. The
loader then reads them as it reads any file, and errors name the old keys.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from stalwart.config.errors import ConfigError, describe
from stalwart.config.flat_yaml import Line, read_flat
from stalwart.config.kinds import BOOLEAN, PATH, BadValue, Kind, choice, show_duration, whole
from stalwart.config.nearest import nearest

EXTENSIONS = (".yml", ".yaml")
"""Files with such a name are taken for old ones."""

Path = tuple[str, ...]

# Without a query and a fragment, and without what would end a text in the rule language.
_URL = re.compile(
    r"https?://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:/[a-z0-9._~/-]*)?", re.ASCII | re.IGNORECASE
)


class OldSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of today: its place, its value for TOML, the old keys that it comes from, and a word on it.

    `origin` are those of the old keys that the file has, with their lines; empty for an old default.
    """

    path: Path
    value: object
    origin: Mapping[str, int]
    why: str = ""


class OldFile(msgspec.Struct, frozen=True, kw_only=True):
    """What an old file says, and every fault in it."""

    settings: tuple[OldSetting, ...]
    faults: tuple[ConfigError, ...]

    def table(self) -> dict[str, object]:
        """The settings as a TOML file would have them."""
        root: dict[str, object] = {}
        for setting in self.settings:
            table: Any = root
            for part in setting.path[:-1]:
                table = table.setdefault(part, {})
            table[setting.path[-1]] = setting.value
        return root


def _read_ip(value: object, folder: str) -> str:
    try:
        return str(ipaddress.ip_address(str(value).strip()))
    except ValueError:
        raise BadValue from None


def _read_url(value: object, folder: str) -> str:
    if not isinstance(value, str) or not _URL.fullmatch(value.strip()):
        raise BadValue
    return value.strip().rstrip("/")


def _read_file_path(value: object, folder: str) -> str:
    path: str = PATH.read(value, folder)
    if "}" in path:
        raise BadValue("a path without }")
    return path


_SECONDS = whole(1, 10**9, "seconds")
_FILE = Kind(
    name="path", wanted="the path of a PEM file (a relative one counts from this file's folder)", read=_read_file_path
)

KEYS: Mapping[str, Kind] = {
    "jmap-bind-addr": Kind(name="IP address", wanted='an IP address such as "127.0.0.1" or "::"', read=_read_ip),
    "jmap-port": whole(0, 65535),
    "jmap-url": Kind(
        name="URL", wanted='a URL such as "https://mail.example.org", of ASCII characters', read=_read_url
    ),
    "jmap-cert-path": _FILE,
    "jmap-key-path": _FILE,
    "log-level": choice("error", "warn", "info", "debug", "trace"),
    "strict-cors": BOOLEAN,
    "cache-size-ids": whole(0, 2**50, "octets"),
    "cache-tti-ids": _SECONDS,
    "cache-tti-sharings": _SECONDS,
    "cache-tti-acl": _SECONDS,
    "cache-tti-recipients": _SECONDS,
    "worker-pool-size": whole(1, 1024),
}
"""The keys of an old file, with what each can be."""


def read_old(path: str, text: str) -> OldFile:
    """What the file `path` with this content says. Raises `flat_yaml.YamlSyntax`."""
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    faults: list[ConfigError] = []
    folder = os.path.dirname(os.path.abspath(path))

    def fault(key: str, line: int, found: str, wanted: str) -> None:
        faults.append(ConfigError(file=path, line=line, key=_shown(key), found=found, wanted=wanted))

    for each in read_flat(text):
        if not isinstance(each, Line):
            fault(each.key, each.line, each.found, each.wanted)
            lines.setdefault(each.key, each.line)
        elif (kind := KEYS.get(each.key)) is None:
            near = nearest(each.key, KEYS)
            wanted = f"a known one, perhaps {near}" if near else f"one of {', '.join(sorted(KEYS))}"
            fault(each.key, each.line, "an unknown key", wanted)
        elif each.key in lines:
            fault(each.key, each.line, "a key that is there twice", f"it once; it is in line {lines[each.key]} too")
        else:
            lines[each.key] = each.line
            try:
                values[each.key] = kind.read(each.value, folder)
            except BadValue as error:
                fault(each.key, each.line, describe(each.value), str(error) or kind.wanted)
    for one, other in (("jmap-cert-path", "jmap-key-path"), ("jmap-key-path", "jmap-cert-path")):
        if one in lines and other not in lines:
            fault(one, lines[one], f"no {other}", f"{other} beside it, or none of the two")
    return OldFile(settings=tuple(_settings(values, lines)), faults=tuple(faults))


def _settings(values: Mapping[str, Any], lines: Mapping[str, int]) -> Iterator[OldSetting]:
    def setting(path: str, value: object, *keys: str, why: str = "") -> OldSetting:
        origin = {key: lines[key] for key in keys if key in lines}
        return OldSetting(path=tuple(path.split(".")), value=value, origin=origin, why=why)

    for key in ("log-level", "worker-pool-size"):
        if key in values:
            yield setting(key, values[key], key)
    yield setting("server.listener.lmtp.protocol", "lmtp")
    yield setting(
        "server.listener.lmtp.bind",
        "127.0.0.1:8024",
        why="Where mail comes in. The old file had no key for it, so this is the default.",
    )
    host, port = values.get("jmap-bind-addr", "127.0.0.1"), values.get("jmap-port", 8080)
    bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    yield setting("server.listener.http.protocol", "http")
    yield setting("server.listener.http.bind", bind, "jmap-port", "jmap-bind-addr")
    if "jmap-cert-path" in values and "jmap-key-path" in values:
        both = ("jmap-cert-path", "jmap-key-path")
        yield setting("server.listener.http.tls.implicit", True, *both, why="The old file had a certificate.")
        for name, key in zip(("cert", "private-key"), both, strict=True):
            yield setting(f"certificate.jmap.{name}", f"%{{file:{values[key]}}}%", key)
    if "jmap-url" in values:
        yield setting(
            "http.url", f"'{values['jmap-url']}'", "jmap-url", why="An expression: the inner quotes make it a text."
        )
    yield setting(
        "http.permissive-cors",
        not values.get("strict-cors", False),
        "strict-cors",
        why="The opposite of strict-cors, which was off unless the file said otherwise. With false here, "
        "cors.allowed-origins can name the pages that may use this server.",
    )
    if "cache-size-ids" in values:
        yield setting("cache.ids.size", values["cache-size-ids"], "cache-size-ids", why="Octets.")
    for name in ("ids", "sharings", "acl", "recipients"):
        if (key := f"cache-tti-{name}") in values:
            yield setting(f"cache.{name}.tti", show_duration(values[key]), key)


def _shown(key: str) -> str:
    return "" if not key else key if key in KEYS else describe(key)
