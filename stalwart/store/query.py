"""Answers e-mail queries: the window of RFC 8620 §5.5 over an ordered list of matches."""

from __future__ import annotations

import json
import sqlite3
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice

from sqlalchemy import bindparam, func, select
from sqlalchemy.engine.interfaces import CoreExecuteOptionsParameter
from sqlalchemy.exc import DBAPIError

from stalwart.store.conditions import build, is_bare, is_large
from stalwart.store.errors import AnchorNotFound, FilterTooComplex
from stalwart.store.filters import (
    AllOf,
    AmongIds,
    Filter,
    HasKeyword,
    InMailbox,
    InMailboxOtherThan,
    NoneOf,
    QueryResult,
    Sort,
    ThreadKeyword,
)
from stalwart.store.narrowing import narrowed, walk_for_words, words_of
from stalwart.store.prepared import Prepared
from stalwart.store.remembered import recall, remember
from stalwart.store.rows import IdList
from stalwart.store.session import Session
from stalwart.store.tables import account, email, mailbox, thread

NEWEST_FIRST = (Sort(property="receivedAt", ascending=False),)
"""The sort of a query that has none."""

_MAILBOX_TOTALS = Prepared(
    select(mailbox.c.total_emails, mailbox.c.total_threads).where(
        mailbox.c.id == bindparam("mailbox"), mailbox.c.account_id == bindparam("account")
    )
)
_MESSAGES = select(account.c.message_count).where(account.c.id == bindparam("account"))
_RECEIVED = Prepared(
    select(email.c.received_at).where(email.c.id == bindparam("email"), email.c.account_id == bindparam("account"))
)
_THREADS = select(func.count()).select_from(thread).where(thread.c.account_id == bindparam("account"))

# What every list view asks first goes to the driver: a mailbox, newest first.
_MAILBOX_LIST = (
    "SELECT email_id, thread_id FROM email_mailbox WHERE account_id = ? AND mailbox_id = ? "
    "ORDER BY received_at DESC, email_id DESC LIMIT ? OFFSET ?"
)
_ONLY_IN = """
SELECT count(DISTINCT place.email_id)
FROM json_each(?) AS wanted
CROSS JOIN email_mailbox AS place ON place.mailbox_id = wanted.value
WHERE place.account_id = ? AND NOT EXISTS (
    SELECT 1 FROM email_mailbox AS other
    WHERE other.email_id = place.email_id AND other.mailbox_id NOT IN (SELECT value FROM json_each(?))
)
"""
_ALL = -1
_STEPS = 10_000
"""Instructions of SQLite between two looks at the time."""
_AHEAD = 4
"""How much farther than asked for a list is read that somebody is going through."""


def query_emails(
    s: Session,
    account_id: int,
    filter: Filter | None,  # noqa: A002 - JMAP's name for it
    sorts: Sequence[Sort],
    *,
    collapse_threads: bool,
    position: int,
    limit: int | None,
    anchor: int | None = None,
    anchor_offset: int = 0,
    calculate_total: bool,
) -> QueryResult:
    """The window of matching e-mails; `sorts` empty means newest first. AnchorNotFound, FilterTooComplex.

    A negative `position` counts from the end. `limit` None means no limit. The ids of equal e-mails break ties, in
    the direction of the last comparator. The total of a lone `InMailbox` is the mailbox's counter.
    """
    source = Matches(s, account_id, filter, tuple(sorts) or NEWEST_FIRST, collapse_threads)
    with within_time(s):
        total = source.total() if calculate_total or (anchor is None and position < 0) else None
        if anchor is not None:
            position = max(0, source.place_of(anchor) + anchor_offset)  # RFC 8620 §5.5
        elif position < 0:
            position = max(0, (total or 0) + position)
        ids = source.window(position, limit)
    return QueryResult(ids=ids, position=position, total=total if calculate_total else None)


