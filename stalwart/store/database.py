"""The open database: who may use it, how its transactions run, and who hears of changes."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from sqlalchemy import Connection, Engine

from stalwart.ops.metrics import Metrics
from stalwart.store import migrate
from stalwart.store.blobs import BlobStore
from stalwart.store.blobs_timed import TimedBlobs
from stalwart.store.errors import StoreError, StoreInUse
from stalwart.store.lock import ProcessLock
from stalwart.store.rows import IdCache, ShareCaches
from stalwart.store.session import Session
from stalwart.store.sqlite import (
    LOG_OCTETS,
    connect,
    create_private_file,
    disk_errors,
    make_engine,
    restart_log,
    transaction,
    translated,
)
from stalwart.store.watch import CommitWatch

T = TypeVar("T")
_RESTART_LOG_SECONDS = 30.0
Announce = Callable[[Mapping[int, Mapping[str, int]]], None]


class Store:
    """The store of one data folder. Safe to use from any thread; make it with `open`.

    Open it after the process has forked: neither SQLite's connections nor the lock's pid survive a fork.
    """

    def __init__(
        self,
        path: str,
        engine: Engine,
        blobs: BlobStore,
        lock: ProcessLock,
        clock: Callable[[], float],
        metrics: Metrics | None,
        ids: IdCache | None,
        shares: ShareCaches | None,
    ) -> None:
        self.path = path
        self.blobs: BlobStore = blobs if metrics is None else TimedBlobs(blobs, metrics)
        self.clock = clock
        self._engine = engine
        self._lock = lock
        self._ids = ids
        self._shares = shares
        self._readers: list[Connection] = []  # idle ones; the last used first
        self._pool_lock = threading.Lock()
        self._closed = False
        self._write_lock = threading.Lock()
        self._writer: Connection | None = None
        self._restart_log_at = 0.0
        self._subscribers: list[Announce] = []
        self._runners: list[Callable[[], None]] = []
        seconds = metrics.store_seconds.labels if metrics is not None else None
        self._read_time, self._write_time, self._commit_time = (
            seconds(name).observe if seconds is not None else _ignore for name in ("read", "write", "commit")
        )
        self._batch_size = metrics.store_batch.observe if metrics is not None else _ignore

    @classmethod
    def open(
        cls,
        data_path: str,
        blobs: BlobStore,
        *,
        clock: Callable[[], float],
        metrics: Metrics | None = None,
        ids: IdCache | None = None,
        shares: ShareCaches | None = None,
        exclusive: bool,
    ) -> Store:
        """Open the database file, making or migrating it as needed.

        `exclusive` is for the daemon: it holds a lock on `<data_path>.lock` until `close` (or the end of the
        process), and a second one raises `StoreInUse`. Without it the caller works beside a running daemon; it then
        takes the lock only to make or migrate the database. `ids` keeps what searches gave, `shares` who shares with
        whom.
        """
        path = os.path.abspath(data_path)
        with translated(path), disk_errors(path), ExitStack() as undo:
            create_private_file(path)
            engine = make_engine(path)
            lock = ProcessLock(f"{path}.lock")
            undo.callback(lock.release)
            if exclusive or not migrate.is_current(engine, path):
                _bring_up_to_date(engine, path, blobs, lock, exclusive=exclusive)
            undo.pop_all()
        return cls(path, engine, blobs, lock, clock, metrics, ids, shares)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One snapshot of the database, for as long as the context lasts."""
        started = time.perf_counter()
        with translated(self.path):
            connection = self._take_reader()
            try:
                with transaction(connection, writing=False) as driver:
                    yield Session(connection, driver, self.clock, self._ids, self._shares, is_snapshot=True)
            except BaseException:
                connection.close()  # who knows what state it is in
                raise
            self._give_reader(connection)
        self._read_time(time.perf_counter() - started)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction. Commits on normal exit and then tells the subscribers; rolls back on an exception.

        Writers of one process wait for each other. Don't nest two, and put blobs before: that waits for the disk.
        """
        with self._transaction() as (session, moved):
            yield session
            _merge(moved, session.flush())

    def run_batch(self, jobs: Sequence[Callable[[Session], T]]) -> list[T | BaseException]:
        """Run the jobs in one transaction with one commit.

        A job that raises is undone alone, and its exception is its result. If the transaction as a whole fails
        (a full disk, the commit), that error is raised and nothing was kept.
        """
        results: list[T | BaseException] = []
        with self._transaction() as (session, moved):
            driver = session.driver
            for job in jobs:
                driver.execute("SAVEPOINT job")
                try:
                    with translated(self.path):
                        result = job(session)
                        job_moved = session.flush()
                except Exception as error:
                    if not driver.in_transaction:  # SQLite gave up the whole transaction
                        raise
                    driver.execute("ROLLBACK TO job")
                    session.forget()
                    results.append(error)
                else:
                    _merge(moved, job_moved)
                    results.append(result)
                driver.execute("RELEASE job")
        self._batch_size(len(jobs))
        return results

    def subscribe(self, callback: Announce) -> None:
        """Have `callback({account_id: {"Email": modseq, …}})` called after each commit that changed something.

        It runs in the writing thread, and must not raise or block.
        """
        self._subscribers.append(callback)

    def subscribe_queue(self, callback: Callable[[], None]) -> None:
        """Have `callback` called after each commit of this process that gives the queue's runner something to do.

        It runs in the writing thread, and must not raise or block.
        """
        self._runners.append(callback)

    def watch(self) -> CommitWatch:
        """A way to see that some process has committed. Whoever asks for it closes it."""
        with translated(self.path):
            return CommitWatch(connect(self.path))

    def ping(self) -> None:
        """Ask the database for something; raises `StoreError` if it can't answer."""
        with self.read() as session:
            session.driver.execute("SELECT count(*) FROM (SELECT 1 FROM domain LIMIT 1)").fetchone()

    def close(self) -> None:
        """Close every connection and give up the lock. Sessions must have ended."""
        with self._pool_lock:
            self._closed = True
            readers, self._readers = self._readers, []
        for reader in readers:
            reader.close()
        with self._write_lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        self._engine.dispose()
        self._lock.release()

    @contextmanager
    def _transaction(self) -> Iterator[tuple[Session, dict[int, dict[str, int]]]]:
        moved: dict[int, dict[str, int]] = {}
        started = time.perf_counter()
        with translated(self.path), self._write_lock:
            connection = self._take_writer()
            try:
                with transaction(connection, writing=True) as driver:
                    session = Session(connection, driver, self.clock)
                    yield session, moved
                    committing = time.perf_counter()
                self._commit_time(time.perf_counter() - committing)
            except BaseException:
                self._writer = None
                connection.close()  # who knows what state it is in
                raise
            self._limit_log(driver)
        self._write_time(time.perf_counter() - started)
        if moved:
            for callback in self._subscribers:
                callback(moved)
        if session.queued:
            for wake in self._runners:
                wake()

    def _limit_log(self, driver: sqlite3.Connection) -> None:
        """After a commit, see to it that the write-ahead log doesn't grow for as long as reads overlap."""
        now = time.monotonic()
        if now < self._restart_log_at:
            return
        # The transaction is committed: trouble with the log must not look as if it weren't. The next one will meet it.
        with suppress(OSError, sqlite3.Error):
            if os.stat(f"{self.path}-wal").st_size <= LOG_OCTETS:
                return
            with self._pool_lock:  # no new reads here until those that run have ended
                done = restart_log(driver)
            if not done:
                self._restart_log_at = now + _RESTART_LOG_SECONDS  # a long read is in the way: don't wait each time

    def _take_reader(self) -> Connection:
        with self._pool_lock:
            if self._closed:
                raise StoreError(f"{self.path}: the store has been closed")
            if self._readers:
                return self._readers.pop()
        return self._engine.connect()

    def _give_reader(self, connection: Connection) -> None:
        with self._pool_lock:
            if not self._closed:
                self._readers.append(connection)
                return
        connection.close()

    def _take_writer(self) -> Connection:
        if self._closed:
            raise StoreError(f"{self.path}: the store has been closed")
        if self._writer is None:
            self._writer = self._engine.connect()
        return self._writer


def _bring_up_to_date(engine: Engine, path: str, blobs: BlobStore, lock: ProcessLock, *, exclusive: bool) -> None:
    """Migrate if that is needed, under the lock, which is kept if `exclusive`."""
    try:
        lock.acquire("migrate")
    except StoreInUse:
        if exclusive or not migrate.is_current(engine, path):
            raise
        return  # a daemon that was just starting has done it
    if not migrate.is_current(engine, path):  # another process may have been first
        migrate.upgrade(engine, path, blobs=blobs)
    if exclusive:
        lock.state("serve")
    else:
        lock.release()


def _merge(into: dict[int, dict[str, int]], moved: Mapping[int, Mapping[str, int]]) -> None:
    for account_id, types in moved.items():
        into.setdefault(account_id, {}).update(types)


def _ignore(value: float) -> None:
    """Stands in for a metric when there are none."""
