"""Binary data (RFC 8620 §6): keeping uploads, and reading what a user may download."""

from __future__ import annotations

from collections.abc import Callable

from stalwart import store
from stalwart.auth import Principal
from stalwart.jmap import wire
from stalwart.jmap.call import Account
from stalwart.jmap.contents import Content, KnownParts, find_content
from stalwart.jmap.errors import JmapError, SignInExpired
from stalwart.jmap.ids import blob_id
from stalwart.jmap.limits import Limits
from stalwart.jmap.session import account_id as id_of
from stalwart.jmap.session import accounts_of
from stalwart.jmap.uploads import check_room, keep_upload
from stalwart.store import BlobWriter, Session, Store


class NoSuchBlob(JmapError):
    """There is no such blob in the account, or no such account; a stranger learns no more (HTTP 404)."""


class UploadForbidden(JmapError):
    """The user may only read the account (HTTP 403)."""


class Blobs:
    """Uploads and downloads over one store. Safe to use from any thread."""

    def __init__(self, opened: Store, limits: Limits, still_valid: Callable[[Session, Principal], bool]) -> None:
        self._store = opened
        self._limits = limits
        self._still_valid = still_valid

    def begin(self) -> BlobWriter:
        """Begin an upload; see `keep`."""
        return self._store.blobs.begin()

    def check_account(self, principal: Principal, account_id: str) -> None:
        """Whether the user may upload to the account. Asks the store only for the account of somebody else.

        Raises NoSuchBlob for an account that the user can't see, UploadForbidden, and StoreError.
        """
        if account_id != id_of(principal.account_id):
            with self._store.read() as session:
                self._writable(session, principal, account_id)

    def keep(self, principal: Principal, account_id: str, upload: BlobWriter, media_type: str) -> bytes:
        """Keep what was written; gives the JSON answer of RFC 8620 §6.1 once it is on disk.

        What the user uploaded longest ago goes when there is more than a user may have.

        Raises NoSuchBlob for an account that the user can't see, UploadForbidden, SignInExpired, and StoreError.
        """
        user, size = principal.account_id, upload.size
        with self._store.read() as session:
            self._check(session, principal)
            account = self._writable(session, principal, account_id)
            check_room(session, account, user, upload.hash(), size, self._limits)
        blob_hash = upload.commit()
        with self._store.write() as session:
            account = self._writable(session, principal, account_id)
            evicted = keep_upload(session, account, user, blob_hash, size, media_type, self._limits)
        store.discard_uploads(self._store, evicted)
        return wire.encode({"accountId": account_id, "blobId": blob_id(blob_hash), "type": media_type, "size": size})

    def open(self, principal: Principal, account_id: str, blob: str) -> Content:
        """The content behind a blobId: a message, an upload, or a body part with its transfer encoding undone.

        Raises NoSuchBlob, SignInExpired, and StoreError.
        """
        with self._store.read() as session:
            self._check(session, principal)
            account = self._account(session, principal, account_id).row
            content = find_content(session, self._store.blobs, account, principal.account_id, blob, KnownParts())
        if content is None:
            raise NoSuchBlob("There is no such blob in this account.")
        return content

    def _account(self, session: Session, principal: Principal, account_id: str) -> Account:
        shares = store.shared_with(session, principal.account_id)
        account = accounts_of(principal, shares, self._limits).get(account_id)
        if account is None:
            raise NoSuchBlob("There is no such account that this user can see.")
        return account

    def _writable(self, session: Session, principal: Principal, account_id: str) -> int:
        account = self._account(session, principal, account_id)
        if account.is_read_only:
            raise UploadForbidden("This account is shared with you for reading only.")
        return account.row

    def _check(self, session: Session, principal: Principal) -> None:
        if not self._still_valid(session, principal):
            raise SignInExpired("The password was changed since the last request. Sign in again.")
