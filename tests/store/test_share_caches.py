"""Who shares with whom, kept in memory: never out of date, whoever changes it, and bounded."""

from __future__ import annotations

import subprocess
import sys

from stalwart.ops.cache import Cache
from stalwart.ops.metrics import Metrics
from stalwart.store import (
    AclCache,
    ShareCaches,
    SharingCache,
    Store,
    create_account,
    delete_account,
    may_write,
    share_account,
    shared_with,
    unshare_account,
)
from tests.store.bed import StoreTestCase


class ShareCacheTests(StoreTestCase):
    """Bob sees Ada's account."""

    def setUp(self) -> None:
        """A store with the two caches, and the share."""
        super().setUp()
        self.metrics = Metrics("test")
        self.sharings: SharingCache = Cache(
            "sharings", octets=20_000, tti=300.0, clock=lambda: self.now, metrics=self.metrics
        )
        self.acl: AclCache = Cache("acl", octets=20_000, tti=300.0, clock=lambda: self.now, metrics=self.metrics)
        self.store.close()
        self.store = Store.open(
            self.path,
            self.blobs,
            clock=lambda: self.now,
            shares=ShareCaches(sharings=self.sharings, acl=self.acl),
            exclusive=True,
        )
        with self.store.write() as s:
            self.guest = create_account(s, "bob@example.org", password_hash="h").id
            share_account(s, self.account_id, self.guest, writing=False)

    def look(self) -> tuple[list[str], bool | None]:
        """The addresses that Bob sees, and whether he may write Ada's mail, as a new snapshot has it."""
        with self.store.read() as s:
            return [row.address for row in shared_with(s, self.guest)], may_write(s, self.account_id, self.guest)

    def reads(self) -> int:
        """How many statements look into the table of shares."""
        statements: list[str] = []
        with self.store.read() as s:
            s.driver.set_trace_callback(statements.append)
            shared_with(s, self.guest)
            may_write(s, self.account_id, self.guest)
            s.driver.set_trace_callback(None)
        return sum("FROM share" in statement for statement in statements)

    def test_asked_again(self) -> None:
        """What was read once is known, also that nothing is shared, until it was not asked for for its time."""
        self.assertEqual(self.reads(), 2)
        self.assertEqual(self.reads(), 0)
        with self.store.write() as s:
            unshare_account(s, self.account_id, self.guest)
        self.assertEqual(self.reads(), 2)
        self.assertEqual(self.reads(), 0)
        self.assertEqual(self.look(), ([], None))
        self.now += 300.0
        self.assertEqual((len(self.sharings), len(self.acl)), (0, 0))
        self.assertEqual(self.reads(), 2)

    def test_changes(self) -> None:
        """Sharing, other rights, taking back and the end of either account hold with the next snapshot."""
        self.assertEqual(self.look(), (["ada@example.org"], False))
        with self.store.write() as s:
            share_account(s, self.account_id, self.guest, writing=True)
        self.assertEqual(self.look(), (["ada@example.org"], True))
        with self.store.write() as s:
            unshare_account(s, self.account_id, self.guest)
        self.assertEqual(self.look(), ([], None))
        with self.store.write() as s:
            share_account(s, self.account_id, self.guest, writing=True)
            other = create_account(s, "carol@example.org", password_hash="h").id
            share_account(s, other, self.guest, writing=False)
        self.assertEqual(self.look(), (["ada@example.org", "carol@example.org"], True))
        with self.store.write() as s:
            delete_account(s, other)
        self.assertEqual(self.look(), (["ada@example.org"], True))
        with self.store.write() as s:
            delete_account(s, self.guest)
        self.assertEqual(self.look(), ([], None))

    def test_other_process(self) -> None:
        """So does what another process changes, which knows nothing of these caches."""
        self.assertEqual(self.look(), (["ada@example.org"], False))
        for statement, expected in (
            ("UPDATE share SET may_write = 1", (["ada@example.org"], True)),
            ("DELETE FROM share", ([], None)),
        ):
            program = "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as c: c.execute(sys.argv[2])"
            subprocess.run([sys.executable, "-c", program, self.path, statement], check=True, timeout=60)
            self.assertEqual(self.look(), expected)

    def test_undone(self) -> None:
        """What a transaction saw of its own changes is not kept: it may be undone, and another get the same number."""

        class Undone(Exception):
            pass

        try:
            with self.store.write() as s:
                unshare_account(s, self.account_id, self.guest)
                self.assertEqual((shared_with(s, self.guest), may_write(s, self.account_id, self.guest)), ((), None))
                raise Undone
        except Undone:
            pass
        with self.store.write() as s:
            share_account(s, self.account_id, self.guest, writing=True)
        self.assertEqual(self.look(), (["ada@example.org"], True))

    def test_older_snapshot(self) -> None:
        """A snapshot goes on with what it began with, and what it reads late is not taken for what is."""
        with self.store.read() as s:
            s.driver.execute("SELECT count(*) FROM account").fetchone()
            with self.store.write() as other:
                unshare_account(other, self.account_id, self.guest)
            self.assertEqual(self.look(), ([], None))
            self.assertEqual(len(shared_with(s, self.guest)), 1)
            self.assertIs(may_write(s, self.account_id, self.guest), False)
            self.assertEqual(self.look(), ([], None))

    def test_bounded(self) -> None:
        """However many users and accounts are asked for, the memory stays within its bound; metrics tell of it."""
        with self.store.read() as s:
            for user in range(2, 500):
                shared_with(s, user)
                may_write(s, self.account_id, user)
        self.assertTrue(10 < len(self.sharings) < 100, len(self.sharings))
        self.assertTrue(10 < len(self.acl) < 100, len(self.acl))
        for name in ("sharings", "acl"):
            octets = self.metrics.registry.get_sample_value("stalwart_cache_bytes", {"cache": name})
            assert octets is not None
            self.assertTrue(0 < octets <= 20_000, octets)
