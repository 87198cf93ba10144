"""Message octets by the hash of their content: the interface, and blobs as files.

A file appears under its name only when its octets are on disk, so that a crash leaves at worst a temporary file or a
blob that nothing refers to. The sweep of unreferenced blobs goes by the time a blob was last put.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from stalwart.store.blob_writers import FileWriter, hash_text, write_all
from stalwart.store.errors import BlobMissing
from stalwart.store.sqlite import create_private_folder, disk_errors, sync

_HASH = re.compile("[a-z2-7]{52}")


def blob_hash(data: bytes) -> str:
    """SHA-256 as 52 lower-case base32 characters without padding."""
    return hash_text(hashlib.sha256(data).digest())


def is_blob_hash(text: str) -> bool:
    """Whether the text looks like a blob's hash. Anything else is never in a blob store."""
    return _HASH.fullmatch(text) is not None


class BlobWriter(Protocol):
    """A blob that is written piece by piece, by one thread at a time. Either `commit` or `abort` ends it."""

    @property
    def size(self) -> int:
        """How many octets were written so far."""
        ...

    def write(self, data: bytes) -> None:
        """Add octets."""
        ...

    def hash(self) -> str:
        """The hash of what was written so far."""
        ...

    def commit(self) -> str:
        """Keep the octets as `BlobStore.put` does; gives their hash."""
        ...

    def abort(self) -> None:
        """Forget them; nothing happens after a commit."""
        ...


class BlobStore(Protocol):
    """Where octets lie, by the hash of their content. Safe to use from any thread and from several processes.

    Raises `DiskFull`, `BlobMissing`, and `StoreError` for any other trouble with the place.
    """

    maps: bool
    """Whether `view` takes no memory of its own."""

    def put(self, data: bytes) -> str:
        """Keep the octets and give their hash. On return they are on disk. Putting twice is harmless."""
        ...

    def begin(self) -> BlobWriter:
        """Begin a blob whose octets aren't all there yet."""
        ...

    def get(self, blob_hash: str, start: int = 0, length: int | None = None) -> bytes:
        """The octets from `start`, at most `length` of them (None: to the end). BlobMissing."""
        ...

    def view(self, blob_hash: str) -> bytes | mmap.mmap:
        """All octets, mapped into memory and not read where the place allows that (see `maps`). BlobMissing."""
        ...

    def size(self, blob_hash: str) -> int:
        """How many octets the blob has. BlobMissing."""
        ...

    def delete(self, blob_hash: str) -> None:
        """Forget the blob; nothing happens if it isn't there."""
        ...

    def untouched_since(self, time: float) -> Iterator[str]:
        """Hashes of the blobs that were last put before this time (seconds since the epoch)."""
        ...

    def delete_untouched(self, blob_hash: str, time: float) -> bool:
        """Forget the blob unless it was put at this time or later, also by a put that runs at this moment.

        True if it was there and is gone.
        """
        ...


