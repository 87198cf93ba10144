"""From settings to an open blob store."""

from __future__ import annotations

from stalwart.config import FsStore, SqliteStore
from stalwart.store.blobs import BlobStore, FsBlobs
from stalwart.store.blobs_sqlite import SqliteBlobs


def open_blobs(settings: FsStore | SqliteStore) -> BlobStore:
    """The blob store that the settings name, made if it isn't there."""
    return FsBlobs(settings.path) if isinstance(settings, FsStore) else SqliteBlobs(settings.path)
