"""Finds the few e-mails that a filter can be about, where one of its conditions names few.

A search for rare words must not walk through a large mailbox, and one for common words must not gather all of them.
Which words are rare only the index knows, so it is asked for a limited number of matches first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from sqlalchemy import Select, select

from stalwart.store import search
from stalwart.store.conditions import build, demanded, names_emails, threads_full_of, threads_with
from stalwart.store.filters import AllOf, AmongIds, Filter, HasHeader, Sort, Text, ThreadKeyword
from stalwart.store.marks import SEEN
from stalwart.store.session import Session
from stalwart.store.tables import email

_FEW = 2000
_FIRST_BATCH = 1000
_GROWTH = 4


def narrowed(s: Session, account_id: int, condition: Filter | None) -> Filter | None:
    """The filter, or one that gives the same and lists the only e-mails that can match."""
    conditions = list(demanded(condition))
    if not names_emails(condition):
        for node in conditions:
            candidates = _candidates(account_id, node)
            if candidates is not None:
                ids = s.connection.scalars(candidates.limit(_FEW + 1)).all()
                if len(ids) <= _FEW:
                    others = (other for other in conditions if other is not node)
                    return AllOf(children=(AmongIds(ids=tuple(ids)), *others))
    return condition


def words_of(condition: Filter | None) -> list[Text]:
    """The demands for words in a filter that doesn't list e-mails."""
    if names_emails(condition):
        return []
    return [node for node in demanded(condition) if isinstance(node, Text) and search.has_words(node.query)]


def walk_for_words(
    s: Session, account_id: int, condition: Filter | None, sorts: Sequence[Sort], words: Sequence[Text]
) -> Iterator[tuple[int, int]]:
    """(email id, thread id) of the matches in order of receivedAt, for a reader that doesn't want all.

    The list that the rest of the filter gives is read in portions, and the text index asked about each. If the first
    has too little for the reader, the words may be rare: then all that match are looked at.
    """
    rest: Filter = AllOf(children=tuple(node for node in demanded(condition) if node not in words))
    offset, size, given = 0, _FIRST_BATCH, 0
    while True:
        rows = s.connection.execute(build(account_id, rest, sorts).limit(size).offset(offset)).all()
        matching = {row[0] for row in rows}
        for node in words:
            if matching:
                matching = search.found_among(s, account_id, node.field, node.query, matching)
        yield from ((row[0], row[1]) for row in rows if row[0] in matching)
        if len(rows) < size:
            return
        given += len(matching)
        if offset == 0:
            few = narrowed(s, account_id, condition)
            if names_emails(few):
                yield from islice(s.connection.execute(build(account_id, few, sorts)), given, None)
                return
        offset, size = offset + size, size * _GROWTH


def _candidates(account_id: int, node: Filter) -> Select[int] | None:
    """The e-mails that fulfil the condition, if that is quickly told."""
    match node:
        case Text():
            found = search.matching(account_id, node.field, node.query)
            return None if isinstance(found, bool) else found
        case HasHeader():
            return search.with_header(account_id, node.name)
        case ThreadKeyword(mode="some") if node.keyword.lower() != SEEN:
            return _of_threads(threads_with(account_id, node.keyword.lower()))
        case ThreadKeyword(mode="all") if node.keyword.lower() != SEEN:
            return _of_threads(threads_full_of(account_id, node.keyword.lower()))
    return None


def _of_threads(threads: Select[int]) -> Select[int]:
    return select(email.c.id).where(email.c.thread_id.in_(threads))
