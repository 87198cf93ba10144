"""Blob stores: one contract for both kinds, and what is particular to files."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import threading
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stalwart.ops.metrics import Metrics
from stalwart.store import (
    BlobMissing,
    BlobStore,
    DiskFull,
    FsBlobs,
    SqliteBlobs,
    StoreDamaged,
    StoreError,
    blob_hash,
    blobs,
)
from stalwart.store.blobs_timed import TimedBlobs

NOWHERE = blob_hash(b"never put")


class HashTests(SynchronousTestCase):
    """The name of a blob."""

    def test_form(self) -> None:
        """A hash is 52 lower-case base32 characters of the SHA-256."""
        self.assertEqual(blob_hash(b""), "4oymiquy7qobjgx36tejs35zeqt24qpemsnzgtfeswmrw6csxbkq")


class BlobContract:
    """What every `BlobStore` does; mixed into one test case per kind."""

    def make(self) -> BlobStore:
        """A new, empty store whose clock is `self.now`."""
        raise NotImplementedError

    def setUp(self) -> None:
        """A new store."""
        self.now = 1000.0
        self.blobs = self.make()

    def test_put_and_get(self: Any) -> None:
        """What was put comes back under its hash, any octets and none."""
        for data in (b"", b"x", bytes(range(256)) * 1000):
            name = self.blobs.put(data)
            self.assertEqual(name, blob_hash(data))
            self.assertEqual(self.blobs.get(name), data)
            self.assertEqual(self.blobs.size(name), len(data))

    def test_ranges(self: Any) -> None:
        """A range gives what there is of it; beyond the end there is nothing."""
        name = self.blobs.put(b"0123456789")
        self.assertEqual(self.blobs.get(name, 3), b"3456789")
        self.assertEqual(self.blobs.get(name, 3, 4), b"3456")
        self.assertEqual(self.blobs.get(name, 0, 0), b"")
        self.assertEqual(self.blobs.get(name, 8, 100), b"89")
        self.assertEqual(self.blobs.get(name, 10), b"")
        self.assertEqual(self.blobs.get(name, 100, 5), b"")

    def test_written_in_pieces(self: Any) -> None:
        """A blob may be written piece by piece; it is the same as one that was put, and was put just now."""
        for pieces in ((), (b"",), (b"one", b"", b"two" * 50_000)):
            data = b"".join(pieces)
            writer = self.blobs.begin()
            for piece in pieces:
                writer.write(piece)
            self.assertEqual((writer.size, writer.hash()), (len(data), blob_hash(data)))
            self.assertEqual(writer.commit(), blob_hash(data))
            writer.abort()
            self.assertEqual(self.blobs.get(blob_hash(data)), data)
            self.assertEqual(bytes(self.blobs.view(blob_hash(data))[:]), data)
        again = self.blobs.begin()
        again.write(b"onetwo")
        self.blobs.put(b"onetwo")
        self.assertEqual(again.commit(), blob_hash(b"onetwo"))
        self.assertRaises(BlobMissing, self.blobs.view, blob_hash(b"nowhere"))

    def test_given_up(self: Any) -> None:
        """What was begun and given up leaves nothing behind."""
        writer = self.blobs.begin()
        writer.write(b"half")
        writer.abort()
        writer.abort()
        self.assertRaises(BlobMissing, self.blobs.get, blob_hash(b"half"))
        self.assertEqual(list(self.blobs.untouched_since(2**40)), [])

    def test_missing(self: Any) -> None:
        """Unknown hashes, and texts that are no hash, are BlobMissing for reads and nothing for delete."""
        for name in (NOWHERE, "", "x", "../../../etc/passwd", NOWHERE.upper(), NOWHERE + "a", "é" * 52):
            self.assertRaises(BlobMissing, self.blobs.get, name)
            self.assertRaises(BlobMissing, self.blobs.get, name, 1, 2)
            self.assertRaises(BlobMissing, self.blobs.size, name)
            self.blobs.delete(name)
            self.assertFalse(self.blobs.delete_untouched(name, 1e12))

    def test_delete(self: Any) -> None:
        """A deleted blob is gone, and may be put again."""
        name = self.blobs.put(b"data")
        self.blobs.delete(name)
        self.assertRaises(BlobMissing, self.blobs.get, name)
        self.assertEqual(self.blobs.put(b"data"), name)
        self.assertEqual(self.blobs.get(name), b"data")

    def test_untouched(self: Any) -> None:
        """A blob is untouched since its last put, and each put of the same octets counts."""
        old, renewed = self.blobs.put(b"old"), self.blobs.put(b"renewed")
        self.now = 2000.0
        self.blobs.put(b"renewed")
        new = self.blobs.put(b"new")
        self.assertEqual(list(self.blobs.untouched_since(1000.0)), [])
        self.assertEqual(list(self.blobs.untouched_since(1500.0)), [old])
        self.assertEqual(sorted(self.blobs.untouched_since(2001.0)), sorted([old, renewed, new]))

    def test_delete_untouched(self: Any) -> None:
        """A blob goes only if its last put is older than the given time."""
        old, renewed = self.blobs.put(b"old"), self.blobs.put(b"renewed")
        self.now = 2000.0
        self.blobs.put(b"renewed")
        self.assertTrue(self.blobs.delete_untouched(old, 1500.0))
        self.assertFalse(self.blobs.delete_untouched(renewed, 1500.0))
        self.assertRaises(BlobMissing, self.blobs.get, old)
        self.assertEqual(self.blobs.get(renewed), b"renewed")

    def test_threads(self: Any) -> None:
        """Threads may put and get the same blobs at the same moment, while others sweep them."""
        failures: list[BaseException] = []

        def work(seed: int) -> None:
            try:
                for number in range(20):
                    data = b"%d" % ((number + seed) % 7)
                    name = self.blobs.put(data)
                    if self.blobs.get(name) != data:
                        raise AssertionError(name)
                    self.blobs.delete_untouched(name, self.now)  # it was put at this time, so it stays
            except BaseException as error:  # noqa: BLE001 - shown below
                failures.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])


class FsBlobsTests(BlobContract, SynchronousTestCase):
    """Blobs as files."""

    def make(self) -> FsBlobs:
        """A store in a new folder."""
        self.path = self.mktemp()
        return FsBlobs(self.path, clock=lambda: self.now)

    def files(self) -> list[str]:
        """All files under the folder."""
        return sorted(os.path.join(folder, name) for folder, _, names in os.walk(self.path) for name in names)

    def test_private(self) -> None:
        """Folders and files are for the owner only, and no temporary file stays."""
        name = self.blobs.put(b"data")
        (file,) = self.files()
        self.assertEqual(file, os.path.join(self.path, name[0], name[1], name))
        self.assertEqual(stat.S_IMODE(os.stat(file).st_mode), 0o600)
        for folder, _, _ in os.walk(self.path):
            self.assertEqual(stat.S_IMODE(os.stat(folder).st_mode), 0o700)

    def test_nothing_temporary_left(self) -> None:
        """A blob written in pieces has no second file: kept, there already, or given up."""
        for keep in (True, True, False):
            writer = self.blobs.begin()
            writer.write(b"data")
            if keep:
                writer.commit()
            else:
                writer.abort()
        self.assertEqual([os.path.basename(path) for path in self.files()], [blob_hash(b"data")])

    def test_cleaned_up_too_early(self) -> None:
        """A clean-up that takes the temporary file before it is locked is noticed, and another one made."""
        real, calls = fcntl.flock, []

        def flock(descriptor: int, kind: int) -> None:
            calls.append(kind)
            if len(calls) == 1:
                os.unlink(os.readlink(f"/proc/self/fd/{descriptor}"))
            real(descriptor, kind)

        self.patch(fcntl, "flock", flock)
        writer = self.blobs.begin()
        writer.write(b"data")
        self.assertEqual(self.blobs.get(writer.commit()), b"data")

    def test_synced_before_named(self) -> None:
        """The octets are synced before the file has its name, and the folder after."""
        calls: list[str] = []
        real_sync, real_rename = os.fsync, os.rename

        def fsync(descriptor: int) -> None:
            calls.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
            real_sync(descriptor)

        def rename(source: str, target: str) -> None:
            calls.append("rename")
            real_rename(source, target)

        self.patch(os, "fsync", fsync)
        self.patch(os, "rename", rename)
        self.blobs.put(b"data")
        self.assertEqual([call for call in calls if call != "sync folder"], ["sync file", "rename"])
        self.assertEqual(calls[-1], "sync folder")

    def test_folders_of_others_synced(self) -> None:
        """Folders that another process may have just made are synced too, before the first blob in them is promised."""
        synced: list[str] = []
        name = blob_hash(b"data")
        os.makedirs(os.path.join(self.path, name[0], name[1]))
        self.patch(blobs, "sync", synced.append)
        self.blobs.put(b"data")
        folders = [self.path, os.path.join(self.path, name[0]), os.path.join(self.path, name[0], name[1])]
        self.assertEqual(sorted(synced), [os.path.abspath(folder) for folder in folders])

    def test_disk_full(self) -> None:
        """A full disk is DiskFull, and leaves nothing behind."""

        def write(descriptor: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(os, "write", write)
        error = self.assertRaises(DiskFull, self.blobs.put, b"data")
        self.assertIn(self.path, str(error))
        self.assertEqual(self.files(), [])

    def test_unusable_folder(self) -> None:
        """A place that can't hold blobs is a StoreError that names it."""
        with open(self.mktemp(), "w") as file:
            pass
        error = self.assertRaises(StoreError, FsBlobs, os.path.join(file.name, "blobs"))
        self.assertIn(file.name, str(error))

    def test_folder_vanishes(self) -> None:
        """Folders that somebody removed are made again."""
        name = self.blobs.put(b"data")
        self.blobs.delete(name)
        os.removedirs(os.path.join(self.path, name[0], name[1]))
        self.assertEqual(self.blobs.put(b"data"), name)
        os.rmdir(os.path.join(self.path, "tmp"))
        self.blobs.put(b"other")
        self.assertEqual(self.blobs.get(name), b"data")

    def test_leftovers(self) -> None:
        """Opening removes temporary files of the dead, and keeps those a living writer holds locked."""
        dead, living = os.path.join(self.path, "tmp", "dead"), os.path.join(self.path, "tmp", "living")
        for path in (dead, living):
            with open(path, "w") as file:
                file.write("half a blo")
        with open(living) as held:
            fcntl.flock(held, fcntl.LOCK_SH)
            FsBlobs(self.path)
            self.assertEqual(self.files(), [living])


