"""The header fields that final delivery puts on top of a message, and the one that it takes out."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime

_RETURN_PATH = re.compile(rb"(?im)^return-path[ \t]*:")
_HEADER_END = re.compile(rb"^\r?\n", re.MULTILINE)
# RFC 5322 §2.2: a field name is printable ASCII without the colon; a folded line starts with white space.
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:[^\n]*(?:\n|\Z)(?:[ \t][^\n]*(?:\n|\Z))*")


def trace_fields(
    *,
    delivery_id: str,
    sender: str | None,
    recipient: str,
    client: str,
    peer: str,
    hostname: str,
    protocol: str,
    at: float,
) -> bytes:
    """Return-Path, Delivered-To and Received for one recipient. `sender` None: the message goes on, and has its
    return path in the envelope only.

    `client` is the name from LHLO, `peer` the client's IP address or "" for a Unix socket, `protocol` one that
    RFC 3848 or RFC 6531 §4.3 name, `at` seconds since the epoch. RFC 5321 §4.4.
    """
    address = f" ([{'IPv6:' if ':' in peer else ''}{peer}])" if peer else ""
    date = format_datetime(datetime.fromtimestamp(int(at), UTC))
    return_path = "" if sender is None else f"Return-Path: <{sender}>\r\n"
    return (
        f"{return_path}"
        f"Delivered-To: {recipient}\r\n"
        f"Received: from {client}{address}\r\n"
        f"\tby {hostname} with {protocol} id {delivery_id};\r\n"
        f"\t{date}\r\n"
    ).encode()


def without_return_path(message: bytes) -> bytes:
    """The message without Return-Path fields in its header: the one on top is to be ours. RFC 5321 §4.4."""
    header_end = _HEADER_END.search(message)
    if not _RETURN_PATH.search(message, 0, header_end.start() if header_end else len(message)):
        return message
    place = kept_from = 0
    kept: list[bytes] = []
    # Field by field, so that neither a folded line nor the body can be taken for the field.
    while field := _FIELD.match(message, place):
        if _RETURN_PATH.match(message, place):
            kept.append(message[kept_from:place])
            kept_from = field.end()
        place = field.end()
    kept.append(message[kept_from:])
    return b"".join(kept)
