"""MTA-STS policies as rows."""

from __future__ import annotations

from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from stalwart.delivery.mta_sts import KeptPolicy, Policy
from stalwart.delivery.mta_sts_kept import StoredPolicies
from stalwart.store import FsBlobs, Store, StsPolicyRow, get_sts_policy, put_sts_policy
from stalwart.store import mta_sts as module
from tests.delivery.test_local import Here, Together

NOW = 1_700_000_000


def row(domain: str, *, fetched_at: int = NOW, seconds: int = 1000) -> StsPolicyRow:
    """A policy."""
    return StsPolicyRow(
        domain=domain,
        policy_id="1",
        mode="enforce",
        mx="mx.example.net *.example.net",
        fetched_at=fetched_at,
        expires_at=fetched_at + seconds,
    )


class PolicyTests(SynchronousTestCase):
    """Putting and getting."""

    def setUp(self) -> None:
        """An empty store."""
        self.clock = float(NOW)
        self.path = self.mktemp()
        self.open()

    def open(self) -> None:
        """Open the store."""
        blobs = FsBlobs(f"{self.path}-blobs", clock=lambda: self.clock)
        self.store = Store.open(self.path, blobs, clock=lambda: self.clock, exclusive=True)
        self.addCleanup(self.store.close)

    def get(self, domain: str) -> StsPolicyRow | None:
        """The policy that is kept."""
        with self.store.read() as s:
            return get_sts_policy(s, domain)

    def put(self, *rows: StsPolicyRow) -> None:
        """Keep policies."""
        with self.store.write() as s:
            for each in rows:
                put_sts_policy(s, each)

    def test_kept(self) -> None:
        """RFC 8461 §3.3: a policy is there until it is too old, also after a restart; a newer one takes its place."""
        self.put(row("example.net"), row("example.com"))
        self.store.close()
        self.open()
        self.assertEqual(self.get("example.net"), row("example.net"))
        self.assertIsNone(self.get("example.org"))
        self.put(row("example.net", seconds=2000))
        self.clock += 1000
        self.assertEqual(self.get("example.net"), row("example.net", seconds=2000))
        self.assertIsNone(self.get("example.com"))

    def test_bounded(self) -> None:
        """Those that are too old go, and of too many those that were fetched first."""
        with patch.object(module, "MOST_POLICIES", 3):
            self.put(*(row(f"d{number}.example", fetched_at=NOW - number) for number in range(5)))
        self.assertEqual([number for number in range(5) if self.get(f"d{number}.example")], [0, 1, 2])
        self.clock += 10_000
        self.put(row("new.example", fetched_at=int(self.clock)))
        with self.store.read() as s:
            (count,) = s.driver.execute("SELECT count(*) FROM mta_sts_policy").fetchone()
        self.assertEqual(count, 1)

    def test_as_policies(self) -> None:
        """What the daemon keeps is what it gets back."""
        stored = StoredPolicies(self.store, Here(), Together(self.store))
        exchangers = ("mx.example.net", "*.b.example")
        for policy in (Policy(mode="enforce", max_age=5, mx=exchangers), Policy(mode="none", max_age=9)):
            kept = KeptPolicy(id="x1", policy=policy, fetched_at=NOW)
            self.successResultOf(Deferred.fromCoroutine(stored.put("example.net", kept)))
            self.assertEqual(self.successResultOf(Deferred.fromCoroutine(stored.get("example.net"))), kept)
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(stored.get("example.com"))))
