"""Mail for mailing lists: put into the queue once, for everybody on the list. RFC 5321 §3.9.2

The octets lie in the blob store before the transaction that queues them, as with what is stored in a mailbox.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from stalwart.delivery import replies
from stalwart.delivery.replies import LmtpError
from stalwart.mail.headers import parse_fields
from stalwart.store import (
    InvalidAddress,
    ListRow,
    NewMessage,
    NewRecipient,
    Session,
    Store,
    enqueue,
    expand_list,
    get_list,
    may_post,
    normalise_address,
)

_HEADER_END = re.compile(rb"\r?\n\r?\n")
_MOST_HOPS = 100  # RFC 5321 §6.3


class PreparedPost(msgspec.Struct, frozen=True, kw_only=True):
    """A message to a list whose octets are on disk and which only has to be queued."""

    list_id: int
    message: NewMessage


def prepare_post(store: Store, list_id: int, sender: str, body: bytes, trace: Callable[[], bytes]) -> PreparedPost:
    """The message to queue for everybody on a list. `body` is the message as it came, `trace` our fields on top of it.

    Blocks on the disk. Raises StoreError; LmtpError where the list doesn't take it.
    """
    # RFC 5321 §4.5.5: what has an empty return path tells its one reader of something; with the owner's instead, a
    # report that went astray could come back as another.
    if not sender:
        raise LmtpError(replies.NO_REPORTS)
    with store.read() as session:
        row = get_list(session, list_id)
        if not may_post(session, row, sender):
            raise LmtpError(replies.NOT_A_MEMBER)
        members = expand_list(session, list_id)
    if not members:
        raise LmtpError(replies.LIST_EMPTY)
    end = _HEADER_END.search(body)
    header = body if end is None else body[: end.end()]
    _refuse_loop(header, row)
    message = trace() + body
    new = NewMessage(
        account_id=None,
        blob_hash=store.blobs.put(message),
        size=len(message),
        # RFC 5321 §3.9.2: the owner's in the envelope, and the header stays as it is. RFC 3461 §5.2.7.1: what was
        # asked for of reports to the author doesn't go along.
        return_path=row.owner,
        recipients=tuple(NewRecipient(address=member) for member in members),
        is_8bit=not body.isascii(),
        needs_smtputf8=not header.isascii() or not row.address.isascii(),
    )
    return PreparedPost(list_id=list_id, message=new)


def queue_post(session: Session, post: PreparedPost) -> int:
    """In the transaction: have it sent; gives its id in the queue. Raises NotFound if the list is gone by now."""
    get_list(session, post.list_id)
    return enqueue(session, post.message)


def _refuse_loop(header: bytes, row: ListRow) -> None:
    """Raise LmtpError if the message has come through the list already.

    RFC 9228: Delivered-To is the trace field that says so, put on top with the Received. List-Id (RFC 2919) is no
    trace: it names one list only, and whoever answers or forwards may take it along.
    """
    hops = 0
    for field in parse_fields(header):
        match field.name.lower():
            case "received":
                hops += 1
            case "delivered-to" if _address(field.raw) == row.address:
                raise LmtpError(replies.LOOP)
    if hops >= _MOST_HOPS:
        raise LmtpError(replies.LOOP, f"{hops} Received fields")


def _address(raw: bytes) -> str | None:
    try:
        return normalise_address(raw.decode("utf-8", "replace").strip().strip("<>"))
    except InvalidAddress:
        return None
