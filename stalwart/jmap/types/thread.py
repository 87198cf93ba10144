"""Threads (RFC 8621 §3): a flat list of Emails in the order they were received."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from stalwart import store
from stalwart.jmap.arguments import Id
from stalwart.jmap.call import Call
from stalwart.jmap.declare import DataType, Property, table
from stalwart.jmap.types import mail


class ThreadRow(msgspec.Struct, frozen=True, kw_only=True):
    """A thread and the numbers of its Emails, by the time they were received, then by id."""

    id: int
    emails: tuple[int, ...]


def _fetch(call: Call, rows: Sequence[int] | None) -> Mapping[int, ThreadRow]:
    if rows is None:
        rows = _all(call, call.limits.max_objects_in_get + 1)
    found = store.get_threads(call.session, call.account.row, rows)
    return {row: ThreadRow(id=row, emails=found[row]) for row in rows if row in found}


def _all(call: Call, most: int) -> Sequence[int]:
    newest = store.query_emails(
        call.session,
        call.account.row,
        None,
        (),
        collapse_threads=True,
        position=0,
        limit=most,
        calculate_total=False,
    )
    emails = store.get_emails(call.session, call.account.row, newest.ids)
    return [emails[email].thread_id for email in newest.ids]


# RFC 8621 §3.1, §3.2: /get and /changes as they are
THREAD: DataType[ThreadRow, None] = DataType(
    name="Thread",
    capability=mail.URI,
    prefix="T",
    properties=table(
        Property(name="id", type=Id, read=lambda row: f"T{row.id}", set_by="server", immutable=True),
        Property(
            name="emailIds",
            type=list[Id],
            read=lambda row: [f"E{email}" for email in row.emails],
            set_by="server",
        ),
    ),
    fetch=_fetch,
)
