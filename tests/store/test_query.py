"""E-mail queries against a plain model of RFC 8621 §4.4, and the window of RFC 8620 §5.5."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Literal, get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.store import (
    After,
    AllOf,
    AmongIds,
    AnchorNotFound,
    AnyOf,
    Before,
    Filter,
    FilterTooComplex,
    HasAttachment,
    HasHeader,
    HasKeyword,
    InMailbox,
    InMailboxOtherThan,
    MaxSize,
    MinSize,
    NoneOf,
    NotKeyword,
    QueryResult,
    Session,
    Sort,
    Text,
    ThreadKeyword,
    create_account,
    list_mailboxes,
    narrowing,
    query_emails,
)
from stalwart.store.filters import SortProperty
from tests.store.bed import NOW, StoreTestCase, message

_KEYWORDS = ["$seen", "$flagged", "work"]
_WITH_ATTACHMENT = {"Content_Disposition": "attachment; filename=x.bin", "Content_Type": "application/octet-stream"}


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the model knows it."""

    id: int
    thread: int
    mailboxes: frozenset[int]
    keywords: frozenset[str]
    received_at: int
    sent_at: int
    size: int
    sender: str
    recipient: str
    subject: str
    has_attachment: bool
    word: str


def holds(node: Filter, mail: Mail, mails: Sequence[Mail]) -> bool:
    """Whether the condition holds, word for word as RFC 8621 §4.4.1 says."""
    match node:
        case AllOf():
            return all(holds(child, mail, mails) for child in node.children)
        case AnyOf():
            return any(holds(child, mail, mails) for child in node.children)
        case NoneOf():
            return not any(holds(child, mail, mails) for child in node.children)
        case InMailbox():
            return node.id in mail.mailboxes
        case InMailboxOtherThan():
            return bool(mail.mailboxes - set(node.ids))
        case Before():
            return mail.received_at < node.time
        case After():
            return mail.received_at >= node.time
        case MinSize():
            return mail.size >= node.size
        case MaxSize():
            return mail.size < node.size
        case HasKeyword():
            return node.keyword.lower() in mail.keywords
        case NotKeyword():
            return node.keyword.lower() not in mail.keywords
        case ThreadKeyword():
            return in_thread(node.mode, node.keyword, mail, mails)
        case HasAttachment():
            return mail.has_attachment == node.value
        case HasHeader():
            return node.name.lower() == "subject" or (mail.has_attachment and node.name == "content-disposition")
        case AmongIds():
            return mail.id in node.ids
        case Text():
            # The model's attachments are no text, and the word is in the subject too.
            return node.query == mail.word and not (node.field == "body" and mail.has_attachment)


def in_thread(mode: str, keyword: str, mail: Mail, mails: Sequence[Mail]) -> bool:
    """Whether all, some or none of the mail's thread have the keyword."""
    having = [keyword in other.keywords for other in mails if other.thread == mail.thread]
    return {"all": all(having), "some": any(having), "none": not any(having)}[mode]


def sort_key(sort: Sort, mail: Mail, mails: Sequence[Mail]) -> str | int:
    """What a comparator compares."""
    keyword = sort.keyword or ""
    keys: dict[str, str | int] = {
        "receivedAt": mail.received_at,
        "sentAt": mail.sent_at,
        "size": mail.size,
        "from": mail.sender,
        "to": mail.recipient,
        "subject": mail.subject,
        "hasKeyword": int(keyword in mail.keywords),
        "someInThreadHaveKeyword": int(in_thread("some", keyword, mail, mails)),
        "allInThreadHaveKeyword": int(in_thread("all", keyword, mail, mails)),
    }
    return keys[sort.property]


