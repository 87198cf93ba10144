"""Tickets for streams, push subscriptions and the server's keys in the store."""

from __future__ import annotations

from msgspec.structs import replace

from stalwart.store import (
    PUSH_SUBSCRIPTION,
    SubscriptionRow,
    TicketRow,
    add_key,
    add_subscription,
    add_ticket,
    delete_dead_subscriptions,
    delete_subscription,
    find_ticket,
    list_subscriptions,
    redeem_ticket,
    revoke_tickets,
    set_password_hash,
    update_subscription,
)
from tests.store.bed import NOW, StoreTestCase


class TicketTests(StoreTestCase):
    """`stalwart.store.tickets`."""

    def give(self, ticket: bytes, *, lasts: int = 60, most: int = 10) -> bool:
        """Keep a ticket for the account."""
        row = TicketRow(account_id=self.account_id, credential_version=1, purpose="eventsource")
        with self.store.write() as s:
            return add_ticket(s, ticket, row, lasts=lasts, most=most)

    def found(self, ticket: bytes) -> bool:
        """Whether it is good."""
        with self.store.read() as s:
            return find_ticket(s, ticket) is not None

    def test_once(self) -> None:
        """A ticket is found until it is redeemed, and redeemed once."""
        self.give(b"one")
        self.assertTrue(self.found(b"one"))
        self.assertFalse(self.found(b"two"))
        with self.store.write() as s:
            self.assertEqual([redeem_ticket(s, b"one"), redeem_ticket(s, b"one")], [True, False])
        self.assertFalse(self.found(b"one"))

    def test_expires(self) -> None:
        """It is good for its seconds, and no longer; expired ones make room."""
        self.give(b"one", lasts=60, most=1)
        self.now = NOW + 59.9
        self.assertTrue(self.found(b"one"))
        self.assertFalse(self.give(b"two", most=1))
        self.now = NOW + 60.0
        self.assertFalse(self.found(b"one"))
        self.assertTrue(self.give(b"two", most=1))

    def test_revoked(self) -> None:
        """All of an account can be taken back."""
        self.give(b"one")
        with self.store.write() as s:
            revoke_tickets(s, self.account_id)
        self.assertFalse(self.found(b"one"))

    def test_not_in_the_clear(self) -> None:
        """The database holds no ticket, only its hash."""
        self.give(b"a ticket that nobody may read here")
        with open(self.path, "rb") as file, open(self.path + "-wal", "rb") as log:
            self.assertNotIn(b"nobody may read", file.read() + log.read())


class SubscriptionTests(StoreTestCase):
    """`stalwart.store.push_subscriptions`."""

    def subscribe(self, **more: object) -> SubscriptionRow:
        """A subscription of the account."""
        row = SubscriptionRow(
            account_id=self.account_id,
            credential_version=1,
            device_client_id="device",
            url="https://push.example.net/secret-of-the-client",
            p256dh=None,
            auth=None,
            verification_code="code",
            expires_at=NOW + 100,
            types=("Email", "Mailbox"),
        )
        with self.store.write() as s:
            return add_subscription(s, replace(row, **more))

    def listed(self) -> list[SubscriptionRow]:
        """What is there."""
        with self.store.read() as s:
            self.assertEqual(list_subscriptions(s), list_subscriptions(s, self.account_id))
            return list(list_subscriptions(s))

    def test_kept(self) -> None:
        """What is added comes back, with what an update changed; each write is announced."""
        heard: list[set[str]] = []
        self.store.subscribe(lambda moved: heard.append(set(moved[self.account_id])))
        row = self.subscribe(types=None, p256dh=b"point", auth=b"secret")
        self.assertEqual(self.listed(), [row])
        changed = replace(row, is_verified=True, expires_at=NOW + 5, types=("Email",))
        with self.store.write() as s:
            update_subscription(s, changed)
        self.assertEqual(self.listed(), [changed])
        with self.store.write() as s:
            delete_subscription(s, self.account_id, row.id)
        self.assertEqual(self.listed(), [])
        self.assertEqual(heard, [{PUSH_SUBSCRIPTION}] * 3)

    def test_dead(self) -> None:
        """RFC 8620 §7.2: expired ones, and those whose password was changed, are not listed and can be swept away.

        That is announced, so that their addresses are forgotten in memory as well.
        """
        self.subscribe()
        self.subscribe(expires_at=NOW)
        self.assertEqual(len(self.listed()), 1)
        with self.store.write() as s:
            set_password_hash(s, self.account_id, "other")
        self.assertEqual(self.listed(), [])
        with self.store.write() as s:
            self.assertEqual(delete_dead_subscriptions(s), 2)
            self.assertIsNotNone(s.moved_state(self.account_id, PUSH_SUBSCRIPTION))

    def test_erased(self) -> None:
        """RFC 8620 §7.2: the URL of one that was destroyed is gone from the database file."""
        row = self.subscribe()
        with self.store.write() as s:
            delete_subscription(s, self.account_id, row.id)
        self.store.close()
        with open(self.path, "rb") as file:
            self.assertNotIn(b"secret-of-the-client", file.read())

    def test_key_made_once(self) -> None:
        """A key is made when it is first asked for, and stays."""
        made = iter([b"first", b"second"])
        for _ in range(2):
            with self.store.write() as s:
                self.assertEqual(add_key(s, "vapid", lambda: next(made)), b"first")
