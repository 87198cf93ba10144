"""Delivery status notifications: what became of a message, told to its sender (RFC 3464, RFC 6522, RFC 6533).

Ours are built here, and those of other systems are read, however they came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, get_args

import msgspec

from stalwart.mail.addresses import Address, AddressGroup
from stalwart.mail.bodies import decode_part
from stalwart.mail.build import Contents, NewPart
from stalwart.mail.build import build as build_message
from stalwart.mail.build_fields import address_field, date_field, format_moment, message_id_field, text_field
from stalwart.mail.comments import strip_comments
from stalwart.mail.fields import scan_header
from stalwart.mail.headers import unfolded
from stalwart.mail.message import Part, scan

__all__ = ["Action", "Letter", "RecipientReport", "Report", "build", "parse", "read_group", "typed_value"]

#: RFC 3464 §2.3.3
Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]

#: Octets and recipients of a foreign report that are read.
_MAX_REPORT: Final = 1 << 20
_MAX_RECIPIENTS: Final = 1000
_MAX_TEXT: Final = 2000
_MAX_WORD: Final = 900

_ACTIONS: Final[dict[str, Action]] = {action: action for action in get_args(Action)}
_STATUS: Final = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", re.ASCII)
_STATUS_TYPES: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_BLANK_LINES: Final = re.compile(rb"\n(?:[ \t]*+\n)++")
_CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160), 0x2028, 0x2029, *range(0xD800, 0xE000)), " ")
_SUBJECTS: Final[dict[Action, str]] = {
    "failed": "Mail could not be delivered",
    "delayed": "Mail is delayed",
    "delivered": "Mail was delivered",
    "relayed": "Mail was passed on",
    "expanded": "Mail was passed on",
}
_INTRODUCTIONS: Final[dict[Action, str]] = {
    "failed": "Your message could not be delivered to the recipients below. It will not be tried again.",
    "delayed": "Your message could not be delivered yet to the recipients below. It is still being tried; you need "
    "not send it again.",
    "delivered": "Your message was delivered to the recipients below.",
    "relayed": "Your message was passed on to a server that sends no notification of delivery, for the recipients "
    "below.",
    "expanded": "Your message was delivered to the recipients below, and sent on from there to others.",
}
_DEFAULT_STATUS: Final[dict[Action, str]] = {
    "failed": "5.0.0",
    "delayed": "4.0.0",
    "delivered": "2.0.0",
    "relayed": "2.0.0",
    "expanded": "2.0.0",
}


class RecipientReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message for one recipient (RFC 3464 §2.3).

    `original` is the address that the sender gave (ORCPT, decoded, without its type); `diagnostic` is the answer of
    the server named `remote`; times are in seconds since the epoch.
    """

    address: str
    action: Action
    status: str
    original: str | None = None
    diagnostic: str | None = None
    remote: str | None = None
    last_attempt_at: int | None = None
    retry_until: int | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery status notification without the text for people. `env_id` is decoded, `arrived_at` epoch seconds."""

    reporting_mta: str
    recipients: tuple[RecipientReport, ...]
    env_id: str | None = None
    arrived_at: int | None = None


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """The mail that a report travels in. `sent_at` is in seconds since the epoch, `message_id` without brackets.

    `original` gives the octets of the message that it is about: all of them if `is_whole`, else its header (RFC 3461
    §4.3).
    """

    sender: str
    recipient: str
    message_id: str
    sent_at: int
    original: Contents
    is_whole: bool = False


def build(report: Report, letter: Letter, random_token: Callable[[], str]) -> Iterator[bytes]:
    """The notification as a message in pieces, to be sent with an empty return path (RFC 3464 §2).

    `random_token` gives letters and digits nobody can guess, for the boundaries. Raises InvalidValue when sender or
    recipient is no address, and ValueError for a report on nobody.
    """
    if not report.recipients:
        raise ValueError("a delivery status notification needs a recipient that it is about")
    worst = _worst(report.recipients)
    # RFC 6533 §3: addresses that aren't ASCII need the types made for them
    is_global = not all((one.address + (one.original or "")).isascii() for one in report.recipients)
    fields = (
        address_field("From", [AddressGroup(None, (Address("Mail Delivery System", letter.sender),))]),
        address_field("To", [AddressGroup(None, (Address(None, letter.recipient),))]),
        text_field("Subject", _SUBJECTS[worst]),
        date_field("Date", datetime.fromtimestamp(letter.sent_at, UTC)),
        message_id_field("Message-ID", [letter.message_id]),
        text_field("Auto-Submitted", "auto-replied"),  # RFC 3834 §5
    )
    status = "message/global-delivery-status" if is_global else "message/delivery-status"
    body = NewPart(
        type="multipart/report",
        parameters=(("report-type", "delivery-status"),),
        sub_parts=(
            NewPart(type="text/plain", content=_text(report)),
            NewPart(type=status, content=_pieces(_status_fields(report, is_global))),
            NewPart(type=_original_type(letter, is_global), content=letter.original),
        ),
    )
    return build_message(fields, body, random_token)


def parse(message: bytes) -> Report | None:
    """What a notification says, of any origin; None for a message that is none, or says nothing of any recipient."""
    root, _ = scan(message)
    part = _status_part(root)
    if part is None:
        return None
    content = decode_part(message, part)[:_MAX_REPORT].replace(b"\r\n", b"\n").replace(b"\r", b"\n").strip()
    blocks = _BLANK_LINES.split(content, _MAX_RECIPIENTS + 1)[: _MAX_RECIPIENTS + 1]
    groups = [read_group(block) for block in blocks]
    first = groups[0]
    # RFC 3464 §2.1: the first group is of the message. Some senders forget the blank line after it.
    recipients = [found for group in groups if (found := _recipient(group)) is not None]
    if not recipients:
        return None
    env_id = _one_line(first.get("original-envelope-id", ""))
    return Report(
        reporting_mta=typed_value(first.get("reporting-mta", "")) or "",
        recipients=tuple(recipients),
        env_id=env_id or None,
    )


def _original_type(letter: Letter, is_global: bool) -> str:
    if letter.is_whole:
        return "message/global" if is_global else "message/rfc822"
    return "message/global-headers" if is_global else "text/rfc822-headers"


def _worst(recipients: Sequence[RecipientReport]) -> Action:
    actions = {one.action for one in recipients}
    return next(action for action in _SUBJECTS if action in actions)


def _one_line(text: str) -> str:
    return " ".join(text.translate(_CONTROLS).split())[:_MAX_TEXT]


def _text(report: Report) -> str:
    lines = [f"This is the mail system at {_one_line(report.reporting_mta)}.", ""]
    for action, introduction in _INTRODUCTIONS.items():
        about = [one for one in report.recipients if one.action == action]
        if not about:
            continue
        lines += [introduction, ""]
        for one in about:
            lines.append(f"<{_one_line(one.address)}>")
            if one.original is not None and one.original != one.address:
                lines.append(f"    sent to: <{_one_line(one.original)}>")
            if one.diagnostic is not None:
                by = f"{_one_line(one.remote)} answered: " if one.remote is not None else ""
                lines.append(f"    {by}{_one_line(one.diagnostic)}")
            if one.retry_until is not None:
                lines.append(f"    It is tried until {_date(one.retry_until)}.")
        lines.append("")
    return "\n".join(lines)


def _status_fields(report: Report, is_global: bool) -> bytes:
    """RFC 3464 §2.2 and §2.3: a group of fields on the message, and one for each recipient."""
    address_type = "utf-8" if is_global else "rfc822"
    groups = [
        [
            ("Original-Envelope-Id", report.env_id),
            ("Reporting-MTA", f"dns; {report.reporting_mta}"),
            ("Arrival-Date", None if report.arrived_at is None else _date(report.arrived_at)),
        ]
    ]
    for one in report.recipients:
        status = one.status if _STATUS.fullmatch(one.status) else _DEFAULT_STATUS[one.action]
        groups.append(
            [
                ("Original-Recipient", None if one.original is None else f"{address_type}; {one.original}"),
                ("Final-Recipient", f"{address_type}; {one.address}"),
                ("Action", one.action),
                ("Status", status),
                ("Remote-MTA", None if one.remote is None else f"dns; {one.remote}"),
                ("Diagnostic-Code", None if one.diagnostic is None else f"smtp; {one.diagnostic}"),
                ("Last-Attempt-Date", None if one.last_attempt_at is None else _date(one.last_attempt_at)),
                ("Will-Retry-Until", None if one.retry_until is None else _date(one.retry_until)),
            ]
        )
    return b"\r\n".join(b"".join(_line(name, text, is_global) for name, text in group) for group in groups)


def _line(name: str, text: str | None, is_global: bool) -> bytes:
    if text is None:
        return b""
    # What peers say is theirs: it begins no line, and a long one is folded at its blanks.
    words = [piece for word in _one_line(text).split(" ") for piece in _cut(word)]
    lines = [name + ":"]
    for word in words:
        if len(lines[-1]) + len(word) > 76 and lines[-1].strip():
            lines.append("")
        lines[-1] += " " + word
    charset = "utf-8" if is_global else "ascii"
    return "\r\n".join(lines).encode(charset, "replace") + b"\r\n"


def _cut(word: str) -> list[str]:
    # RFC 5322 §2.1.1: no line has more than 998 octets
    if len(word.encode()) <= _MAX_WORD:
        return [word]
    size = _MAX_WORD // 4
    return [word[start : start + size] for start in range(0, len(word), size)]


def _date(seconds: int) -> str:
    return format_moment(datetime.fromtimestamp(seconds, UTC))


def _pieces(octets: bytes) -> Contents:
    return lambda: (octets,)


def _status_part(root: Part) -> Part | None:
    """The part of a report that programs read: directly in the message's own multipart, whatever that is called."""
    if root.type in _STATUS_TYPES:
        return root
    return next((part for part in root.sub_parts or () if part.type in _STATUS_TYPES), None)


