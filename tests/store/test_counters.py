"""Kept counters against a recount by the words of RFC 8621 §2, through random histories of an account."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.summary import summarize
from stalwart.store import (
    Changes,
    FsBlobs,
    NewEmail,
    Store,
    StoredEmail,
    TypeName,
    add_email,
    blob_hash,
    changes,
    create_account,
    create_domain,
    create_mailbox,
    destroy_email,
    get_account,
    get_emails,
    get_threads,
    list_email_ids,
    list_mailboxes,
    state,
    update_email,
)
from tests.store.bed import NOW, StoreTestCase, message

_keywords = st.sets(st.sampled_from(["$seen", "$draft", "$flagged"]))
_places = st.sets(st.integers(0, 6), min_size=1, max_size=3)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The four counters of a mailbox."""

    emails: int
    unread_emails: int
    threads: int
    unread_threads: int


class Known(msgspec.Struct, kw_only=True):
    """What the model knows of an e-mail."""

    thread: int
    mailboxes: set[int]
    keywords: set[str]
    size: int

    def unread(self) -> bool:
        """RFC 8621 §2: neither $seen nor $draft."""
        return not self.keywords & {"$seen", "$draft"}


def recount(emails: dict[int, Known], mailbox_id: int, trash_id: int) -> Counts:
    """The counters of a mailbox, from nothing but the e-mails."""
    inside = [mail for mail in emails.values() if mailbox_id in mail.mailboxes]
    threads = {mail.thread for mail in inside}
    if mailbox_id == trash_id:  # e-mails that are not in the trash are ignored
        deciding = [mail for mail in emails.values() if trash_id in mail.mailboxes]
    else:  # e-mails that are only in the trash are ignored
        deciding = [mail for mail in emails.values() if mail.mailboxes != {trash_id}]
    unread = {mail.thread for mail in deciding if mail.unread()}
    return Counts(
        emails=len(inside),
        unread_emails=sum(mail.unread() for mail in inside),
        threads=len(threads),
        unread_threads=len(threads & unread),
    )


class Account(RuleBasedStateMachine):
    """Adds, changes and destroys e-mails in seven mailboxes, and follows the changes like a client."""

    ids: Bundle[int] = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.store = Store.open(
            self.folder + "/s", FsBlobs(self.folder + "/b"), clock=lambda: float(NOW), exclusive=True
        )
        with self.store.write() as s:
            create_domain(s, "example.org")
            self.account_id = create_account(s, "ada@example.org", password_hash="h").id
            create_mailbox(s, self.account_id, "Work")
            self.mailboxes = [mailbox.id for mailbox in list_mailboxes(s, self.account_id)]
            self.trash = next(m.id for m in list_mailboxes(s, self.account_id) if m.role == "trash")
        self.emails: dict[int, Known] = {}
        self.seen: dict[str, tuple[int, set[int]]] = {name: (0, set()) for name in ("Email", "Thread", "Mailbox")}
        self.thread_lists: dict[int, tuple[int, ...]] = {}

    def teardown(self) -> None:
        """Remove the store."""
        self.store.close()
        shutil.rmtree(self.folder)

    def places(self, numbers: set[int]) -> set[int]:
        """Ids of some mailboxes."""
        return {self.mailboxes[number] for number in numbers}

    @rule(target=ids, topic=st.integers(0, 3), places=_places, keywords=_keywords)
    def add(self, topic: int, places: set[int], keywords: set[str]) -> int:
        """A message of one of four threads."""
        data = message(f"Topic {topic}", References=f"<{topic}@x>")
        new = NewEmail(
            blob_hash=blob_hash(data),
            size=len(data) + topic,
            received_at=NOW,
            mailbox_ids=tuple(self.places(places)),
            keywords=frozenset(keywords),
            digest=summarize(data),
        )
        (stored,) = self.store.run_batch([lambda s: add_email(s, self.account_id, new)])
        assert isinstance(stored, StoredEmail), stored
        self.emails[stored.id] = Known(
            thread=stored.thread_id, mailboxes=self.places(places), keywords=keywords, size=new.size
        )
        return stored.id

    @rule(email_id=ids, places=st.none() | _places, keywords=st.none() | _keywords)
    def update(self, email_id: int, places: set[int] | None, keywords: set[str] | None) -> None:
        """Move it, mark it, both, or neither."""
        mail = self.emails[email_id]
        before = (set(mail.mailboxes), set(mail.keywords))
        if places is not None:
            mail.mailboxes = self.places(places)
        if keywords is not None:
            mail.keywords = keywords
        with self.store.write() as s:
            modseq = update_email(
                s,
                self.account_id,
                email_id,
                mailbox_ids=None if places is None else self.places(places),
                keywords=keywords,
            )
        assert (modseq is None) == (before == (mail.mailboxes, mail.keywords))

    @rule(email_id=consumes(ids))
    def destroy(self, email_id: int) -> None:
        """It goes."""
        with self.store.write() as s:
            destroy_email(s, self.account_id, email_id)
        del self.emails[email_id]

    @rule(email_id=ids)
    def undone(self, email_id: int) -> None:
        """A job that fails after it changed much leaves nothing."""

        def job(s: Any) -> None:
            destroy_email(s, self.account_id, email_id)
            raise KeyError

        (result,) = self.store.run_batch([job])
        assert isinstance(result, KeyError)

    @rule(name=st.sampled_from(["Email", "Thread", "Mailbox"]), most=st.integers(1, 4))
    def follow(self, name: TypeName, most: int) -> None:
        """A client that asks for a few changes at a time arrives at what is there."""
        since, known = self.seen[name]
        with self.store.read() as s:
            while True:
                step: Changes = changes(s, self.account_id, name, since, most)
                assert len(step.created) + len(step.updated) + len(step.destroyed) <= most
                assert not set(step.created) & known, "created, but known"
                known |= set(step.created)
                assert set(step.updated) <= known, "updated, but never created"
                known -= set(step.destroyed)
                assert step.new_state > since or not step.has_more
                since = step.new_state
                if not step.has_more:
                    break
            assert since == state(s, self.account_id, name)
            there = {
                "Email": set(list_email_ids(s, self.account_id, 1000)),
                "Thread": {mail.thread for mail in self.emails.values()},
                "Mailbox": set(self.mailboxes),
            }[name]
        assert known == there
        self.seen[name] = (since, known)

    @invariant()
    def counted(self) -> None:
        """Counters are what a recount gives, and rows are what was asked for."""
        with self.store.read() as s:
            for mailbox in list_mailboxes(s, self.account_id):
                kept = Counts(
                    emails=mailbox.total_emails,
                    unread_emails=mailbox.unread_emails,
                    threads=mailbox.total_threads,
                    unread_threads=mailbox.unread_threads,
                )
                assert kept == recount(self.emails, mailbox.id, self.trash), mailbox
            account = get_account(s, self.account_id)
            assert account.used == sum(mail.size for mail in self.emails.values())
            assert account.message_count == len(self.emails)
            rows = get_emails(s, self.account_id, self.emails)
            assert {i: (set(r.mailbox_ids), set(r.keywords)) for i, r in rows.items()} == {
                i: (mail.mailboxes, mail.keywords) for i, mail in self.emails.items()
            }
            threads: dict[int, set[int]] = defaultdict(set)
            for email_id, mail in self.emails.items():
                threads[mail.thread].add(email_id)
            assert {t: set(e) for t, e in get_threads(s, self.account_id, range(200)).items()} == threads

    @invariant()
    def moved(self) -> None:
        """A mailbox whose counters differ from a state has a newer modseq than that state."""
        with self.store.read() as s:
            now = {
                mailbox.id: (mailbox.modseq, msgspec.structs.astuple(mailbox)[6:10])
                for mailbox in list_mailboxes(s, self.account_id)
            }
            assert state(s, self.account_id, "Mailbox") == max(modseq for modseq, _ in now.values())
        for mailbox_id, (modseq, counts) in getattr(self, "last", {}).items():
            assert (now[mailbox_id][1] == counts) == (now[mailbox_id][0] == modseq)
        self.last = now


