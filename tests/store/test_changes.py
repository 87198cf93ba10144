"""States and changes: what moves when, and what can't be told."""

from __future__ import annotations

import msgspec

from stalwart.store import (
    CannotCalculateChanges,
    Changes,
    TypeName,
    changes,
    create_mailbox,
    destroy_email,
    forget_destroyed,
    state,
    update_email,
    update_mailboxes,
)
from tests.store.bed import StoreTestCase, message

_TYPES: tuple[TypeName, ...] = ("Mailbox", "Thread", "Email", "EmailDelivery")


class ChangesTests(StoreTestCase):
    """The change log of one account."""

    def states(self) -> dict[str, int]:
        """The state of each type."""
        with self.store.read() as s:
            return {name: state(s, self.account_id, name) for name in _TYPES}

    def moved(self, before: dict[str, int]) -> set[str]:
        """The types whose state is another than before."""
        return {name for name, value in self.states().items() if value != before[name]}

    def since(self, type_name: TypeName, since: int, most: int | None = None) -> Changes:
        """Ask for changes."""
        with self.store.read() as s:
            return changes(s, self.account_id, type_name, since, most)

    def test_new_account(self) -> None:
        """A new account's states are states from which changes can be asked."""
        for name in ("Mailbox", "Thread", "Email"):
            found = self.since(name, self.states()[name])
            self.assertEqual((found.created, found.updated, found.destroyed), ([], [], []))
        self.assertEqual(len(self.since("Mailbox", 0).created), 6)
        self.assertEqual(self.states()["Email"], 0)

    def test_what_moves(self) -> None:
        """Each kind of change moves the types it concerns, and no other."""
        before = self.states()
        first = self.add(message(Message_ID="<1@x>"))
        self.assertEqual(self.moved(before), {"Mailbox", "Thread", "Email", "EmailDelivery"})
        for keywords, types in ((["work"], {"Email"}), (["$seen"], {"Email", "Mailbox"}), (["$seen"], set())):
            before = self.states()
            with self.store.write() as s:
                update_email(s, self.account_id, first.id, keywords=keywords)
            self.assertEqual(self.moved(before), types)
        before = self.states()
        with self.store.write() as s:
            create_mailbox(s, self.account_id, "New")
        self.assertEqual(self.moved(before), {"Mailbox"})
        before = self.states()
        with self.store.write() as s:
            destroy_email(s, self.account_id, first.id)
        self.assertEqual(self.moved(before), {"Mailbox", "Thread", "Email"})

    def test_coalesced(self) -> None:
        """Created and changed is created; created and destroyed is nothing; changed and destroyed is destroyed."""
        old = self.add()
        start = self.states()["Email"]
        new, gone = self.add(), self.add()
        with self.store.write() as s:
            update_email(s, self.account_id, new.id, keywords=["$seen"])
            update_email(s, self.account_id, old.id, keywords=["$seen"])
            destroy_email(s, self.account_id, old.id)
            destroy_email(s, self.account_id, gone.id)
        found = self.since("Email", start)
        self.assertEqual((found.created, found.updated, found.destroyed), ([new.id], [], [old.id]))

    def test_thread_destroyed(self) -> None:
        """A thread goes with its last e-mail, and is updated when another goes or comes."""
        first, second = self.add(message(Message_ID="<1@x>")), self.add(message(Message_ID="<1@x>"))
        start = self.states()["Thread"]
        with self.store.write() as s:
            destroy_email(s, self.account_id, first.id)
        self.assertEqual(self.since("Thread", start).updated, [first.thread_id])
        with self.store.write() as s:
            destroy_email(s, self.account_id, second.id)
        self.assertEqual(self.since("Thread", start).destroyed, [first.thread_id])
        again = self.add(message(Message_ID="<1@x>"))
        self.assertNotEqual(again.thread_id, first.thread_id)

    def test_in_steps(self) -> None:
        """One commit that touched more than may be told at once can be told in steps."""
        inbox = self.mailbox_id()
        with self.store.write() as s:
            ids = [self.add(s=s, mailbox_ids=[inbox]).id for _ in range(7)]
        told: list[int] = []
        since, more = 0, True
        while more:
            step = self.since("Email", since, 3)
            told += step.created
            since, more = step.new_state, step.has_more
        self.assertEqual(told, ids)
        self.assertEqual(since, self.states()["Email"])

    def test_steps_beside_changes(self) -> None:
        """An e-mail that changes while a client is under way is told again, as updated."""
        first, second = self.add(), self.add()
        step = self.since("Email", 0, 1)
        self.assertEqual(step.created, [first.id])
        with self.store.write() as s:
            update_email(s, self.account_id, first.id, keywords=["$seen"])
            update_email(s, self.account_id, second.id, keywords=["$seen"])
        rest = self.since("Email", step.new_state, 5)
        self.assertEqual((rest.created, rest.updated), ([second.id], [first.id]))

    def test_only_counts(self) -> None:
        """Mail moves counts only; a new mailbox is more than that."""
        start = self.states()["Mailbox"]
        self.add()
        found = self.since("Mailbox", start)
        self.assertEqual((found.updated, found.only_counts), ([self.mailbox_id()], True))
        with self.store.write() as s:
            create_mailbox(s, self.account_id, "New")
        self.assertFalse(self.since("Mailbox", start).only_counts)

    def test_more_than_counts_in_steps(self) -> None:
        """RFC 8621 §2.2: who goes on from the middle still hears of a change that counters came after."""
        with self.store.write() as s:
            renamed = create_mailbox(s, self.account_id, "Old")
        start = self.states()["Mailbox"]
        with self.store.write() as s:
            update_mailboxes(s, self.account_id, [msgspec.structs.replace(renamed, name="New")])
        self.add()
        self.add(mailbox_ids=[renamed.id])
        steps, since = [], start
        while (step := self.since("Mailbox", since, 1)).updated:
            steps.append((step.updated, step.only_counts))
            since = step.new_state
        self.assertEqual(steps, [([renamed.id], False), ([self.mailbox_id()], True), ([renamed.id], True)])

    def test_unknown_states(self) -> None:
        """States that never were, and types without changes, are CannotCalculateChanges."""
        for since in (-1, self.states()["Email"] + 1, 10**15):
            self.assertRaises(CannotCalculateChanges, self.since, "Email", since)
        self.assertRaises(CannotCalculateChanges, self.since, "EmailDelivery", 0)

    def test_forgotten(self) -> None:
        """After old tombstones went, older states are refused and never answered in part; newer ones are answered."""
        first, second = self.add(), self.add()
        start = self.states()["Email"]
        with self.store.write() as s:
            destroy_email(s, self.account_id, first.id)
        between = self.states()["Email"]
        self.now += 1000
        with self.store.write() as s:
            destroy_email(s, self.account_id, second.id)
        with self.store.write() as s:
            forget_destroyed(s, int(self.now))
        self.assertRaises(CannotCalculateChanges, self.since, "Email", start)
        self.assertEqual(self.since("Email", between).destroyed, [second.id])
