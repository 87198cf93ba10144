"""Email/set, update and destroy (RFC 8621 §4.6): which mailboxes an Email is in, and its keywords."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stalwart import store
from stalwart.jmap.arguments import SetArguments
from stalwart.jmap.call import Call
from stalwart.jmap.declare import Write
from stalwart.jmap.errors import SetError, invalid_properties
from stalwart.jmap.ids import row_of
from stalwart.store import EmailRow


def wanted_mailboxes(call: Call, value: Mapping[str, bool]) -> frozenset[int]:
    """The rows in a `mailboxIds`. That they exist is checked when they are written.

    Raises:
        SetError: `invalidProperties`, `tooManyMailboxes`.
    """
    _check_true("mailboxIds", value)
    if not value:
        raise invalid_properties("mailboxIds: an Email is in at least one mailbox.", ["mailboxIds"])  # RFC 8621 §4.1.1
    rows: set[int] = set()
    for text in value:
        row = row_of("M", text)
        if row is None:
            raise no_mailbox(text)
        rows.add(row)
    most = call.limits.max_mailboxes_per_email
    if most is not None and len(rows) > most:
        raise SetError("tooManyMailboxes", f"An Email can be in at most {most} mailboxes.")
    return frozenset(rows)


def wanted_keywords(call: Call, value: Mapping[str, bool]) -> frozenset[str]:
    """The keywords in a `keywords`, in lower case (RFC 8621 §4.1.1).

    Raises:
        SetError: `invalidProperties`, `tooManyKeywords`.
    """
    _check_true("keywords", value)
    keywords = frozenset(keyword.lower() for keyword in value)
    if len(keywords) > call.limits.max_keywords_per_email:
        raise SetError("tooManyKeywords", f"An Email can have at most {call.limits.max_keywords_per_email} keywords.")
    return keywords


def no_mailbox(text: str) -> SetError:
    """What is wrong with a mailbox that doesn't exist."""
    return invalid_properties(f"mailboxIds: there is no mailbox {text[:100]!r}.", ["mailboxIds"])


def _check_true(name: str, value: Mapping[str, bool]) -> None:
    for key, item in value.items():
        if item is not True:
            # RFC 8621 §4.1.1: the value for each key MUST be true
            raise invalid_properties(f"{name}/{key}: must be true, or left out.", [name])


def _update(
    call: Call, row: EmailRow, changed: Mapping[str, Any], arguments: SetArguments
) -> Mapping[str, object] | None:
    mailboxes = wanted_mailboxes(call, changed["mailboxIds"]) if "mailboxIds" in changed else None
    keywords = wanted_keywords(call, changed["keywords"]) if "keywords" in changed else None
    try:
        store.update_email(call.session, call.account.row, row.id, mailbox_ids=mailboxes, keywords=keywords)
    except store.NotFound:
        every = {mailbox.id for mailbox in store.list_mailboxes(call.session, call.account.row)}
        missing = next(iter(sorted((mailboxes or frozenset()) - every)), 0)
        raise no_mailbox(f"M{missing}") from None
    if keywords is not None and keywords != frozenset(changed["keywords"]):
        return {"keywords": dict.fromkeys(sorted(keywords), True)}
    return None


def _destroy(call: Call, row: EmailRow, arguments: SetArguments) -> None:
    store.destroy_email(call.session, call.account.row, row.id)


WRITE: Write[EmailRow] = Write(
    update=_update,
    destroy=_destroy,
    # RFC 8621 §4.6: what the response says of a new Email
    created_properties=("id", "blobId", "threadId", "size"),
)
