"""Mailboxes (RFC 8621 §2). An account has few, so a query looks at all of them here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import msgspec

from stalwart import store
from stalwart.jmap.arguments import Id, QueryArguments, QueryChangesArguments, UnsignedInt
from stalwart.jmap.call import Call
from stalwart.jmap.declare import (
    Comparator,
    DataType,
    FilterCondition,
    Found,
    FoundChanges,
    Operator,
    Property,
    Query,
    Search,
    SearchChanges,
    Show,
    SortKey,
    field,
    show_plainly,
    table,
)
from stalwart.jmap.ids import row_of
from stalwart.jmap.standard import splice, window
from stalwart.jmap.types import mail
from stalwart.jmap.types.mailbox_set import WRITE, MailboxRights, rights_of
from stalwart.mail.normal import normalized
from stalwart.store import Changes, MailboxRow, Role

Test = Callable[[MailboxRow], bool]


class MailboxQueryArguments(QueryArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8621 §2.3."""

    sort_as_tree: bool = False
    filter_as_tree: bool = False


def _id(row: int | None) -> str | None:
    return None if row is None else f"M{row}"


def _rows(call: Call) -> list[MailboxRow]:
    """All mailboxes, with what the user is subscribed to (RFC 8621 §2: stored separately per user)."""
    rows = store.list_mailboxes(call.session, call.account.row)
    if call.account.is_personal:
        return rows
    subscribed = store.subscribed_mailboxes(call.session, call.account.row, call.principal.account_id)
    return [msgspec.structs.replace(row, is_subscribed=row.id in subscribed) for row in rows]


def _view(call: Call, wanted: Sequence[str], arguments: object) -> Show[MailboxRow]:
    rights = Property[MailboxRow](name="myRights", type=MailboxRights, read=functools.partial(rights_of, call.account))
    return show_plainly({**MAILBOX.properties, "myRights": rights}, wanted)


def _fetch(call: Call, rows: Sequence[int] | None) -> Mapping[int, MailboxRow]:
    every = {row.id: row for row in _rows(call)}
    if rows is None:
        return every
    return {row: every[row] for row in rows if row in every}


def _updated_properties(changes: Changes) -> Mapping[str, object]:
    # RFC 8621 §2.2: null unless only counts have changed
    only_counts = changes.only_counts and changes.updated and not changes.created and not changes.destroyed
    return {"updatedProperties": list(_COUNTS) if only_counts else None}


_COUNTS = ("totalEmails", "unreadEmails", "totalThreads", "unreadThreads")


def _combine(operator: Operator, tests: Sequence[Test]) -> Test:
    match operator:
        case "AND":
            return lambda row: all(test(row) for test in tests)
        case "OR":
            return lambda row: any(test(row) for test in tests)
        case "NOT":
            return lambda row: not any(test(row) for test in tests)


def _in_parent(call: Call, value: str | None) -> Test:
    if value is None:
        return lambda row: row.parent_id is None
    parent = row_of("M", call.resolve(value))
    return lambda row: parent is not None and row.parent_id == parent


def _named(call: Call, value: str) -> Test:
    wanted = _folded(value)
    return lambda row: wanted in _folded(row.name)


def _with_role(call: Call, value: str | None) -> Test:
    return lambda row: row.role == value


def _with_any_role(call: Call, value: bool) -> Test:
    return lambda row: (row.role is not None) is value


def _subscribed(call: Call, value: bool) -> Test:
    return lambda row: row.is_subscribed is value


def _folded(text: str) -> str:
    return normalized("NFKC", normalized("NFKC", text).casefold())


def _search(call: Call, search: Search[Test], arguments: MailboxQueryArguments) -> Found:
    every = {row.id: row for row in _rows(call)}
    matching = {row.id for row in every.values() if search.filter is None or search.filter(row)}
    if arguments.filter_as_tree:
        # RFC 8621 §2.3: only included if all its ancestors are
        matching = {row for row in matching if all(above in matching for above in _ancestors(row, every))}
    ordered = sorted(every.values(), key=functools.cmp_to_key(_comparison(search.sort)))
    if arguments.sort_as_tree:
        ordered = _as_tree(ordered, every)
    return window([row.id for row in ordered if row.id in matching], search)


def _search_changes(call: Call, search: SearchChanges[Test], arguments: QueryChangesArguments) -> FoundChanges:
    every = {row.id: row for row in _rows(call)}
    changed = store.changes(call.session, call.account.row, "Mailbox", search.since, None)
    # No filter and no sort is on a counter, so those whose counters alone have changed stay where they are.
    moved = [row for row in changed.updated if every[row].properties_modseq > search.since]
    ordered = sorted(every.values(), key=functools.cmp_to_key(_comparison(search.sort)))
    rows = [row.id for row in ordered if search.filter is None or search.filter(row)]
    return splice(rows, msgspec.structs.replace(changed, updated=moved), search)


