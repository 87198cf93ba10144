"""Uploads, and the sweep of what nothing names."""

from __future__ import annotations

from stalwart.store import (
    BlobMissing,
    UploadRow,
    add_upload,
    blob_hash,
    create_account,
    destroy_email,
    expire_uploads,
    find_upload,
    sweep,
)
from tests.store.bed import NOW, StoreTestCase, message

_HOUR = 3600


class UploadTests(StoreTestCase):
    """Uploaded blobs."""

    def test_noted(self) -> None:
        """An upload is found by its account only, with the type as it was sent."""
        with self.store.write() as s:
            other = create_account(s, "bob@example.org", password_hash="h").id
            row = add_upload(s, self.account_id, self.account_id, "hash", 5, "text/plain; charset=x")
            self.assertEqual(
                row,
                UploadRow(
                    account_id=self.account_id, blob_hash="hash", size=5, type="text/plain; charset=x", created_at=NOW
                ),
            )
            self.assertEqual(find_upload(s, self.account_id, self.account_id, "hash"), row)
            self.assertIsNone(find_upload(s, other, other, "hash"))
            self.assertIsNone(find_upload(s, self.account_id, self.account_id, "other"))

    def test_renewed(self) -> None:
        """Uploading again starts its time anew, with the new type."""
        with self.store.write() as s:
            add_upload(s, self.account_id, self.account_id, "hash", 5, "text/plain")
            self.now += 100
            row = add_upload(s, self.account_id, self.account_id, "hash", 5, "image/png")
            self.assertEqual(find_upload(s, self.account_id, self.account_id, "hash"), row)
        self.assertEqual((row.type, row.created_at), ("image/png", NOW + 100))


class SweepTests(StoreTestCase):
    """What goes and what stays."""

    def test_sweep(self) -> None:
        """Old blobs without a message or upload go; named and young ones stay."""
        data = message("kept")
        kept, orphan, uploaded = self.blobs.put(data), self.blobs.put(b"orphan"), self.blobs.put(b"uploaded")
        self.add(data)
        self.now += 2 * _HOUR
        with self.store.write() as s:
            add_upload(s, self.account_id, self.account_id, uploaded, 8, "text/plain")
        young = self.blobs.put(b"young")
        self.assertEqual(sweep(self.store, _HOUR), 1)
        self.assertRaises(BlobMissing, self.blobs.get, orphan)
        for name in (kept, uploaded, young):
            self.blobs.get(name)

    def test_expired(self) -> None:
        """An upload that got old goes with its blob, unless a message has the same octets."""
        data = message("kept")
        for octets in (data, b"upload"):
            with self.store.write() as s:
                add_upload(s, self.account_id, self.account_id, self.blobs.put(octets), len(octets), "text/plain")
        stored = self.add(data)
        self.now += 2 * _HOUR
        self.assertEqual((expire_uploads(self.store, _HOUR), expire_uploads(self.store, _HOUR)), (2, 0))
        self.assertEqual(list(self.blobs.untouched_since(self.now)), [blob_hash(data)])
        with self.store.write() as s:
            destroy_email(s, self.account_id, stored.id)
        self.assertEqual(sweep(self.store, _HOUR), 1)
        self.assertEqual(list(self.blobs.untouched_since(self.now + 1)), [])

    def test_put_again_meanwhile(self) -> None:
        """A blob that is put again after the sweep looked is not taken from its message."""
        name = self.blobs.put(b"orphan")
        self.now += 2 * _HOUR
        real = self.blobs.delete_untouched

        def put_first(blob_hash: str, time: float) -> bool:
            self.blobs.put(b"orphan")
            return real(blob_hash, time)

        self.patch(self.blobs, "delete_untouched", put_first)
        self.assertEqual(sweep(self.store, _HOUR), 0)
        self.assertEqual(self.blobs.get(name), b"orphan")

    def test_many(self) -> None:
        """More blobs than are looked up at once."""
        for number in range(60):
            self.blobs.put(b"%d" % number)
        self.now += 2 * _HOUR
        self.patch(__import__("stalwart.store.sweep", fromlist=["x"]), "_AT_ONCE", 7)
        self.assertEqual(sweep(self.store, _HOUR), 60)
