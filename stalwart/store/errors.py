"""What can go wrong in the store. Every error derives from `StoreError`; its text names the thing and what to do."""

from __future__ import annotations


class StoreError(Exception):
    """The store could not do what was asked. The text is for an operator's log, never for a peer."""


class StoreInUse(StoreError):
    """Another process already serves this store."""


class StoreBusy(StoreError):
    """Another process kept the database locked for longer than the busy time limit. Trying again is right."""


class StoreDamaged(StoreError):
    """The database file is not a database, or its pages contradict each other."""


class SchemaTooNew(StoreError):
    """The database was written by a newer version of the program."""


class DiskFull(StoreError):
    """No space (or no quota of the file system) is left. Nothing of the write was kept."""


class BlobMissing(StoreError):
    """There is no blob of this hash."""

    def __init__(self, blob_hash: str) -> None:
        super().__init__(f"blob {blob_hash!r} is not in the blob store")
        self.blob_hash = blob_hash


class CircularRoles(StoreError):
    """A role would have itself, through others perhaps."""


class CircularLists(StoreError):
    """A mailing list would be on itself, through others perhaps."""


class NotFound(StoreError):
    """A named thing does not exist: account, alias, mailbox, e-mail."""


class NoSuchDomain(NotFound):
    """The domain of an address is not one of this server's."""

    def __init__(self, domain: str) -> None:
        super().__init__(f"domain {domain!r} does not exist; create it first: stalwart domain create {domain}")
        self.domain = domain


class AlreadyExists(StoreError):
    """The name, address or role is taken."""


class StillInUse(StoreError):
    """The thing can't be deleted while others refer to it."""


class InvalidAddress(StoreError):
    """An e-mail address or domain name that this server can't use."""


class InvalidName(StoreError):
    """A mailbox name that RFC 8621 §2 does not allow."""


class UploadsFull(StoreError):
    """The account uploaded as much as it may have lying about, all within the last minute."""


class OverQuota(StoreError):
    """The message would take the account past its quota (octets)."""

    def __init__(self, address: str, used: int, size: int, quota: int) -> None:
        super().__init__(f"account {address}: {used} octets used and {size} more exceed the quota of {quota}")
        self.used, self.size, self.quota = used, size, quota


class AnchorNotFound(StoreError):
    """The anchor of a query is not in its results. RFC 8620 §5.5."""


class CannotCalculateChanges(StoreError):
    """The state is unknown, or older than the changes that are still kept. RFC 8620 §5.2."""


class FilterTooComplex(StoreError):
    """A query's filter has more conditions, or deeper nesting, than a database should be given."""
