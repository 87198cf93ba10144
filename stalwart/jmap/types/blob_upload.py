"""Blob/upload (RFC 9404 §4.1): blobs made of texts, of base64 and of pieces of other blobs.

The octets are written before the transaction begins, piece by piece; the transaction only notes whose they are.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from stalwart.jmap.arguments import AccountArguments, CreationId, Id, UnsignedInt, invalid
from stalwart.jmap.call import Call
from stalwart.jmap.contents import Content
from stalwart.jmap.declare import Method
from stalwart.jmap.errors import RequestTooLarge, SetError, invalid_properties
from stalwart.jmap.ids import blob_id
from stalwart.jmap.uploads import check_room, keep_upload
from stalwart.store import UploadsFull

URI = "urn:ietf:params:jmap:blob"
MAX_DATA_SOURCES = 64  # RFC 9404 §3.1: servers MUST allow at least that many
_PIECE = 1 << 20


class DataSource(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 9404 §4.1: text, base64, or a range of a blob."""

    as_text: str | None = msgspec.field(name="data:asText", default=None)
    as_base64: str | None = msgspec.field(name="data:asBase64", default=None)
    blob_id: Id | None = None
    offset: UnsignedInt | None = None
    length: UnsignedInt | None = None


class UploadObject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """RFC 9404 §4.1. `type` is a hint that is given back."""

    data: list[DataSource]
    type: str | None = None