def expected(condition: Filter | None, sorts: Sequence[Sort], mails: Sequence[Mail], *, collapse: bool) -> list[int]:
    """All matches in order; equal ones by id, in the direction of the last comparator."""
    sorts = sorts or [Sort(property="receivedAt", ascending=False)]
    matches = [mail for mail in mails if condition is None or holds(condition, mail, mails)]
    matches.sort(key=lambda mail: mail.id, reverse=not sorts[-1].ascending)
    for sort in reversed(sorts):
        matches.sort(key=lambda mail, sort=sort: sort_key(sort, mail, mails), reverse=not sort.ascending)  # type: ignore[misc]
    if collapse:
        first: dict[int, Mail] = {}
        for mail in matches:
            first.setdefault(mail.thread, mail)
        matches = list(first.values())
    return [mail.id for mail in matches]


class QueryTestCase(StoreTestCase):
    """An account with three dozen varied messages, and another with some."""

    def setUp(self) -> None:
        """Fill the mailboxes, the same way each time."""
        super().setUp()
        chance = random.Random(7)
        with self.store.read() as s:
            self.mailbox_ids = [mailbox.id for mailbox in list_mailboxes(s, self.account_id)][:4]
        self.mails: list[Mail] = []
        with self.store.write() as s:
            for number in range(36):
                self.mails.append(self._make(number, chance, s))
        mine = self.account_id
        with self.store.write() as s:
            self.account_id = create_account(s, "bob@example.org", password_hash="h").id
        self.foreign_mailbox = self.mailbox_id()
        self.add(message("zero"), keywords=_KEYWORDS)
        self.account_id = mine

    def _make(self, number: int, chance: random.Random, s: Session) -> Mail:
        topic = chance.randrange(12)
        sender, recipient = chance.choice(["Ada", "Bob", "Émile"]), chance.choice(["Xaver", "Yves"])
        attached, word = chance.random() < 0.3, chance.choice(["apple", "pear", "plum"])
        day = chance.randrange(1, 9)
        data = message(
            f"Topic {topic} {word}",
            word,
            From=f"{sender} <s@example.org>",
            To=f"{recipient} <r@example.org>",
            Date=f"0{day} Jan 2024 10:00:00 +0000",
            Message_ID=f"<{number}@x>",
            References=f"<topic{topic}@x>",
            **(_WITH_ATTACHMENT if attached else {}),
        )
        mailboxes = frozenset(chance.sample(self.mailbox_ids, chance.choice([1, 1, 2])))
        keywords = frozenset(chance.sample(_KEYWORDS, chance.randrange(3)))
        received_at, size = NOW + chance.randrange(10), chance.choice([10, 20, 30])
        stored = self.add(
            data,
            s=s,
            mailbox_ids=mailboxes,
            keywords=keywords,
            received_at=received_at,
            size=size,
        )
        return Mail(
            id=stored.id,
            thread=stored.thread_id,
            mailboxes=mailboxes,
            keywords=keywords,
            received_at=received_at,
            sent_at=day,
            size=size,
            sender=sender.casefold(),
            recipient=recipient.casefold(),
            subject=f"topic {topic} {word}",
            has_attachment=attached,
            word=word,
        )

    def query(self, condition: Filter | None = None, sorts: Sequence[Sort] = (), **more: Any) -> QueryResult:
        """Ask the store."""
        with self.store.read() as s:
            return self.ask(s, condition, sorts, **more)

    def ask(
        self,
        s: Session,
        condition: Filter | None = None,
        sorts: Sequence[Sort] = (),
        *,
        collapse: bool = False,
        position: int = 0,
        limit: int | None = None,
        anchor: int | None = None,
        anchor_offset: int = 0,
        total: bool = False,
    ) -> QueryResult:
        """Ask the store in a session."""
        return query_emails(
            s,
            self.account_id,
            condition,
            sorts,
            collapse_threads=collapse,
            position=position,
            limit=limit,
            anchor=anchor,
            anchor_offset=anchor_offset,
            calculate_total=total,
        )


