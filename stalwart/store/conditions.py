"""A filter tree and a sort as SQL over the e-mail tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
)

from stalwart.store import search
from stalwart.store.errors import FilterTooComplex
from stalwart.store.filters import (
    After,
    AllOf,
    AmongIds,
    AnyOf,
    Before,
    Filter,
    HasAttachment,
    HasHeader,
    HasKeyword,
    InMailbox,
    InMailboxOtherThan,
    MaxSize,
    MinSize,
    NoneOf,
    NotKeyword,
    Sort,
    Text,
    ThreadKeyword,
)
from stalwart.store.marks import ANYWHERE, SEEN, UNSEEN
from stalwart.store.sqlite import listed
from stalwart.store.tables import email, email_mailbox, email_mark, thread

_MOST_CONDITIONS = 400
_DEEPEST = 30
_MOST_SMALL = 10
_NO_NUMBER = 2**63 - 1

_other = email_mailbox.alias("other")
_mark = email_mark.alias("mark")


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """The list that is walked: of a mailbox, of what has a mark there or anywhere; or all e-mails of the account."""

    mailbox_id: int | None = None
    mark: str | None = None

    def implies(self, node: Filter) -> bool:
        """Whether everything in the list fulfils the condition because it is there."""
        if isinstance(node, InMailbox):
            return node.id == self.mailbox_id
        return self.mark is not None and _mark_of(node) == self.mark


def choose_walk(condition: Filter | None) -> Walk:
    """The shortest list that all matches must be in, as far as the filter tells."""
    if names_emails(condition):
        return Walk()
    demands = list(demanded(condition))
    found = [mark for node in demands if (mark := _mark_of(node)) is not None]
    mark = next((mark for mark in found if mark != UNSEEN), found[0] if found else None)
    mailbox_id = next((node.id for node in demands if isinstance(node, InMailbox)), None)
    return Walk(mailbox_id=mailbox_id, mark=mark)


def is_bare(condition: Filter | None) -> bool:
    """Whether the filter says no more than in which list the matches are."""
    walk = choose_walk(condition)
    return not names_emails(condition) and all(walk.implies(node) for node in demanded(condition))


def build(
    account_id: int, condition: Filter | None, sorts: Sequence[Sort], *, before: tuple[int, int] | None = None
) -> Select[int, int]:
    """A select of (email id, thread id) in order. FilterTooComplex for trees no database should be given.

    The list that is walked is in the order of receivedAt already. If the filter names the e-mails, these are looked
    at one by one. `before` (time of receipt and id of an e-mail) leaves what comes earlier than that one, for a sort
    by receivedAt alone.
    """
    _count(condition)
    walk = choose_walk(condition)
    query = _Query(account_id, walk)
    where = query.in_list(by_index=not names_emails(condition))
    if condition is not None:
        where.append(query.condition(condition, walk))
    order = [key.asc() if sort.ascending else key.desc() for sort in sorts for key in (query.sort_key(sort),)]
    # RFC 8620 §5.5: the order must be stable, so the id comes last.
    order.append(query.id.asc() if sorts[-1].ascending else query.id.desc())
    if before is not None:
        where.append(query.comes_before(*before, ascending=sorts[-1].ascending))
    return select(query.id, query.thread_id).select_from(query.source()).where(*where).order_by(*order)


class _Query:
    """The columns a condition may use, and whether `email` has to be joined for them."""

    def __init__(self, account_id: int, walk: Walk) -> None:
        self._account_id = account_id
        self._walk = walk
        self._list = email if walk == Walk() else email_mailbox if walk.mark is None else email_mark
        self._needs_email = self._list is email
        self.id: ColumnElement[int] = email.c.id if self._list is email else self._list.c.email_id
        self.thread_id: ColumnElement[int] = self._list.c.thread_id
        self._received_at: ColumnElement[int] = self._list.c.received_at

    def in_list(self, *, by_index: bool) -> list[ColumnElement[bool]]:
        columns = self._list.c
        where = [(columns.account_id if by_index else columns.account_id + 0) == self._account_id]
        if self._walk.mark is not None:
            where.append(columns.mark == self._walk.mark)
            where.append(columns.mailbox_id == (self._walk.mailbox_id or ANYWHERE))
        elif self._walk.mailbox_id is not None:
            where.append(columns.mailbox_id == self._walk.mailbox_id)
        return where

    def comes_before(self, received_at: int, email_id: int, *, ascending: bool) -> ColumnElement[bool]:
        place, other = tuple_(self._received_at, self.id), tuple_(literal(received_at), literal(email_id))
        return place < other if ascending else place > other

    def source(self) -> FromClause:
        if self._list is not email and self._needs_email:
            return self._list.join(email, email.c.id == self.id)
        return self._list

    def condition(self, node: Filter, walk: Walk | None = None) -> ColumnElement[bool]:
        """The node as SQL. What the list that is walked implies is true, where `walk` says that it must hold."""
        if walk is not None and walk.implies(node):
            return true()
        match node:
            case AllOf():
                return and_(true(), *(self.condition(child, walk) for child in node.children))
            case AnyOf():
                return or_(false(), *map(self.condition, node.children))
            case NoneOf():
                return not_(or_(false(), *map(self.condition, node.children)))
            case InMailbox():
                return self._in_mailbox(node.id)
            case InMailboxOtherThan():
                # RFC 8621 §4.4.1: in at least one mailbox not in this list.
                return exists().where(_other.c.email_id == self.id, _other.c.mailbox_id.not_in(listed(node.ids)))
            case Before():
                return self._received_at < node.time
            case After():
                return self._received_at >= node.time
            case MinSize():
                return self._email("size") >= node.size
            case MaxSize():
                return self._email("size") < node.size
            case HasKeyword():
                return self._has_keyword(node.keyword)
            case NotKeyword():
                return not_(self._has_keyword(node.keyword))
            case ThreadKeyword():
                return self._thread_keyword(node.mode, node.keyword)
            case HasAttachment():
                return self._email("has_attachment") == node.value
            case HasHeader():
                return self.id.in_(search.with_header(self._account_id, node.name))
            case AmongIds():
                return self.id.in_(listed(node.ids))
            case Text():
                found = search.matching(self._account_id, node.field, node.query)
                if isinstance(found, bool):
                    return true() if found else false()
                return self.id.in_(found)

    def sort_key(self, sort: Sort) -> ColumnElement[Any]:
        match sort.property:
            case "receivedAt":
                return self._received_at
            case "sentAt" | "size":
                return self._email("sent_at" if sort.property == "sentAt" else "size")
            case "from" | "to" | "subject":
                text = self._email(f"sort_{sort.property}")
                if sort.numeric:
                    begins = and_(text >= "0", text < ":")  # the sign behind the digits
                    return case((begins, cast(text, Integer)), else_=_NO_NUMBER)
                return text
        if sort.keyword is None:
            raise ValueError(f"sorting by {sort.property} needs a keyword")
        match sort.property:
            case "hasKeyword":
                holds = self._has_keyword(sort.keyword)
            case "someInThreadHaveKeyword":
                holds = self._thread_keyword("some", sort.keyword)
            case "allInThreadHaveKeyword":
                holds = self._thread_keyword("all", sort.keyword)
        return case((holds, 1), else_=0)

    def _email(self, name: str) -> ColumnElement[Any]:
        self._needs_email = True
        return email.c[name]

    def _in_mailbox(self, mailbox_id: int) -> ColumnElement[bool]:
        return exists().where(
            _other.c.account_id == self._account_id,
            _other.c.mailbox_id == mailbox_id,
            _other.c.received_at == self._received_at,
            _other.c.email_id == self.id,
        )

    def _has_keyword(self, keyword: str) -> ColumnElement[bool]:
        keyword = keyword.lower()
        if keyword == SEEN:
            return not_(self._has_mark(UNSEEN))
        return self._has_mark(keyword)

    def _has_mark(self, mark: str) -> ColumnElement[bool]:
        # A look-up of the whole key for each e-mail; where the mark is demanded, its list is walked instead.
        return exists().where(
            _mark.c.account_id == self._account_id,
            _mark.c.mark == mark,
            _mark.c.mailbox_id == ANYWHERE,
            _mark.c.received_at == self._received_at,
            _mark.c.email_id == self.id,
        )

    def _thread_keyword(self, mode: str, keyword: str) -> ColumnElement[bool]:
        keyword = keyword.lower()
        if keyword == SEEN:
            # All have it: none is unseen. None has it: all are unseen.
            opposite = {"all": "none", "none": "all", "some": "not all"}[mode]
            return self._thread_mark(opposite, UNSEEN)
        return self._thread_mark(mode, keyword)

    def _thread_mark(self, mode: str, mark: str) -> ColumnElement[bool]:
        match mode:
            case "some":
                return self.thread_id.in_(threads_with(self._account_id, mark))
            case "none":
                return self.thread_id.not_in(threads_with(self._account_id, mark))
            case "all":
                return self.thread_id.in_(threads_full_of(self._account_id, mark))
            case _:
                return self.thread_id.not_in(threads_full_of(self._account_id, mark))


def threads_with(account_id: int, mark: str) -> Select[int]:
    """The threads in which an e-mail has the mark."""
    return select(_mark.c.thread_id).where(
        _mark.c.account_id == account_id, _mark.c.mark == mark, _mark.c.mailbox_id == ANYWHERE
    )


def threads_full_of(account_id: int, mark: str) -> Select[int]:
    """The threads in which every e-mail has the mark."""
    size = select(thread.c.emails).where(thread.c.id == _mark.c.thread_id).scalar_subquery()
    return threads_with(account_id, mark).group_by(_mark.c.thread_id).having(func.count() == size)


def _mark_of(node: Filter) -> str | None:
    """The mark that e-mails have exactly if they fulfil the condition, if it is of that kind."""
    if isinstance(node, HasKeyword) and node.keyword.lower() != SEEN:
        return node.keyword.lower()
    if isinstance(node, NotKeyword) and node.keyword.lower() == SEEN:
        return UNSEEN
    if isinstance(node, NoneOf) and len(node.children) == 1 and isinstance(node.children[0], HasKeyword):
        return UNSEEN if node.children[0].keyword.lower() == SEEN else None
    return None


def demanded(node: Filter | None) -> Iterator[Filter]:
    """The conditions that every match must fulfil; all of them together are the filter."""
    if isinstance(node, AllOf):
        for child in node.children:
            yield from demanded(child)
    elif node is not None:
        yield node


def names_emails(node: Filter | None) -> bool:
    """Whether the filter lists the only e-mails that can match."""
    return any(isinstance(one, AmongIds) for one in demanded(node))


def is_large(condition: Filter | None) -> bool:
    """Whether the compiled statement would take much memory (some ten kilobytes for each condition)."""
    return _count(condition) > _MOST_SMALL


def _count(condition: Filter | None) -> int:
    """How many conditions and operators there are. FilterTooComplex."""
    level: list[Filter] = [condition] if condition is not None else []
    depth = count = 0
    while level:
        depth += 1
        count += len(level)
        if count > _MOST_CONDITIONS or depth > _DEEPEST:
            raise FilterTooComplex(
                f"a filter may have {_MOST_CONDITIONS} conditions and operators, nested {_DEEPEST} deep at most"
            )
        level = [child for node in level if isinstance(node, AllOf | AnyOf | NoneOf) for child in node.children]
    return count
