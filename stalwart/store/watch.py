"""Whether anything was committed, by whichever process, and what state accounts are in then."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import bindparam, func, select

from stalwart.store.prepared import Prepared
from stalwart.store.session import Session
from stalwart.store.tables import IS_LIVE, account, type_state

_AMONG = select(func.json_each(bindparam("accounts")).table_valued("value").c.value)
_STANDINGS = Prepared(
    select(account.c.id, account.c.modseq, account.c.credential_version).where(account.c.id.in_(_AMONG), IS_LIVE)
)
_STATES = Prepared(
    select(type_state.c.account_id, type_state.c.type, type_state.c.modseq).where(type_state.c.account_id.in_(_AMONG))
)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What moves with every change of an account: `modseq` with its data, `credential_version` with its password."""

    modseq: int
    credential_version: int


class CommitWatch:
    """Tells whether the database was written to since it was last asked; costs microseconds. For one thread at a time.

    It counts the commits of all processes, those of this one too.
    """

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver
        self._version = self._read()

    def moved(self) -> bool:
        """Whether there was a commit since the last call, or since this was made."""
        version = self._read()
        moved = version != self._version
        self._version = version
        return moved

    def close(self) -> None:
        """Let the connection go."""
        self._driver.close()

    def _read(self) -> int:
        # https://sqlite.org/pragma.html#pragma_data_version: differs after a commit on any other connection
        return int(self._driver.execute("PRAGMA data_version").fetchone()[0])


def standings(s: Session, account_ids: Iterable[int]) -> Mapping[int, Standing]:
    """How the accounts stand; those that don't exist are left out."""
    rows = _STANDINGS.run(s.driver, {"accounts": _listed(account_ids)})
    return {row[0]: Standing(modseq=row[1], credential_version=row[2]) for row in rows}


def states(s: Session, account_ids: Iterable[int]) -> Mapping[int, Mapping[str, int]]:
    """The state of every type of the accounts, as account -> type -> state. A type that never changed is left out."""
    found: dict[int, dict[str, int]] = {}
    for account_id, type_name, modseq in _STATES.run(s.driver, {"accounts": _listed(account_ids)}):
        found.setdefault(account_id, {})[type_name] = modseq
    return found


def _listed(account_ids: Iterable[int]) -> str:
    return msgspec.json.encode(list(account_ids)).decode()
