"""The octets behind a blobId: a message, an upload, or a part of either with its transfer encoding undone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import msgspec

from stalwart import store
from stalwart.jmap.ids import PartBlob, Place, parse_blob_id
from stalwart.mail.bodies import walk
from stalwart.mail.message import Part, decode_structure, scan
from stalwart.mail.transfer import pieces
from stalwart.store import BlobMissing, BlobStore, Session

_PIECE = 1 << 20
_MOST_KNOWN = 16
"""Messages whose parts are remembered."""
_PRICE_OF_PART = 500
"""How many octets a part counts: finding it takes longer than reading as much."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """The octets of a blob. `read(start, length)` blocks; it needs no session, since blobs never change.

    `pieces()` gives all octets one after the other, each time it is called. `held` is how many octets lie in memory
    from the first read on, for as long as this lives. `blob_hash` is set where the content is a blob of the blob
    store, as it is there; `origin` tells where it lies in one otherwise (see `PartBlob`).
    """

    size: int
    read: Callable[[int, int], bytes]
    pieces: Callable[[], Iterator[bytes]]
    held: int = 0
    origin: str
    within: tuple[Place, ...] = ()

    @property
    def blob_hash(self) -> str | None:
        """The blob that has these octets and no others; None for a part of one."""
        return None if self.within else self.origin


class KnownParts:
    """The parts of messages that were looked into, so that each is read once for all of its parts.

    `charge` is told how many octets are about to be read, and what many parts cost beside.
    """

    def __init__(self, charge: Callable[[int], None] = lambda octets: None) -> None:
        self._charge = charge
        self._known: dict[tuple[str, tuple[Place, ...]], Mapping[Place, Part]] = {}

    def of(
        self, blob_hash: str, within: tuple[Place, ...], size: int, read: Callable[[], Part]
    ) -> Mapping[Place, Part]:
        """The parts of the message of `size` octets that lies there (see `PartBlob`), which `read` reads."""
        parts = self._known.get((blob_hash, within))
        if parts is None:
            self._charge(size)
            # An id could name any octets of a message; only parts are given out.
            parts = {Place(part.body_start, part.body_end, part.encoding): part for part in walk(read())}
            self._charge(_PRICE_OF_PART * len(parts))
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[blob_hash, within] = parts
        return parts


def find_content(
    session: Session, blobs: BlobStore, account: int, user: int, text: str, known: KnownParts
) -> Content | None:
    """What the blobId names in this account; None if there is no such thing, or this user may not have it.

    Raises StoreError, and what the charge of `known` does.
    """
    named = parse_blob_id(text)
    if named is None:
        return None
    blob_hash = named.hash
    emails = store.has_blob(session, account, blob_hash)
    if (
        not emails
        and store.find_upload(session, account, user, blob_hash) is None
        and not store.has_report(session, account, blob_hash)
    ):
        return None
    try:
        whole = _whole(blobs, blob_hash)
        if not isinstance(named, PartBlob):
            return whole
        content = whole
        for place in named.places:
            if content is whole and emails:
                parts = known.of(blob_hash, (), 0, lambda: _kept_structure(session, account, emails[0]))
            else:
                parts = known.of(blob_hash, content.within, content.size, partial(_structure, content))
            part = parts.get(place)
            if part is None:
                return None
            content = _part_content(blobs, content, part, place)
    except BlobMissing:
        return None
    return content


def _whole(blobs: BlobStore, blob_hash: str) -> Content:
    size = blobs.size(blob_hash)

    def read(start: int, length: int) -> bytes:
        return blobs.get(blob_hash, start, length)

    return Content(size=size, read=read, pieces=lambda: _ranges(read, size), origin=blob_hash)


def _kept_structure(session: Session, account: int, email: int) -> Part:
    return decode_structure(store.get_emails(session, account, [email])[email].structure)


def _structure(content: Content) -> Part:
    return scan(content.read(0, content.size))[0]


def _part_content(blobs: BlobStore, around: Content, part: Part, place: Place) -> Content:
    start, length = part.body_start, part.body_end - part.body_start
    within = (*around.within, place)
    if part.encoding == "identity":

        def read(first: int, most: int) -> bytes:
            return around.read(start + first, max(0, min(most, length - first)))

        return Content(
            size=length,
            read=read,
            pieces=lambda: _ranges(read, length),
            held=around.held,
            origin=around.origin,
            within=within,
        )

    def decoded_pieces() -> Iterator[bytes]:
        if around.within:
            return pieces(around.read(start, length), 0, length, part.encoding)
        return pieces(blobs.view(around.origin), start, part.body_end, part.encoding)

    if around.within:
        held = around.held + length
    else:
        held = 0 if blobs.maps else around.size
    return Content(
        size=part.size,
        read=_Sequence(decoded_pieces).read,
        pieces=decoded_pieces,
        held=held + min(part.size, _PIECE),
        origin=around.origin,
        within=within,
    )


class _Sequence:
    """Reads pieces as if all of them lay in memory: goes on where it stopped, and begins anew for what lies before."""

    def __init__(self, begin: Callable[[], Iterator[bytes]]) -> None:
        self._begin = begin
        self._pieces: Iterator[bytes] = iter(())
        self._piece = b""
        self._start: float = math.inf  # of the piece

    def read(self, start: int, length: int) -> bytes:
        """As `Content.read`."""
        if start < self._start:
            self._pieces, self._piece, self._start = self._begin(), b"", 0
        found: list[bytes] = []
        while length > 0:
            offset = start - int(self._start)
            if offset < len(self._piece):
                found.append(self._piece[offset : offset + length])
                start += len(found[-1])
                length -= len(found[-1])
                continue
            following = next(self._pieces, None)
            if following is None:
                break
            self._start += len(self._piece)
            self._piece = following
        return b"".join(found)


def _ranges(read: Callable[[int, int], bytes], size: int) -> Iterator[bytes]:
    for start in range(0, size, _PIECE):
        yield read(start, _PIECE)
