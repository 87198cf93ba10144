"""Blobs as rows of a SQLite file, for those who want everything in one place."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stalwart.store.blob_writers import MemoryWriter
from stalwart.store.blobs import blob_hash as hash_of
from stalwart.store.errors import BlobMissing
from stalwart.store.sqlite import connect, create_private_file, disk_errors, translated

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS blob ("
    "hash TEXT NOT NULL PRIMARY KEY, size INTEGER NOT NULL, touched_at REAL NOT NULL, data BLOB NOT NULL)"
)
_TOUCH = "UPDATE blob SET touched_at = ? WHERE hash = ?"
_PUT = (
    "INSERT INTO blob (hash, size, touched_at, data) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (hash) DO UPDATE SET touched_at = excluded.touched_at"
)
_GET = "SELECT data FROM blob WHERE hash = ?"
_ROW = "SELECT rowid FROM blob WHERE hash = ?"
_SIZE = "SELECT size FROM blob WHERE hash = ?"
_DELETE = "DELETE FROM blob WHERE hash = ?"
_UNTOUCHED = "SELECT hash FROM blob WHERE touched_at < ?"
_DELETE_UNTOUCHED = "DELETE FROM blob WHERE hash = ? AND touched_at < ?"


class SqliteBlobs:
    """Blobs in the table `blob` of a SQLite file, which may be the store's own file.

    If it is, a put waits for the store's write transactions: never put inside one. `clock` gives seconds since the
    epoch.
    """

    maps = False

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        self._path = os.path.abspath(path)
        self._clock = clock
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        with disk_errors(self._path):
            create_private_file(self._path)
        with self._connection() as connection:
            connection.execute(_SCHEMA)

    def put(self, data: bytes) -> str:
        """See `BlobStore`."""
        name, now = hash_of(data), self._clock()
        with self._connection() as connection:
            if not connection.execute(_TOUCH, (now, name)).rowcount:
                connection.execute(_PUT, (name, len(data), now, data))
        return name

    def begin(self) -> MemoryWriter:
        """See `BlobStore`."""
        return MemoryWriter(self.put)

    def view(self, blob_hash: str) -> bytes:
        """See `BlobStore`."""
        return self.get(blob_hash)

    def get(self, blob_hash: str, start: int = 0, length: int | None = None) -> bytes:
        """See `BlobStore`."""
        with self._connection() as connection:
            if start == 0 and length is None:
                row = connection.execute(_GET, (blob_hash,)).fetchone()
                found = None if row is None else bytes(row[0])
            else:
                found = _range(connection, blob_hash, start, length)
        if found is None:
            raise BlobMissing(blob_hash)
        return found

    def size(self, blob_hash: str) -> int:
        """See `BlobStore`."""
        with self._connection() as connection:
            row = connection.execute(_SIZE, (blob_hash,)).fetchone()
        if row is None:
            raise BlobMissing(blob_hash)
        return int(row[0])

    def delete(self, blob_hash: str) -> None:
        """See `BlobStore`."""
        with self._connection() as connection:
            connection.execute(_DELETE, (blob_hash,))

    def untouched_since(self, time: float) -> Iterator[str]:
        """See `BlobStore`."""
        with self._connection() as connection:
            names = [name for (name,) in connection.execute(_UNTOUCHED, (time,))]
        return iter(names)

    def delete_untouched(self, blob_hash: str, time: float) -> bool:
        """See `BlobStore`."""
        with self._connection() as connection:
            return connection.execute(_DELETE_UNTOUCHED, (blob_hash, time)).rowcount > 0

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with translated(self._path):
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = connect(self._path)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            with self._lock:
                self._idle.append(connection)


def _range(connection: sqlite3.Connection, blob_hash: str, start: int, length: int | None) -> bytes | None:
    connection.execute("BEGIN")  # so that the row stays until it is read
    row = connection.execute(_ROW, (blob_hash,)).fetchone()
    found = None
    if row is not None:
        # Not substr(), which reads all of the blob for any part of it.
        with connection.blobopen("blob", "data", row[0], readonly=True) as data:
            data.seek(min(start, len(data)))
            found = data.read(-1 if length is None else length)
    connection.execute("COMMIT")
    return found
