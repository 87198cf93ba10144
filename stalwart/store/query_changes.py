"""What became of an e-mail query's result since a state: RFC 8620 §5.6, bounded by how much may be looked at.

E-mails whose place in the result may have changed are taken out and, if they still match, put in again. So only
those need be known, and the result is walked no further than to the last of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import msgspec

from stalwart.store.changes import check_since
from stalwart.store.errors import CannotCalculateChanges
from stalwart.store.filters import (
    AllOf,
    AmongIds,
    AnyOf,
    Filter,
    HasKeyword,
    InMailbox,
    InMailboxOtherThan,
    NoneOf,
    NotKeyword,
    Sort,
    ThreadKeyword,
)
from stalwart.store.query import NEWEST_FIRST, Matches, within_time
from stalwart.store.session import Session

_MOST_CANDIDATES = 20_000
_MOST_WALKED = 200_000

_CREATED = "SELECT id, thread_id FROM email WHERE account_id = ? AND created_modseq > ? LIMIT ?"
# The order keeps SQLite from going by created_modseq, which is true of nearly all.
_UPDATED = (
    "SELECT id, thread_id FROM email WHERE account_id = ? AND modseq > ? AND created_modseq <= ? "
    "ORDER BY modseq LIMIT ?"
)
_DESTROYED = (
    "SELECT object_id FROM tombstone WHERE account_id = ? AND type = 'Email' AND modseq > ? AND created_modseq <= ? "
    "ORDER BY modseq LIMIT ?"
)
_THREADS = "SELECT id FROM thread WHERE account_id = ? AND modseq > ? LIMIT ?"
_MEMBERS = """
SELECT e.id
FROM json_each(?) AS wanted
CROSS JOIN email AS e ON e.thread_id = wanted.value
WHERE e.account_id = ?
LIMIT ?
"""


class QueryChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Ids to take out of the old result, then ids to put in, each with its index in the new one; ascending."""

    removed: list[int]
    added: list[tuple[int, int]]
    total: int | None


class _Depends(msgspec.Struct, frozen=True, kw_only=True):
    """On what the result of a query depends beside what never changes of an e-mail."""

    itself: bool  # mailboxes or keywords of the e-mail
    thread: bool  # keywords of the others in its thread


def query_email_changes(
    s: Session,
    account_id: int,
    filter: Filter | None,  # noqa: A002 - JMAP's name for it
    sorts: Sequence[Sort],
    *,
    collapse_threads: bool,
    since: int,
    up_to: int | None,
    calculate_total: bool,
) -> QueryChanges:
    """How the result of `query_emails` changed since the state `since` of "Email".

    `up_to`: nothing that comes after this e-mail matters, as long as the query is on nothing that can change.
    CannotCalculateChanges if the state is unknown or the answer would take too much work; FilterTooComplex.
    """
    with within_time(s):
        return _query_changes(s, account_id, filter, sorts, collapse_threads, since, up_to, calculate_total)


def _query_changes(
    s: Session,
    account_id: int,
    condition: Filter | None,
    sorts: Sequence[Sort],
    collapse_threads: bool,
    since: int,
    up_to: int | None,
    calculate_total: bool,
) -> QueryChanges:
    current = check_since(s, account_id, "Email", since)
    source = Matches(s, account_id, condition, tuple(sorts) or NEWEST_FIRST, collapse_threads)
    total = source.total() if calculate_total else None
    if since == current:
        return QueryChanges(removed=[], added=[], total=total)
    depends = _depends(condition, sorts)
    driver, most = s.driver, _MOST_CANDIDATES + 1
    created = dict(driver.execute(_CREATED, (account_id, since, most)).fetchall())
    updated: dict[int, int] = {}
    if depends.itself or depends.thread:
        updated = dict(driver.execute(_UPDATED, (account_id, since, since, most)).fetchall())
    destroyed = [row[0] for row in driver.execute(_DESTROYED, (account_id, since, since, most))]
    _check_count(len(created) + len(updated) + len(destroyed))
    moved = {**created, **updated}
    candidates = set(moved)
    if depends.thread or collapse_threads:
        # Any e-mail that came to or went from a thread moved the thread's own modseq.
        threads = {row[0] for row in driver.execute(_THREADS, (account_id, since, most))} | set(moved.values())
        candidates |= {
            row[0] for row in driver.execute(_MEMBERS, (json.dumps(sorted(threads)), account_id, most + len(moved)))
        }
        _check_count(len(candidates))
    removed = sorted(candidates - created.keys()) + destroyed
    stop_at = None if depends.itself or depends.thread else up_to
    added = _added(source, candidates, stop_at)
    return QueryChanges(removed=removed, added=added, total=total)


def _added(source: Matches, candidates: set[int], stop_at: int | None) -> list[tuple[int, int]]:
    """Which of the candidates are in the result, and where."""
    among = AmongIds(ids=tuple(sorted(candidates)))
    wanted = set(source.among(among).ids()) if candidates else set()
    added: list[tuple[int, int]] = []
    if wanted:
        for index, email_id in enumerate(source.ids()):
            if index >= _MOST_WALKED:
                raise CannotCalculateChanges(f"e-mails changed beyond the first {_MOST_WALKED} of the result")
            if email_id in wanted:
                wanted.discard(email_id)
                added.append((email_id, index))
            if not wanted or email_id == stop_at:
                break
    return added


def _check_count(count: int) -> None:
    if count > _MOST_CANDIDATES:
        raise CannotCalculateChanges(f"more than {_MOST_CANDIDATES} e-mails may have moved in the result")


def _depends(condition: Filter | None, sorts: Sequence[Sort]) -> _Depends:
    itself = any(sort.property == "hasKeyword" for sort in sorts)
    thread = any(sort.property in ("someInThreadHaveKeyword", "allInThreadHaveKeyword") for sort in sorts)
    for node in _nodes(condition):
        itself = itself or isinstance(node, InMailbox | InMailboxOtherThan | HasKeyword | NotKeyword)
        thread = thread or isinstance(node, ThreadKeyword)
    return _Depends(itself=itself, thread=thread)


def _nodes(condition: Filter | None) -> Iterable[Filter]:
    waiting = [] if condition is None else [condition]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, AllOf | AnyOf | NoneOf):
            waiting.extend(node.children)
