"""The arguments of methods, decoded strictly: a missing, unknown or mistyped one is `invalidArguments` by name.

A method declares its arguments as an `Arguments` struct with the names and defaults of the standard.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from stalwart.jmap.errors import InvalidArguments

MAX_INT = 2**53 - 1  # RFC 8620 §1.3

# An id that this server would never give out is still looked up, to be reported in notFound: so its alphabet is not
# part of the type.
Id = Annotated[str, Meta(max_length=255)]
CreationId = Annotated[str, Meta(min_length=1, max_length=255)]
Int = Annotated[int, Meta(ge=-MAX_INT, le=MAX_INT)]
UnsignedInt = Annotated[int, Meta(ge=0, le=MAX_INT)]
PositiveInt = Annotated[int, Meta(ge=1, le=MAX_INT)]
# RFC 8620 §1.4: upper case, and UTC. A fraction of zero is let through, since JavaScript writes one.
UTCDate = Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z\Z")]

A = TypeVar("A")
T = TypeVar("T")

_FIELD = re.compile(r"field `([^`]*)`")


class Arguments(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of the arguments of every method."""


class AccountArguments(Arguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of the arguments of methods over the data of one account."""

    account_id: Id


class GetArguments(AccountArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8620 §5.1."""

    ids: list[Id] | None = None
    properties: list[str] | None = None


class UserGetArguments(Arguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """As `GetArguments`, of a type whose objects belong to the user and not to an account (RFC 8620 §7.2.1)."""

    ids: list[Id] | None = None
    properties: list[str] | None = None


class ChangesArguments(AccountArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8620 §5.2."""

    since_state: str
    max_changes: PositiveInt | None = None


class SetArguments(AccountArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8620 §5.3. The records are decoded with the declarations of the type."""

    if_in_state: str | None = None
    create: dict[CreationId, dict[str, Any]] | None = None
    update: dict[Id, dict[str, Any]] | None = None
    destroy: list[Id] | None = None


class UserSetArguments(Arguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """As `SetArguments`, of a type whose objects belong to the user and not to an account (RFC 8620 §7.2.2)."""

    create: dict[CreationId, dict[str, Any]] | None = None
    update: dict[Id, dict[str, Any]] | None = None
    destroy: list[Id] | None = None


class CopyArguments(AccountArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8620 §5.4."""

    from_account_id: Id
    if_from_in_state: str | None = None
    if_in_state: str | None = None
    create: dict[CreationId, dict[str, Any]]
    on_success_destroy_original: bool = False
    destroy_from_if_in_state: str | None = None


class QueryArguments(AccountArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8620 §5.5. The filter and the sort are decoded with the declarations of the type."""

    filter: dict[str, Any] | None = None
    sort: list[dict[str, Any]] | None = None
    position: Int = 0
    anchor: Id | None = None
    anchor_offset: Int = 0
    limit: UnsignedInt | None = None
    calculate_total: bool = False


class QueryChangesArguments(AccountArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8620 §5.6."""

    filter: dict[str, Any] | None = None
    sort: list[dict[str, Any]] | None = None
    since_query_state: str
    max_changes: UnsignedInt | None = None
    up_to_id: Id | None = None
    calculate_total: bool = False


def decode_arguments(value: dict[str, Any], shape: type[A]) -> A:
    """`value` as `shape`. Raises InvalidArguments naming the argument."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise invalid(error) from None


def decode_value(value: object, shape: type[T], name: str) -> T:
    """The one value of the argument `name` as `shape`. Raises InvalidArguments."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise invalid(error, name) from None


def invalid(error: msgspec.ValidationError, within: str = "") -> InvalidArguments:
    """`error` in the words of JMAP; `within` is the argument in which it was found, if not at the top."""
    text, path = str(error), ""
    # What comes before the place may have megabytes of a client's own text in it: no pattern goes over that.
    before, _, place = text.rpartition(" - at `")
    place = place.removeprefix("key` in `")
    if before and place.startswith("$") and place.endswith("`"):
        text, path = before, place[1:-1].removeprefix(".")
    if field := _FIELD.search(text):
        path = f"{path}.{field[1]}" if path else field[1]
    if within:
        path = f"{within}.{path}" if path and not path.startswith("[") else within + path
    if not path:
        return InvalidArguments(f"{text}.")
    name = re.split(r"[.\[]", path, maxsplit=1)[0]
    return InvalidArguments(f"{path}: {text}.", name)
