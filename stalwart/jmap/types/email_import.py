"""Email/import (RFC 8621 §4.8): uploaded messages, or messages attached to others, become Emails.

Duplicates are let in: each import is an Email of its own, with an id, mailboxes and keywords of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from stalwart.jmap.arguments import AccountArguments, CreationId, Id, UTCDate, invalid
from stalwart.jmap.call import Call
from stalwart.jmap.declare import Method
from stalwart.jmap.errors import RequestTooLarge, SetError, invalid_properties
from stalwart.jmap.ids import blob_id
from stalwart.jmap.types import mail
from stalwart.jmap.types.email import Keyword
from stalwart.jmap.types.email_create import KeptMessage, add, check_room, seconds_of
from stalwart.jmap.writing import check_state
from stalwart.mail.fields import begins_like_mail
from stalwart.mail.summary import summarize
from stalwart.store import get_emails

_HEADER_OCTETS = 65_536


class EmailImportArguments(AccountArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8621 §4.8. Each EmailImport is decoded by itself."""

    emails: dict[CreationId, dict[str, Any]]
    if_in_state: str | None = None


class EmailImport(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8621 §4.8."""

    blob_id: Id
    mailbox_ids: dict[Id, bool]
    keywords: dict[Keyword, bool] = {}
    received_at: UTCDate | None = None


class _Prepared(msgspec.Struct, frozen=True, kw_only=True):
    wanted: EmailImport
    message: KeptMessage


def _prepare(call: Call, arguments: EmailImportArguments) -> Mapping[str, _Prepared | SetError]:
    """Find and read the messages, before the transaction begins."""
    most = call.limits.max_objects_in_set
    if len(arguments.emails) > most:
        raise RequestTooLarge(f"{len(arguments.emails)} messages to import in one call, and {most} are allowed.")
    prepared: dict[str, _Prepared | SetError] = {}
    for creation_id, given in arguments.emails.items():
        try:
            prepared[creation_id] = _prepare_one(call, given)
        except SetError as error:
            prepared[creation_id] = error
    return prepared


def _prepare_one(call: Call, given: Mapping[str, Any]) -> _Prepared:
    try:
        wanted = msgspec.convert(given, EmailImport)
    except msgspec.ValidationError as error:
        problem = invalid(error)
        raise invalid_properties(problem.description, problem.names) from None
    content = call.content(wanted.blob_id)
    if content is None:
        # RFC 8621 §4.8: an id that isn't found is invalidProperties here
        raise invalid_properties(f"blobId: there is no blob {wanted.blob_id[:100]!r}.", ["blobId"])
    if content.size > call.limits.max_size_email:
        most = call.limits.max_size_email
        raise SetError("tooLarge", f"A message may have at most {most} octets.", maxSize=most)
    if not begins_like_mail(content.read(0, _HEADER_OCTETS)):
        raise SetError("invalidEmail", "The blob does not begin like a message: with a header field.")
    mailboxes = {call.resolve(mailbox): value for mailbox, value in wanted.mailbox_ids.items()}
    check_room(call, {"mailboxIds": mailboxes, "keywords": wanted.keywords}, content.size)
    call.exchange.charge_read(content.size)
    octets = content.read(0, content.size)
    # Put anew, so that an upload isn't swept away before it is named as a message.
    kept = call.blobs.put(octets)
    return _Prepared(wanted=wanted, message=KeptMessage(blob_hash=kept, size=len(octets), digest=summarize(octets)))


def _import(call: Call, arguments: EmailImportArguments) -> dict[str, Any]:
    old_state = call.state("Email")
    check_state(arguments.if_in_state, old_state, "ifInState")
    created: dict[str, dict[str, Any]] = {}
    not_created: dict[str, object] = {}
    prepared: Mapping[str, _Prepared | SetError] = call.prepared
    for creation_id, one in prepared.items():
        try:
            if isinstance(one, SetError):
                raise one
            # RFC 8621 §4.8: each Email to import is an atomic unit
            with call.session.savepoint():
                created[creation_id] = _import_one(call, one)
        except SetError as error:
            not_created[creation_id] = error.value()
        else:
            call.exchange.created.add(creation_id, created[creation_id]["id"])
    return {
        "accountId": call.account.id,
        "oldState": old_state,
        "newState": call.state("Email"),
        "created": created or None,
        "notCreated": not_created or None,
    }


def _import_one(call: Call, one: _Prepared) -> dict[str, Any]:
    wanted, message = one.wanted, one.message
    # RFC 8621 §4.8: the default is the time of the most recent Received header
    received = message.digest.received if wanted.received_at is None else seconds_of(wanted.received_at)
    mailboxes = {call.resolve(text): value for text, value in wanted.mailbox_ids.items()}
    number = add(call, message, {"mailboxIds": mailboxes, "keywords": wanted.keywords}, received)
    row = get_emails(call.session, call.account.row, [number])[number]
    return {"id": f"E{number}", "blobId": blob_id(row.blob_hash), "threadId": f"T{row.thread_id}", "size": row.size}


IMPORT = Method(
    name="Email/import",
    capability=mail.URI,
    arguments=EmailImportArguments,
    run=_import,
    writes=True,
    prepare=_prepare,
)
