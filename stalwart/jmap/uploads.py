"""What a user may have of uploads that no message names (RFC 8620 §6), however they come."""

from __future__ import annotations

from collections.abc import Sequence

from stalwart import store
from stalwart.jmap.limits import Limits
from stalwart.store import Session, UploadRow


def check_room(session: Session, account: int, user: int, blob_hash: str | None, size: int, limits: Limits) -> None:
    """As `store.check_room`, with the limits of JMAP."""
    octets, files = limits.max_octets_of_uploads, limits.max_uploads
    store.check_room(session, account, user, blob_hash, size, octets=octets, files=files)


def keep_upload(
    session: Session, account: int, user: int, blob_hash: str, size: int, media_type: str, limits: Limits
) -> Sequence[UploadRow]:
    """Note an upload whose octets are in the blob store; gives those that it made the user lose.

    `store.discard_uploads` removes their octets, once the transaction is over.
    """
    kept = store.add_upload(session, account, user, blob_hash, size, media_type)
    # RFC 8620 §6: oldest first, until there is room for the new blob
    octets, files = limits.max_octets_of_uploads, limits.max_uploads
    return store.evict_uploads(session, user, kept, octets=octets, files=files)
