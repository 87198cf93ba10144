"""States and what changed since one of them, read from the modseqs on the rows and from tombstones.

Each touched object has a modseq of its own, so a list that is cut short can go on from the modseq of its last entry.
A created object stands at the modseq of its creation; if it also changed later, those who go on from between the two
hear of that as an update.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, Table, bindparam, case, select

from stalwart.store.errors import CannotCalculateChanges
from stalwart.store.prepared import Prepared
from stalwart.store.rows import Changes
from stalwart.store.session import Session
from stalwart.store.tables import email, email_submission, identity, mailbox, thread, tombstone, type_state

_STATE = Prepared(
    select(type_state.c.modseq, type_state.c.floor).where(
        type_state.c.account_id == bindparam("account"), type_state.c.type == bindparam("type_name")
    )
)
_DESTROYED = (
    select(tombstone.c.modseq, tombstone.c.object_id, tombstone.c.created_modseq)
    .where(
        tombstone.c.account_id == bindparam("account"),
        tombstone.c.type == bindparam("type_name"),
        tombstone.c.modseq > bindparam("since"),
        tombstone.c.created_modseq <= bindparam("since"),
    )
    .order_by(tombstone.c.modseq)
    .limit(bindparam("most"))
)


def _created(table: Table) -> Select[int, int]:
    return (
        select(table.c.created_modseq, table.c.id)
        .where(table.c.account_id == bindparam("account"), table.c.created_modseq > bindparam("since"))
        .order_by(table.c.created_modseq)
        .limit(bindparam("most"))
    )


def _updated(table: Table) -> Select[int, int]:
    place: ColumnElement[int] = table.c.modseq
    if table is mailbox:
        # One whose counters changed after its properties stands where these did, and after that once more: else those
        # who go on from between the two would not hear of more than counters.
        place = case((table.c.properties_modseq > bindparam("since"), table.c.properties_modseq), else_=place)
    return (
        select(place, table.c.id)
        .where(
            table.c.account_id == bindparam("account"),
            table.c.modseq > bindparam("since"),
            table.c.created_modseq <= bindparam("since"),
        )
        .order_by(place)
        .limit(bindparam("most"))
    )


_TABLES: dict[str, Table] = {
    "Email": email,
    "Mailbox": mailbox,
    "Thread": thread,
    "Identity": identity,
    "EmailSubmission": email_submission,
}
_CREATED = {name: _created(table) for name, table in _TABLES.items()}
_UPDATED = {name: _updated(table) for name, table in _TABLES.items()}
_MORE_THAN_COUNTS = (
    select(mailbox.c.id)
    .where(
        mailbox.c.account_id == bindparam("account"),
        mailbox.c.modseq > bindparam("since"),
        mailbox.c.properties_modseq > bindparam("since"),
    )
    .limit(1)
)
_NO_LIMIT = 2**62


def state(s: Session, account_id: int, type_name: str) -> int:
    """The state of a type in this session's snapshot: the last modseq at which it changed, 0 if it never did."""
    return _state(s, account_id, type_name)[0]


def changes(s: Session, account_id: int, type_name: str, since: int, max_changes: int | None) -> Changes:
    """What happened after `since`, oldest first, at most `max_changes` ids. CannotCalculateChanges."""
    if type_name not in _TABLES:
        raise CannotCalculateChanges(f"changes of {type_name} are not recorded")
    current = check_since(s, account_id, type_name, since)
    most = _NO_LIMIT if max_changes is None else max_changes
    where = {"account": account_id, "type_name": type_name, "since": since, "most": most + 1}
    entries = [(row[0], 0, row[1]) for row in s.connection.execute(_CREATED[type_name], where)]
    entries += [(row[0], 1, row[1]) for row in s.connection.execute(_UPDATED[type_name], where)]
    entries += [(row[0], 2, row[1]) for row in s.connection.execute(_DESTROYED, where)]
    entries.sort()
    has_more = len(entries) > most
    del entries[most:]
    created, updated, destroyed = ([i for _, kind, i in entries if kind == wanted] for wanted in (0, 1, 2))
    only_counts = False
    if type_name == "Mailbox" and updated and not created and not destroyed:
        only_counts = s.connection.execute(_MORE_THAN_COUNTS, where).first() is None
    return Changes(
        created=created,
        updated=updated,
        destroyed=destroyed,
        new_state=entries[-1][0] if has_more and entries else current,
        has_more=has_more,
        only_counts=only_counts,
    )


def check_since(s: Session, account_id: int, type_name: str, since: int) -> int:
    """The state of a type, after making sure that changes since `since` are known. CannotCalculateChanges."""
    current, floor = _state(s, account_id, type_name)
    if not floor <= since <= current:
        raise CannotCalculateChanges(
            f"changes of {type_name} since {since} are not known (known: {floor} to {current})"
        )
    return current


def _state(s: Session, account_id: int, type_name: str) -> tuple[int, int]:
    row = _STATE.run(s.driver, {"account": account_id, "type_name": type_name}).fetchone()
    current, floor = row if row is not None else (0, 0)
    moved = s.moved_state(account_id, type_name)
    return (current if moved is None else moved), floor
