"""Reports about messages in the queue: which recipients the sender is told of, and what the reports of others say."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from stalwart.mail import dsn
from stalwart.mail.dsn import Action, Letter, RecipientReport, Report
from stalwart.mail.mdn import Notification
from stalwart.store import QueueMessageRow, QueueRecipientRow, QueueStatus, Session, queue, queue_reports
from stalwart.store.queue_rows import Attempt

_HEADER_END = re.compile(rb"\r?\n\r?\n")
_ENHANCED = re.compile(r"\d{3}[ -]([245]\.\d{1,3}\.\d{1,3})\b", re.ASCII)
# What is reported, and what the NOTIFY parameter calls it. RFC 3461 §4.1
_WORDS: dict[Action, str] = {"failed": "FAILURE", "delayed": "DELAY", "delivered": "SUCCESS", "relayed": "SUCCESS"}
# A relay or list beyond the next server says nothing of what became of the mail.
_NEWS: dict[Action, QueueStatus] = {"failed": "failed", "delivered": "delivered"}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an attempt to reach a recipient. `takes_dsn`: the next server reports success itself."""

    recipient: QueueRecipientRow
    attempt: Attempt
    takes_dsn: bool = False


def told_of(message: QueueMessageRow, results: Sequence[Result], now: int) -> list[tuple[Result, Action]]:
    """Of which results the sender of the message is told, and as what. RFC 3461 §5.2"""
    if not message.return_path:  # RFC 5321 §6.1: no report about a report
        return []
    is_late = message.warn_at is not None and now >= message.warn_at
    told: list[tuple[Result, Action]] = []
    for result in results:
        action = _action(result, is_late)
        if action is not None and _wants(result.recipient.notify, action):
            told.append((result, action))
    return told


def late_as_well(session: Session, message: QueueMessageRow, results: Sequence[Result]) -> list[Result]:
    """The other recipients of a message who wait still: its sender is warned once, about all of them."""
    known = {result.recipient.id for result in results}
    found = queue.get_queue_messages(session, [message.id])
    return [
        Result(
            recipient=each,
            attempt=Attempt(
                at=each.last_attempt_at or message.created_at,
                status="queued",
                reply=each.reply or "",
                peer=each.peer or "",
            ),
        )
        for one in found
        for each in one.recipients
        if each.status == "queued" and each.id not in known
    ]


def is_sent_back_whole(message: QueueMessageRow, told: Sequence[tuple[Result, Action]]) -> bool:
    """Whether the report carries all of the message, and not only its header."""
    # RFC 3461 §4.3: RET=FULL goes for failures; without a word the header has to do.
    return message.ret == "FULL" and any(action == "failed" for _, action in told)


def build_report(
    message: QueueMessageRow,
    told: Sequence[tuple[Result, Action]],
    original: bytes,
    *,
    hostname: str,
    now: int,
    random_token: Callable[[], str],
) -> bytes:
    """The report as mail to the message's return path, to be sent with an empty one. Raises InvalidValue."""
    is_whole = is_sent_back_whole(message, told)
    end = _HEADER_END.search(original)
    shown = original if is_whole or end is None else original[: end.start()] + b"\r\n"
    report = Report(
        reporting_mta=hostname,
        recipients=tuple(_recipient(message, result, action) for result, action in told),
        env_id=message.env_id,
        arrived_at=message.created_at,
    )
    letter = Letter(
        sender=f"MAILER-DAEMON@{hostname}",
        recipient=message.return_path,
        message_id=f"{random_token()}@{hostname}",
        sent_at=now,
        original=lambda: (shown,),
        is_whole=is_whole,
    )
    return b"".join(dsn.build(report, letter, random_token))


def note_report(s: Session, account_id: int, report: Report, blob_hash: str) -> bool:
    """Note what a report says of a message that the account has sent; False if it is about none. RFC 3464 §2.3"""
    if report.env_id is None:
        return False
    message = queue_reports.find_sent(s, account_id, report.env_id)
    if message is None:
        return False
    said: dict[str, QueueStatus] = {}
    for about in report.recipients:
        if about.action in _NEWS:
            for address in (about.address, about.original):
                if address is not None:
                    said[address.lower()] = _NEWS[about.action]
    statuses = {each.id: said[each.address.lower()] for each in message.recipients if each.address.lower() in said}
    queue_reports.record_report(s, message, blob_hash, statuses)
    return True


def note_notification(s: Session, account_id: int, notification: Notification, blob_hash: str) -> bool:
    """Note that somebody was shown a message that the account has sent to them; False if it is about none.

    RFC 8098 has no envelope id: the Message-ID tells the message, and one of its recipients must be who speaks.
    """
    speakers = {address.lower() for address in notification.recipients}
    for message in queue_reports.sent_with_id(s, account_id, notification.message_id):
        for each in message.recipients:
            if not speakers.isdisjoint((each.address.lower(), (_original(each.orcpt) or each.address).lower())):
                queue_reports.record_notification(s, message, blob_hash, each.id, notification.is_displayed)
                return True
    return False


def _action(result: Result, is_late: bool) -> Action | None:
    match result.attempt.status:
        case "failed" | "expired":
            return "failed"
        case "queued":
            return "delayed" if is_late else None
        case "delivered":
            return "delivered"
        case "relayed":
            # RFC 3461 §5.2.2: from a server without DSN nothing more will be heard.
            return None if result.takes_dsn else "relayed"
        case _:
            return None


def _wants(notify: str | None, action: Action) -> bool:
    # RFC 3461 §4.1: without a NOTIFY, failures are reported, delays may be, and success isn't.
    return _WORDS[action] in ("FAILURE,DELAY" if notify is None else notify.upper()).split(",")


def _recipient(message: QueueMessageRow, result: Result, action: Action) -> RecipientReport:
    recipient, attempt = result.recipient, result.attempt
    found = _ENHANCED.match(attempt.reply)
    default = {"failed": "5.4.7" if attempt.status == "expired" else "5.0.0", "delayed": "4.0.0"}.get(action, "2.0.0")
    status = found[1] if found and attempt.status != "expired" else default
    return RecipientReport(
        address=recipient.address,
        action=action,
        status=status,
        original=_original(recipient.orcpt),
        diagnostic=attempt.reply or None,
        remote=attempt.peer.partition(" ")[0] or None,
        last_attempt_at=attempt.at,
        retry_until=message.expires_at if action == "delayed" else None,
    )


def _original(orcpt: str | None) -> str | None:
    """The address in an ORCPT, which is kept before xtext."""
    if orcpt is None:
        return None
    _, semicolon, text = orcpt.partition(";")
    return text if semicolon and text else None
