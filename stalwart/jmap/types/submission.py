"""EmailSubmissions (RFC 8621 §7): messages on their way, who gets them, and what became of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Raw

from stalwart import store
from stalwart.jmap.arguments import Id, SetArguments, UTCDate
from stalwart.jmap.call import Call
from stalwart.jmap.declare import (
    Comparator,
    DataType,
    FilterCondition,
    Found,
    FoundChanges,
    Operator,
    Property,
    Query,
    Search,
    SearchChanges,
    Show,
    SortKey,
    Write,
    show_plainly,
    table,
)
from stalwart.jmap.errors import AnchorNotFound, SetError, invalid_properties
from stalwart.jmap.ids import blob_id, row_of
from stalwart.jmap.limits import Limits
from stalwart.jmap.types.email_query import seconds_from
from stalwart.jmap.types.identity import URI
from stalwart.jmap.types.submission_create import create_submission, prepare_submission
from stalwart.jmap.types.submission_envelope import Envelope
from stalwart.store import QueueRecipientRow, QueueStatus, SubmissionRow, UndoStatus, submission_query
from stalwart.store.submission_query import SubmissionColumn, SubmissionFilter

_NAME = "EmailSubmission"
_OF_THE_QUEUE = ("deliveryStatus", "dsnBlobIds", "mdnBlobIds")

_DELIVERED: Mapping[QueueStatus, Literal["queued", "yes", "no", "unknown"]] = {
    "queued": "queued",
    "delivered": "yes",
    # RFC 8621 §7: relaying is no indication that it has reached the mail store
    "relayed": "unknown",
    "failed": "no",
    "expired": "no",
    "canceled": "no",
}
# RFC 8621 §7: where no server has answered, a text of that form
_REPLIES: Mapping[QueueStatus, str] = {
    "queued": "250 2.0.0 Queued",
    "delivered": "250 2.1.5 Delivered",
    "relayed": "250 2.1.5 Relayed",
    "failed": "550 5.0.0 Not delivered",
    "expired": "550 5.4.7 Not delivered in time",
    "canceled": "550 5.7.0 Canceled before it was sent",
}


class SubmissionSetArguments(SetArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 8621 §7.5."""

    on_success_update_email: dict[Id, dict[str, Any]] | None = None
    on_success_destroy_email: list[Id] | None = None


def of_account(limits: Limits, is_own: bool) -> Mapping[str, Any]:
    """What the account's capability says (RFC 8621 §1.3.2). Nothing is sent from the account of somebody else."""
    if not is_own:
        return {"maxDelayedSend": 0, "submissionExtensions": {}}
    extensions = ["DSN", "SIZE", *(["FUTURERELEASE"] if limits.max_delayed_send else [])]
    return {
        "maxDelayedSend": limits.max_delayed_send,
        "submissionExtensions": {name: [] for name in extensions},
    }


def _fetch(call: Call, rows: Sequence[int] | None) -> Mapping[int, SubmissionRow]:
    account = call.account.row
    if rows is None:  # RFC 8621 §7.1: null for all, if they aren't too many
        found = store.list_submissions(call.session, account, call.limits.max_objects_in_get + 1)
        by_id = {row.id: row for row in found}
    else:
        known = store.get_submissions(call.session, account, rows)
        by_id = {row: known[row] for row in rows if row in known}
    # Of many recipients an envelope is as long as a message.
    call.exchange.charge_read(sum(len(row.envelope) for row in by_id.values()))
    return by_id


def _view(call: Call, wanted: Sequence[str], arguments: object) -> Show[SubmissionRow]:
    plain = show_plainly(PROPERTIES, [name for name in wanted if name not in _OF_THE_QUEUE])

    def show(row: SubmissionRow) -> object:
        shown: dict[str, object] = plain(row)  # type: ignore[assignment]
        if "deliveryStatus" in wanted:
            recipients = store.submission_recipients(call.session, row.id)
            shown["deliveryStatus"] = {recipient.address: _status(recipient) for recipient in recipients}
        if "dsnBlobIds" in wanted:
            shown["dsnBlobIds"] = [blob_id(one) for one in store.submission_reports(call.session, row.id, "dsn")]
        if "mdnBlobIds" in wanted:
            shown["mdnBlobIds"] = [blob_id(one) for one in store.submission_reports(call.session, row.id, "mdn")]
        return shown

    return show


def _status(recipient: QueueRecipientRow) -> Mapping[str, str]:
    return {
        "smtpReply": recipient.reply or _REPLIES[recipient.status],
        "delivered": _DELIVERED[recipient.status],
        "displayed": "yes" if recipient.is_displayed else "unknown",
    }


def _update(call: Call, row: SubmissionRow, changed: Mapping[str, Any], arguments: object) -> None:
    _check_owner(call)
    if changed["undoStatus"] != "canceled":
        # RFC 8621 §7: a client may only cancel
        raise invalid_properties('undoStatus: can only be set to "canceled".', ["undoStatus"])
    if row.undo_status != "pending" or not store.cancel_submission(call.session, row.id):
        raise SetError("cannotUnsend", "It was sent to somebody already, or is being sent.")


def _destroy(call: Call, row: SubmissionRow, arguments: object) -> None:
    _check_owner(call)
    store.destroy_submission(call.session, call.account.row, row.id)


def _check_owner(call: Call) -> None:
    if not call.account.is_personal:
        raise SetError("forbidden", "Only the owner of the account changes what it sends.")


