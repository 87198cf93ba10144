"""From a file and the environment to `Settings`, or to all the errors at once.

What depends on the machine (its name, its CPUs, the time) is passed in by the caller.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping

from stalwart.config import checks
from stalwart.config.acme_checks import check_acme
from stalwart.config.document import ReadFile, empty, read_document, read_file
from stalwart.config.errors import ConfigErrors, describe, key_text
from stalwart.config.reader import Reader
from stalwart.config.report import Report
from stalwart.config.rules import DEFAULT_LOOKUPS, CheckRule, RuleNames, no_check
from stalwart.config.settings import Declared, Entry, Origin, Settings
from stalwart.config.spellings import unify
from stalwart.config.store_settings import FsStore, SqliteStore
from stalwart.config.unknown import known_keys, report_unknown

SYSTEM_FILE = "/etc/stalwart/stalwart.toml"


def find_config(argument: str | None, environ: Mapping[str, str], *, system_file: str = SYSTEM_FILE) -> str | None:
    """The file to load: the argument, else $STALWART_CONFIG, else the system's if it is there, else None."""
    if argument is not None:
        return argument
    if environ.get("STALWART_CONFIG"):
        return environ["STALWART_CONFIG"]
    try:
        os.lstat(system_file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return system_file  # in a folder that this user can't look into: defaults would mean other data
    return system_file


def load(
    path: str | None,
    environ: Mapping[str, str],
    *,
    hostname: str = "localhost",
    cpus: int | None = None,
    now: datetime.datetime | None = None,
    read: ReadFile = read_file,
    check_rule: CheckRule = no_check,
) -> Settings:
    """The settings of a file, or the built-in defaults for None. Raises `ConfigErrors`, and nothing else.

    `hostname` is the default of `server.hostname`, `cpus` that of `worker-pool-size` (not given: asked of the
    system). The dates of certificates are looked at if `now`, with its time zone, is given.
    `check_rule` says what is wrong with the expressions of a rule; this room doesn't know their language.
    """
    document, clashes = unify(empty() if path is None else read_document(path, read), Declared)
    report = Report(document)
    for clash in clashes:
        first = key_text(clash.first)
        line = document.line(clash.first)
        where = first if line is None else f"{first} (line {line})"
        report.error(clash.second, found=f"the same setting as {where}", wanted="it once, under one of its names")
    computed = {
        ("server", "hostname"): hostname or "localhost",
        ("worker-pool-size",): cpus or os.cpu_count() or 1,
    }
    reader = Reader(document, report, environ=environ, read=read, computed=computed)
    report_unknown(document.table, known_keys(Declared), report)
    declared = reader.struct(Declared)
    reader.check_unused(Declared)
    if declared is None:
        raise ConfigErrors(report.errors)
    checks.check_addresses(declared.listeners, report)
    checks.check_certificates(declared.certificates, now, report)
    checks.check_tls(declared.listeners, report)
    check_acme(declared.acme, declared.listeners, declared.http, declared.certificates, read, report)
    checks.check_http(declared.http, declared.listeners, report)
    checks.check_scan_paths(declared.auto_ban.scan_paths, report)
    checks.check_relay(declared.relay, report)
    checks.check_fallback_admin(declared.fallback_admin, report)
    checks.check_discovery(declared.autoconfig, declared.mta_sts_domains, declared.well_known.security, now, report)
    checks.check_loopback(declared.http, declared.listeners, report)
    names = rule_names(declared)
    asked = checks.check_rules(declared.http, check_rule, names, report)
    storage = _Storage(declared, environ, asked, report)
    if report.errors or storage.data is None or storage.blob is None:
        raise ConfigErrors(report.errors)
    return Settings(
        **{name: getattr(declared, name) for name in declared.__struct_fields__},
        source=path,
        rule_names=names,
        data=storage.data,
        blob=storage.blob,
        fts=storage.data,
        warnings=report.warnings,
        folder=document.folder,
        file_values=reader.file_values,
        entries=tuple(_merge(reader.entries, storage.entries)),
    )


def rule_names(declared: Declared) -> RuleNames:
    """What rules can ask by name; `hostname` and `domain` are there by themselves."""
    own = {"hostname": declared.hostname, "domain": declared.hostname.partition(".")[2]}
    lookups = {name: dict(values) for name, values in declared.lookups}
    lookups[DEFAULT_LOOKUPS] = own | lookups.get(DEFAULT_LOOKUPS, {})
    databases = {store.id: store.path for store in declared.stores if isinstance(store, SqliteStore)}
    listeners = tuple(listener.id for listener in declared.listeners if listener.protocol == "http")
    return RuleNames(lookups=lookups, databases=databases, listeners=listeners)


class _Storage:
    """Which stores are used: those that `storage` names, else the built-in ones."""

    def __init__(self, declared: Declared, environ: Mapping[str, str], asked: frozenset[str], report: Report) -> None:
        self.entries: list[Entry] = []
        stores = checks.Stores(declared.stores, asked, report)
        names = declared.storage
        self.data: SqliteStore | None
        self.blob: SqliteStore | FsStore | None
        if names.data is not None:
            self.data = stores.find("data", names.data, SqliteStore)
            origin = Origin(kind="default")
        else:
            home, origin = _home(environ)
            self.data = SqliteStore(id="built-in-data", path=os.path.join(home, "stalwart.sqlite"))
            self._add("data", self.data, origin)
        if names.blob is not None:
            self.blob = stores.find("blob", names.blob, FsStore, SqliteStore)
        elif self.data is not None:
            self.blob = FsStore(id="built-in-blobs", path=os.path.join(os.path.dirname(self.data.path), "blobs"))
            self._add("blob", self.blob, origin)
        else:
            self.blob = None
        if names.fts is not None:
            fts = stores.find("fts", names.fts, SqliteStore)
            misread = any(error.key == "storage.data" for error in report.errors)
            if fts is not None and self.data is not None and fts != self.data and not misread:
                same = describe(self.data.id)
                report.error(("storage", "fts"), found=describe(fts.id), wanted=f"the store of storage.data, {same}")
        elif self.data is not None:
            self._entry("storage.fts", self.data.id, Origin(kind="default"))
        stores.warn_unused()

    def _add(self, role: str, store: SqliteStore | FsStore, origin: Origin) -> None:
        default = Origin(kind="default")
        self._entry(f"storage.{role}", store.id, default)
        self._entry(f"store.{store.id}.type", store.__struct_config__.tag, default)
        self._entry(f"store.{store.id}.path", store.path, origin)

    def _entry(self, key: str, value: object, origin: Origin) -> None:
        self.entries.append(Entry(key=key, value=value, origin=origin))


def _home(environ: Mapping[str, str]) -> tuple[str, Origin]:
    """The folder of the built-in stores, and where it comes from."""
    home = environ.get("STALWART_HOME")
    if home:
        return os.path.abspath(home), Origin(kind="environment", variables=("STALWART_HOME",))
    return os.path.abspath("stalwart-data"), Origin(kind="default")


def _merge(entries: list[Entry], worked_out: list[Entry]) -> list[Entry]:
    """`entries` with those replaced or added at the end that were worked out later."""
    merged = {entry.key: entry for entry in entries}
    merged.update((entry.key, entry) for entry in worked_out)
    return list(merged.values())
