"""Identities, shares and quotas in the store, and how a database without them gets them."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

from stalwart.store import (
    FsBlobs,
    InvalidAddress,
    NotFound,
    Store,
    add_alias,
    create_account,
    create_identity,
    destroy_identity,
    find_upload,
    get_quota,
    guests_of,
    list_identities,
    may_write,
    migrate,
    set_quota,
    share_account,
    shared_with,
    state,
    unshare_account,
    update_identity,
)
from stalwart.store.sqlite import make_engine
from tests.store.bed import StoreTestCase


class ShareTests(StoreTestCase):
    """Who sees whose account."""

    def test_shares(self) -> None:
        """Sharing again changes the rights; taking back ends it; nothing is shared with oneself."""
        with self.store.write() as s:
            guest = create_account(s, "bob@example.org", password_hash="h").id
            self.assertEqual(shared_with(s, guest), ())
            self.assertIsNone(may_write(s, self.account_id, guest))
            for writing in (False, True):
                share_account(s, self.account_id, guest, writing=writing)
                [share] = shared_with(s, guest)
                self.assertEqual((share.account_id, share.address), (self.account_id, "ada@example.org"))
                self.assertIs(share.may_write, writing)
                self.assertIs(may_write(s, self.account_id, guest), writing)
            [row] = guests_of(s, self.account_id)
            self.assertEqual((row.account_id, row.address), (guest, "bob@example.org"))
            self.assertEqual(shared_with(s, self.account_id), ())
            unshare_account(s, self.account_id, guest)
            self.assertEqual((shared_with(s, guest), guests_of(s, self.account_id)), ((), []))
            self.assertRaises(NotFound, unshare_account, s, self.account_id, guest)
            self.assertRaises(ValueError, share_account, s, guest, guest, writing=True)


class IdentityTests(StoreTestCase):
    """Identities of an account."""

    def test_errors(self) -> None:
        """Another account's identities and addresses are out of reach."""
        with self.store.write() as s:
            other = create_account(s, "bob@example.org", password_hash="h").id
            [identity] = list_identities(s, other)
            self.assertRaises(
                InvalidAddress, create_identity, s, self.account_id, "bob@example.org", {}, may_delete=True
            )
            self.assertRaises(NotFound, update_identity, s, self.account_id, identity.id, {"name": "x"})
            self.assertRaises(NotFound, destroy_identity, s, self.account_id, identity.id)
            self.assertEqual(list_identities(s, other), [identity])


class QuotaTests(StoreTestCase):
    """The limit of an account."""

    def test_state(self) -> None:
        """Only a limit that is another moves the state."""
        with self.store.write() as s:
            before = state(s, self.account_id, "Quota")
            set_quota(s, self.account_id, None)
            self.assertEqual(state(s, self.account_id, "Quota"), before)
            set_quota(s, self.account_id, 5)
            self.assertGreater(state(s, self.account_id, "Quota"), before)
            self.assertEqual(get_quota(s, self.account_id).quota, 5)
            self.assertRaises(NotFound, set_quota, s, 99, 5)


class UpgradeTests(StoreTestCase):
    """A database of the first schema."""

    def test_identities_and_uploads(self) -> None:
        """Each address gets its identity, with a state that /changes can go on from; uploads stay their owners'."""
        first = Path(self.folder) / "first"
        shutil.copytree(migrate.MIGRATIONS, first)
        for later in (first / "versions").glob("r*.py"):
            if not later.name.startswith("r0001"):
                later.unlink()
        path = os.path.join(self.folder, "old.sqlite")
        sqlite3.connect(path).close()
        migrate.upgrade(make_engine(path), path, first, "0001", blobs=self.blobs)
        connection = sqlite3.connect(path)
        connection.executescript(
            "INSERT INTO domain VALUES (1, 'example.org', 0);"
            "INSERT INTO account VALUES (7, 'ada@example.org', 'Ada', 'h', 0, NULL, 0, 0, 1, 40, 0);"
            "INSERT INTO address VALUES ('ada@example.org', 1, 7, 0), ('a@example.org', 1, 7, 1);"
            "INSERT INTO upload VALUES (7, 'hash', 5, 'a/b', 1);"
        )
        connection.close()
        store = Store.open(path, FsBlobs(os.path.join(self.folder, "b")), clock=lambda: self.now, exclusive=True)
        self.addCleanup(store.close)
        with store.write() as s:
            self.assertEqual(
                [(row.email, row.name, row.may_delete, row.modseq) for row in list_identities(s, 7)],
                [("ada@example.org", "Ada", False, 41), ("a@example.org", "Ada", False, 42)],
            )
            self.assertEqual(state(s, 7, "Identity"), 42)
            self.assertIsNotNone(find_upload(s, 7, 7, "hash"))
            add_alias(s, 7, "b@example.org")
            self.assertEqual(list_identities(s, 7)[2].modseq, 43)