class SqliteBlobsTests(BlobContract, SynchronousTestCase):
    """Blobs as rows."""

    def make(self) -> SqliteBlobs:
        """A store in a new file."""
        self.path = self.mktemp()
        blobs = SqliteBlobs(self.path, clock=lambda: self.now)
        assert isinstance(self, SqliteBlobsTests)
        self.addCleanup(blobs.close)
        return blobs

    def test_private(self) -> None:
        """The file is for the owner only."""
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_reopened(self) -> None:
        """Blobs last."""
        name = self.blobs.put(b"data")
        again = SqliteBlobs(self.path)
        self.addCleanup(again.close)
        self.assertEqual(again.get(name), b"data")

    def test_ranges_of_large_blobs(self) -> None:
        """RFC 8620 §6.2: a download in pieces doesn't read the whole blob for each."""
        name = self.blobs.put(os.urandom(8_000_000))
        start = time.process_time()
        for position in range(0, 8_000_000, 4_000):
            self.assertEqual(len(self.blobs.get(name, position, 4_000)), 4_000)
        self.assertLess(time.process_time() - start, 0.6)  # a multiple of that when it does

    def test_not_a_database(self) -> None:
        """A file of another kind is StoreDamaged, and named."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("this is a text, and a long one " * 100)
        self.assertIn(path, str(self.assertRaises(StoreDamaged, SqliteBlobs, path)))

    def test_disk_full(self) -> None:
        """A full disk is DiskFull, and what was there stays readable."""
        name = self.blobs.put(b"data")
        assert isinstance(self.blobs, SqliteBlobs)
        with self.blobs._connection() as connection:
            assert isinstance(connection, sqlite3.Connection)
            connection.execute("PRAGMA max_page_count = 3")
        self.assertRaises(DiskFull, self.blobs.put, bytes(100_000))
        self.assertEqual(self.blobs.get(name), b"data")


class TimedBlobsTests(BlobContract, SynchronousTestCase):
    """A blob store with its times measured."""

    def make(self) -> TimedBlobs:
        """Files, measured."""
        self.metrics = Metrics("test")
        return TimedBlobs(FsBlobs(self.mktemp(), clock=lambda: self.now), self.metrics)

    def test_observed(self) -> None:
        """Reads and writes are counted."""
        self.blobs.get(self.blobs.put(b"data"))
        for operation in ("blob_read", "blob_write"):
            value = self.metrics.registry.get_sample_value("stalwart_store_seconds_count", {"operation": operation})
            self.assertEqual(value, 1.0)
