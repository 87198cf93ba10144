"""The open store: its lock, its transactions, its errors, and other processes beside it."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO

from sqlalchemy.exc import IntegrityError

from stalwart.ops.metrics import Metrics
from stalwart.store import (
    AlreadyExists,
    DiskFull,
    FsBlobs,
    NotFound,
    Session,
    SqliteBlobs,
    Store,
    StoreDamaged,
    StoreError,
    StoreInUse,
    create_account,
    create_domain,
    database,
    find_account,
    list_domains,
    migrate,
    state,
    sweep,
)
from stalwart.store.lock import ProcessLock
from stalwart.store.sqlite import make_engine
from tests.store.bed import StoreTestCase, message

_OTHER_PROCESS = """
import sys, time
from stalwart.store import FsBlobs, Store, create_domain
path, exclusive, domain = sys.argv[1:]
store = Store.open(path, FsBlobs(path + "-blobs"), clock=time.time, exclusive=exclusive == "yes")
if domain:
    with store.write() as s:
        create_domain(s, domain)
print("ready", flush=True)
sys.stdin.read()
"""


def other_process(path: str, *, exclusive: bool, domain: str = "") -> subprocess.Popen[str]:
    """Another process with the store open, after it made a domain; it ends when its input does."""
    return subprocess.Popen(
        [sys.executable, "-c", _OTHER_PROCESS, path, "yes" if exclusive else "no", domain],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def say(stream: IO[str] | None) -> str:
    """The next line of another process."""
    assert stream is not None
    return stream.readline().strip()


class OpeningTests(StoreTestCase):
    """Who may open a store, and what opening does."""

    def open(self, path: str, *, exclusive: bool = True) -> Store:
        """Another store, closed after the test."""
        store = Store.open(path, self.blobs, clock=lambda: self.now, exclusive=exclusive)
        self.addCleanup(store.close)
        return store

    def test_private(self) -> None:
        """All files of the database are for the owner only, and so is a folder that was made for it."""
        path = os.path.join(self.folder, "a", "b", "mail.sqlite")
        with self.open(path).write() as s:
            create_domain(s, "example.com")
        for name in (path, path + "-wal", path + "-shm", path + ".lock"):
            self.assertEqual(stat.S_IMODE(os.stat(name).st_mode), 0o600, name)
        for name in (os.path.dirname(path), os.path.join(self.folder, "a")):
            self.assertEqual(stat.S_IMODE(os.stat(name).st_mode), 0o700, name)

    def test_folder(self) -> None:
        """A folder where the file should be is called one."""
        self.assertIn("this is a folder", str(self.assertRaises(StoreError, self.open, self.folder)))

    def test_while_a_daemon_starts(self) -> None:
        """The admin command waits for a daemon that is about to make or migrate the database, then works beside it."""
        path = os.path.join(self.folder, "new.sqlite")
        daemon = ProcessLock(f"{path}.lock")
        daemon.acquire("migrate")
        self.addCleanup(daemon.release)
        waited: list[float] = []

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            migrate.upgrade(make_engine(path), path, blobs=self.blobs)
            daemon.state("serve")

        self.patch(time, "sleep", sleep)
        store = self.open(path, exclusive=False)
        store.ping()
        self.assertEqual(len(waited), 1)

    def test_two_make_it(self) -> None:
        """Whoever waited for another to make the database neither makes it again nor copies it."""
        path = os.path.join(self.folder, "new.sqlite")
        other = ProcessLock(f"{path}.lock")
        other.acquire("migrate")

        def sleep(seconds: float) -> None:
            migrate.upgrade(make_engine(path), path, blobs=self.blobs)
            other.release()

        self.patch(time, "sleep", sleep)
        self.open(path, exclusive=False)
        self.assertEqual([name for name in os.listdir(self.folder) if ".before-" in name], [])

    def test_odd_path(self) -> None:
        """A path may hold spaces, per cent signs, question marks and letters beyond ASCII."""
        path = os.path.join(self.folder, "my %s mail? é#1", "mail %d.sqlite")
        with self.open(path).write() as s:
            create_domain(s, "example.com")
        self.assertTrue(os.path.exists(path))

    def test_reopened(self) -> None:
        """What was committed is there after closing and opening."""
        self.store.close()
        self.store = self.open(self.path)
        with self.store.read() as s:
            self.assertEqual(list_domains(s), ["example.org"])

    def test_second_daemon(self) -> None:
        """A second one that wants to serve the store is told which process has it."""
        error = self.assertRaises(StoreInUse, self.open, self.path)
        self.assertIn(f"{self.path} is in use by process {os.getpid()}", str(error))

    def test_beside_the_daemon(self) -> None:
        """The admin command works beside the daemon, and each sees what the other wrote."""
        with self.open(self.path, exclusive=False).write() as s:
            create_domain(s, "example.com")
        with self.store.write() as s:
            create_domain(s, "example.net")
            self.assertEqual(list_domains(s), ["example.com", "example.net", "example.org"])

    def test_killed(self) -> None:
        """After kill -9 the lock is free, and what was committed is there."""
        self.store.close()
        other = other_process(self.path, exclusive=True, domain="example.com")
        try:
            self.assertEqual(say(other.stdout), "ready")
            error = self.assertRaises(StoreInUse, self.open, self.path)
            self.assertIn(f"process {other.pid}", str(error))
        finally:
            other.send_signal(signal.SIGKILL)
            other.communicate()
        self.store = self.open(self.path)
        with self.store.read() as s:
            self.assertEqual(list_domains(s), ["example.com", "example.org"])

    def test_other_process_waits(self) -> None:
        """A writer in another process waits for a running transaction, and both are kept."""
        with self.store.write() as s:
            other = other_process(self.path, exclusive=False, domain="example.com")
            create_domain(s, "example.net")
        _, _ = say(other.stdout), other.communicate()
        self.assertEqual(other.returncode, 0)
        with self.store.read() as s:
            self.assertEqual(list_domains(s), ["example.com", "example.net", "example.org"])

    def test_not_a_database(self) -> None:
        """A file of another kind is StoreDamaged, named, and left alone."""
        path = os.path.join(self.folder, "letter.txt")
        with open(path, "w") as file:
            file.write("Dear Sirs, " * 1000)
        error = self.assertRaises(StoreDamaged, self.open, path)
        self.assertIn(path, str(error))
        with open(path) as file:
            self.assertEqual(file.read(), "Dear Sirs, " * 1000)

    def test_damaged(self) -> None:
        """Overwritten pages are StoreDamaged, and named."""
        self.store.close()
        size = os.path.getsize(self.path)
        with open(self.path, "r+b") as file:
            file.seek(4096)
            file.write(os.urandom(size - 4096))

        def use() -> None:
            with self.open(self.path).write() as s:
                create_account(s, "bob@example.org", password_hash="x")

        self.assertIn(self.path, str(self.assertRaises(StoreDamaged, use)))

    def test_foreign_database(self) -> None:
        """A database of some other program that has a table of the same name is refused."""
        path = os.path.join(self.folder, "other.sqlite")
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE account (name TEXT)")
        connection.close()
        self.assertIn("isn't one of ours", str(self.assertRaises(StoreDamaged, self.open, path)))

    def test_unwritable(self) -> None:
        """A path that can't be is a StoreError with the path."""
        path = os.path.join(self.path, "below-a-file.sqlite")
        self.assertIn(self.path, str(self.assertRaises(StoreError, self.open, path)))

    def test_closed(self) -> None:
        """A closed store says so."""
        self.store.close()
        for use in (self.store.ping, self.store.read().__enter__, self.store.write().__enter__):
            self.assertIn("closed", str(self.assertRaises(StoreError, use)))

    def test_blobs_in_the_same_file(self) -> None:
        """Everything may lie in one file, blobs too, whichever is opened first."""
        path = os.path.join(self.folder, "one.sqlite")
        blobs = SqliteBlobs(path, clock=lambda: self.now)
        self.addCleanup(blobs.close)
        store = Store.open(path, blobs, clock=lambda: self.now, exclusive=True)
        self.addCleanup(store.close)
        name = store.blobs.put(b"data")
        with store.write() as s:
            create_domain(s, "example.com")
        self.now += 10
        self.assertEqual(store.blobs.get(name), b"data")
        self.assertEqual(sweep(store, 5), 1)
        again = Store.open(path, blobs, clock=lambda: self.now, exclusive=False)
        again.close()
        self.assertEqual([entry for entry in os.listdir(self.folder) if ".before-" in entry], [])

    def test_durable(self) -> None:
        """A commit is on disk when it returns, by SQLite's own settings."""
        with self.store.write() as s:
            settings = {
                name: s.driver.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
        self.assertEqual(settings, {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1})


class TransactionTests(StoreTestCase):
    """Reads, writes and batches."""

    def setUp(self) -> None:
        """Listen to the announcements."""
        super().setUp()
        self.announced: list[Mapping[int, Mapping[str, int]]] = []
        self.store.subscribe(self.announced.append)

    def names(self) -> list[str]:
        """The domains that are there."""
        with self.store.read() as s:
            return list_domains(s)

    def test_rolled_back(self) -> None:
        """An exception undoes the whole transaction, and announces nothing."""

        def fail() -> None:
            with self.store.write() as s:
                create_domain(s, "example.com")
                self.add(s=s, mailbox_ids=[self.mailbox_id()])
                raise KeyError

        self.assertRaises(KeyError, fail)
        self.assertEqual(self.names(), ["example.org"])
        self.assertEqual(self.announced, [])
        self.add()
        self.assertEqual(len(self.announced), 1)

    def break_at_commit(self, s: Session) -> None:
        """Do what SQLite only complains of at the commit."""
        s.driver.execute("PRAGMA defer_foreign_keys = ON")
        s.driver.execute("INSERT INTO address (address, domain_id, account_id, is_alias) VALUES ('x', 99, 99, 1)")

    def test_failed_commit(self) -> None:
        """A commit that fails keeps nothing, gives nobody a result, and the next transaction works."""

        def write() -> None:
            with self.store.write() as s:
                create_domain(s, "example.com")
                self.break_at_commit(s)

        def batch() -> None:
            self.store.run_batch([lambda s: create_domain(s, "example.com"), self.break_at_commit])

        for fail in (write, batch, write):
            self.assertRaises(IntegrityError, fail)
            self.assertEqual(self.names(), ["example.org"])
        self.assertEqual(self.announced, [])
        with self.store.write() as s:
            create_domain(s, "example.net")
        self.assertEqual(self.names(), ["example.net", "example.org"])

    def test_log_stays_small(self) -> None:
        """The write-ahead log does not grow without bound while reads overlap without a gap."""
        self.patch(database, "LOG_OCTETS", 1_000_000)
        stopped = threading.Event()
        started = threading.Barrier(4)

        def read() -> None:
            started.wait()
            while not stopped.is_set():
                with self.store.read() as s:
                    list_domains(s)
                    stopped.wait(0.01)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        try:
            started.wait()
            largest = 0
            for _ in range(200):
                with self.store.write() as s:
                    s.driver.execute("UPDATE account SET name = hex(randomblob(25000))")
                largest = max(largest, os.path.getsize(f"{self.path}-wal"))
        finally:
            stopped.set()
            for reader in readers:
                reader.join()
        self.assertLess(largest, 2_500_000)

    def test_log_and_long_read(self) -> None:
        """A read that goes on for long holds up one transaction for a moment, not each."""
        self.patch(database, "LOG_OCTETS", 0)
        tried: list[bool] = []

        def restart(driver: sqlite3.Connection) -> bool:
            tried.append(True)
            return False

        self.patch(database, "restart_log", restart)
        for number in range(3):
            with self.store.write() as s:
                create_domain(s, f"d{number}.example")
        self.assertEqual(len(tried), 1)

    def test_log_trouble(self) -> None:
        """Trouble with the log after the commit does not make a committed transaction look undone."""
        self.patch(database, "LOG_OCTETS", 0)

        def restart(driver: sqlite3.Connection) -> bool:
            raise sqlite3.OperationalError("disk I/O error")

        self.patch(database, "restart_log", restart)
        self.assertEqual(self.store.run_batch([lambda s: create_domain(s, "example.com")]), ["example.com"])

    def test_snapshot(self) -> None:
        """A read sees one moment, whatever is written meanwhile."""
        with self.store.read() as s:
            self.assertEqual(list_domains(s), ["example.org"])
            with self.store.write() as writing:
                create_domain(writing, "example.com")
            self.assertEqual(list_domains(s), ["example.org"])
        self.assertEqual(self.names(), ["example.com", "example.org"])

    def test_exception_in_read(self) -> None:
        """An exception inside a read passes, and the store goes on."""

        def fail() -> None:
            with self.store.read():
                raise KeyError

        for _ in range(3):
            self.assertRaises(KeyError, fail)
        self.assertEqual(self.names(), ["example.org"])

    def test_announced(self) -> None:
        """After a commit each type that moved is announced with the state that a read then gives."""
        self.add()
        ((account_id, types),) = self.announced[0].items()
        self.assertEqual(account_id, self.account_id)
        self.assertEqual(set(types), {"Email", "EmailDelivery", "Thread", "Mailbox"})
        with self.store.read() as s:
            for name in ("Email", "Thread", "Mailbox"):
                self.assertEqual(state(s, account_id, name), types[name])

    def test_state_inside(self) -> None:
        """A transaction sees the states it has moved itself."""
        inbox = self.mailbox_id()
        with self.store.write() as s:
            before = state(s, self.account_id, "Email")
            stored = self.add(s=s, mailbox_ids=[inbox])
            self.assertEqual(state(s, self.account_id, "Email"), stored.modseq)
        self.assertNotEqual(before, stored.modseq)

    def test_batch(self) -> None:
        """Each job has its own result; one that raises is undone alone, and the others are announced as one."""
        inbox = self.mailbox_id()

        def wrong(s: Session) -> int:
            self.add(message("undone"), s=s, mailbox_ids=[inbox])
            raise KeyError("mine")

        jobs: list[Callable[[Session], object]] = [
            lambda s: create_domain(s, "example.com"),
            lambda s: create_domain(s, "example.com"),
            wrong,
            lambda s: self.add(s=s, mailbox_ids=[inbox]),
            lambda s: self.add(s=s, mailbox_ids=[999]),
        ]
        results = self.store.run_batch(jobs)
        self.assertEqual(results[0], "example.com")
        self.assertIsInstance(results[1], AlreadyExists)
        self.assertIsInstance(results[2], KeyError)
        self.assertIsInstance(results[4], NotFound)
        self.assertEqual(len(self.announced), 1)
        with self.store.read() as s:
            account = find_account(s, "ada@example.org")
            assert account is not None
            self.assertEqual(account.message_count, 1)
            self.assertEqual(state(s, self.account_id, "Email"), self.announced[0][self.account_id]["Email"])

    def test_empty_batch(self) -> None:
        """No jobs, no results."""
        self.assertEqual(self.store.run_batch([]), [])

    def test_disk_full(self) -> None:
        """A full disk is DiskFull, keeps nothing of the batch, and the store works when there is room again."""
        with self.store.write() as s:
            pages = s.driver.execute("PRAGMA page_count").fetchone()[0]
            s.driver.execute(f"PRAGMA max_page_count = {pages + 20}")
        inbox = self.mailbox_id()
        huge = message(body="word " * 100_000)

        def batch() -> None:
            for result in self.store.run_batch(
                [lambda s: create_domain(s, "example.com"), lambda s: self.add(huge, s=s, mailbox_ids=[inbox])]
            ):
                if isinstance(result, BaseException):
                    raise result

        error = self.assertRaises(DiskFull, batch)
        self.assertIn(self.path, str(error))
        with self.store.write() as s:
            s.driver.execute("PRAGMA max_page_count = 1000000")
        self.add(huge)
        with self.store.read() as s:
            self.assertEqual(s.driver.execute("SELECT count(*) FROM email").fetchone()[0], 1)

    def test_threads(self) -> None:
        """Threads read and write at the same moment without losing anything."""
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for index in range(10):
                    with self.store.write() as s:
                        create_domain(s, f"d{number}-{index}.example")
                    with self.store.read() as s:
                        list_domains(s)
            except BaseException as error:  # noqa: BLE001 - shown below
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(len(self.names()), 41)

    def test_measured(self) -> None:
        """Reads, writes, commits and the size of batches are observed."""
        metrics = Metrics("test")
        path = os.path.join(self.folder, "measured.sqlite")
        blobs = FsBlobs(os.path.join(self.folder, "measured"))
        store = Store.open(path, blobs, clock=lambda: self.now, metrics=metrics, exclusive=True)
        self.addCleanup(store.close)
        store.ping()
        store.run_batch([lambda s: create_domain(s, "example.com")] * 2)
        for operation in ("read", "write", "commit"):
            value = metrics.registry.get_sample_value("stalwart_store_seconds_count", {"operation": operation})
            self.assertEqual(value, 1.0, operation)
        self.assertEqual(metrics.registry.get_sample_value("stalwart_store_commit_jobs_sum"), 2.0)