class FsBlobs:
    """Blobs as files `<first letter>/<second letter>/<hash>` under a folder, for this user only.

    `clock` gives seconds since the epoch.
    """

    maps = True

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        self._root = os.path.abspath(path)
        self._temporary = os.path.join(self._root, "tmp")
        self._clock = clock
        self._folders: set[str] = set()  # those known to exist
        with disk_errors(self._root):
            create_private_folder(self._temporary)
            self._remove_leftovers()

    def put(self, data: bytes) -> str:
        """See `BlobStore`."""
        name = blob_hash(data)
        if self.touch(name):
            return name
        with disk_errors(self._path(name)):
            for last in (False, True):
                try:
                    self._write(name, data)
                    break
                except FileNotFoundError:  # somebody's clean-up took the temporary file (see there), or a folder
                    if last:
                        raise
                    self._folders.clear()
                    create_private_folder(self._temporary)
        return name

    def begin(self) -> FileWriter:
        """See `BlobStore`."""
        return FileWriter(self)

    def get(self, blob_hash: str, start: int = 0, length: int | None = None) -> bytes:
        """See `BlobStore`."""
        descriptor = self._open(blob_hash)
        with disk_errors(self._path(blob_hash)), open(descriptor, "rb", buffering=0) as file:
            if start:
                file.seek(start)
            if length is None:
                return file.readall()
            pieces = []
            while length and (piece := file.read(length)):
                pieces.append(piece)
                length -= len(piece)
            return b"".join(pieces)

    def view(self, blob_hash: str) -> bytes | mmap.mmap:
        """See `BlobStore`."""
        descriptor = self._open(blob_hash)
        try:
            with disk_errors(self._path(blob_hash)):
                if os.fstat(descriptor).st_size == 0:
                    return b""  # nothing can't be mapped
                return mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)

    def size(self, blob_hash: str) -> int:
        """See `BlobStore`."""
        descriptor = self._open(blob_hash)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def delete(self, blob_hash: str) -> None:
        """See `BlobStore`."""
        if is_blob_hash(blob_hash):
            path = self._path(blob_hash)
            with disk_errors(path), suppress(FileNotFoundError):
                os.unlink(path)

    def untouched_since(self, time: float) -> Iterator[str]:
        """See `BlobStore`."""
        with disk_errors(self._root):
            for folder, _, names in os.walk(self._root):
                for name in names:
                    if is_blob_hash(name):
                        with suppress(FileNotFoundError):
                            if os.stat(os.path.join(folder, name)).st_mtime < time:
                                yield name

    def delete_untouched(self, blob_hash: str, time: float) -> bool:
        """See `BlobStore`."""
        if not is_blob_hash(blob_hash):
            return False
        path = self._path(blob_hash)
        with disk_errors(path), self._locked(fcntl.LOCK_EX), suppress(FileNotFoundError):
            if os.stat(path).st_mtime < time:
                os.unlink(path)
                return True
        return False

    def touch(self, name: str) -> bool:
        """Have a blob that is there already count as just put; False if it isn't there."""
        path = self._path(name)
        with disk_errors(path):
            if not self._touch(path):
                return False
            sync(os.path.dirname(path))  # whoever wrote it may not have come to this yet
            return True

    def make_temporary(self) -> tuple[int, str]:
        """A new file for octets to come: its descriptor and path. OSError."""
        temporary = os.path.join(self._temporary, secrets.token_hex(12))
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # says that somebody is at work on it
        return descriptor, temporary

    def settle(self, descriptor: int, temporary: str, name: str) -> None:
        """Give a temporary file that is written its place as the blob `name`. OSError."""
        path = self._path(name)
        folder = os.path.dirname(path)
        if folder not in self._folders:
            create_private_folder(folder)
            # If another process has just made them, it may not have come to this yet.
            for above in (os.path.dirname(folder), self._root):
                sync(above)
            self._folders.add(folder)
        now = self._clock()
        os.utime(descriptor, (now, now))
        os.fsync(descriptor)
        with self._locked(fcntl.LOCK_SH):
            os.rename(temporary, path)
        sync(folder)

    def _write(self, name: str, data: bytes) -> None:
        descriptor, temporary = self.make_temporary()
        try:
            write_all(descriptor, data)
            self.settle(descriptor, temporary, name)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        finally:
            os.close(descriptor)

    def _touch(self, path: str) -> bool:
        now = self._clock()
        with self._locked(fcntl.LOCK_SH):
            try:
                os.utime(path, (now, now))
            except FileNotFoundError:
                return False
        return True

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Keeps puts (shared) from touching a blob between a sweep's look at its time and its removal (exclusive)."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def _open(self, blob_hash: str) -> int:
        if not is_blob_hash(blob_hash):
            raise BlobMissing(blob_hash)
        path = self._path(blob_hash)
        with disk_errors(path):
            try:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise BlobMissing(blob_hash) from None

    def _path(self, name: str) -> str:
        return os.path.join(self._root, name[0], name[1], name)

    def _remove_leftovers(self) -> None:
        """Remove temporary files that nobody is writing: the kernel dropped the locks of a killed process.

        A writer that has just made its file and not yet locked it loses it, finds that out and starts again.
        """
        for name in os.listdir(self._temporary):
            path = os.path.join(self._temporary, name)
            with suppress(FileNotFoundError, BlockingIOError):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)
                finally:
                    os.close(descriptor)
