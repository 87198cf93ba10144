"""Message octets by the hash of their content."""

from __future__ import annotations

from typing import Protocol


def blob_hash(data: bytes) -> str:
    """SHA-256 as 52 lower-case base32 characters without padding."""
    raise NotImplementedError


class BlobStore(Protocol):
    """Where octets lie, by the hash of their content. Safe to use from any thread.

    Raises `DiskFull`, `BlobMissing`, and `StoreError` for any other trouble with the place.
    """

    def put(self, data: bytes) -> str:
        """Keep the octets and give their hash. On return they are on disk. Putting twice is harmless."""

    def get(self, blob_hash: str, start: int = 0, length: int | None = None) -> bytes:
        """The octets from `start`, at most `length` of them (None: to the end). BlobMissing."""

    def size(self, blob_hash: str) -> int:
        """How many octets the blob has. BlobMissing."""

    def delete(self, blob_hash: str) -> None:
        """Forget the blob; nothing happens if it isn't there."""


class FsBlobs:
    """Blobs as files under a folder."""

    def __init__(self, path: str) -> None:
        raise NotImplementedError

    def put(self, data: bytes) -> str:
        """See `BlobStore`."""
        raise NotImplementedError

    def get(self, blob_hash: str, start: int = 0, length: int | None = None) -> bytes:
        """See `BlobStore`."""
        raise NotImplementedError

    def size(self, blob_hash: str) -> int:
        """See `BlobStore`."""
        raise NotImplementedError

    def delete(self, blob_hash: str) -> None:
        """See `BlobStore`."""
        raise NotImplementedError


class SqliteBlobs(FsBlobs):
    """Blobs as rows of a SQLite file."""