class UploadArguments(AccountArguments, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """RFC 9404 §4.1."""

    create: dict[CreationId, dict[str, Any]]


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """Octets that are in the blob store and not yet noted as anybody's. `size` is in octets."""

    blob_hash: str
    size: int
    type: str | None = None


class Maker:
    """Writes blobs for one call, within what the user may upload."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._made: dict[str, Made] = {}

    def copy(self, content: Content) -> Made:
        """A blob with these octets. Raises SetError, RequestTooLarge and StoreError."""
        if content.blob_hash is not None:
            self._check(content.blob_hash, content.size)
            return self._note(content.blob_hash, content.size)
        self._call.exchange.charge_read(content.size)
        return self.write(content.size, content.pieces())

    def write(self, size: int, pieces: Iterator[bytes], type: str | None = None) -> Made:  # noqa: A002
        """A blob of these pieces, `size` octets in all. Raises SetError and StoreError."""
        self._check(None, size)
        writer = self._call.blobs.begin()
        try:
            for piece in pieces:
                writer.write(piece)
            return self._note(writer.commit(), writer.size, type)
        finally:
            writer.abort()

    def _check(self, blob_hash: str | None, size: int) -> None:
        call, limits = self._call, self._call.limits
        if size > limits.max_size_upload:
            raise SetError(
                "tooLarge",
                f"A blob may have at most {limits.max_size_upload} octets.",
                maxSize=limits.max_size_upload,
            )
        octets = sum(made.size for made in self._made.values())
        left = msgspec.structs.replace(
            limits,
            max_octets_of_uploads=limits.max_octets_of_uploads - octets,
            max_uploads=limits.max_uploads - len(self._made),
        )
        try:
            check_room(call.session, call.account.row, call.principal.account_id, blob_hash, size, left)
        except UploadsFull as error:
            raise SetError("rateLimit", f"{error}") from None
        if self._made and (size > left.max_octets_of_uploads or left.max_uploads < 1):
            raise SetError("overQuota", "There is no room for so many uploads; use those that were made first.")

    def _note(self, blob_hash: str, size: int, type: str | None = None) -> Made:  # noqa: A002
        made = Made(blob_hash=blob_hash, size=size, type=type)
        self._made[blob_hash] = made
        return made


def keep(call: Call, made: Made, media_type: str) -> None:
    """Note in the transaction that the octets are the user's upload to the account."""
    account, user = call.account.row, call.principal.account_id
    evicted = keep_upload(call.session, account, user, made.blob_hash, made.size, media_type, call.limits)
    call.exchange.evicted.extend(evicted)


def _prepare(call: Call, arguments: UploadArguments) -> Mapping[str, Made | SetError]:
    most = call.limits.max_objects_in_set
    if len(arguments.create) > most:
        raise RequestTooLarge(f"{len(arguments.create)} blobs to make in one call, and {most} are allowed.")
    run = _Uploads(call, arguments)
    for creation_id in arguments.create:
        run.make(creation_id)
    return {creation_id: run.results[creation_id] for creation_id in arguments.create}


class _Uploads:
    """The blobs of one call. One may be made of another (RFC 9404 §4.1.2), in whatever order they come."""

    def __init__(self, call: Call, arguments: UploadArguments) -> None:
        self._call = call
        self._create = arguments.create
        self._maker = Maker(call)
        self.results: dict[str, Made | SetError] = {}

    def make(self, creation_id: str) -> None:
        """Make this blob, after those that it is made of."""
        path = {creation_id: iter(self._references(creation_id))}
        while path:
            last = next(reversed(path))
            following = next((one for one in path[last] if one not in self.results and one not in path), None)
            if following is not None:
                path[following] = iter(self._references(following))
                continue
            del path[last]
            if last not in self.results:
                try:
                    self.results[last] = self._make(last)
                except SetError as error:
                    self.results[last] = error

    def _references(self, creation_id: str) -> list[str]:
        sources = self._create[creation_id].get("data")
        named = (
            [source.get("blobId") for source in sources if isinstance(source, dict)]
            if isinstance(sources, list)
            else []
        )
        return [one[1:] for one in named if isinstance(one, str) and one.startswith("#") and one[1:] in self._create]

    def _make(self, creation_id: str) -> Made:
        try:
            wanted = msgspec.convert(self._create[creation_id], UploadObject)
        except msgspec.ValidationError as error:
            refused = invalid(error)
            raise invalid_properties(refused.description, refused.names) from None
        if len(wanted.data) > MAX_DATA_SOURCES:
            raise _wrong(f"at most {MAX_DATA_SOURCES} sources make a blob")
        sources = [self._source(number, source) for number, source in enumerate(wanted.data)]
        pieces = (piece for _, read in sources for piece in read())
        return self._maker.write(sum(size for size, _ in sources), pieces, wanted.type)

    def _source(self, number: int, source: DataSource) -> tuple[int, Callable[[], Iterator[bytes]]]:
        """The number of octets, and what gives them."""
        given = [value for value in (source.as_text, source.as_base64, source.blob_id) if value is not None]
        if len(given) != 1:
            raise _wrong(f"source {number}: wanted exactly one of data:asText, data:asBase64 and blobId")
        if source.blob_id is not None:
            return self._range(number, source, source.blob_id)
        if source.offset is not None or source.length is not None:
            raise _wrong(f"source {number}: offset and length go with a blobId")
        if source.as_text is not None:
            octets = source.as_text.encode("utf-8")
        else:
            try:
                octets = base64.b64decode(given[0], validate=True)
            except (binascii.Error, ValueError):
                # RFC 9404 §4.1: the server MUST NOT guess
                raise _wrong(f"source {number}: data:asBase64 is not base64") from None
        return len(octets), lambda: iter((octets,))

    def _range(self, number: int, source: DataSource, text: str) -> tuple[int, Callable[[], Iterator[bytes]]]:
        content = self._content(text)
        if content is None:
            raise SetError("blobNotFound", f"source {number}: there is no blob {text[:100]!r}.", notFound=[text])
        start = source.offset or 0
        length = content.size - start if source.length is None else source.length
        if length < 0 or start + length > content.size:
            # RFC 9404 §4.1: a range that can't be fully satisfied makes the source invalid
            raise _wrong(f"source {number}: the range goes beyond the {content.size} octets of the blob")
        self._call.exchange.charge_read(length)

        def read() -> Iterator[bytes]:
            for at in range(start, start + length, _PIECE):
                yield content.read(at, min(_PIECE, start + length - at))

        return length, read

    def _content(self, text: str) -> Content | None:
        call = self._call
        if text.startswith("#") and text[1:] in self._create:
            made = self.results.get(text[1:])
            if not isinstance(made, Made):
                return None
            blob_hash, blobs = made.blob_hash, call.blobs
            return Content(
                size=made.size,
                read=lambda start, length: blobs.get(blob_hash, start, length),
                pieces=lambda: iter((blobs.get(blob_hash),)),
                origin=blob_hash,
            )
        return call.content(text)


def _run(call: Call, arguments: UploadArguments) -> object:
    created: dict[str, object] = {}
    failed: dict[str, object] = {}
    for creation_id, made in call.prepared.items():
        if isinstance(made, SetError):
            failed[creation_id] = made.value()
            continue
        keep(call, made, made.type or "application/octet-stream")
        created[creation_id] = {"id": blob_id(made.blob_hash), "type": made.type, "size": made.size}
        call.exchange.created.add(creation_id, blob_id(made.blob_hash))
    return {"accountId": call.account.id, "created": created or None, "notCreated": failed or None}


def _wrong(description: str) -> SetError:
    return invalid_properties(f"data: {description}.", ["data"])


UPLOAD = Method(
    name="Blob/upload",
    capability=URI,
    arguments=UploadArguments,
    run=_run,
    prepare=_prepare,
    writes=True,
)
