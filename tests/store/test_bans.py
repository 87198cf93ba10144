"""Bans in the database."""

from __future__ import annotations

import itertools

from stalwart.store import BanRow, add_ban, ban_version, list_bans, remove_bans, remove_expired_bans
from tests.store.bed import NOW, StoreTestCase


def row(network: str = "192.0.2.7", until: int | None = NOW + 100, detail: str = "") -> BanRow:
    """A ban."""
    return BanRow(network=network, reason="scanning", since=NOW, until=until, detail=detail)


class BanTests(StoreTestCase):
    """Adding, listing, lifting."""

    def networks(self) -> list[str]:
        """The networks that are banned now."""
        with self.store.read() as s:
            return [ban.network for ban in list_bans(s)]

    def test_round_trip(self) -> None:
        """What was added comes back whole."""
        wanted = row(detail="31 requests")
        with self.store.write() as s:
            add_ban(s, wanted)
        with self.store.read() as s:
            self.assertEqual(list_bans(s), [wanted])

    def test_expiry(self) -> None:
        """A ban that is over isn't listed, and can be forgotten; one without end stays."""
        with self.store.write() as s:
            add_ban(s, row("192.0.2.7"))
            add_ban(s, row("192.0.2.8", None))
        self.now += 100
        self.assertEqual(self.networks(), ["192.0.2.8"])
        with self.store.write() as s:
            self.assertEqual(remove_expired_bans(s), 1)
            self.assertEqual(remove_expired_bans(s), 0)
        self.assertEqual(self.networks(), ["192.0.2.8"])

    def test_longer_wins(self) -> None:
        """Of two bans of a network the longer one holds, in whichever order they come."""
        for first, second, wanted in ((100, 50, 100), (50, 100, 100), (None, 50, None), (50, None, None)):
            with self.store.write() as s:
                remove_bans(s)
                for seconds in (first, second):
                    held = add_ban(s, row(until=None if seconds is None else NOW + seconds))
            with self.store.read() as s:
                (found,) = list_bans(s)
            self.assertEqual(found.until, None if wanted is None else NOW + wanted)
            self.assertEqual(held, found)

    def test_remove(self) -> None:
        """Bans are lifted by network, by reason, or all."""
        with self.store.write() as s:
            add_ban(s, row("192.0.2.7"))
            add_ban(s, row("192.0.2.8"))
            add_ban(s, BanRow(network="192.0.2.9", reason="manual", since=NOW, until=None))
            self.assertEqual(remove_bans(s, network="192.0.2.1"), 0)
            self.assertEqual(remove_bans(s, network="192.0.2.7"), 1)
            self.assertEqual(remove_bans(s, reason="scanning"), 1)
        self.assertEqual(self.networks(), ["192.0.2.9"])
        with self.store.write() as s:
            self.assertEqual(remove_bans(s), 1)
        self.assertEqual(self.networks(), [])

    def test_version(self) -> None:
        """Every change gives another version: adding, lifting, and both in turn."""
        seen = []
        for change in ("nothing", "add", "remove", "add", "longer", "remove", "add"):
            with self.store.write() as s:
                if change == "add":
                    add_ban(s, row())
                elif change == "longer":
                    add_ban(s, row(until=None))
                elif change == "remove":
                    remove_bans(s, network="192.0.2.7")
            with self.store.read() as s:
                seen.append((change, ban_version(s)))
        for (_, before), (change, after) in itertools.pairwise(seen):
            self.assertNotEqual(before, after, change)
