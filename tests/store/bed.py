"""What the tests of this room share: a store in a temporary folder with one account, and messages to put there."""

from __future__ import annotations

import os
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.summary import summarize
from stalwart.ops.cache import Cache
from stalwart.store import (
    FsBlobs,
    IdCache,
    NewEmail,
    Role,
    Session,
    Store,
    StoredEmail,
    add_email,
    blob_hash,
    create_account,
    create_domain,
    find_mailbox,
)

NOW = 1_700_000_000


def message(subject: str = "Hello", body: str = "Hi there.", **fields: str) -> bytes:
    """A plain message; further header fields by name, with `_` for `-`."""
    lines = {"From": "Ada <ada@example.org>", "To": "Bob <bob@example.net>", "Subject": subject} | {
        name.replace("_", "-"): value for name, value in fields.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return (head + "\r\n" + body + "\r\n").encode()


class StoreTestCase(SynchronousTestCase):
    """A test with an open store and one account, `self.account_id`, in it. Time stands still at `self.now`."""

    def setUp(self) -> None:
        """Open an empty store."""
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, "stalwart.sqlite")
        self.now = float(NOW)
        self.blobs = FsBlobs(os.path.join(self.folder, "blobs"), clock=lambda: self.now)
        self.ids: IdCache = Cache("ids", octets=10_000_000, tti=3600.0, clock=lambda: self.now)
        self.store = Store.open(self.path, self.blobs, clock=lambda: self.now, ids=self.ids, exclusive=True)
        self.addCleanup(self.close)
        with self.store.write() as s:
            create_domain(s, "example.org")
            self.account_id = create_account(s, "ada@example.org", name="Ada", password_hash="x").id

    def close(self) -> None:
        """Close the store; a test may have opened it anew."""
        self.store.close()

    def mailbox_id(self, role: Role = "inbox") -> int:
        """The id of the account's mailbox with this role."""
        with self.store.read() as s:
            found = find_mailbox(s, self.account_id, role=role)
        assert found is not None
        return found.id

    def add(
        self,
        data: bytes | None = None,
        *,
        s: Session | None = None,
        mailbox_ids: Iterable[int] | None = None,
        keywords: Iterable[str] = (),
        received_at: int = NOW,
        size: int | None = None,
    ) -> StoredEmail:
        """Add a message, to the inbox if nothing else is said, in a transaction of its own or in that of `s`."""
        data = message() if data is None else data
        new = NewEmail(
            blob_hash=blob_hash(data),
            size=len(data) if size is None else size,
            received_at=received_at,
            mailbox_ids=(self.mailbox_id(),) if mailbox_ids is None else tuple(mailbox_ids),
            keywords=frozenset(keywords),
            digest=summarize(data),
        )
        if s is not None:
            return add_email(s, self.account_id, new)
        with self.store.write() as session:
            return add_email(session, self.account_id, new)
