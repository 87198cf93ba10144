"""Mailboxes: making, finding, listing."""

from __future__ import annotations

from stalwart.store import (
    AlreadyExists,
    InvalidName,
    NotFound,
    create_account,
    create_mailbox,
    find_mailbox,
    list_mailboxes,
    state,
)
from tests.store.bed import StoreTestCase


class MailboxTests(StoreTestCase):
    """The mailboxes of an account."""

    def test_standard(self) -> None:
        """A new account has six mailboxes with roles, subscribed, empty, and in a sensible order."""
        with self.store.read() as s:
            mailboxes = list_mailboxes(s, self.account_id)
            self.assertEqual(state(s, self.account_id, "Mailbox"), max(mailbox.modseq for mailbox in mailboxes))
        self.assertEqual(
            [(mailbox.name, mailbox.role) for mailbox in mailboxes],
            [
                ("Inbox", "inbox"),
                ("Drafts", "drafts"),
                ("Sent", "sent"),
                ("Archive", "archive"),
                ("Junk", "junk"),
                ("Trash", "trash"),
            ],
        )
        for mailbox in mailboxes:
            self.assertIs(mailbox.is_subscribed, True)
            self.assertIsNone(mailbox.parent_id)
            counts = (mailbox.total_emails, mailbox.unread_emails, mailbox.total_threads, mailbox.unread_threads)
            self.assertEqual(counts, (0, 0, 0, 0))

    def test_create(self) -> None:
        """A made mailbox is found and listed as it was given back, its name in NFC."""
        with self.store.write() as s:
            made = create_mailbox(s, self.account_id, "Cafe\u0301")
            child = create_mailbox(s, self.account_id, "Café", made.id)
            self.assertEqual(made.name, "Café")
            self.assertEqual(find_mailbox(s, self.account_id, name="Cafe\u0301"), made)
            self.assertEqual(child.parent_id, made.id)
            self.assertEqual([m for m in list_mailboxes(s, self.account_id) if m.id == child.id], [child])
            self.assertGreater(child.modseq, made.modseq)

    def test_refused(self) -> None:
        """A sibling's name, a role that is taken, a parent that isn't there, a name that is none."""
        with self.store.write() as s:
            other = create_account(s, "bob@example.org", password_hash="h").id
            theirs = list_mailboxes(s, other)[0]
            inbox = find_mailbox(s, self.account_id, role="inbox")
            assert inbox is not None
            create_mailbox(s, self.account_id, "Child", inbox.id)
            self.assertRaises(AlreadyExists, create_mailbox, s, self.account_id, "Inbox")
            self.assertRaises(AlreadyExists, create_mailbox, s, self.account_id, "Child", inbox.id)
            self.assertRaises(AlreadyExists, create_mailbox, s, self.account_id, "Other", None, "inbox")
            self.assertRaises(NotFound, create_mailbox, s, self.account_id, "x", 999)
            self.assertRaises(NotFound, create_mailbox, s, self.account_id, "x", theirs.id)
            self.assertRaises(NotFound, create_mailbox, s, 999, "x")
            for name in ("", "a\nb", "a\0", "\x7f", "é" * 128, "\ud800"):
                self.assertRaises(InvalidName, create_mailbox, s, self.account_id, name)
            create_mailbox(s, self.account_id, "é" * 127)

    def test_find(self) -> None:
        """By role or by top-level name; None if there is none; never without saying which."""
        with self.store.read() as s:
            inbox = find_mailbox(s, self.account_id, role="inbox")
            assert inbox is not None
            self.assertEqual(find_mailbox(s, self.account_id, name="Inbox"), inbox)
            self.assertIsNone(find_mailbox(s, self.account_id, name="inbox"))
            self.assertIsNone(find_mailbox(s, 999, role="inbox"))
            self.assertRaises(ValueError, find_mailbox, s, self.account_id)
