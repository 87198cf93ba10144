"""Adding messages, reading them back, and the threads they join."""

from __future__ import annotations

import json

from stalwart.mail.message import decode_structure
from stalwart.mail.summary import summarize
from stalwart.store import (
    EmailRow,
    NotFound,
    OverQuota,
    create_account,
    find_account,
    get_account,
    get_emails,
    get_threads,
    has_blob,
    list_email_ids,
    threads,
)
from tests.store.bed import NOW, StoreTestCase, message


class AddTests(StoreTestCase):
    """What add_email stores, and what it refuses."""

    def test_row(self) -> None:
        """A message comes back with what lists need, ready to send."""
        data = message("Grüße", Message_ID="<1@x>")
        places = [self.mailbox_id("archive"), self.mailbox_id("inbox")]
        stored = self.add(data, mailbox_ids=places, keywords=["$Seen", "Work"], received_at=NOW - 5)
        with self.store.read() as s:
            row = get_emails(s, self.account_id, [stored.id])[stored.id]
            self.assertEqual(
                row,
                EmailRow(
                    id=stored.id,
                    thread_id=stored.thread_id,
                    blob_hash=row.blob_hash,
                    size=len(data),
                    received_at=NOW - 5,
                    mailbox_ids=tuple(sorted(places)),
                    keywords=("$seen", "work"),
                    summary=row.summary,
                    structure=row.structure,
                    modseq=stored.modseq,
                ),
            )
            self.assertEqual(has_blob(s, self.account_id, row.blob_hash), [stored.id])
            account = get_account(s, self.account_id)
        self.assertEqual(json.loads(row.summary)["subject"], "Grüße")
        self.assertEqual(decode_structure(row.structure), summarize(data).structure)
        self.assertEqual((account.used, account.message_count), (len(data), 1))

    def test_anything(self) -> None:
        """Octets that are hardly a message are stored like any other."""
        for data in (
            b"",
            b"\0\xff\r\n\r\n",
            b"Subject: \xff\xfe\0\r\n\r\n\0",
            b"Subject: =?utf-8?b?7aCA?=\r\n\r\n\xed\xa0\x80",
        ):
            stored = self.add(data)
            with self.store.read() as s:
                json.loads(get_emails(s, self.account_id, [stored.id])[stored.id].summary)

    def test_same_message_twice(self) -> None:
        """The same octets, or another message with the same Message-ID, are e-mails of their own."""
        data = message(Message_ID="<1@x>")
        first, second = self.add(data), self.add(data)
        third = self.add(message("Hello", "Other.", Message_ID="<1@x>"))
        self.assertEqual(len({first.id, second.id, third.id}), 3)
        self.assertEqual(len({first.thread_id, second.thread_id, third.thread_id}), 1)
        with self.store.read() as s:
            blob = get_emails(s, self.account_id, [first.id])[first.id].blob_hash
            self.assertEqual(has_blob(s, self.account_id, blob), [first.id, second.id])
            self.assertEqual(list_email_ids(s, self.account_id, 2), [first.id, second.id])

    def test_foreign(self) -> None:
        """An account's e-mails, blobs and threads are not there for another."""
        stored = self.add()
        with self.store.write() as s:
            other = create_account(s, "bob@example.org", password_hash="h").id
            blob = get_emails(s, self.account_id, [stored.id])[stored.id].blob_hash
            self.assertEqual(get_emails(s, other, [stored.id]), {})
            self.assertEqual(get_threads(s, other, [stored.thread_id]), {})
            self.assertEqual(has_blob(s, other, blob), [])
            self.assertEqual(list_email_ids(s, other, 10), [])

    def test_get(self) -> None:
        """Unknown ids are left out, double ones come once, none gives none."""
        stored = self.add()
        with self.store.read() as s:
            self.assertEqual(list(get_emails(s, self.account_id, [999, stored.id, stored.id, -1])), [stored.id])
            self.assertEqual(get_emails(s, self.account_id, []), {})

    def test_refused(self) -> None:
        """No mailbox, a mailbox that isn't there or is another's, a keyword that is none: nothing is kept."""
        with self.store.write() as s:
            other = create_account(s, "bob@example.org", password_hash="h").id
        mine, self.account_id = self.account_id, other
        theirs = self.mailbox_id()
        self.account_id = mine
        inbox = self.mailbox_id()
        self.assertRaises(ValueError, self.add, mailbox_ids=[])
        self.assertRaises(NotFound, self.add, mailbox_ids=[inbox, 999])
        self.assertRaises(NotFound, self.add, mailbox_ids=[theirs])
        for keyword in ("", "two words", "a\tb"):
            self.assertRaises(ValueError, self.add, keywords=[keyword])
        self.account_id = 999
        self.assertRaises(NotFound, self.add, mailbox_ids=[inbox])
        with self.store.read() as s:
            for table in ("email", "thread", "email_mailbox", "email_text"):
                self.assertEqual(s.driver.execute(f"SELECT count(*) FROM {table}").fetchone()[0], 0)

    def test_quota(self) -> None:
        """A message may fill the quota to the last octet, and not exceed it."""
        with self.store.write() as s:
            self.account_id = create_account(s, "bob@example.org", password_hash="h", quota=100).id
        self.add(size=60)
        error = self.assertRaises(OverQuota, self.add, size=41)
        self.assertEqual((error.used, error.size, error.quota), (60, 41, 100))
        self.assertIn("bob@example.org", str(error))
        self.add(size=40)
        self.assertRaises(OverQuota, self.add, size=1)
        with self.store.read() as s:
            account = find_account(s, "bob@example.org")
            assert account is not None
            self.assertEqual((account.used, account.message_count), (100, 2))

    def test_quota_in_batch(self) -> None:
        """Of two messages in one batch that don't both fit, the first is kept."""
        with self.store.write() as s:
            self.account_id = create_account(s, "bob@example.org", password_hash="h", quota=100).id
        inbox = self.mailbox_id()
        first, second = self.store.run_batch([lambda s: self.add(s=s, mailbox_ids=[inbox], size=60)] * 2)
        self.assertNotIsInstance(first, BaseException)
        self.assertIsInstance(second, OverQuota)


