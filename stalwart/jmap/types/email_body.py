"""The body of an Email: its parts as clients want them, and the text of those parts (RFC 8621 §4.1.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from stalwart.jmap.errors import InvalidArguments
from stalwart.jmap.types.email_headers import HeaderProperty, all_headers, header_property, header_value
from stalwart.jmap.types.email_source import Source
from stalwart.mail.bodies import BodyLists, body_lists, body_value, walk
from stalwart.mail.message import Part, decode_structure
from stalwart.store import EmailRow

DEFAULT_PART_PROPERTIES = (
    "partId",
    "blobId",
    "size",
    "name",
    "type",
    "charset",
    "disposition",
    "cid",
    "language",
    "location",
)

_PRICE_OF_PROPERTY = 30
"""Octets that one property of one part has in an answer, about. A message of many parts is small."""

_PLAIN: dict[str, Callable[[Part], object]] = {
    "partId": lambda part: part.part_id,
    "size": lambda part: part.size,
    "name": lambda part: part.name,
    "type": lambda part: part.type,
    "charset": lambda part: part.charset,
    "disposition": lambda part: part.disposition,
    "cid": lambda part: part.cid,
    "language": lambda part: part.language,
    "location": lambda part: part.location,
}
PART_PROPERTIES = (*_PLAIN, "blobId", "headers", "subParts")


class PartView:
    """Which properties of body parts were asked for. Raises InvalidArguments for one that there is not."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted: list[tuple[str, HeaderProperty | None]] = []
        for name in dict.fromkeys(wanted):
            if name in PART_PROPERTIES:
                self._wanted.append((name, None))
            elif name.startswith("header:"):
                self._wanted.append((name, header_property(name, "bodyProperties")))
            else:
                raise InvalidArguments(f"bodyProperties: there is no property {name[:200]!r}.", "bodyProperties")

    def show(self, part: Part, row: EmailRow, source: Source) -> dict[str, Any]:
        """One part by itself: its subParts are null."""
        source.charge(_PRICE_OF_PROPERTY * len(self._wanted))
        shown: dict[str, Any] = {}
        fields = None
        for name, header in self._wanted:
            if (read := _PLAIN.get(name)) is not None:
                shown[name] = read(part)
            elif name == "blobId":
                # RFC 8621 §4.1.4: null if and only if the part is multipart
                shown[name] = source.part_blob_id(part) if part.sub_parts is None else None
            elif name == "subParts":
                shown[name] = None
            else:
                if fields is None:
                    fields = source.fields(part)
                shown[name] = (
                    all_headers(fields, source.charge)
                    if header is None
                    else header_value(header, fields, source.charset, source.charge)
                )
        return shown

    def show_tree(self, part: Part, row: EmailRow, source: Source) -> dict[str, Any]:
        """A part with all that are in it. Multiparts have their subParts, asked for or not: a tree is what it is."""
        shown = self.show(part, row, source)
        if part.sub_parts is not None:
            shown["subParts"] = [self.show_tree(child, row, source) for child in part.sub_parts]
        return shown


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What one message's body consists of."""

    root: Part
    lists: BodyLists


def body_of(row: EmailRow) -> Body:
    """The stored structure of a message."""
    root = decode_structure(row.structure)
    return Body(root=root, lists=body_lists(root))


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """Which body values were asked for (RFC 8621 §4.2). `most` is in octets, 0 for no limit."""

    text: bool
    html: bool
    every: bool
    most: int

    def read(self, body: Body, source: Source) -> dict[str, Any]:
        """The `bodyValues` property."""
        parts: dict[str, Part] = {}
        if self.text:
            _add(parts, body.lists.text)
        if self.html:
            _add(parts, body.lists.html)
        if self.every:
            _add(parts, walk(body.root))
        return {
            part_id: body_value(source.octets(part.body_start, part.body_end), part, self.most or None)
            for part_id, part in parts.items()
        }


def _add(parts: dict[str, Part], more: Iterable[Part]) -> None:
    for part in more:
        # RFC 8621 §4.2: any "text/*" part
        if part.part_id is not None and part.type.startswith("text/"):
            parts[part.part_id] = part
