"""Answers e-mail queries: filter tree and sort to SQL, and the window of RFC 8620 §5.5."""

from __future__ import annotations

from collections.abc import Sequence

from stalwart.store.filters import Filter, QueryResult, Sort
from stalwart.store.session import Session


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
    """The window of matching e-mails; `sorts` empty means newest first. AnchorNotFound.

    A negative `position` counts from the end. `limit` None means no limit; the ids of equal e-mails break ties, in
    the direction of the last comparator.
    """
    raise NotImplementedError
