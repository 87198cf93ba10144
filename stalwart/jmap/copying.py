"""The standard method /copy (RFC 8620 §5.4), written once over the declarations of data types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from stalwart.jmap.arguments import CopyArguments
from stalwart.jmap.call import Call
from stalwart.jmap.declare import Creation, DataType, Write
from stalwart.jmap.errors import (
    FromAccountNotFound,
    FromAccountNotSupportedByMethod,
    InvalidArguments,
    SetError,
    invalid_properties,
)
from stalwart.jmap.records import Records, decode_given
from stalwart.jmap.writing import check_count, check_state

Row = TypeVar("Row")
F = TypeVar("F")


def prepare_copy(
    call: Call, data_type: DataType[Row, F], write: Write[Row], arguments: CopyArguments
) -> Mapping[str, Creation | SetError]:
    """What the client wants different in each copy by creation id, decoded and prepared; or what is wrong with it.

    Raises:
        MethodError: the accounts are not a pair that can be copied between, or there are too many records.
    """
    source = _source(call, data_type, arguments)
    check_count(call, data_type, len(arguments.create))
    records = Records(source, data_type)
    records.load(_ids(source, arguments).values())
    prepared: dict[str, Creation | SetError] = {}
    for creation_id, given in arguments.create.items():
        try:
            _, row = records.find(_id(source, given))
            others = {name: value for name, value in given.items() if name != "id"}
            creation = decode_given(data_type, creation_id, others, call.resolve)
            if write.prepare_copy is not None:
                made = write.prepare_copy(call, source, row, creation, arguments)
                creation = msgspec.structs.replace(creation, prepared=made)
            prepared[creation_id] = creation
        except SetError as error:
            prepared[creation_id] = error
    return prepared


def copy_records(
    call: Call, data_type: DataType[Row, F], write: Write[Row], arguments: CopyArguments
) -> dict[str, Any]:
    """RFC 8620 §5.4. `call.prepared` is what `prepare_copy` gave.

    Raises:
        StateMismatch: of either account.
    """
    source = _source(call, data_type, arguments)
    check_state(arguments.if_from_in_state, source.state(data_type.name), "ifFromInState")
    old_state = call.state(data_type.name)
    check_state(arguments.if_in_state, old_state, "ifInState")
    originals = Records(source, data_type)
    ids = _ids(source, arguments)
    originals.load(ids.values())
    copies = Records(call, data_type)
    created: dict[str, object] = {}
    not_created: dict[str, object] = {}
    for creation_id, creation in call.prepared.items():
        try:
            if isinstance(creation, SetError):
                raise creation
            _, row = originals.find(ids[creation_id])
            if write.copy is None:
                raise SetError("forbidden", f"A {data_type.name} can't be copied.")
            # RFC 8620 §5.4: each record copy is an atomic unit
            with call.session.savepoint():
                real_id = data_type.id_of(write.copy(call, source, row, creation, arguments))
                created[creation_id] = copies.created(real_id, creation, write.created_properties)
            call.exchange.created.add(creation_id, real_id)
        except SetError as error:
            not_created[creation_id] = error.value()
    if arguments.on_success_destroy_original and created:
        call.follow(
            f"{data_type.name}/set",
            {
                "accountId": source.account.id,
                "ifInState": arguments.destroy_from_if_in_state,
                "destroy": list(dict.fromkeys(ids[creation_id] for creation_id in created)),
            },
        )
    return {
        "fromAccountId": source.account.id,
        "accountId": call.account.id,
        "oldState": old_state,
        "newState": call.state(data_type.name),
        "created": created or None,
        "notCreated": not_created or None,
    }


def _source(call: Call, data_type: DataType[Row, F], arguments: CopyArguments) -> Call:
    """The call as it would be on the account to copy from."""
    text = arguments.from_account_id
    if text == call.account.id:
        raise InvalidArguments("fromAccountId: must not be the accountId.", "fromAccountId")
    account = call.exchange.account(call.session, text)
    if account is None:
        raise FromAccountNotFound(f"There is no account {text[:100]!r} that this user can see.")
    if data_type.capability not in account.capabilities:
        raise FromAccountNotSupportedByMethod(f"There is no {data_type.name} in account {account.id}.")
    return call.on(account)


def _ids(source: Call, arguments: CopyArguments) -> dict[str, str]:
    """The ids of the originals by creation id, as far as they were given."""
    return {
        creation_id: source.resolve(given["id"])
        for creation_id, given in arguments.create.items()
        if isinstance(given.get("id"), str)
    }


def _id(source: Call, given: Mapping[str, Any]) -> str:
    # RFC 8620 §5.4: the Foo object MUST contain an "id" property, in the from account
    text = given.get("id")
    if not isinstance(text, str):
        raise invalid_properties("id: the id of the record to be copied is required.", ["id"])
    return source.resolve(text)
