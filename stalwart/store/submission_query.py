"""EmailSubmission queries (RFC 8621 §7.3): conditions, and a window of what fulfils them, found by the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from sqlalchemy import ColumnElement, Select, and_, bindparam, false, func, not_, or_, select, true

from stalwart.store.errors import AnchorNotFound
from stalwart.store.filters import QueryResult
from stalwart.store.rows import UndoStatus
from stalwart.store.session import Session
from stalwart.store.sqlite import listed
from stalwart.store.submissions import IS_WANTED, WAS_TRIED
from stalwart.store.tables import email_submission, queue_message, queue_recipient


class SubmissionFilter(msgspec.Struct, frozen=True):
    """A condition on submissions; `all_of` and its like make one of several. `is_narrow`: few can fulfil it."""

    clause: ColumnElement[bool]
    is_narrow: bool = False


SubmissionColumn = Literal["identity_id", "email_id", "thread_id", "send_at"]

_other = email_submission.alias("other")
_e, _m, _r = email_submission.c, queue_message.c, queue_recipient.c
# From the side of the queue, which is short: nearly all submissions are final.
_PENDING = _e.id.in_(
    select(_m.submission_id).where(
        _m.account_id == bindparam("account"),
        _m.finished_at.is_(None),
        _m.submission_id.is_not(None),
        ~select(_r.id).where(_r.message_id == _m.id, or_(_r.status != "queued", _r.attempts > 0)).exists(),
    )
)
_UNDO_STATUS: Mapping[UndoStatus, ColumnElement[bool]] = {
    "pending": and_(_PENDING, not_(WAS_TRIED)),
    "final": and_(WAS_TRIED, IS_WANTED),
    "canceled": and_(WAS_TRIED, not_(IS_WANTED)),
}


def among(column: SubmissionColumn, ids: Iterable[int]) -> SubmissionFilter:
    """Whether the column has one of these ids."""
    found = select(_other.c.id).where(_other.c.account_id == bindparam("account"), _other.c[column].in_(listed(ids)))
    return SubmissionFilter(_e.id.in_(found), is_narrow=column in ("email_id", "thread_id"))


def sent_before(time: int) -> SubmissionFilter:
    """Whether `send_at` is before this time (epoch seconds)."""
    return SubmissionFilter(_e.send_at < time)


def sent_since(time: int) -> SubmissionFilter:
    """Whether `send_at` is this time (epoch seconds) or later."""
    return SubmissionFilter(_e.send_at >= time)


def has_undo_status(status: UndoStatus) -> SubmissionFilter:
    """Whether that is what the submission shows."""
    return SubmissionFilter(_UNDO_STATUS[status], is_narrow=status == "pending")


def all_of(conditions: Sequence[SubmissionFilter]) -> SubmissionFilter:
    """Whether every condition is fulfilled; yes if there is none."""
    clauses = [one.clause for one in conditions]
    return SubmissionFilter(and_(true(), *clauses), is_narrow=any(one.is_narrow for one in conditions))


def any_of(conditions: Sequence[SubmissionFilter]) -> SubmissionFilter:
    """Whether some condition is fulfilled; no if there is none."""
    clauses = [one.clause for one in conditions]
    return SubmissionFilter(or_(false(), *clauses), is_narrow=all(one.is_narrow for one in conditions))


def none_of(conditions: Sequence[SubmissionFilter]) -> SubmissionFilter:
    """Whether no condition is fulfilled."""
    return SubmissionFilter(not_(any_of(conditions).clause))


def query_submissions(
    s: Session,
    account_id: int,
    condition: SubmissionFilter | None,
    sorts: Sequence[tuple[SubmissionColumn, bool]],
    *,
    position: int,
    anchor: int | None,
    anchor_offset: int,
    limit: int,
    calculate_total: bool,
) -> QueryResult:
    """A window of the result (RFC 8620 §5.5). `sorts` are columns, and whether they ascend; ties go by id.

    Raises AnchorNotFound.
    """
    where = {"account": account_id}
    found = _matching(condition)
    total: int | None = None
    if calculate_total or position < 0:
        total = count_submissions(s, account_id, condition)
    if anchor is not None:
        places = submission_places(s, account_id, condition, sorts, [anchor])
        if not places:
            raise AnchorNotFound("The anchor is not among the results.")
        position = max(0, places[0][1] + anchor_offset)
    elif position < 0:
        position = max(0, (total or 0) + position)  # RFC 8620 §5.5: clamped to 0
    rows = s.connection.scalars(found.order_by(*_order(condition, sorts)).limit(limit).offset(position), where)
    return QueryResult(ids=list(rows), position=position, total=total if calculate_total else None)


def count_submissions(s: Session, account_id: int, condition: SubmissionFilter | None) -> int:
    """How many submissions fulfil the condition."""
    return (
        s.connection.scalar(select(func.count()).select_from(_matching(condition).subquery()), {"account": account_id})
        or 0
    )


def submission_places(
    s: Session,
    account_id: int,
    condition: SubmissionFilter | None,
    sorts: Sequence[tuple[SubmissionColumn, bool]],
    ids: Sequence[int],
) -> list[tuple[int, int]]:
    """Those of the ids that are in the result, each with its zero-based index there, ascending."""
    place = func.row_number().over(order_by=_order(condition, sorts)).label("place")
    ranked = _matching(condition).add_columns(place).subquery()
    found = select(ranked.c.id, ranked.c.place - 1).where(ranked.c.id.in_(listed(ids))).order_by(ranked.c.place)
    return [(row[0], row[1]) for row in s.connection.execute(found, {"account": account_id})]


def _matching(condition: SubmissionFilter | None) -> Select[int]:
    account_id: ColumnElement[int] = bindparam("account")
    where = [] if condition is None else [condition.clause]
    if condition is not None and condition.is_narrow:
        # An index isn't used for an expression: SQLite would read all submissions for the sake of their order.
        return select(_e.id).where(_e.account_id + 0 == account_id, *where)
    return select(_e.id).where(_e.account_id == account_id, *where)


def _order(
    condition: SubmissionFilter | None, sorts: Sequence[tuple[SubmissionColumn, bool]]
) -> list[ColumnElement[int]]:
    # Without a sort by what goes up with the id and has an index.
    columns: list[tuple[ColumnElement[int], bool]] = [(_e[name], ascends) for name, ascends in sorts]
    columns = [*columns, (_e.id, True)] if sorts else [(_e.created_modseq, True)]
    if condition is not None and condition.is_narrow:
        columns = [(column + 0, ascends) for column, ascends in columns]
    return [column.asc() if ascends else column.desc() for column, ascends in columns]
