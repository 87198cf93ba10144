"""Binary data (RFC 8620 §6): keeping uploads, and reading what a user may download."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from stalwart import store
from stalwart.auth import Principal
from stalwart.jmap import wire
from stalwart.jmap.errors import JmapError, SignInExpired
from stalwart.jmap.ids import PartBlob, blob_id, parse_blob_id
from stalwart.jmap.limits import Limits
from stalwart.jmap.session import accounts_of
from stalwart.mail import transfer
from stalwart.store import BlobMissing, BlobStore, Session, Store


class NoSuchBlob(JmapError):
    """There is no such blob in the account, or no such account; a stranger learns no more (HTTP 404)."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """The octets of a blob. `read(start, length)` blocks; it needs no session, since blobs never change."""

    size: int
    read: Callable[[int, int], bytes]


class Blobs:
    """Uploads and downloads over one store. Safe to use from any thread."""

    def __init__(
        self, opened: Store, limits: Limits, still_valid: Callable[[Session, Principal], bool]
    ) -> None:
        self._store = opened
        self._limits = limits
        self._still_valid = still_valid

    def upload(self, principal: Principal, account_id: str, data: bytes, media_type: str) -> bytes:
        """Keep the octets; gives the JSON answer of RFC 8620 §6.1 once they are on disk.

        Raises NoSuchBlob for an account that the user can't see, SignInExpired, and StoreError.
        """
        account = self._account(principal, account_id)
        with self._store.read() as session:
            self._check(session, principal)
        blob_hash = self._store.blobs.put(data)
        with self._store.write() as session:
            store.add_upload(session, account, blob_hash, len(data), media_type)
        return wire.encode(
            {"accountId": account_id, "blobId": blob_id(blob_hash), "type": media_type, "size": len(data)}
        )

    def open(self, principal: Principal, account_id: str, blob: str) -> Content:
        """The content behind a blobId: a message, an upload, or a body part with its transfer encoding undone.

        Raises NoSuchBlob, SignInExpired, and StoreError.
        """
        account = self._account(principal, account_id)
        named = parse_blob_id(blob)
        with self._store.read() as session:
            self._check(session, principal)
            if named is None or not (
                store.has_blob(session, account, named.hash)
                or store.find_upload(session, account, named.hash) is not None
            ):
                raise NoSuchBlob("There is no such blob in this account.")
        try:
            size = self._store.blobs.size(named.hash)
            if isinstance(named, PartBlob):
                return _part(self._store.blobs, named, size)
        except BlobMissing:
            raise NoSuchBlob("There is no such blob in this account.") from None
        blob_hash = named.hash
        return Content(size=size, read=lambda start, length: self._store.blobs.get(blob_hash, start, length))

    def _account(self, principal: Principal, account_id: str) -> int:
        account = accounts_of(principal, self._limits).get(account_id)
        if account is None:
            raise NoSuchBlob("There is no such account that this user can see.")
        return account.row

    def _check(self, session: Session, principal: Principal) -> None:
        if not self._still_valid(session, principal):
            raise SignInExpired("The password was changed since the last request. Sign in again.")


def _part(blobs: BlobStore, part: PartBlob, whole: int) -> Content:
    if part.end > whole:
        raise NoSuchBlob("There is no such part in this message.")
    length = part.end - part.start
    if part.encoding == "identity":
        return Content(
            size=length,
            read=lambda start, most: blobs.get(part.hash, part.start + start, min(most, length - start)),
        )
    decoded = transfer.decode(blobs.get(part.hash, part.start, length), part.encoding)
    return Content(size=len(decoded), read=lambda start, most: decoded[start : start + most])
