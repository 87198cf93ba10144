"""Blobs that users uploaded and that don't (yet) belong to a message. RFC 8620 §6.1."""

from __future__ import annotations

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.sqlite import insert

from stalwart.store.rows import UploadRow
from stalwart.store.session import Session
from stalwart.store.tables import upload

_ADD = insert(upload)
_ADD = _ADD.on_conflict_do_update(
    index_elements=[upload.c.account_id, upload.c.blob_hash],
    set_={"type": _ADD.excluded.type, "created_at": _ADD.excluded.created_at},
)
_FIND = select(upload.c.blob_hash, upload.c.size, upload.c.type, upload.c.created_at).where(
    upload.c.account_id == bindparam("account"), upload.c.blob_hash == bindparam("hash")
)


def add_upload(s: Session, account_id: int, blob_hash: str, size: int, type: str) -> UploadRow:  # noqa: A002
    """Note an upload, or renew it: its time of keeping starts again."""
    row = UploadRow(blob_hash=blob_hash, size=size, type=type, created_at=s.now())
    s.connection.execute(
        _ADD,
        {
            "account_id": account_id,
            "blob_hash": blob_hash,
            "size": size,
            "type": type,
            "created_at": row.created_at,
        },
    )
    return row


def find_upload(s: Session, account_id: int, blob_hash: str) -> UploadRow | None:
    """The account's upload of this blob, if it has one."""
    row = s.connection.execute(_FIND, {"account": account_id, "hash": blob_hash}).one_or_none()
    return UploadRow(**row._mapping) if row is not None else None
