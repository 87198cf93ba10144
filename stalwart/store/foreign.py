"""SQLite databases that rules ask with SQL of their own: opened for reading, bounded in time and size."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from stalwart.store.errors import StoreError

Cell: TypeAlias = "int | float | str | None"
_Identity: TypeAlias = "tuple[int, int]"

MOST_ROWS = 100
QUERY_SECONDS = 1.0
_MOST_OCTETS = 65_536  # of one text, and of the query
_STEPS = 5_000  # of SQLite's machine between two looks at the clock: some tens of microseconds
_MOST_IDLE = 4


class QueryFailed(StoreError):
    """A query could not be answered, or not within its bounds."""


class ReadOnlyDatabase:
    """One database file of somebody else's. Safe to use from any thread.

    Nothing can be written: the file is opened for reading, and no other can be attached.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._idle: list[tuple[_Identity, sqlite3.Connection]] = []

    def query(self, text: str, parameters: Sequence[int | float | str]) -> list[tuple[Cell, ...]]:
        """The rows of one SELECT; `parameters` stand for its question marks.

        Raises QueryFailed: for wrong SQL or parameters, after `QUERY_SECONDS`, for more than `MOST_ROWS` rows, for
        what is neither number nor text.
        """
        # Whoever writes such a file mostly moves a new one into its place.
        identity = self._identity()
        connection = self._take(identity) or self._open()
        try:
            rows = self._run(connection, text, parameters)
        except BaseException:
            connection.close()
            raise
        if len(self._idle) < _MOST_IDLE:
            self._idle.append((identity, connection))
        else:
            connection.close()
        return rows

    def close(self) -> None:
        """Close the connections. No query may be under way."""
        while self._idle:
            self._idle.pop()[1].close()

    def _identity(self) -> _Identity:
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise QueryFailed(f"{self.path}: can't be opened for reading: {error.strerror}") from error
        return found.st_dev, found.st_ino

    def _take(self, identity: _Identity) -> sqlite3.Connection | None:
        """An idle connection to this very file; those to others are closed."""
        while True:
            try:
                opened, connection = self._idle.pop()
            except IndexError:
                return None
            if opened == identity:
                return connection
            connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                f"{Path(self.path).absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=QUERY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise QueryFailed(f"{self.path}: can't be opened for reading: {error}") from error
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_OCTETS)
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _MOST_OCTETS)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        return connection

    def _run(
        self, connection: sqlite3.Connection, text: str, parameters: Sequence[int | float | str]
    ) -> list[tuple[Cell, ...]]:
        deadline = time.monotonic() + QUERY_SECONDS
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        try:
            cursor = connection.execute(text, tuple(parameters))
            rows = cursor.fetchmany(MOST_ROWS + 1)
            cursor.close()
        except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeEncodeError) as error:
            late = time.monotonic() > deadline
            reason = f"it took more than {QUERY_SECONDS:g} s" if late else str(error)
            raise QueryFailed(f"{self.path}: the query failed: {reason}") from error
        if len(rows) > MOST_ROWS:
            raise QueryFailed(f"{self.path}: the query gives more than {MOST_ROWS} rows; add a LIMIT to it")
        if any(isinstance(cell, bytes) for row in rows for cell in row):
            raise QueryFailed(f"{self.path}: the query gives a blob; cast it to a text or a number")
        return rows
