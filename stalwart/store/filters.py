"""What an e-mail query asks for: the filter tree, the sort, and the window that answers it.

The tree mirrors RFC 8621 §4.4.1, with its FilterOperators as `AllOf`, `AnyOf` and `NoneOf`. Times are seconds since
the epoch, sizes are octets, ids are the store's integers.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SortProperty = Literal[
    "receivedAt",
    "sentAt",
    "size",
    "from",
    "to",
    "subject",
    "hasKeyword",
    "someInThreadHaveKeyword",
    "allInThreadHaveKeyword",
]
TextField = Literal["any", "from", "to", "cc", "bcc", "subject", "body"]


class AllOf(msgspec.Struct, frozen=True, kw_only=True):
    """Every child holds; true when there are none."""

    children: tuple[Filter, ...]


class AnyOf(msgspec.Struct, frozen=True, kw_only=True):
    """At least one child holds; false when there are none."""

    children: tuple[Filter, ...]


class NoneOf(msgspec.Struct, frozen=True, kw_only=True):
    """No child holds; true when there are none. RFC 8620 §5.5: NOT means none of the conditions."""

    children: tuple[Filter, ...]


class InMailbox(msgspec.Struct, frozen=True, kw_only=True):
    """The e-mail is in this mailbox. A mailbox of another account matches nothing."""

    id: int


class InMailboxOtherThan(msgspec.Struct, frozen=True, kw_only=True):
    """The e-mail is in at least one mailbox that is not listed."""

    ids: tuple[int, ...]


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """Received earlier than this time."""

    time: int


class After(msgspec.Struct, frozen=True, kw_only=True):
    """Received at this time or later."""

    time: int


class MinSize(msgspec.Struct, frozen=True, kw_only=True):
    """At least this many octets."""

    size: int


class MaxSize(msgspec.Struct, frozen=True, kw_only=True):
    """Fewer octets than this."""

    size: int


class HasKeyword(msgspec.Struct, frozen=True, kw_only=True):
    """The e-mail has the keyword (compared without case)."""

    keyword: str


class NotKeyword(msgspec.Struct, frozen=True, kw_only=True):
    """The e-mail does not have the keyword."""

    keyword: str


class ThreadKeyword(msgspec.Struct, frozen=True, kw_only=True):
    """All, some or none of the e-mails in the e-mail's thread (itself included) have the keyword."""

    mode: Literal["all", "some", "none"]
    keyword: str


class HasAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """The hasAttachment property is `value`."""

    value: bool


class HasHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The e-mail has a header field of this name (compared without case)."""

    name: str


class AmongIds(msgspec.Struct, frozen=True, kw_only=True):
    """The e-mail is one of these: for conditions that no index answers, worked out by the caller."""

    ids: tuple[int, ...]


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """The words (and quoted phrases) of `query` are all in the field; "any" looks everywhere.

    Case and accents don't count. A word of three or more letters also matches the beginning of a longer one, so that
    "bus" finds "buses"; a quoted phrase matches whole words only. A query without words matches everything if it is
    empty, and nothing if it holds only punctuation.
    """

    field: TextField
    query: str


Filter = (
    AllOf
    | AnyOf
    | NoneOf
    | InMailbox
    | InMailboxOtherThan
    | Before
    | After
    | MinSize
    | MaxSize
    | HasKeyword
    | NotKeyword
    | ThreadKeyword
    | HasAttachment
    | HasHeader
    | AmongIds
    | Text
)


class Sort(msgspec.Struct, frozen=True, kw_only=True):
    """One comparator. `keyword` belongs to the three keyword properties; false comes before true when ascending.

    `numeric` compares from, to and subject by the number they begin with (i;ascii-numeric, RFC 4790 §9.1): all that
    begin with none are equal, and greater.
    """

    property: SortProperty
    ascending: bool = True
    keyword: str | None = None
    numeric: bool = False


class QueryResult(msgspec.Struct, frozen=True, kw_only=True):
    """A window of a result: the ids, the index of the first one, and (if asked for) the length of the whole result."""

    ids: list[int]
    position: int
    total: int | None
