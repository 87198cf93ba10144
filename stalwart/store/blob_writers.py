"""Blobs that are written while their octets come in: the hash, and so the name, is known only at the end."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from stalwart.store.sqlite import disk_errors


def hash_text(digest: bytes) -> str:
    """A SHA-256 digest as 52 lower-case base32 characters without padding."""
    return base64.b32encode(digest).decode("ascii").rstrip("=").lower()


def write_all(descriptor: int, data: bytes) -> None:
    """Write octets to a file, in however many pieces the system takes them. OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class Folder(Protocol):
    """What `FsBlobs` does for a writer; see there."""

    def make_temporary(self) -> tuple[int, str]: ...

    def settle(self, descriptor: int, temporary: str, name: str) -> None: ...

    def touch(self, name: str) -> bool: ...


class FileWriter:
    """A blob on its way into a file. See `BlobWriter`."""

    def __init__(self, folder: Folder) -> None:
        self.size = 0
        self._folder = folder
        self._hash = hashlib.sha256()
        self._descriptor = -1
        self._temporary = "a new blob"
        while self._descriptor < 0:
            with disk_errors(self._temporary):
                self._descriptor, self._temporary = folder.make_temporary()
                if os.fstat(self._descriptor).st_nlink == 0:  # somebody's clean-up took it before it was locked
                    self._close()

    def write(self, data: bytes) -> None:
        """See `BlobWriter`."""
        self._hash.update(data)
        self.size += len(data)
        with disk_errors(self._temporary):
            write_all(self._descriptor, data)

    def hash(self) -> str:
        """See `BlobWriter`."""
        return hash_text(self._hash.digest())

    def commit(self) -> str:
        """See `BlobWriter`."""
        name = self.hash()
        if self._folder.touch(name):
            self.abort()
        else:
            with disk_errors(self._temporary):
                self._folder.settle(self._descriptor, self._temporary, name)
            self._close()
        return name

    def abort(self) -> None:
        """See `BlobWriter`."""
        if self._descriptor >= 0:
            with disk_errors(self._temporary), suppress(FileNotFoundError):
                os.unlink(self._temporary)
            self._close()

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


class MemoryWriter:
    """A blob that is collected in memory, for a place that takes it only whole. See `BlobWriter`."""

    def __init__(self, put: Callable[[bytes], str]) -> None:
        self.size = 0
        self._put = put
        self._hash = hashlib.sha256()
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """See `BlobWriter`."""
        self._hash.update(data)
        self.size += len(data)
        self._pieces.append(data)

    def hash(self) -> str:
        """See `BlobWriter`."""
        return hash_text(self._hash.digest())

    def commit(self) -> str:
        """See `BlobWriter`."""
        pieces, self._pieces = self._pieces, []
        return self._put(b"".join(pieces))

    def abort(self) -> None:
        """See `BlobWriter`."""
        self._pieces = []