@contextmanager
def within_time(s: Session) -> Iterator[None]:
    """What is searched for inside may take the CPU time that is left to the session's searches. FilterTooComplex."""
    started = time.thread_time()
    s.driver.set_progress_handler(lambda: time.thread_time() - started > s.search_seconds, _STEPS)
    try:
        yield
    except (DBAPIError, sqlite3.OperationalError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if getattr(cause, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            raise
        raise FilterTooComplex("it would take too long in an account with so much mail") from error
    finally:
        s.driver.set_progress_handler(None, 0)
        s.search_seconds -= time.thread_time() - started


class Matches:
    """The ordered matches of one query. `sorts` is not empty."""

    def __init__(
        self, s: Session, account_id: int, condition: Filter | None, sorts: tuple[Sort, ...], collapse: bool
    ) -> None:
        self._s = s
        self._account_id = account_id
        self._condition = condition
        self._sorts = sorts
        self._collapse = collapse
        # Also refuses what is too deep, before anything walks through it as the hash of the question does.
        self._is_large = is_large(condition)
        self._question = (condition, sorts, collapse)
        self._by_time = len(sorts) == 1 and sorts[0].property == "receivedAt"
        self._is_list = self._by_time and is_bare(condition)

    def kept_total(self) -> int | None:
        """The length of the result if a counter tells it. RFC 8621 §4.4: as the mailbox's totals say."""
        if isinstance(self._condition, InMailbox):
            row = _MAILBOX_TOTALS.run(
                self._s.driver, {"account": self._account_id, "mailbox": self._condition.id}
            ).fetchone()
            return 0 if row is None else int(row[1] if self._collapse else row[0])
        if self._condition is None:
            if self._collapse:
                return int(self._s.connection.scalar(_THREADS, {"account": self._account_id}) or 0)
            return self._messages()
        if isinstance(self._condition, InMailboxOtherThan) and not self._collapse:
            # All but those that lie only in these mailboxes, which tend to be small: trash and junk.
            places = json.dumps(self._condition.ids)
            (only_there,) = self._s.driver.execute(_ONLY_IN, (places, self._account_id, places)).fetchone()
            return self._messages() - int(only_there)
        return None

    def _messages(self) -> int:
        return int(self._s.connection.scalar(_MESSAGES, {"account": self._account_id}) or 0)

    def total(self) -> int:
        """The length of the result."""
        kept = self.kept_total()
        if kept is not None:
            return kept
        known = recall(self._s, self._account_id, self._question)
        if not self._by_time or (known is not None and known.is_whole):
            return len(self.everything())
        question = ("total", self._condition, self._collapse)
        known = recall(self._s, self._account_id, question)
        if known is None:
            known = remember(self._s, self._account_id, question, IdList(ids=array("q", (self._count(),))))
        return known.ids[0]

    def place_of(self, email_id: int) -> int:
        """The index of an e-mail in the result. AnchorNotFound."""
        known = recall(self._s, self._account_id, self._question)
        if self._by_time and not self._collapse and (known is None or not known.is_whole):
            row = _RECEIVED.run(self._s.driver, {"account": self._account_id, "email": email_id}).fetchone()
            if row is not None and list(self.among(AmongIds(ids=(email_id,))).ids()):
                return self._count(before=(row[0], email_id))
        elif self._by_time and (known is None or not known.is_whole):
            first = array("q")
            for found in self._walk(0, None):
                first.append(found)
                if found == email_id:
                    remember(self._s, self._account_id, self._question, IdList(ids=first, is_whole=False))
                    return len(first) - 1
        else:
            ids = self.everything()
            if email_id in ids:
                return ids.index(email_id)
        raise AnchorNotFound(f"e-mail {email_id} is not in the result of the query")

    def among(self, some: AmongIds) -> Matches:
        """The matches that are among some e-mails. With threads collapsed these may be others than in the whole."""
        condition = some if self._condition is None else AllOf(children=(self._condition, some))
        return Matches(self._s, self._account_id, condition, self._sorts, self._collapse)

    def ids(self) -> Iterator[int]:
        """All ids of the result."""
        return iter(self._walk(0, None))

    def everything(self) -> Sequence[int]:
        """All ids of the result, perhaps as they were found before."""
        known = recall(self._s, self._account_id, self._question)
        if known is None or not known.is_whole:
            known = remember(self._s, self._account_id, self._question, IdList(ids=array("q", self.ids())))
        return known.ids

    def window(self, position: int, limit: int | None) -> list[int]:
        """The ids from `position` on.

        Where an index gives them, and at the first look at anything, no more of the result is read than that takes.
        A second look at other pages means that somebody goes through it all: then more is read, and remembered.
        """
        if limit == 0:
            return []
        if self._is_list and (position == 0 or not self._collapse):
            return list(self._walk(position, limit))
        known = recall(self._s, self._account_id, self._question)
        end = None if limit is None else position + limit
        if known is None and end is not None and position > 0:
            ids = list(self._walk(position, limit))
            remember(self._s, self._account_id, self._question, IdList(ids=array("q"), is_whole=False))
            return ids
        if known is None or not (known.is_whole or (end is not None and end <= len(known.ids))):
            if end is None:
                return list(self.everything()[position:])
            most = end if known is None else end * _AHEAD
            first = array("q", self._walk(0, most))
            known = IdList(ids=first, is_whole=len(first) < most)
            remember(self._s, self._account_id, self._question, known)
        return list(known.ids[position:end])

    def _walk(self, position: int, limit: int | None) -> Iterable[int]:
        end = None if limit is None else position + limit
        if self._collapse:
            # RFC 8621 §4.4.3: collapsing comes after filter and sort, so it is done while walking.
            return islice(_first_of_threads(self._rows(0, None)), position, end)
        return (row[0] for row in self._rows(position, limit))

    def _rows(self, offset: int, limit: int | None) -> Iterable[tuple[int, int]]:
        if isinstance(self._condition, InMailbox) and self._sorts == NEWEST_FIRST:
            return self._s.driver.execute(
                _MAILBOX_LIST,
                (self._account_id, self._condition.id, _ALL if limit is None else limit, offset),
            )
        first, *rest = self._sorts
        holds = _as_condition(first)
        if holds is not None and rest:
            # Those for which it holds and the others, one after the other, are each in the order of a list.
            parts = [NoneOf(children=(holds,)), holds]
            end = None if limit is None else offset + limit
            both = (self._part(part, tuple(rest), end) for part in (parts if first.ascending else reversed(parts)))
            return islice(chain.from_iterable(both), offset, end)
        return self._execute(self._condition, self._sorts, offset, limit)

    def _part(self, condition: Filter, sorts: tuple[Sort, ...], limit: int | None) -> Iterable[tuple[int, int]]:
        both = condition if self._condition is None else AllOf(children=(self._condition, condition))
        return self._execute(both, sorts, 0, limit)

    def _execute(
        self, condition: Filter | None, sorts: tuple[Sort, ...], offset: int, limit: int | None
    ) -> Iterable[tuple[int, int]]:
        words = words_of(condition)
        if words and len(sorts) == 1 and sorts[0].property == "receivedAt" and (limit is not None or self._collapse):
            rows = walk_for_words(self._s, self._account_id, condition, sorts, words)
            return islice(rows, offset, None if limit is None else offset + limit)
        statement = build(self._account_id, narrowed(self._s, self._account_id, condition), sorts)
        if limit is not None or offset:
            statement = statement.limit(_ALL if limit is None else limit).offset(offset)
        return self._s.connection.execute(statement, execution_options=self._options())

    def _count(self, before: tuple[int, int] | None = None) -> int:
        """How many there are, or how many come before an e-mail (its time of receipt, its id)."""
        condition = narrowed(self._s, self._account_id, self._condition)
        rows = build(self._account_id, condition, self._sorts, before=before).order_by(None).subquery()
        count = func.count(rows.c.thread_id.distinct()) if self._collapse else func.count()
        statement = select(count).select_from(rows)
        return int(self._s.connection.scalar(statement, execution_options=self._options()) or 0)

    def _options(self) -> CoreExecuteOptionsParameter:
        # Statements of odd filters must not fill the memory: nobody is likely to ask for them again.
        return {"compiled_cache": None} if self._is_large else {}


def _as_condition(sort: Sort) -> Filter | None:
    """What a comparator by a keyword asks of an e-mail."""
    if sort.keyword is None:
        return None
    match sort.property:
        case "hasKeyword":
            return HasKeyword(keyword=sort.keyword)
        case "someInThreadHaveKeyword":
            return ThreadKeyword(mode="some", keyword=sort.keyword)
        case "allInThreadHaveKeyword":
            return ThreadKeyword(mode="all", keyword=sort.keyword)
    return None


def _first_of_threads(rows: Iterable[tuple[int, int]]) -> Iterator[int]:
    seen: set[int] = set()
    for email_id, thread_id in rows:
        if thread_id not in seen:
            seen.add(thread_id)
            yield email_id
