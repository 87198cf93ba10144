"""Blobs that users uploaded and that don't (yet) belong to a message. RFC 8620 §6.1."""

from __future__ import annotations

from stalwart.store.rows import UploadRow
from stalwart.store.session import Session


def add_upload(s: Session, account_id: int, blob_hash: str, size: int, type: str) -> UploadRow:  # noqa: A002
    """Note an upload, or renew it: its time of keeping starts again."""
    raise NotImplementedError


def find_upload(s: Session, account_id: int, blob_hash: str) -> UploadRow | None:
    """The account's upload of this blob, if it has one."""
    raise NotImplementedError
