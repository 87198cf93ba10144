"""Searches and recipients from memory: never another answer than the database's own, and no second search."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.ops.cache import Cache
from stalwart.ops.metrics import Metrics
from stalwart.store import (
    AllOf,
    AnchorNotFound,
    Filter,
    HasKeyword,
    InMailbox,
    MinSize,
    NotKeyword,
    QueryResult,
    RecipientCache,
    RecipientRow,
    Session,
    Sort,
    Store,
    Text,
    ThreadKeyword,
    add_alias,
    create_account,
    delete_account,
    destroy_email,
    find_recipient,
    query_emails,
    remove_alias,
    resolve_recipient,
    update_email,
)
from stalwart.store.tables import email
from tests.store.bed import NOW, StoreTestCase, message

UNREAD = NotKeyword(keyword="$seen")
SOME = AllOf(children=(UNREAD, MinSize(size=1)))  # no index has their list


class IdTests(StoreTestCase):
    """What is remembered of searches."""

    def setUp(self) -> None:
        """Twelve mails, every third of them read, two in each thread; metrics for the cache."""
        super().setUp()
        self.metrics = Metrics("0")
        self.ids = Cache("ids", octets=1_000_000, tti=60.0, clock=lambda: self.now, metrics=self.metrics)
        self.store.close()
        self.store = Store.open(self.path, self.blobs, clock=lambda: self.now, ids=self.ids, exclusive=True)
        self.emails = [
            self.add(
                message(f"apple {number // 2}", Message_ID=f"<{number}@x>", In_Reply_To=f"<{number // 2 * 2}@x>"),
                keywords=("$seen",) if number % 3 == 0 else (),
                received_at=NOW + number,
            ).id
            for number in range(12)
        ]

    def ask(self, s: Session, condition: Filter | None, **more: Any) -> QueryResult:
        """Search in a session; without more, everything."""
        asked = {"collapse_threads": False, "position": 0, "limit": None, "calculate_total": False} | more
        return query_emails(s, self.account_id, condition, asked.pop("sorts", ()), **asked)

    def query(self, condition: Filter | None, **more: Any) -> QueryResult:
        """Search in a snapshot of its own."""
        with self.store.read() as s:
            return self.ask(s, condition, **more)

    def counted(self, name: str) -> float:
        """A metric of the cache."""
        return self.metrics.registry.get_sample_value(f"stalwart_cache_{name}", {"cache": "ids"}) or 0.0

    def searches(self, condition: Filter | None, **more: Any) -> int:
        """How often the table of e-mails is asked during a search."""
        statements: list[str] = []
        with self.store.read() as s:
            s.driver.set_trace_callback(statements.append)
            self.ask(s, condition, **more)
            s.driver.set_trace_callback(None)
        return sum(email.name in statement and "type_state" not in statement for statement in statements)

    def test_asked_again(self) -> None:
        """The same question is searched once: as a whole, in pages, by anchor, and for its total."""
        self.assertEqual(self.searches(SOME, limit=4), 1)
        self.assertEqual(self.searches(SOME, limit=4), 0)
        self.assertEqual(self.searches(SOME, position=4, limit=4), 1)
        for window in ({"position": 6, "limit": 2}, {"position": -2}, {"anchor": self.emails[1]}, {"limit": 3}):
            self.assertEqual(self.searches(SOME, calculate_total=True, **window), 0, window)
        self.assertEqual(self.searches(SOME, collapse_threads=True), 1)
        for times in (1, 1, 0):  # the first look reads one page, the second everything
            self.assertEqual(self.searches(HasKeyword(keyword="$seen"), position=1, limit=1), times)
        self.assertEqual(self.searches(SOME, sorts=[Sort(property="size")]), 1)

    def test_lists_by_date(self) -> None:
        """What an index gives at once takes no memory."""
        inbox = InMailbox(id=self.mailbox_id())
        for condition in (None, inbox):
            self.assertEqual(self.searches(condition, position=2, limit=2), 1)
            self.assertEqual(self.searches(condition, limit=2, calculate_total=True, collapse_threads=True) > 0, True)
        self.assertEqual((len(self.ids), self.counted("misses_total")), (0, 0.0))

    def test_changes_end_it(self) -> None:
        """Mail that comes, changes or goes is seen by the next search."""
        before = self.query(UNREAD, limit=20).ids
        new = self.add(message("pear"), received_at=NOW + 50).id
        self.assertEqual(self.query(UNREAD, limit=20).ids, [new, *before])
        with self.store.write() as s:
            update_email(s, self.account_id, new, keywords=["$seen"])
        self.assertEqual(self.query(UNREAD, limit=20).ids, before)
        with self.store.write() as s:
            destroy_email(s, self.account_id, before[0])
        self.assertEqual(self.query(UNREAD, limit=20).ids, before[1:])

    def test_other_account(self) -> None:
        """An account never sees what another one's search gave, though both are at the same state."""
        self.query(UNREAD)
        with self.store.write() as s:
            other = create_account(s, "eve@example.org", password_hash="x").id
        mine, self.account_id = self.account_id, other
        self.assertEqual(self.query(UNREAD).ids, [])
        self.account_id = mine
        self.assertEqual(len(self.query(UNREAD).ids), 8)

    def test_undone_transactions(self) -> None:
        """What a transaction saw that was undone is not remembered, though its states are given out again."""

        def undone() -> None:
            with self.store.write() as s:
                update_email(s, self.account_id, self.emails[1], keywords=["$seen"])
                self.assertEqual(len(self.ask(s, UNREAD).ids), 7)
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, undone)
        with self.store.write() as s:
            update_email(s, self.account_id, self.emails[0], keywords=["$seen", "$flagged"])
        self.assertEqual(len(self.query(UNREAD).ids), 8)

    def test_old_snapshot(self) -> None:
        """A snapshot goes on giving its own answer after newer ones were remembered, and spoils none of theirs."""
        with self.store.read() as s:
            old = self.ask(s, UNREAD).ids
            new = self.add(message("pear"), received_at=NOW + 50).id
            self.assertEqual(self.query(UNREAD).ids, [new, *old])
            self.assertEqual(self.ask(s, UNREAD).ids, old)
        self.assertEqual(self.query(UNREAD).ids, [new, *old])

    def test_idle(self) -> None:
        """After the time-to-idle it is searched again."""
        self.query(UNREAD)
        self.now += 60.0
        self.assertEqual(self.searches(UNREAD), 1)

    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def test_any_use(self, data: st.DataObject) -> None:
        """Whatever is asked and changed in between, a store that remembers answers as one that doesn't."""
        conditions: list[Filter] = [
            UNREAD,
            ThreadKeyword(mode="some", keyword="$seen"),
            Text(field="subject", query="apple"),
            AllOf(children=(HasKeyword(keyword="$seen"), InMailbox(id=self.mailbox_id()))),
            InMailbox(id=self.mailbox_id()),
        ]
        for _ in range(data.draw(st.integers(1, 8))):
            if data.draw(st.booleans()):
                with self.store.write() as s:
                    chosen = data.draw(st.sampled_from(self.emails))
                    update_email(s, self.account_id, chosen, keywords=data.draw(st.sampled_from([[], ["$seen"]])))
            condition = data.draw(st.sampled_from(conditions))
            asked: dict[str, Any] = {
                "collapse_threads": data.draw(st.booleans()),
                "position": data.draw(st.integers(-4, 8)),
                "limit": data.draw(st.sampled_from([0, 1, 3, 50, None])),
                "anchor": data.draw(st.sampled_from([None, *self.emails[:3]])),
                "calculate_total": data.draw(st.booleans()),
                "sorts": data.draw(st.sampled_from([(), (Sort(property="size"),)])),
            }
            with self.store.read() as s:
                found = [_result(self, s, condition, asked)]
                s.ids = None
                found.append(_result(self, s, condition, asked))
            self.assertEqual(found[0], found[1])


