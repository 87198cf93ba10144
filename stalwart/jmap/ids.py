"""The ids that clients see, made of the store's numbers and hashes, and back.

An id starts with a letter that says what it names (RFC 8620 §1.2 advises that), so an Email's id is never taken for
a Mailbox's. The blobId of a body part names the place of the part inside its message, and needs no table.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

_MAX_ROW = 2**63 - 1
_BLOB = re.compile(r"b([a-z2-7]{52})", re.ASCII)
_PART = re.compile(r"p([a-z2-7]{52})-(0|[1-9][0-9]{0,11})-(0|[1-9][0-9]{0,11})-([ibq])", re.ASCII)

Encoding = Literal["identity", "base64", "quoted-printable"]
_LETTERS: dict[str, str] = {"identity": "i", "base64": "b", "quoted-printable": "q"}
_ENCODINGS: dict[str, Encoding] = {"i": "identity", "b": "base64", "q": "quoted-printable"}


class WholeBlob(msgspec.Struct, frozen=True, kw_only=True):
    """A message or an upload, by its hash."""

    hash: str


class PartBlob(msgspec.Struct, frozen=True, kw_only=True):
    """The octets from `start` up to `end` of the message `hash`, to be decoded."""

    hash: str
    start: int
    end: int
    encoding: Encoding


def row_of(prefix: str, text: str) -> int | None:
    """The store's number in the id `text`, or None when it is not an id that this server gives out."""
    try:
        row = int(text[1:])
    except ValueError:
        return None
    # What int() lets through beside the one way in which we write it: spaces, signs, zeros, other digits.
    return row if f"{prefix}{row}" == text and 0 < row <= _MAX_ROW else None


def blob_id(blob_hash: str) -> str:
    """The blobId of a message or an upload."""
    return "b" + blob_hash


def part_blob_id(blob_hash: str, start: int, end: int, encoding: str) -> str:
    """The blobId of a body part; `start` and `end` are octets in the message, before decoding."""
    return f"p{blob_hash}-{start}-{end}-{_LETTERS.get(encoding, 'i')}"


def parse_blob_id(text: str) -> WholeBlob | PartBlob | None:
    """What the blobId names, or None when it is not one of ours."""
    if match := _BLOB.fullmatch(text):
        return WholeBlob(hash=match[1])
    if match := _PART.fullmatch(text):
        start, end = int(match[2]), int(match[3])
        if start <= end:
            return PartBlob(hash=match[1], start=start, end=end, encoding=_ENCODINGS[match[4]])
    return None
