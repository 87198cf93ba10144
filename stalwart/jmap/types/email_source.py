"""The octets of one message, read as late and as little as possible."""

from __future__ import annotations

from collections.abc import Sequence

from stalwart.jmap.call import Call
from stalwart.jmap.ids import MAX_PLACES, Place, part_blob_id
from stalwart.mail.headers import HeaderField, parse_fields
from stalwart.mail.message import Part
from stalwart.store import EmailRow

_READ_WHOLE = 65_536
"""Messages up to this size are read at once: opening a blob costs more than reading that much."""


class Source:
    """A message's octets. What is read counts against what the request may cost.

    `charset` is that of the message's text, in which its header fields may be too. `within` is where the message lies
    in the blob of the row if it isn't that blob (see `PartBlob`); it then comes as `octets`.
    """

    __slots__ = ("_call", "_hash", "_size", "_whole", "_within", "charset")

    def __init__(
        self,
        call: Call,
        row: EmailRow,
        charset: str | None,
        *,
        octets: bytes | None = None,
        within: tuple[Place, ...] = (),
    ) -> None:
        self.charset = charset
        self._call = call
        self._hash = row.blob_hash
        self._size = row.size
        self._whole = octets
        self._within = within

    def part_blob_id(self, part: Part) -> str | None:
        """The blobId of a part; None where messages lie so deep in each other that there is none."""
        if len(self._within) >= MAX_PLACES:
            return None
        return part_blob_id(self._hash, part.body_start, part.body_end, part.encoding, self._within)

    def octets(self, start: int, end: int) -> bytes:
        """The octets from `start` up to `end`. Raises RequestTooLarge when the request has read too much."""
        if self._whole is None:
            if self._size > _READ_WHOLE:
                self._call.exchange.charge_read(end - start)
                return self._call.blobs.get(self._hash, start, end - start)
            self._call.exchange.charge_read(self._size)
            self._whole = self._call.blobs.get(self._hash)
        return self._whole[start:end]

    def charge(self, octets: int) -> None:
        """Count what is read once more. Raises RequestTooLarge when the request has read too much."""
        self._call.exchange.charge_read(octets)

    def fields(self, part: Part) -> Sequence[HeaderField]:
        """The header fields of a part of the message."""
        return parse_fields(self.octets(part.header_start, part.body_start))
