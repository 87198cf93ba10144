"""The open database: who may use it, how its transactions run, and who hears of changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from stalwart.ops.metrics import Metrics
from stalwart.store.blobs import BlobStore
from stalwart.store.session import Session

T = TypeVar("T")
Announce = Callable[[Mapping[int, Mapping[str, int]]], None]


class Store:
    """The store of one data folder. Safe to use from any thread.

    Open it after the process has forked (SQLite connections and the lock don't survive a fork well).
    """

    blobs: BlobStore

    @classmethod
    def open(
        cls,
        data_path: str,
        blobs: BlobStore,
        *,
        clock: Callable[[], float],
        metrics: Metrics | None = None,
        exclusive: bool,
    ) -> Store:
        """Open the database file, making or migrating it as needed.

        `exclusive` is for the daemon: it holds a lock on `<data_path>.lock` until `close` (or the end of the
        process), and a second one raises `StoreInUse`. Without it the caller works beside a running daemon.
        """
        raise NotImplementedError

    def read(self) -> AbstractContextManager[Session]:
        """One snapshot of the database, for as long as the context lasts."""
        raise NotImplementedError

    def write(self) -> AbstractContextManager[Session]:
        """One transaction. Commits on normal exit and then tells the subscribers; rolls back on an exception."""
        raise NotImplementedError

    def run_batch(self, jobs: Sequence[Callable[[Session], T]]) -> list[T | BaseException]:
        """Run the jobs in one transaction with one commit. A job that raises is undone alone; its exception is
        its result. If the commit itself fails, that error is raised and nothing was kept."""
        raise NotImplementedError

    def subscribe(self, callback: Announce) -> None:
        """Have `callback({account_id: {"Email": modseq, …}})` called after each commit that changed something.

        It runs in the writing thread, and must not raise or block.
        """
        raise NotImplementedError

    def ping(self) -> None:
        """Ask the database for something; raises `StoreError` if it can't answer."""
        raise NotImplementedError

    def close(self) -> None:
        """Close every connection and give up the lock. Sessions must have ended."""
        raise NotImplementedError
