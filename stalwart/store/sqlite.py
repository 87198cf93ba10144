"""What is particular to SQLite: connections and their pragmas, error codes, copies of the file."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, NullPool, Select, create_engine, func, select
from sqlalchemy.exc import DBAPIError

from stalwart.store.errors import DiskFull, StoreBusy, StoreDamaged, StoreError

BUSY_SECONDS = 30.0
LOG_OCTETS = 64 * 1024 * 1024
_RESTART_MILLISECONDS = 1000
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # a commit is on disk when it returns
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-8192",  # KiB per connection
    f"PRAGMA journal_size_limit={LOG_OCTETS}",
    "PRAGMA temp_store=MEMORY",
)


def connect(path: str) -> sqlite3.Connection:
    """A connection of the driver, prepared. It starts no transactions of its own: a lone statement commits itself."""
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=128
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def make_engine(path: str) -> Engine:
    """An engine for one database file. It keeps no connections: whoever opens one owns it."""

    return create_engine("sqlite://", creator=lambda: connect(path), poolclass=NullPool, query_cache_size=200)


@contextmanager
def transaction(connection: Connection, *, writing: bool) -> Iterator[sqlite3.Connection]:
    """A transaction on both the connection and the driver under it; commits on normal exit if `writing`.

    The driver is told to begin directly: SQLAlchemy leaves that to the driver, whose own habit is to begin late and
    only for writes. An event listener would do too, but slows down every statement of the engine.
    """
    driver = driver_of(connection)
    outer = connection.begin()
    try:
        # IMMEDIATE takes the write lock now, where waiting is possible; a read that becomes a write can't wait.
        driver.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
        yield driver
        if writing:
            outer.commit()
    except BaseException:
        driver.rollback()  # SQLAlchemy doesn't, when it was the commit that failed
        outer.rollback()
        raise
    if not writing:
        outer.rollback()


def restart_log(driver: sqlite3.Connection) -> bool:
    """Copy the whole write-ahead log into the database, so that the next transaction begins it anew; False if not.

    SQLite does that by itself when nobody reads for a moment; while reads overlap without a gap, the log grows. Waits
    a second at most for those who read now; others may read meanwhile.
    """
    driver.execute(f"PRAGMA busy_timeout={_RESTART_MILLISECONDS}")
    try:
        busy, _, _ = driver.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    finally:
        driver.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")
    return not busy


def driver_of(connection: Connection) -> sqlite3.Connection:
    """The sqlite3 connection under a SQLAlchemy one."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def create_private_file(path: str) -> None:
    """Make the database file, empty and for this user only, unless it exists. SQLite gives its -wal the same mode."""
    create_private_folder(os.path.dirname(path))
    if os.path.isdir(path):
        raise StoreError(f"{path}: this is a folder; wanted the name of the database file")
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def create_private_folder(path: str) -> None:
    """Make the folder and those above it that are missing, for this user only. Says so to the disk."""
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        sync(os.path.dirname(folder) or ".")


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turns SQLite's errors about the file or the disk into `StoreError`s that name the file.

    Broken constraints and wrong SQL stay what they are: those are for the code that caused them.
    """
    try:
        yield
    except DBAPIError as error:
        translation = _translate(path, error.orig)
        if translation is None:
            raise
        raise translation from error
    except sqlite3.Error as error:
        translation = _translate(path, error)
        if translation is None:
            raise
        raise translation from error


@contextmanager
def disk_errors(path: str) -> Iterator[None]:
    """Turns the file system's errors into `StoreError`s that name the place."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"{path}: no space left on the device; nothing was written") from error
        place = error.filename if isinstance(error.filename, str) else path
        advice = "; check the owner of the file and its folder" if isinstance(error, PermissionError) else ""
        raise StoreError(f"{place}: {error.strerror or error}{advice}") from error


def _translate(path: str, error: BaseException | None) -> StoreError | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    primary = code & 0xFF  # the rest is detail: https://sqlite.org/rescode.html
    if primary == sqlite3.SQLITE_FULL:
        return DiskFull(f"{path}: no space left on the device; nothing was written")
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return StoreBusy(f"{path}: another process kept the database locked for {BUSY_SECONDS:.0f} seconds")
    if primary == sqlite3.SQLITE_NOTADB:
        return StoreDamaged(f"{path}: this file is not a SQLite database; check the path, or restore a copy")
    if primary == sqlite3.SQLITE_CORRUPT:
        return StoreDamaged(f"{path}: the database is damaged ({error}); restore a copy, or try sqlite3's .recover")
    if primary in (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_AUTH,
    ):
        return StoreError(f"{path}: can't open the database for writing ({error}); check the owner of file and folder")
    if primary == sqlite3.SQLITE_IOERR:
        return StoreError(f"{path}: the disk failed ({error})")
    return None


def listed(ids: Iterable[int]) -> Select[int]:
    """The ids as a subquery with one parameter, however many they are."""
    return select(func.json_each(json.dumps(list(ids))).table_valued("value").c.value)


def copy_database(engine: Engine, path: str, label: str) -> str:
    """Write a consistent copy of the database beside it, named `<path>.<label>`, and give its path.

    A copy that is already there is kept, and the new one gets a number.
    """
    target, number = f"{path}.{label}", 1
    while os.path.exists(target):
        number += 1
        target = f"{path}.{label}.{number}"
    partial = f"{path}.{label}.partial"  # so that what an interrupted copy leaves is not taken for a whole one
    with suppress(FileNotFoundError):
        os.unlink(partial)
    create_private_file(partial)  # VACUUM INTO accepts an empty file
    try:
        with translated(partial), disk_errors(partial), engine.connect() as connection:
            driver_of(connection).execute("VACUUM INTO ?", (partial,))
            sync(partial)
        os.rename(partial, target)
    except BaseException:
        os.unlink(partial)
        raise
    sync(os.path.dirname(target) or ".")
    return target


def sync(path: str) -> None:
    """fsync a file, or a folder so that the names in it last."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
