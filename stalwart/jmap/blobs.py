"""Binary data (RFC 8620 §6): keeping uploads, and reading what a user may download."""

from __future__ import annotations

from collections.abc import Callable

from stalwart import store
from stalwart.auth import Principal
from stalwart.jmap import wire
from stalwart.jmap.contents import Content, find_content
from stalwart.jmap.errors import JmapError, SignInExpired
from stalwart.jmap.ids import blob_id
from stalwart.jmap.limits import Limits
from stalwart.jmap.session import accounts_of
from stalwart.store import Session, Store


class NoSuchBlob(JmapError):
    """There is no such blob in the account, or no such account; a stranger learns no more (HTTP 404)."""


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
        with self._store.read() as session:
            self._check(session, principal)
            content = find_content(session, self._store.blobs, account, account, blob)
        if content is None:
            raise NoSuchBlob("There is no such blob in this account.")
        return content

    def _account(self, principal: Principal, account_id: str) -> int:
        account = accounts_of(principal, self._limits).get(account_id)
        if account is None:
            raise NoSuchBlob("There is no such account that this user can see.")
        return account.row

    def _check(self, session: Session, principal: Principal) -> None:
        if not self._still_valid(session, principal):
            raise SignInExpired("The password was changed since the last request. Sign in again.")
