"""Answers e-mail queries: the window of RFC 8620 §5.5 over an ordered list of matches."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.engine.interfaces import CoreExecuteOptionsParameter
from sqlalchemy.exc import OperationalError

from stalwart.store.conditions import build, is_large
from stalwart.store.errors import AnchorNotFound, FilterTooComplex
from stalwart.store.filters import AllOf, AmongIds, Filter, InMailbox, QueryResult, Sort
from stalwart.store.prepared import Prepared
from stalwart.store.remembered import recall, remember
from stalwart.store.rows import IdList
from stalwart.store.session import Session
from stalwart.store.tables import account, mailbox, thread

NEWEST_FIRST = (Sort(property="receivedAt", ascending=False),)
"""The sort of a query that has none."""

_MAILBOX_TOTALS = Prepared(
    select(mailbox.c.total_emails, mailbox.c.total_threads).where(
        mailbox.c.id == bindparam("mailbox"), mailbox.c.account_id == bindparam("account")
    )
)
_MESSAGES = select(account.c.message_count).where(account.c.id == bindparam("account"))
_THREADS = select(func.count()).select_from(thread).where(thread.c.account_id == bindparam("account"))

# What every list view asks first goes to the driver: a mailbox, newest first.
_MAILBOX_LIST = (
    "SELECT email_id, thread_id FROM email_mailbox WHERE account_id = ? AND mailbox_id = ? "
    "ORDER BY received_at DESC, email_id DESC LIMIT ? OFFSET ?"
)
_ALL = -1
_STEPS = 10_000
"""Instructions of SQLite between two looks at the time."""


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
    total = source.kept_total() if calculate_total or (anchor is None and position < 0) else None
    everything: Sequence[int] | None = None
    if anchor is not None or (total is None and (calculate_total or position < 0)):
        everything = source.everything()
        total = len(everything)
    if anchor is not None and everything is not None:
        try:
            position = max(0, everything.index(anchor) + anchor_offset)  # RFC 8620 §5.5
        except ValueError:
            raise AnchorNotFound(f"e-mail {anchor} is not in the result of the query") from None
    elif position < 0:
        position = max(0, (total or 0) + position)
    if everything is not None:
        ids = list(everything[position : None if limit is None else position + limit])
    else:
        ids = source.window(position, limit)
    return QueryResult(ids=ids, position=position, total=total if calculate_total else None)


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

    def kept_total(self) -> int | None:
        """The length of the result if a counter tells it. RFC 8621 §4.4: as the mailbox's totals say."""
        if isinstance(self._condition, InMailbox):
            row = _MAILBOX_TOTALS.run(
                self._s.driver, {"account": self._account_id, "mailbox": self._condition.id}
            ).fetchone()
            return 0 if row is None else int(row[1] if self._collapse else row[0])
        if self._condition is None:
            statement = _THREADS if self._collapse else _MESSAGES
            return int(self._s.connection.scalar(statement, {"account": self._account_id}) or 0)
        return None

    def total(self) -> int:
        """The length of the result."""
        kept = self.kept_total()
        return sum(1 for _ in self.ids()) if kept is None else kept

    def among(self, some: AmongIds) -> Matches:
        """The matches that are among some e-mails. With threads collapsed these may be others than in the whole."""
        condition = some if self._condition is None else AllOf(children=(self._condition, some))
        return Matches(self._s, self._account_id, condition, self._sorts, self._collapse)

    def ids(self) -> Iterator[int]:
        """All ids of the result."""
        rows = self._rows(0, None)
        return _first_of_threads(rows) if self._collapse else (row[0] for row in rows)

    def everything(self) -> Sequence[int]:
        """All ids of the result, perhaps as they were found before."""
        known = recall(self._s, self._account_id, self._question)
        if known is None or not known.is_whole:
            known = remember(self._s, self._account_id, self._question, IdList(ids=array("q", self.ids())))
        return known.ids

    def window(self, position: int, limit: int | None) -> list[int]:
        """The ids from `position` on.

        Where an index gives them, and at the first look at anything, no more of the result is read than that takes.
        A second look at other pages means that somebody goes through it all: then it is read once and remembered.
        """
        if limit == 0:
            return []
        if self._is_listed(position):
            return self._walk(position, limit)
        known = recall(self._s, self._account_id, self._question)
        end = None if limit is None else position + limit
        if known is None or not (known.is_whole or (end is not None and end <= len(known.ids))):
            if known is not None or limit is None:
                return list(self.everything()[position:end])
            ids = self._walk(position, limit)
            first = array("q", ids if position == 0 else ())
            answer = IdList(ids=first, is_whole=position == 0 and len(ids) < limit)
            remember(self._s, self._account_id, self._question, answer)
            return ids
        return list(known.ids[position:end])

    def _is_listed(self, position: int) -> bool:
        """Whether the window is the part of an index, or of one mailbox's beginning."""
        is_list = self._condition is None or isinstance(self._condition, InMailbox)
        return is_list and self._sorts == NEWEST_FIRST and (position == 0 or not self._collapse)

    def _walk(self, position: int, limit: int | None) -> list[int]:
        if self._collapse:
            # RFC 8621 §4.4.3: collapsing comes after filter and sort, so it is done while walking.
            rows = _first_of_threads(self._rows(0, None))
            return list(islice(rows, position, None if limit is None else position + limit))
        return [row[0] for row in self._rows(position, limit)]

    def _rows(self, offset: int, limit: int | None) -> Iterable[tuple[int, int]]:
        if isinstance(self._condition, InMailbox) and self._sorts == NEWEST_FIRST:
            return self._s.driver.execute(
                _MAILBOX_LIST,
                (self._account_id, self._condition.id, _ALL if limit is None else limit, offset),
            )
        statement = build(self._account_id, self._condition, self._sorts)
        if limit is not None or offset:
            statement = statement.limit(_ALL if limit is None else limit).offset(offset)
        if self._condition is None:
            return self._s.connection.execute(statement)
        # Statements of odd filters must not fill the memory: nobody is likely to ask for them again.
        options: CoreExecuteOptionsParameter = {"compiled_cache": None} if self._is_large else {}
        return self._in_time(statement, options)

    def _in_time(self, statement: Select[int, int], options: CoreExecuteOptionsParameter) -> Iterator[tuple[int, int]]:
        """The rows, for as long as they take no more CPU time than is left to the session's searches."""
        s = self._s
        started = time.thread_time()
        s.driver.set_progress_handler(lambda: time.thread_time() - started > s.search_seconds, _STEPS)
        try:
            yield from s.connection.execute(statement, execution_options=options)
        except OperationalError as error:
            if time.thread_time() - started > s.search_seconds:
                raise FilterTooComplex("it would take too long in an account with so much mail") from error
            raise
        finally:
            s.driver.set_progress_handler(None, 0)
            s.search_seconds -= time.thread_time() - started


def _first_of_threads(rows: Iterable[tuple[int, int]]) -> Iterator[int]:
    seen: set[int] = set()
    for email_id, thread_id in rows:
        if thread_id not in seen:
            seen.add(thread_id)
            yield email_id
