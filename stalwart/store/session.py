"""One transaction: the database connection, and the record of what it changed.

Every object of a JMAP type that a transaction touches gets a modseq of its own, so that any modseq is a state from
which `/changes` can go on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection, Insert, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert

from stalwart.store.errors import NotFound
from stalwart.store.prepared import Prepared
from stalwart.store.rows import IdCache, ShareCaches
from stalwart.store.tables import IS_LIVE, account, directory, type_state

_DIRECTORY_VERSION = Prepared(select(directory.c.version))
_MODSEQ = Prepared(select(account.c.modseq).where(account.c.id == bindparam("account"), IS_LIVE))
_SET_MODSEQ = Prepared(
    update(account).where(account.c.id == bindparam("account")).values(modseq=bindparam("new_modseq"))
)
# INSERT … ON CONFLICT is spelled alike in PostgreSQL.
_NEW_STATE = insert(type_state).values(
    account_id=bindparam("account"), type=bindparam("type_name"), modseq=bindparam("new_modseq"), floor=0
)
_MOVE_STATE = Prepared(
    _NEW_STATE.on_conflict_do_update(
        index_elements=[type_state.c.account_id, type_state.c.type], set_={"modseq": _NEW_STATE.excluded.modseq}
    )
)
_SEARCH_SECONDS = 10.0


class Session:
    """A snapshot (from `Store.read`) or a transaction (from `Store.write`). Belongs to one thread at a time.

    `connection` is SQLAlchemy's, `driver` the sqlite3 connection under it for the hottest reads. `ids` is where a
    snapshot keeps what searches gave, `shares` where it keeps who shares with whom; a transaction, which may yet be
    undone, has neither. `search_seconds` is the CPU time that searches may still take. `queued` is set by what gives
    the queue's runner something to do, who is told after the commit.
    """

    __slots__ = (
        "_directory_version",
        "_last",
        "_moved",
        "clock",
        "connection",
        "driver",
        "ids",
        "is_snapshot",
        "queued",
        "search_seconds",
        "shares",
    )

    def __init__(
        self,
        connection: Connection,
        driver: sqlite3.Connection,
        clock: Callable[[], float],
        ids: IdCache | None = None,
        shares: ShareCaches | None = None,
        *,
        is_snapshot: bool = False,
    ) -> None:
        self.is_snapshot = is_snapshot
        self.ids = ids
        self.shares = shares
        self.connection = connection
        self.driver = driver
        self.clock = clock
        self.search_seconds = _SEARCH_SECONDS
        self.queued = False
        self._last: dict[int, int] = {}
        self._moved: dict[int, dict[str, int]] = {}
        self._directory_version: int | None = None

    def directory_version(self) -> int:
        """The number that moves with every change of addresses and shares, whichever process makes it.

        Asked once, so for snapshots only.
        """
        if self._directory_version is None:
            (self._directory_version,) = _DIRECTORY_VERSION.run(self.driver, {}).fetchone()
        return self._directory_version

    def now(self) -> int:
        """Seconds since the epoch."""
        return int(self.clock())

    def insert(self, statement: Insert, values: Mapping[str, object]) -> int:
        """Run an INSERT of one row; gives the id it got."""
        key = self.connection.execute(statement, values).inserted_primary_key
        assert key is not None
        return int(key[0])

    def touch(self, account_id: int, type_name: str) -> int:
        """Give the next modseq of the account to an object of this type, and move the type's state to it. NotFound."""
        last = self._last.get(account_id)
        if last is None:
            row = _MODSEQ.run(self.driver, {"account": account_id}).fetchone()
            if row is None:
                raise NotFound(f"account {account_id} does not exist")
            last = int(row[0])
        self._last[account_id] = modseq = last + 1
        self._moved.setdefault(account_id, {})[type_name] = modseq
        return modseq

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part of the transaction that is undone alone if it raises."""
        last, moved = dict(self._last), {account: dict(types) for account, types in self._moved.items()}
        self.driver.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            if self.driver.in_transaction:  # SQLite gives up the whole transaction when the disk is full
                self.driver.execute("ROLLBACK TO part")
                self.driver.execute("RELEASE part")
                self._last, self._moved = last, moved
            raise
        self.driver.execute("RELEASE part")

    def moved_state(self, account_id: int, type_name: str) -> int | None:
        """The state the type was moved to in this transaction, if it was."""
        return self._moved.get(account_id, {}).get(type_name)

    def drop(self, account_id: int) -> None:
        """Forget what was recorded for an account that was deleted."""
        self._last.pop(account_id, None)
        self._moved.pop(account_id, None)

    def flush(self) -> Mapping[int, Mapping[str, int]]:
        """Write what was recorded; gives it as account -> type -> state, and starts anew.

        `Store` calls it at the end of each transaction and of each job of a batch.
        """
        moved = self._moved
        if moved:
            _SET_MODSEQ.run_many(self.driver, [{"account": a, "new_modseq": self._last[a]} for a in moved])
            _MOVE_STATE.run_many(
                self.driver,
                [
                    {"account": a, "type_name": name, "new_modseq": modseq}
                    for a, types in moved.items()
                    for name, modseq in types.items()
                ],
            )
        self.forget()
        return moved

    def forget(self) -> None:
        """Drop what was recorded without writing it: the job was undone."""
        self._last = {}
        self._moved = {}