_ids = st.integers(1, 12)
_keywords = st.sampled_from([*_KEYWORDS, "$Seen", "absent"])
_leaves: st.SearchStrategy[Filter] = st.one_of(
    st.builds(InMailbox, id=_ids),
    st.builds(InMailboxOtherThan, ids=st.lists(_ids, max_size=5).map(tuple)),
    st.builds(Before, time=st.integers(NOW, NOW + 10)),
    st.builds(After, time=st.integers(NOW, NOW + 10)),
    st.builds(MinSize, size=st.sampled_from([0, 10, 20, 31])),
    st.builds(MaxSize, size=st.sampled_from([0, 10, 20, 31])),
    st.builds(HasKeyword, keyword=_keywords),
    st.builds(NotKeyword, keyword=_keywords),
    st.builds(
        ThreadKeyword,
        mode=st.sampled_from(get_args(Literal["all", "some", "none"])),
        keyword=st.sampled_from(_KEYWORDS),
    ),
    st.builds(HasAttachment, value=st.booleans()),
    st.builds(AmongIds, ids=st.lists(st.integers(-1, 40)).map(tuple)),
    st.builds(Text, field=st.sampled_from(["any", "subject", "body"]), query=st.sampled_from(["apple", "plum", "fig"])),
)
_filters: st.SearchStrategy[Filter] = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        *(st.builds(kind, children=st.lists(inner, max_size=3).map(tuple)) for kind in (AllOf, AnyOf, NoneOf))
    ),
    max_leaves=6,
)
_sorts = st.lists(
    st.builds(
        Sort,
        property=st.sampled_from(get_args(SortProperty)),
        ascending=st.booleans(),
        keyword=st.sampled_from(_KEYWORDS),
    ),
    max_size=3,
)

_LISTS = [
    Sort(property="receivedAt", ascending=False),
    Sort(property="receivedAt"),
    Sort(property="hasKeyword", keyword="$flagged", ascending=False),
    Sort(property="someInThreadHaveKeyword", keyword="$seen"),
]


class ModelTests(QueryTestCase):
    """The store's answers and the model's."""

    @settings(deadline=None, max_examples=400)
    @given(
        st.none() | _filters, _sorts, st.booleans(), st.booleans(), st.integers(-8, 40), st.none() | st.integers(0, 9)
    )
    def test_like_model(
        self,
        condition: Filter | None,
        sorts: list[Sort],
        collapse: bool,
        total: bool,
        position: int,
        limit: int | None,
    ) -> None:
        """Any filter, sort and window gives exactly what the RFC's words say."""
        everything = expected(condition, sorts, self.mails, collapse=collapse)
        result = self.query(condition, sorts, collapse=collapse, position=position, limit=limit, total=total)
        start = position if position >= 0 else max(0, len(everything) + position)
        self.assertEqual(result.position, start)
        self.assertEqual(result.ids, everything[start:][:limit])
        self.assertEqual(result.total, len(everything) if total else None)

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(_leaves, min_size=1, max_size=3).map(lambda leaves: AllOf(children=tuple(leaves))),
        st.lists(st.sampled_from(_LISTS), min_size=1, max_size=2),
        st.booleans(),
        st.booleans(),
        st.integers(-8, 12),
        st.integers(0, 9),
    )
    def test_common_words(
        self, condition: Filter, sorts: list[Sort], collapse: bool, total: bool, position: int, limit: int
    ) -> None:
        """What few e-mails can match is found by these; for what many can match the list is walked in portions."""
        few, first = narrowing._FEW, narrowing._FIRST_BATCH
        narrowing._FEW, narrowing._FIRST_BATCH = 4, 2
        try:
            everything = expected(condition, sorts, self.mails, collapse=collapse)
            result = self.query(condition, sorts, collapse=collapse, position=position, limit=limit, total=total)
        finally:
            narrowing._FEW, narrowing._FIRST_BATCH = few, first
        start = position if position >= 0 else max(0, len(everything) + position)
        self.assertEqual(result.ids, everything[start:][:limit])
        self.assertEqual(result.total, len(everything) if total else None)

    @settings(deadline=None, max_examples=100)
    @given(st.none() | _filters, _sorts, st.booleans(), st.integers(0, 35), st.integers(-5, 5), st.integers(0, 9))
    def test_anchor(
        self, condition: Filter | None, sorts: list[Sort], collapse: bool, index: int, offset: int, limit: int
    ) -> None:
        """An anchor in the results fixes the window, its offset clamped to the start; any other is AnchorNotFound."""
        everything = expected(condition, sorts, self.mails, collapse=collapse)
        anchor = self.mails[index].id
        if anchor not in everything:
            self.assertRaises(AnchorNotFound, self.query, condition, sorts, collapse=collapse, anchor=anchor)
            return
        start = max(0, everything.index(anchor) + offset)
        result = self.query(
            condition,
            sorts,
            collapse=collapse,
            anchor=anchor,
            anchor_offset=offset,
            limit=limit,
            position=17,
            total=True,
        )
        self.assertEqual((result.position, result.total), (start, len(everything)))
        self.assertEqual(result.ids, everything[start:][:limit])