class ThreadTests(StoreTestCase):
    """RFC 8621 §3: what makes a thread."""

    def thread_of(self, subject: str, **fields: str) -> int:
        """Add a message; the thread it joined."""
        return self.add(message(subject, **fields)).thread_id

    def test_replies(self) -> None:
        """Replies join by In-Reply-To and References, in whatever order they come."""
        first = self.thread_of("Plan", Message_ID="<1@x>")
        self.assertEqual(self.thread_of("Re: Plan", Message_ID="<2@x>", In_Reply_To="<1@x>"), first)
        self.assertEqual(self.thread_of("RE: plan", Message_ID="<4@x>", References="<1@x> <3@x>"), first)
        self.assertEqual(self.thread_of("Re: Plan", Message_ID="<3@x>"), first)

    def test_other_subject(self) -> None:
        """The same ids under another base subject are another thread."""
        first = self.thread_of("Plan", Message_ID="<1@x>")
        self.assertNotEqual(self.thread_of("Something else", Message_ID="<2@x>", In_Reply_To="<1@x>"), first)

    def test_no_ids(self) -> None:
        """Messages without ids stay alone, whatever their subject."""
        self.assertNotEqual(self.thread_of("Plan"), self.thread_of("Plan"))

    def test_late_joiner(self) -> None:
        """A message that links two threads joins the older; no e-mail changes its thread."""
        first = self.thread_of("Plan", Message_ID="<1@x>")
        second = self.thread_of("Plan", Message_ID="<2@x>")
        self.assertNotEqual(first, second)
        self.assertEqual(self.thread_of("Re: Plan", Message_ID="<3@x>", References="<2@x> <1@x>"), first)
        with self.store.read() as s:
            self.assertEqual(
                {k: len(v) for k, v in get_threads(s, self.account_id, [first, second]).items()}, {first: 2, second: 1}
            )
        self.assertEqual(self.thread_of("Re: Plan", Message_ID="<4@x>", In_Reply_To="<2@x>"), second)

    def test_accounts_apart(self) -> None:
        """Another account's thread is never joined."""
        first = self.thread_of("Plan", Message_ID="<1@x>")
        with self.store.write() as s:
            self.account_id = create_account(s, "bob@example.org", password_hash="h").id
        self.assertNotEqual(self.thread_of("Plan", Message_ID="<1@x>"), first)

    def test_full(self) -> None:
        """A full thread is left alone, and the conversation goes on in one new thread."""
        self.patch(threads, "_MOST_EMAILS", 3)
        found = [self.thread_of("Plan", Message_ID=f"<{n}@x>", References="<0@x>") for n in range(7)]
        self.assertEqual([found.count(thread_id) for thread_id in dict.fromkeys(found)], [3, 3, 1])

    def test_order(self) -> None:
        """A thread's e-mails come by time of receipt, then id."""
        ids = [self.add(message(Message_ID="<1@x>"), received_at=NOW + t) for t in (5, 1, 5, 3)]
        with self.store.read() as s:
            (emails,) = get_threads(s, self.account_id, [ids[0].thread_id, 999]).values()
        self.assertEqual(emails, (ids[1].id, ids[3].id, ids[0].id, ids[2].id))