def _result(test: IdTests, s: Session, condition: Filter, asked: dict[str, Any]) -> object:
    try:
        return msgspec.to_builtins(test.ask(s, condition, **asked))
    except AnchorNotFound:
        return "no anchor"


class RecipientTests(StoreTestCase):
    """What is remembered of recipients."""

    def setUp(self) -> None:
        """A second store on the same database, as the admin command's process has it."""
        super().setUp()
        self.recipients: RecipientCache = Cache("recipients", octets=100_000, tti=60.0, clock=lambda: self.now)
        self.admin = Store.open(self.path, self.blobs, clock=lambda: self.now, exclusive=False)
        self.addCleanup(self.admin.close)

    def find(self, address: str) -> RecipientRow | None:
        """Who receives mail, as the daemon finds it, which must be what the database says."""
        with self.store.read() as s:
            found = find_recipient(s, address, self.recipients)
            plain = resolve_recipient(s, address)
            self.assertEqual(None if found is None else found.id, None if plain is None else plain.id)
            if plain is not None and found is not None:
                self.assertEqual((found.address, found.quota, found.used), (plain.address, plain.quota, plain.used))
        return found

    def test_found_once(self) -> None:
        """A known address, an unknown one and a tagged one are looked up once each."""
        for address in ("ada@example.org", "nobody@example.org", "ADA+news@example.org", "no address"):
            for _ in range(2):
                self.find(address)
            self.assertIsNotNone(self.recipients.get((self._version(), address)), address)
        before = self._version()
        self.add()
        self.assertEqual(self._version(), before)

    def _version(self) -> int:
        with self.store.read() as s:
            return int(s.driver.execute("SELECT version FROM directory").fetchone()[0])

    def test_changes_by_another_process(self) -> None:
        """New, changed and deleted accounts and aliases count from the next mail on, whoever made them."""
        self.assertIsNone(self.find("eve@example.org"))
        with self.admin.write() as s:
            eve = create_account(s, "eve@example.org", password_hash="x").id
        self.assertEqual(self._id("eve@example.org"), eve)
        self.assertEqual(self._id("ada+x@example.org"), self.account_id)
        with self.admin.write() as s:
            add_alias(s, eve, "ada+x@example.org")
        self.assertEqual(self._id("ada+x@example.org"), eve)
        with self.admin.write() as s:
            remove_alias(s, eve, "ada+x@example.org")
        self.assertEqual(self._id("ada+x@example.org"), self.account_id)
        with self.admin.write() as s:
            delete_account(s, eve)
        self.assertIsNone(self.find("eve@example.org"))
        with self.admin.write() as s:
            again = create_account(s, "eve@example.org", password_hash="x").id
        self.assertEqual(self._id("eve@example.org"), again)

    def _id(self, address: str) -> int:
        found = self.find(address)
        assert found is not None
        return found.id

    def test_snapshots(self) -> None:
        """A snapshot from before a change finds what was true then, and leaves nothing behind for later ones."""
        with self.store.read() as s:
            s.driver.execute("SELECT count(*) FROM address").fetchone()  # the snapshot begins with its first read
            with self.admin.write() as other:
                delete_account(other, self.account_id)
            self.assertIsNotNone(find_recipient(s, "ada@example.org", self.recipients))
        self.assertIsNone(self.find("ada@example.org"))

    def test_room_is_never_remembered(self) -> None:
        """How much an account holds is read each time."""
        before = self.find("ada@example.org")
        self.add()
        after = self.find("ada@example.org")
        assert before is not None and after is not None
        self.assertTrue(after.used > before.used)
