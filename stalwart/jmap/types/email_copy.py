"""Email/copy (RFC 8621 §4.7): a message of one account becomes an Email of another."""

from __future__ import annotations

from stalwart.jmap.arguments import CopyArguments
from stalwart.jmap.call import Call
from stalwart.jmap.declare import Creation
from stalwart.jmap.errors import invalid_properties
from stalwart.jmap.types.email_create import KeptMessage, add, seconds_of
from stalwart.mail.summary import summarize
from stalwart.store import EmailRow

_SETTABLE = frozenset({"mailboxIds", "keywords", "receivedAt"})


def prepare_copy(call: Call, source: Call, row: EmailRow, creation: Creation, arguments: CopyArguments) -> KeptMessage:
    """Read the message before the transaction begins. Raises SetError."""
    if others := sorted(creation.given - _SETTABLE):
        # RFC 8621 §4.7: only these properties may be set during the copy
        raise invalid_properties(f"{', '.join(others)}: can't be set while copying.", others)
    if "mailboxIds" not in creation.given:
        raise invalid_properties("mailboxIds: is required.", ["mailboxIds"])
    call.exchange.charge_read(row.size)
    return KeptMessage(blob_hash=row.blob_hash, size=row.size, digest=summarize(source.blobs.get(row.blob_hash)))


def copy(call: Call, source: Call, row: EmailRow, creation: Creation, arguments: CopyArguments) -> int:
    """Add the copy; what was not given is as in the original. Gives the number of the Email. Raises SetError."""
    received = creation.values.get("receivedAt")
    values = {
        "mailboxIds": {call.resolve(text): value for text, value in creation.values["mailboxIds"].items()},
        "keywords": creation.values.get("keywords", dict.fromkeys(row.keywords, True)),
    }
    return add(call, creation.prepared, values, row.received_at if received is None else seconds_of(received))
