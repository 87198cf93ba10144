"""A filter tree and a sort as SQL over the e-mail tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    not_,
    or_,
    select,
    true,
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
from stalwart.store.sqlite import listed
from stalwart.store.tables import email, email_keyword, email_mailbox

_MOST_CONDITIONS = 400
_DEEPEST = 30
_MOST_SMALL = 10
_NO_NUMBER = 2**63 - 1

_other = email_mailbox.alias("other")
_sibling = email.alias("sibling")


def build(account_id: int, condition: Filter | None, sorts: Sequence[Sort]) -> Select[int, int]:
    """A select of (email id, thread id) in order. FilterTooComplex for trees no database should be given.

    If the filter demands one mailbox, the mailbox's own list is walked; it is in the order of receivedAt already.
    If it names the e-mails, these are looked at one by one.
    """
    _count(condition)
    mailbox_id = None if _names_emails(condition) else _demanded_mailbox(condition)
    query = _Query(account_id, walks_mailbox=mailbox_id is not None)
    where = [query.in_account()]
    if mailbox_id is not None:
        where.append(email_mailbox.c.mailbox_id == mailbox_id)
    if condition is not None:
        where.append(query.condition(condition, leave_out=mailbox_id))
    order = [key.asc() if sort.ascending else key.desc() for sort in sorts for key in (query.sort_key(sort),)]
    # RFC 8620 §5.5: the order must be stable, so the id comes last.
    order.append(query.id.asc() if sorts[-1].ascending else query.id.desc())
    return select(query.id, query.thread_id).select_from(query.source()).where(*where).order_by(*order)


class _Query:
    """The columns a condition may use, and whether `email` has to be joined for them."""

    def __init__(self, account_id: int, *, walks_mailbox: bool) -> None:
        self._account_id = account_id
        self._walks_mailbox = walks_mailbox
        self._needs_email = not walks_mailbox
        self.id: ColumnElement[int] = email_mailbox.c.email_id if walks_mailbox else email.c.id
        self.thread_id: ColumnElement[int] = email_mailbox.c.thread_id if walks_mailbox else email.c.thread_id
        self._received_at: ColumnElement[int] = email_mailbox.c.received_at if walks_mailbox else email.c.received_at

    def in_account(self) -> ColumnElement[bool]:
        return (email_mailbox if self._walks_mailbox else email).c.account_id == self._account_id

    def source(self) -> FromClause:
        if not self._walks_mailbox:
            return email
        if self._needs_email:
            return email_mailbox.join(email, email.c.id == email_mailbox.c.email_id)
        return email_mailbox

    def condition(self, node: Filter, leave_out: int | None = None) -> ColumnElement[bool]:
        """The node as SQL; a demand for the mailbox `leave_out` that must hold anyhow is true."""
        match node:
            case AllOf():
                return and_(true(), *(self.condition(child, leave_out) for child in node.children))
            case AnyOf():
                return or_(false(), *map(self.condition, node.children))
            case NoneOf():
                return not_(or_(false(), *map(self.condition, node.children)))
            case InMailbox():
                return true() if node.id == leave_out else self._in_mailbox(node.id)
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
        return self.id.in_(self._with_keyword(keyword))

    def _thread_keyword(self, mode: str, keyword: str) -> ColumnElement[bool]:
        threads = select(_sibling.c.thread_id).where(_sibling.c.account_id == self._account_id)
        has = _sibling.c.id.in_(self._with_keyword(keyword))
        match mode:
            case "some":
                return self.thread_id.in_(threads.where(has))
            case "none":
                return self.thread_id.not_in(threads.where(has))
            case _:
                return self.thread_id.not_in(threads.where(not_(has)))

    def _with_keyword(self, keyword: str) -> Select[int]:
        # A set that is made once, and not a look-up for each e-mail: a rare keyword must not cost a walk with look-ups.
        return select(email_keyword.c.email_id).where(
            email_keyword.c.account_id == self._account_id, email_keyword.c.keyword == keyword.lower()
        )


def _demanded_mailbox(node: Filter | None) -> int | None:
    """A mailbox that every match must be in, if the filter says so."""
    if isinstance(node, InMailbox):
        return node.id
    if isinstance(node, AllOf):
        return next((found for child in node.children if (found := _demanded_mailbox(child)) is not None), None)
    return None


def _names_emails(node: Filter | None) -> bool:
    return isinstance(node, AllOf) and any(isinstance(child, AmongIds) for child in node.children)


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
