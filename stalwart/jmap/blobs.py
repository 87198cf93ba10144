"""Binary data (RFC 8620 §6): keeping uploads, and reading what a user may download."""

from __future__ import annotations

import functools
from collections.abc import Callable

import msgspec

from stalwart import store
from stalwart.auth import Principal
from stalwart.jmap import wire
from stalwart.jmap.errors import JmapError, SignInExpired
from stalwart.jmap.ids import PartBlob, blob_id, parse_blob_id
from stalwart.jmap.limits import Limits
from stalwart.jmap.session import accounts_of
from stalwart.mail.bodies import decode_octets, walk
from stalwart.mail.message import Part, decode_structure
from stalwart.store import BlobMissing, BlobStore, Session, Store


class NoSuchBlob(JmapError):
    """There is no such blob in the account, or no such account; a stranger learns no more (HTTP 404)."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """The octets of a blob. `read(start, length)` blocks; it needs no session, since blobs never change.

    `held` is how many octets lie in memory from the first read on, for as long as this lives.
    """

    size: int
    read: Callable[[int, int], bytes]
    held: int = 0


class Blobs:
    """Uploads and downloads over one store. Safe to use from any thread."""

    def __init__(self, opened: Store, limits: Limits, still_valid: Callable[[Session, Principal], bool]) -> None:
        self._store = opened
        self._limits = limits
        self._still_valid = still_valid

    def upload(self, principal: Principal, account_id: str, data: bytes, media_type: str) -> bytes:
        """Keep the octets; gives the JSON answer of RFC 8620 §6.1 once they are on disk.

        What was uploaded longest ago goes when there is more than the account may keep.

        Raises NoSuchBlob for an account that the user can't see, SignInExpired, and StoreError.
        """
        account = self._account(principal, account_id)
        bounds = {"octets": self._limits.max_octets_of_uploads, "files": self._limits.max_uploads}
        with self._store.read() as session:
            self._check(session, principal)
            store.check_room(session, account, account, store.blob_hash(data), len(data), **bounds)
        blob_hash = self._store.blobs.put(data)
        with self._store.write() as session:
            kept = store.add_upload(session, account, account, blob_hash, len(data), media_type)
            # RFC 8620 §6: oldest first, until there is room for the new blob
            evicted = store.evict_uploads(session, account, kept, **bounds)
        store.discard_uploads(self._store, evicted)
        return wire.encode(
            {"accountId": account_id, "blobId": blob_id(blob_hash), "type": media_type, "size": len(data)}
        )

    def open(self, principal: Principal, account_id: str, blob: str) -> Content:
        """The content behind a blobId: a message, an upload, or a body part with its transfer encoding undone.

        Raises NoSuchBlob, SignInExpired, and StoreError.
        """
        account = self._account(principal, account_id)
        named = parse_blob_id(blob)
        part = None
        with self._store.read() as session:
            self._check(session, principal)
            if isinstance(named, PartBlob):
                part = _find_part(session, account, named)
                found = part is not None
            else:
                found = named is not None and (
                    bool(store.has_blob(session, account, named.hash))
                    or store.find_upload(session, account, account, named.hash) is not None
                )
        if named is None or not found:
            raise NoSuchBlob("There is no such blob in this account.")
        blobs, blob_hash = self._store.blobs, named.hash
        try:
            size = blobs.size(blob_hash)
        except BlobMissing:
            raise NoSuchBlob("There is no such blob in this account.") from None
        if part is None:
            return Content(size=size, read=lambda start, length: blobs.get(blob_hash, start, length))
        return _content_of(part, blobs, blob_hash)

    def _account(self, principal: Principal, account_id: str) -> int:
        account = accounts_of(principal, self._limits).get(account_id)
        if account is None:
            raise NoSuchBlob("There is no such account that this user can see.")
        return account.row

    def _check(self, session: Session, principal: Principal) -> None:
        if not self._still_valid(session, principal):
            raise SignInExpired("The password was changed since the last request. Sign in again.")


def _find_part(session: Session, account: int, named: PartBlob) -> Part | None:
    """The part that a blobId names. The id could name any octets of a message; only parts are given out."""
    emails = store.get_emails(session, account, store.has_blob(session, account, named.hash)[:1])
    for row in emails.values():
        for part in walk(decode_structure(row.structure)):
            if (part.body_start, part.body_end, part.encoding) == (named.start, named.end, named.encoding):
                return part
    return None


def _content_of(part: Part, blobs: BlobStore, blob_hash: str) -> Content:
    start, length = part.body_start, part.body_end - part.body_start
    if part.encoding == "identity":
        return Content(
            size=length,
            read=lambda first, most: blobs.get(blob_hash, start + first, min(most, length - first)),
        )

    @functools.cache
    def decoded() -> bytes:
        return decode_octets(blobs.get(blob_hash, start, length), part)

    return Content(size=part.size, read=lambda first, most: decoded()[first : first + most], held=part.size)