class CounterTests(SynchronousTestCase):
    """Random histories."""

    def test_histories(self) -> None:
        """Counters, states and changes hold through any history of adding, changing and destroying."""
        run_state_machine_as_test(
            Account,
            settings=settings(deadline=None, max_examples=40, stateful_step_count=30),
        )


class TrashTests(StoreTestCase):
    """The example of RFC 8621 §2 and its neighbours."""

    def unread_threads(self) -> dict[str, int]:
        """unreadThreads of the mailboxes that have any."""
        with self.store.read() as s:
            return {
                mailbox.role or "": mailbox.unread_threads
                for mailbox in list_mailboxes(s, self.account_id)
                if mailbox.unread_threads
            }

    def put(self, *roles: Any, keywords: list[str] | None = None) -> int:
        """A message of the one thread, into these mailboxes."""
        places = [self.mailbox_id(role) for role in roles]
        return self.add(message(Message_ID="<1@x>"), mailbox_ids=places, keywords=keywords or []).id

    def test_unread_in_trash_only(self) -> None:
        """An unread mail in the trash and a read one in the inbox: one for the trash, none for the inbox."""
        self.put("trash")
        self.put("inbox", keywords=["$seen"])
        self.assertEqual(self.unread_threads(), {"trash": 1})

    def test_unread_elsewhere(self) -> None:
        """An unread mail in one mailbox makes the thread unread in each, but not in the trash."""
        self.put("archive")
        self.put("inbox", keywords=["$seen"])
        self.put("trash", keywords=["$seen"])
        self.assertEqual(self.unread_threads(), {"inbox": 1, "archive": 1})

    def test_in_both(self) -> None:
        """An unread mail that is in the trash and elsewhere counts for both sides."""
        self.put("trash", "sent")
        self.put("inbox", keywords=["$seen"])
        self.assertEqual(self.unread_threads(), {"trash": 1, "sent": 1, "inbox": 1})

    def test_draft(self) -> None:
        """A draft is not unread."""
        self.put("drafts", keywords=["$draft"])
        self.assertEqual(self.unread_threads(), {})

    def test_other_mailboxes_move(self) -> None:
        """Reading one mail moves the state of the other mailboxes of its thread, by counts only."""
        unread = self.put("archive")
        self.put("inbox", keywords=["$seen"])
        with self.store.write() as s:
            before = state(s, self.account_id, "Mailbox")
            update_email(s, self.account_id, unread, keywords=["$seen"])
            found = changes(s, self.account_id, "Mailbox", before, None)
        self.assertEqual(sorted(found.updated), sorted([self.mailbox_id("archive"), self.mailbox_id("inbox")]))
        self.assertTrue(found.only_counts)
        self.assertEqual(self.unread_threads(), {})