def _finish(call: Call, written: Mapping[str, SubmissionRow], arguments: SubmissionSetArguments) -> None:
    """RFC 8621 §7.5: one implicit Email/set after all else, about the Emails of those that succeeded."""
    update: dict[str, dict[str, Any]] = {}
    for text, patch in (arguments.on_success_update_email or {}).items():
        if (row := written.get(call.resolve(text))) is not None:
            update.setdefault(f"E{row.email_id}", {}).update(patch)
    destroyed = [written.get(call.resolve(text)) for text in arguments.on_success_destroy_email or ()]
    destroy = list(dict.fromkeys(f"E{row.email_id}" for row in destroyed if row is not None))
    if update or destroy:
        call.follow("Email/set", {"accountId": call.account.id, "update": update or None, "destroy": destroy or None})


def _among(prefix: str, column: SubmissionColumn) -> FilterCondition[SubmissionFilter]:
    def build(call: Call, value: list[str]) -> SubmissionFilter:
        found = (row_of(prefix, text) for text in call.resolve_all(value))
        return submission_query.among(column, [row for row in found if row is not None])

    return FilterCondition(type=list[Id], build=build)


def _before(call: Call, value: str) -> SubmissionFilter:
    return submission_query.sent_before(seconds_from(value, "before"))


def _after(call: Call, value: str) -> SubmissionFilter:
    return submission_query.sent_since(seconds_from(value, "after"))


def _combine(operator: Operator, conditions: Sequence[SubmissionFilter]) -> SubmissionFilter:
    match operator:
        case "AND":
            return submission_query.all_of(conditions)
        case "OR":
            return submission_query.any_of(conditions)
        case "NOT":
            return submission_query.none_of(conditions)


_SORTED_BY: Mapping[str, SubmissionColumn] = {
    "emailId": "email_id",
    "threadId": "thread_id",
    "sentAt": "send_at",
    "sendAt": "send_at",
}


def _sorts(sort: Sequence[Comparator]) -> list[tuple[SubmissionColumn, bool]]:
    return [(_SORTED_BY[comparator.property], comparator.is_ascending) for comparator in sort]


def _search(call: Call, search: Search[SubmissionFilter], arguments: object) -> Found:
    """RFC 8621 §7.3."""
    try:
        found = submission_query.query_submissions(
            call.session,
            call.account.row,
            search.filter,
            _sorts(search.sort),
            position=search.position,
            anchor=search.anchor,
            anchor_offset=search.anchor_offset,
            limit=search.limit,
            calculate_total=search.calculate_total,
        )
    except store.AnchorNotFound:
        raise AnchorNotFound("The anchor is not among the results.") from None
    return Found(rows=found.ids, position=found.position, total=found.total)


def _search_changes(call: Call, search: SearchChanges[SubmissionFilter], arguments: object) -> FoundChanges:
    """RFC 8621 §7.4. Whatever has changed is taken out and, if it still matches, put in again."""
    session, account = call.session, call.account.row
    changed = store.changes(session, account, _NAME, search.since, call.limits.max_changes)
    if changed.has_more:
        raise store.CannotCalculateChanges("too much has changed")
    moved = [*changed.created, *changed.updated]
    total = submission_query.count_submissions(session, account, search.filter) if search.calculate_total else None
    return FoundChanges(
        removed=[*changed.updated, *changed.destroyed],
        added=submission_query.submission_places(session, account, search.filter, _sorts(search.sort), moved),
        total=total,
    )


def _server_set(name: str, type_: Any, read: Callable[[SubmissionRow], object] | None) -> Property[SubmissionRow]:
    return Property(name=name, type=type_, read=read, set_by="server", immutable=True)


PROPERTIES: Mapping[str, Property[SubmissionRow]] = table(
    _server_set("id", Id, lambda row: f"S{row.id}"),
    Property(name="identityId", type=Id, read=lambda row: f"I{row.identity_id}", immutable=True, references="value"),
    Property(name="emailId", type=Id, read=lambda row: f"E{row.email_id}", immutable=True, references="value"),
    _server_set("threadId", Id, lambda row: f"T{row.thread_id}"),
    Property(
        name="envelope",
        type=Envelope | None,
        read=lambda row: Raw(row.envelope.encode()),
        default=None,
        immutable=True,
    ),
    _server_set("sendAt", UTCDate, lambda row: datetime.fromtimestamp(row.send_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
    Property(name="undoStatus", type=UndoStatus, read=lambda row: row.undo_status, default="pending"),
    _server_set("deliveryStatus", dict[str, Any] | None, None),
    _server_set("dsnBlobIds", list[Id], None),
    _server_set("mdnBlobIds", list[Id], None),
)

SUBMISSION: DataType[SubmissionRow, SubmissionFilter] = DataType(
    name=_NAME,
    capability=URI,
    prefix="S",
    properties=PROPERTIES,
    fetch=_fetch,
    view=_view,
    query=Query(
        filters={
            "identityIds": _among("I", "identity_id"),
            "emailIds": _among("E", "email_id"),
            "threadIds": _among("T", "thread_id"),
            "undoStatus": FilterCondition(
                type=UndoStatus, build=lambda call, value: submission_query.has_undo_status(value)
            ),
            "before": FilterCondition(type=UTCDate, build=_before),
            "after": FilterCondition(type=UTCDate, build=_after),
        },
        sorts={name: SortKey() for name in _SORTED_BY},
        combine=_combine,
        search=_search,
        changes=_search_changes,
    ),
    write=Write(
        arguments=SubmissionSetArguments,
        prepare=prepare_submission,
        create=create_submission,
        update=_update,
        destroy=_destroy,
        finish=_finish,
    ),
)
