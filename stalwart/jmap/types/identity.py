"""Identities (RFC 8621 §6): under which of an account's addresses, and how, its user writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec
from msgspec import Meta, Raw

from stalwart import store
from stalwart.jmap.arguments import Id, SetArguments
from stalwart.jmap.call import Call
from stalwart.jmap.declare import Creation, DataType, Property, Write, field, table
from stalwart.jmap.errors import SetError
from stalwart.store import IdentityRow, InvalidAddress

URI = "urn:ietf:params:jmap:submission"

# What becomes part of a header field has no line breaks or other control characters.
Line = Annotated[str, Meta(max_length=255, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
AddressLine = Annotated[str, Meta(min_length=1, max_length=320, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
Signature = Annotated[str, Meta(max_length=65_536)]


class EmailAddress(TypedDict):
    """RFC 8621 §4.1.2.3."""

    email: AddressLine
    name: NotRequired[Line | None]


Addresses = Annotated[list[EmailAddress], Meta(max_length=50)] | None

_ATTRIBUTES = {
    "name": "name",
    "replyTo": "reply_to",
    "bcc": "bcc",
    "textSignature": "text_signature",
    "htmlSignature": "html_signature",
}


def _fetch(call: Call, rows: Sequence[int] | None) -> Mapping[int, IdentityRow]:
    account = call.account.row
    if rows is None:
        found = {row.id: row for row in store.list_identities(call.session, account)}
    else:
        by_id = store.get_identities(call.session, account, rows)
        found = {row: by_id[row] for row in rows if row in by_id}
    if call.account.is_personal:
        return found
    return {number: msgspec.structs.replace(row, may_delete=False) for number, row in found.items()}


def _check_owner(call: Call) -> None:
    if not call.account.is_personal:
        raise SetError("forbidden", "Only the owner of the account changes its identities.")


def _create(call: Call, creation: Creation, arguments: SetArguments) -> int:
    _check_owner(call)
    most = call.limits.max_identities
    if store.count_identities(call.session, call.account.row) >= most:
        raise SetError("overQuota", f"An account may have at most {most} identities.")
    values = dict(creation.values)
    email = values.pop("email")
    try:
        address = store.normalise_address(email)
        return store.create_identity(call.session, call.account.row, address, _columns(values), may_delete=True)
    except InvalidAddress:
        # RFC 8621 §6.3
        raise SetError("forbiddenFrom", f"email: {email[:100]!r} is not an address of this account.") from None


def _update(call: Call, row: IdentityRow, changed: Mapping[str, Any], arguments: SetArguments) -> None:
    _check_owner(call)
    store.update_identity(call.session, call.account.row, row.id, _columns(changed))


def _destroy(call: Call, row: IdentityRow, arguments: SetArguments) -> None:
    _check_owner(call)
    if not row.may_delete:
        # RFC 8621 §6: the one that came with the address
        raise SetError("forbidden", f"{row.email} keeps this identity for as long as it is an address of the account.")
    store.destroy_identity(call.session, call.account.row, row.id)


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, value in values.items():
        if name in ("replyTo", "bcc") and value is not None:
            value = msgspec.json.encode([{"name": one.get("name"), "email": one["email"]} for one in value]).decode()
        columns[_ATTRIBUTES[name]] = value
    return columns


def _addresses(value: str | None) -> Raw | None:
    return None if value is None else Raw(value.encode())


IDENTITY: DataType[IdentityRow, None] = DataType(
    name="Identity",
    capability=URI,
    prefix="I",
    properties=table(
        Property(name="id", type=Id, read=lambda row: f"I{row.id}", set_by="server", immutable=True),
        Property(name="name", type=Line, read=field("name"), default=""),
        Property(name="email", type=AddressLine, read=field("email"), immutable=True),
        Property(name="replyTo", type=Addresses, read=lambda row: _addresses(row.reply_to), default=None),
        Property(name="bcc", type=Addresses, read=lambda row: _addresses(row.bcc), default=None),
        Property(name="textSignature", type=Signature, read=field("text_signature"), default=""),
        Property(name="htmlSignature", type=Signature, read=field("html_signature"), default=""),
        Property(name="mayDelete", type=bool, read=field("may_delete"), set_by="server"),
    ),
    fetch=_fetch,
    write=Write(create=_create, update=_update, destroy=_destroy),
)
