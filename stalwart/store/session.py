"""One transaction: the database connection, and the record of what it changed.

Every object of a JMAP type that a transaction touches gets a modseq of its own, so that any modseq is a state from
which `/changes` can go on. What was recorded is written by `flush` at the end of each job, and told to subscribers after the commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

from sqlalchemy import Connection


class Session:
    """A snapshot (from `Store.read`) or a transaction (from `Store.write`). Belongs to one thread at a time."""

    __slots__ = ("_moved", "_next", "clock", "connection", "driver", "writable")

    def __init__(
        self, connection: Connection, driver: sqlite3.Connection, clock: Callable[[], float], *, writable: bool
    ) -> None:
        self.connection = connection
        self.driver = driver
        self.clock = clock
        self.writable = writable
        self._next: dict[int, int] = {}
        self._moved: dict[int, dict[str, int]] = {}

    def touch(self, account_id: int, type_name: str) -> int:
        """Give the next modseq of the account to an object of this type, and move the type's state to it."""
        raise NotImplementedError

    def flush(self) -> Mapping[int, Mapping[str, int]]:
        """Write the moved states; gives them as account -> type -> state, and forgets them."""
        raise NotImplementedError
