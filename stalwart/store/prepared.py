"""Statements of the hot paths: written in SQLAlchemy Core, compiled once, and run by the driver itself.

SQLAlchemy's execution costs several times what SQLite needs for a small statement, and a delivered mail is a dozen of
them. Values pass as they are: a Boolean comes back as 0 or 1.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Executable, Insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler


class Prepared:
    """One statement, its parameters named. An INSERT takes all columns of its table but an `id` that is given out."""

    def __init__(self, statement: Executable) -> None:
        columns: list[str] | None = None
        if isinstance(statement, Insert):
            columns = [column.name for column in statement.table.columns if column.name != "id"]
        compiled = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"), column_keys=columns)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        self.text = str(compiled)
        self._names = tuple(compiled.positiontup or ())
        self._constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}

    def run(self, driver: sqlite3.Connection, values: Mapping[str, Any]) -> sqlite3.Cursor:
        """Run it once."""
        return driver.execute(self.text, self._ordered(values))

    def insert(self, driver: sqlite3.Connection, values: Mapping[str, Any]) -> int:
        """Run an INSERT; gives the id of the new row."""
        row_id = driver.execute(self.text, self._ordered(values)).lastrowid
        assert row_id is not None
        return row_id

    def run_many(self, driver: sqlite3.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run it for each row of values."""
        driver.executemany(self.text, map(self._ordered, rows))

    def _ordered(self, values: Mapping[str, Any]) -> list[Any]:
        constants = self._constants
        return [values[name] if name in values else constants[name] for name in self._names]
