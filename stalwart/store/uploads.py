"""Blobs that users uploaded and that don't (yet) belong to a message. RFC 8620 §6, §6.1."""

from __future__ import annotations

import msgspec
from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from stalwart.store.errors import UploadsFull
from stalwart.store.rows import UploadRow
from stalwart.store.session import Session
from stalwart.store.tables import upload

_YOUNG_SECONDS = 60

_ADD = insert(upload)
_ADD = _ADD.on_conflict_do_update(
    index_elements=[upload.c.account_id, upload.c.user_id, upload.c.blob_hash],
    set_={"type": _ADD.excluded.type, "created_at": _ADD.excluded.created_at},
)
_UPLOADS = select(upload.c.account_id, upload.c.blob_hash, upload.c.size, upload.c.type, upload.c.created_at).where(
    upload.c.user_id == bindparam("user")
)
_FIND = _UPLOADS.where(upload.c.account_id == bindparam("account"), upload.c.blob_hash == bindparam("hash"))
_NEWEST_FIRST = _UPLOADS.order_by(upload.c.created_at.desc(), upload.c.account_id, upload.c.blob_hash)
_REMOVE = delete(upload).where(
    upload.c.user_id == bindparam("user"),
    upload.c.account_id == bindparam("account"),
    upload.c.blob_hash == bindparam("hash"),
)


def add_upload(
    s: Session,
    account_id: int,
    user_id: int,
    blob_hash: str,
    size: int,
    type: str,  # noqa: A002
) -> UploadRow:
    """Note what a user uploaded to an account, or renew it: its time of keeping starts again."""
    row = UploadRow(account_id=account_id, blob_hash=blob_hash, size=size, type=type, created_at=s.now())
    s.connection.execute(_ADD, {**msgspec.structs.asdict(row), "user_id": user_id})
    return row


def find_upload(s: Session, account_id: int, user_id: int, blob_hash: str) -> UploadRow | None:
    """The user's upload of this blob to the account. RFC 8620 §6.1: nobody else's, in shared accounts either."""
    where = {"account": account_id, "user": user_id, "hash": blob_hash}
    row = s.connection.execute(_FIND, where).one_or_none()
    return UploadRow(**row._mapping) if row is not None else None


def check_room(
    s: Session, account_id: int, user_id: int, blob_hash: str | None, size: int, *, octets: int, files: int
) -> None:
    """Ask before a put whether the user's older uploads can make room for one of `size` octets. UploadsFull.

    `blob_hash` is that of the new one, None while it isn't known. An upload is never evicted in its first minute. Its
    octets are then removed from the disk at once, and within a minute somebody else who put the same octets, such as
    an import, has named them.
    """
    young = [
        row
        for row in _newest_first(s, user_id)
        if _is_young(s, row) and (row.account_id, row.blob_hash) != (account_id, blob_hash)
    ]
    if young and (sum(row.size for row in young) + size > octets or len(young) + 1 > files):
        raise UploadsFull(
            f"{len(young)} uploads within the last minute leave no room for another of {size} octets: "
            f"a user may have {files} with {octets} octets in all. Try again in a minute."
        )


def evict_uploads(s: Session, user_id: int, newest: UploadRow, *, octets: int, files: int) -> list[UploadRow]:
    """Forget the user's oldest uploads until what is left, `newest` among it, is within both bounds; gives them.

    RFC 8620 §6: the bounds are separate per user, also in shared accounts. Those of the last minute stay (see
    `check_room`). The octets are still there: see `discard_uploads`.
    """
    octets -= newest.size
    files -= 1
    evicted: list[UploadRow] = []
    for row in _newest_first(s, user_id):
        if (row.account_id, row.blob_hash) == (newest.account_id, newest.blob_hash):
            continue
        octets -= row.size
        files -= 1
        if (evicted or octets < 0 or files < 0) and not _is_young(s, row):
            s.connection.execute(_REMOVE, {"account": row.account_id, "user": user_id, "hash": row.blob_hash})
            evicted.append(row)
    return evicted


def _newest_first(s: Session, user_id: int) -> list[UploadRow]:
    return [UploadRow(**row._mapping) for row in s.connection.execute(_NEWEST_FIRST, {"user": user_id})]


def _is_young(s: Session, row: UploadRow) -> bool:
    return row.created_at > s.now() - _YOUNG_SECONDS