def _ancestors(row: int, every: Mapping[int, MailboxRow]) -> list[int]:
    found: list[int] = []
    parent = every[row].parent_id
    while parent is not None and parent in every and parent not in found:
        found.append(parent)
        parent = every[parent].parent_id
    return found


def _as_tree(ordered: Sequence[MailboxRow], every: Mapping[int, MailboxRow]) -> list[MailboxRow]:
    # Each set of children is in order already; what is left is to walk the tree depth first.
    children: dict[int | None, list[MailboxRow]] = {}
    for row in ordered:
        parent = row.parent_id if row.parent_id in every else None
        children.setdefault(parent, []).append(row)
    walked: list[MailboxRow] = []
    waiting = children.get(None, [])[::-1]
    while waiting:
        row = waiting.pop()
        walked.append(row)
        waiting.extend(children.get(row.id, [])[::-1])
    return walked


def _comparison(comparators: Sequence[Comparator]) -> Callable[[MailboxRow, MailboxRow], int]:
    keys = [(_SORT_VALUES[one.property], one.collation, one.is_ascending) for one in comparators]

    def compare(a: MailboxRow, b: MailboxRow) -> int:
        for value, collation, ascending in keys:
            of_a, of_b = value(a, collation), value(b, collation)
            if of_a != of_b:
                return -1 if (of_a < of_b) is ascending else 1
        # RFC 8620 §5.5: the order is stable between calls
        return (a.id > b.id) - (a.id < b.id)

    return compare if comparators else _default_comparison


def _default_comparison(a: MailboxRow, b: MailboxRow) -> int:
    of_a, of_b = (a.sort_order, _folded(a.name), a.id), (b.sort_order, _folded(b.name), b.id)
    return (of_a > of_b) - (of_a < of_b)


SortValue = tuple[int, str]


def _by_name(row: MailboxRow, collation: str | None) -> SortValue:
    if collation == "i;ascii-numeric":
        # RFC 4790 §9.1.1: the number that the text begins with; all other texts are equal, and greater
        digits = row.name[: len(row.name) - len(row.name.lstrip("0123456789"))]
        return (int(digits), "") if digits else (_NO_NUMBER, "")
    if collation == "i;ascii-casemap":
        return 0, "".join(chr(ord(c) - 32) if "a" <= c <= "z" else c for c in row.name)  # RFC 4790 §9.2.1
    return 0, _folded(row.name)


_NO_NUMBER = 10**300

_SORT_VALUES: Mapping[str, Callable[[MailboxRow, str | None], SortValue]] = {
    "sortOrder": lambda row, _: (row.sort_order, ""),
    "name": _by_name,
    "parentId": lambda row, _: (row.parent_id or 0, ""),
}


def _read_id(row: MailboxRow) -> str:
    return f"M{row.id}"


MAILBOX: DataType[MailboxRow, Test] = DataType(
    name="Mailbox",
    capability=mail.URI,
    prefix="M",
    properties=table(
        Property(name="id", type=Id, read=_read_id, set_by="server", immutable=True),
        Property(name="name", type=Annotated[str, msgspec.Meta(min_length=1)], read=field("name")),
        Property(
            name="parentId",
            type=Id | None,
            read=lambda row: _id(row.parent_id),
            default=None,
            references="value",
        ),
        Property(name="role", type=Role | None, read=field("role"), default=None),
        Property(
            name="sortOrder",
            type=Annotated[int, msgspec.Meta(ge=0, lt=2**31)],
            read=field("sort_order"),
            default=0,
        ),
        Property(name="totalEmails", type=UnsignedInt, read=field("total_emails"), set_by="server"),
        Property(name="unreadEmails", type=UnsignedInt, read=field("unread_emails"), set_by="server"),
        Property(name="totalThreads", type=UnsignedInt, read=field("total_threads"), set_by="server"),
        Property(name="unreadThreads", type=UnsignedInt, read=field("unread_threads"), set_by="server"),
        Property(name="myRights", type=MailboxRights, set_by="server"),
        # RFC 8621 §2: true for new Mailboxes created by the user
        Property(name="isSubscribed", type=bool, read=field("is_subscribed"), default=True),
    ),
    fetch=_fetch,
    view=_view,
    also_changed=_updated_properties,
    write=WRITE,
    refers_to_itself=True,
    query=Query(
        arguments=MailboxQueryArguments,
        filters={
            "parentId": FilterCondition(type=Id | None, build=_in_parent),
            "name": FilterCondition(type=str, build=_named),
            "role": FilterCondition(type=str | None, build=_with_role),
            "hasAnyRole": FilterCondition(type=bool, build=_with_any_role),
            "isSubscribed": FilterCondition(type=bool, build=_subscribed),
        },
        sorts={"sortOrder": SortKey(), "name": SortKey(is_text=True), "parentId": SortKey()},
        combine=_combine,
        search=_search,
        changes=_search_changes,
        # RFC 8621 §2.4: Mailbox/queryChanges has no arguments for trees
        can_calculate=lambda arguments: not (arguments.sort_as_tree or arguments.filter_as_tree),
    ),
)
