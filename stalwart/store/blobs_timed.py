"""Blob stores with their times measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from mmap import mmap

from stalwart.ops.metrics import Metrics
from stalwart.store.blobs import BlobStore, BlobWriter


class TimedBlobs:
    """Another blob store, with the seconds of its reads and writes observed."""

    def __init__(self, blobs: BlobStore, metrics: Metrics) -> None:
        self.maps = blobs.maps
        self._blobs = blobs
        self._read_time = metrics.store_seconds.labels("blob_read").observe
        self._write_time = metrics.store_seconds.labels("blob_write").observe

    def put(self, data: bytes) -> str:
        """See `BlobStore`."""
        started = time.perf_counter()
        name = self._blobs.put(data)
        self._write_time(time.perf_counter() - started)
        return name

    def begin(self) -> BlobWriter:
        """See `BlobStore`."""
        return _TimedWriter(self._blobs.begin(), self._write_time)

    def view(self, blob_hash: str) -> bytes | mmap:
        """See `BlobStore`."""
        return self._blobs.view(blob_hash)

    def get(self, blob_hash: str, start: int = 0, length: int | None = None) -> bytes:
        """See `BlobStore`."""
        started = time.perf_counter()
        data = self._blobs.get(blob_hash, start, length)
        self._read_time(time.perf_counter() - started)
        return data

    def size(self, blob_hash: str) -> int:
        """See `BlobStore`."""
        return self._blobs.size(blob_hash)

    def delete(self, blob_hash: str) -> None:
        """See `BlobStore`."""
        self._blobs.delete(blob_hash)

    def untouched_since(self, time: float) -> Iterator[str]:
        """See `BlobStore`."""
        return self._blobs.untouched_since(time)

    def delete_untouched(self, blob_hash: str, time: float) -> bool:
        """See `BlobStore`."""
        return self._blobs.delete_untouched(blob_hash, time)


class _TimedWriter:
    """Another writer, with the seconds of its commit observed: before that, the octets come as fast as they may."""

    def __init__(self, writer: BlobWriter, observe: Callable[[float], None]) -> None:
        self._writer = writer
        self._observe = observe

    @property
    def size(self) -> int:
        """See `BlobWriter`."""
        return self._writer.size

    def write(self, data: bytes) -> None:
        """See `BlobWriter`."""
        self._writer.write(data)

    def hash(self) -> str:
        """See `BlobWriter`."""
        return self._writer.hash()

    def commit(self) -> str:
        """See `BlobWriter`."""
        started = time.perf_counter()
        name = self._writer.commit()
        self._observe(time.perf_counter() - started)
        return name

    def abort(self) -> None:
        """See `BlobWriter`."""
        self._writer.abort()
