"""Seeing what was committed, whichever process did it."""

from __future__ import annotations

from stalwart.store import (
    NotFound,
    Store,
    create_account,
    delete_account,
    set_password_hash,
    standings,
    states,
)
from tests.store.bed import StoreTestCase


class WatchTests(StoreTestCase):
    """`Store.watch`, `standings` and `states`."""

    def test_commits(self) -> None:
        """A commit moves it once, reads and what was rolled back don't."""
        watch = self.store.watch()
        self.addCleanup(watch.close)
        self.assertFalse(watch.moved())
        self.add()
        self.assertTrue(watch.moved())
        self.assertFalse(watch.moved())
        with self.assertRaises(NotFound), self.store.write() as s:
            set_password_hash(s, 999, "x")
        with self.store.read() as s:
            states(s, [self.account_id])
        self.assertFalse(watch.moved())

    def test_other_connection(self) -> None:
        """It sees the commits of another opening of the same file, as another process has one."""
        watch = self.store.watch()
        self.addCleanup(watch.close)
        other = Store.open(self.path, self.blobs, clock=lambda: self.now, exclusive=False)
        self.addCleanup(other.close)
        with other.write() as s:
            create_account(s, "bob@example.org", password_hash="x")
        self.assertTrue(watch.moved())

    def test_standings(self) -> None:
        """The modseq moves with the data, the credential version with the password; who isn't there is left out."""
        with self.store.read() as s:
            before = standings(s, [self.account_id, 999])
        self.assertEqual(list(before), [self.account_id])
        self.add()
        with self.store.write() as s:
            set_password_hash(s, self.account_id, "y")
        with self.store.read() as s:
            after = standings(s, [self.account_id])[self.account_id]
        self.assertGreater(after.modseq, before[self.account_id].modseq)
        self.assertEqual(after.credential_version, before[self.account_id].credential_version + 1)
        with self.store.write() as s:
            delete_account(s, self.account_id)
        with self.store.read() as s:
            self.assertEqual(standings(s, [self.account_id]), {})

    def test_states(self) -> None:
        """Every type that ever changed has its state; RFC 8621 §1.5: EmailDelivery moves when mail is added only."""
        heard: list[dict[str, int]] = []
        self.store.subscribe(lambda moved: heard.append(dict(moved[self.account_id])))
        self.add()
        with self.store.read() as s:
            found = states(s, [self.account_id, 999])
        self.assertEqual(list(found), [self.account_id])
        self.assertEqual(set(heard[0]), {"Email", "EmailDelivery", "Mailbox", "Thread"})
        self.assertEqual({name: found[self.account_id][name] for name in heard[0]}, heard[0])