def read_group(block: bytes) -> dict[str, str]:
    """The fields of a group, by their names in lower case; of several of one name the first."""
    fields: dict[str, str] = {}
    for span in scan_header(block, 0, len(block), len(block)).fields:
        value = unfolded(block[span.value_start : span.value_end][:_MAX_TEXT])
        fields.setdefault(span.name.decode("ascii"), value)
    return fields


def _recipient(group: dict[str, str]) -> RecipientReport | None:
    address = typed_value(group.get("final-recipient", "")) or typed_value(group.get("original-recipient", ""))
    action = _ACTIONS.get(strip_comments(group.get("action", "")).strip().lower())
    if not address or action is None:
        return None
    status = _STATUS.search(strip_comments(group.get("status", "")))
    return RecipientReport(
        address=address,
        action=action,
        status=status[0] if status else _DEFAULT_STATUS[action],
        original=typed_value(group.get("original-recipient", "")),
        diagnostic=typed_value(group.get("diagnostic-code", "")),
        remote=typed_value(group.get("remote-mta", "")),
    )


def typed_value(value: str) -> str | None:
    """RFC 3464 §2.1.2: what follows the type; some senders leave the type out, or put angle brackets around."""
    _, semicolon, text = value.partition(";")
    found = _one_line(text if semicolon else value)
    if found.startswith("<") and found.endswith(">"):
        found = found[1:-1].strip()
    return found or None