class WindowTests(QueryTestCase):
    """Single points that the model tests may miss."""

    def test_mailbox_totals(self) -> None:
        """The total of a lone mailbox, collapsed or not, is its counter. RFC 8621 §4.4"""
        with self.store.read() as s:
            for mailbox in list_mailboxes(s, self.account_id):
                lone = InMailbox(id=mailbox.id)
                self.assertEqual(self.query(lone, total=True, limit=0).total, mailbox.total_emails)
                self.assertEqual(self.query(lone, total=True, limit=0, collapse=True).total, mailbox.total_threads)
                also = AllOf(children=(lone, lone))
                self.assertEqual(self.query(also, total=True, limit=0).total, mailbox.total_emails)

    def test_foreign_mailbox(self) -> None:
        """Another account's mailbox, and one that isn't there, match nothing."""
        for mailbox_id in (self.foreign_mailbox, 999, -1):
            result = self.query(InMailbox(id=mailbox_id), total=True)
            self.assertEqual((result.ids, result.total), ([], 0))

    def test_beyond_the_end(self) -> None:
        """Past the end there is nothing, at the asked position."""
        result = self.query(position=1000, limit=5, total=True)
        self.assertEqual((result.ids, result.position, result.total), ([], 1000, 36))

    def test_too_complex(self) -> None:
        """A filter that is too deep or too wide is refused, not tried; one at the limit is answered."""
        deep: Filter = HasKeyword(keyword="x")
        for _ in range(29):
            deep = NoneOf(children=(deep,))
        self.query(deep)
        self.assertRaises(FilterTooComplex, self.query, NoneOf(children=(deep,)))
        wide = tuple(HasKeyword(keyword=f"k{n}") for n in range(399))
        self.query(AnyOf(children=wide))
        self.query(AllOf(children=wide))
        self.assertRaises(FilterTooComplex, self.query, AnyOf(children=(*wide, *wide)))
        for _ in range(100_000):
            deep = NoneOf(children=(deep,))
        self.assertRaises(FilterTooComplex, self.query, deep)

    def test_lists(self) -> None:
        """What clients show all the time comes out of an index: nothing is sorted, and no e-mail is looked at."""
        inbox = InMailbox(id=self.mailbox_ids[0])
        unread, flagged = NotKeyword(keyword="$seen"), HasKeyword(keyword="$flagged")
        for condition in (
            inbox,
            AllOf(children=(inbox, unread)),
            AllOf(children=(inbox, NoneOf(children=(HasKeyword(keyword="$Seen"),)))),
            AllOf(children=(inbox, flagged)),
            unread,
            flagged,
        ):
            with self.store.read() as s:
                statements: list[str] = []
                s.driver.set_trace_callback(statements.append)
                self.ask(s, condition, limit=5)
                s.driver.set_trace_callback(None)
                (statement,) = statements
                plan = [row[3] for row in s.driver.execute(f"EXPLAIN QUERY PLAN {statement}")]
            self.assertEqual(len(plan), 1, plan)
            self.assertRegex(plan[0], "^SEARCH email_(mark|mailbox) USING PRIMARY KEY")

    def test_too_long(self) -> None:
        """A search that takes too much time ends, and the session goes on."""
        long = AllOf(children=tuple(NotKeyword(keyword=f"k{n}") for n in range(399)))
        with self.store.read() as s:
            s.search_seconds = 0.0
            self.assertRaises(FilterTooComplex, self.query_in, s, long)
            everything = self.query_in(s, None)
            s.search_seconds = 10.0
            self.assertEqual(self.query_in(s, long), everything)
            self.assertLess(s.search_seconds, 10.0)

    def query_in(self, s: Session, condition: Filter | None) -> list[int]:
        """What matches, by this session."""
        found = query_emails(
            s, self.account_id, condition, (), collapse_threads=False, position=0, limit=None, calculate_total=False
        )
        return found.ids

    def test_many_ids(self) -> None:
        """A condition may list more ids than a statement may have parameters."""
        everything = self.query(None).ids
        many = tuple(range(10**6, 10**6 + 300_000))
        self.assertEqual(self.query(InMailboxOtherThan(ids=many)).ids, everything)
        self.assertEqual(self.query(InMailboxOtherThan(ids=(*many, *self.mailbox_ids_of_all()))).ids, [])
        self.assertEqual(self.query(AmongIds(ids=(*many, *everything))).ids, everything)

    def mailbox_ids_of_all(self) -> list[int]:
        """Every mailbox of the account."""
        with self.store.read() as s:
            return [mailbox.id for mailbox in list_mailboxes(s, self.account_id)]

    def test_odd_filters_not_kept(self) -> None:
        """Filters of all shapes don't fill the memory with statements that nobody asks for again."""
        with self.store.read() as s:
            kept = s.connection.engine._compiled_cache
        assert kept is not None
        self.query(None)
        before = len(kept)
        for number in range(20, 40):
            self.query(AllOf(children=tuple(MinSize(size=1) for _ in range(number))))
        self.assertEqual(len(kept), before)

    def test_texts_together(self) -> None:
        """Several text conditions in one filter each look for their own words."""
        for first, second in (("apple", "plum"), ("plum", "apple"), ("apple", "apple")):
            children = tuple(Text(field="subject", query=word) for word in (first, second))
            both = [mail.id for mail in self.mails if mail.word == first == second]
            either = [mail.id for mail in self.mails if mail.word in (first, second)]
            self.assertEqual(sorted(self.query(AllOf(children=children)).ids), both)
            self.assertEqual(sorted(self.query(AnyOf(children=children)).ids), either)

    def test_keyword_needed(self) -> None:
        """A keyword sort without a keyword is the caller's mistake."""
        self.assertRaises(ValueError, self.query, None, [Sort(property="hasKeyword")])

    def test_stable_windows(self) -> None:
        """Windows put side by side are the whole list."""
        for sorts in ([], [Sort(property="size")], [Sort(property="subject", ascending=False)]):
            whole = self.query(None, sorts).ids
            pieces = [self.query(None, sorts, position=at, limit=7).ids for at in range(0, 42, 7)]
            self.assertEqual([email_id for piece in pieces for email_id in piece], whole)

    def test_collapsed_is_first_of_thread(self) -> None:
        """A collapsed list has each thread once, by its first e-mail in the order."""
        threads = {mail.id: mail.thread for mail in self.mails}
        whole = self.query(None).ids
        firsts = [
            next(group)
            for _, group in groupby(sorted(whole, key=lambda i: (threads[i], whole.index(i))), key=lambda i: threads[i])
        ]
        self.assertEqual(sorted(self.query(None, collapse=True).ids), sorted(firsts))
