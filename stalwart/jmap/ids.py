"""The ids that clients see, made of the store's numbers and hashes, and back.

An id starts with a letter that says what it names (RFC 8620 §1.2 advises that), so an Email's id is never taken for
a Mailbox's. The blobId of a body part names the place of the part inside its message, and needs no table.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

MAX_PLACES = 6
"""Messages within messages whose parts have ids: more would not fit into the 255 characters of an id."""
_MAX_ROW = 2**63 - 1
_BLOB = re.compile(r"b([a-z2-7]{52})", re.ASCII)
_PLACE = re.compile(r"-(0|[1-9][0-9]{0,11})-(0|[1-9][0-9]{0,11})-([ibq])", re.ASCII)
_PART = re.compile(rf"p([a-z2-7]{{52}})((?:{_PLACE.pattern}){{1,{MAX_PLACES}}})", re.ASCII)

Encoding = Literal["identity", "base64", "quoted-printable"]
_LETTERS: dict[str, str] = {"identity": "i", "base64": "b", "quoted-printable": "q"}
_ENCODINGS: dict[str, Encoding] = {"i": "identity", "b": "base64", "q": "quoted-printable"}


class WholeBlob(msgspec.Struct, frozen=True, kw_only=True):
    """A message or an upload, by its hash."""

    hash: str


class Place(msgspec.Struct, frozen=True):
    """The octets of a message from `start` up to `end`, to be decoded."""

    start: int
    end: int
    encoding: Encoding


class PartBlob(msgspec.Struct, frozen=True, kw_only=True):
    """The octets from `start` up to `end` of the message `hash`, to be decoded.

    `within` are the places of the attached messages around the part, from the outside: the first is in the message
    `hash`, each other one in the decoded octets of that before it, and so are `start` and `end` in the last one's.
    """

    hash: str
    start: int
    end: int
    encoding: Encoding
    within: tuple[Place, ...] = ()

    @property
    def places(self) -> tuple[Place, ...]:
        """The places from the outside, the part's own the last."""
        return (*self.within, Place(self.start, self.end, self.encoding))


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


def part_blob_id(blob_hash: str, start: int, end: int, encoding: str, within: tuple[Place, ...] = ()) -> str:
    """The blobId of a body part; `start` and `end` are octets in the message, before decoding. See `PartBlob`."""
    outside = "".join(f"-{place.start}-{place.end}-{_LETTERS[place.encoding]}" for place in within)
    return f"p{blob_hash}{outside}-{start}-{end}-{_LETTERS.get(encoding, 'i')}"


def parse_blob_id(text: str) -> WholeBlob | PartBlob | None:
    """What the blobId names, or None when it is not one of ours."""
    if match := _BLOB.fullmatch(text):
        return WholeBlob(hash=match[1])
    if match := _PART.fullmatch(text):
        *within, last = (
            Place(int(start), int(end), _ENCODINGS[letter]) for start, end, letter in _PLACE.findall(match[2])
        )
        if all(place.start <= place.end for place in (*within, last)):
            return PartBlob(hash=match[1], start=last.start, end=last.end, encoding=last.encoding, within=tuple(within))
    return None
