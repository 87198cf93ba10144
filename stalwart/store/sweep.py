"""Removes what nothing refers to any more: old uploads, and blobs that no message, no upload
and nothing on its way out names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from sqlalchemy import bindparam, delete, select, union

from stalwart.store.database import Store
from stalwart.store.rows import UploadRow
from stalwart.store.session import Session
from stalwart.store.tables import email, queue_message, queue_report, upload

_KEEP_SECONDS = 24 * 3600.0
_AT_ONCE = 500

_EXPIRE = delete(upload).where(upload.c.created_at < bindparam("before"))
_EXPIRED = select(upload.c.account_id, upload.c.blob_hash, upload.c.size, upload.c.type, upload.c.created_at).where(
    upload.c.created_at < bindparam("before")
)
_NAMED = union(
    select(email.c.blob_hash).where(email.c.blob_hash.in_(bindparam("hashes", expanding=True))),
    select(upload.c.blob_hash).where(upload.c.blob_hash.in_(bindparam("hashes", expanding=True))),
    select(queue_message.c.blob_hash).where(
        queue_message.c.blob_hash.in_(bindparam("hashes", expanding=True)), queue_message.c.finished_at.is_(None)
    ),
    select(queue_report.c.blob_hash).where(queue_report.c.blob_hash.in_(bindparam("hashes", expanding=True))),
)


def expire_uploads(store: Store, keep_seconds: float) -> int:
    """Forget uploads older than `keep_seconds`, at least an hour (RFC 8620 §6), and their octets; gives how many."""
    before = {"before": int(store.clock() - keep_seconds)}
    with store.read() as s:
        if s.connection.execute(_EXPIRED.limit(1), before).first() is None:
            return 0
    with store.write() as s:
        expired = [UploadRow(**row._mapping) for row in s.connection.execute(_EXPIRED, before)]
        s.connection.execute(_EXPIRE, before)
    discard_uploads(store, expired)
    return len(expired)


def sweep(store: Store, keep_seconds: float = _KEEP_SECONDS, *, wanted: Callable[[], bool] = lambda: True) -> int:
    """Remove blobs older than `keep_seconds` that nothing names; gives how many went.

    Safe beside running deliveries: a blob that was put again since then stays. `keep_seconds` must be longer than any
    time between a put and the commit of the row that names it.
    It ends early once `wanted()` is false, which it asks every few hundred blobs.
    """
    before = store.clock() - keep_seconds
    removed = 0
    for hashes in _portions(store.blobs.untouched_since(before)):
        if not wanted():
            break
        with store.read() as s:
            named = _named(s, hashes)
        removed += sum(store.blobs.delete_untouched(name, before) for name in hashes if name not in named)
    return removed


def discard_uploads(store: Store, evicted: Sequence[UploadRow]) -> None:
    """Remove the octets of uploads that were evicted or have expired, except of those that something else names.

    A blob that was put again since the upload was noted stays, for whoever put it may be about to name it. In the
    second that was noted that can't be told, so uploads are not evicted in their first minute.
    """
    for hashes in _portions(row.blob_hash for row in evicted):
        with store.read() as s:
            named = _named(s, hashes)
        noted = {row.blob_hash: row.created_at for row in evicted}
        for name in hashes:
            if name not in named:
                store.blobs.delete_untouched(name, noted[name] + 1)  # the time noted is in whole seconds


def _named(s: Session, hashes: list[str]) -> set[str]:
    return set(s.connection.scalars(_NAMED, {"hashes": hashes}))


def _portions(hashes: Iterable[str]) -> Iterator[list[str]]:
    source = iter(hashes)
    while portion := list(islice(source, _AT_ONCE)):
        yield portion
