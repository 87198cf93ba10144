"""Binary data over HTTP: uploads and downloads (RFC 8620 §6), whole or a single range."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import msgspec

from stalwart.auth import Principal
from stalwart.http import Endpoint, Problem, Request, Response
from stalwart.http.auth import RunsInThread
from stalwart.http.conditions import matches
from stalwart.jmap import permissions
from stalwart.jmap.contents import Content
from stalwart.jmap.errors import OverLimit
from stalwart.jmap.session import account_id
from stalwart.web.incoming_blob import IncomingBlob
from stalwart.web.jmap_surface import Surface, problem

_BLOCK = 262_144
"""Octets of an answer that are read and sent at a time."""
_OCTETS = "application/octet-stream"

# RFC 9110 §5.6.2, §8.3.1
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE = re.compile(rf"{_WORD}/{_WORD}(?:[ \t]*;[ \t]*{_WORD}=(?:{_WORD}|\"[ !#-\[\]-~]*\"))*", re.ASCII)
# RFC 9110 §14.1.1, one range only
_RANGE = re.compile(r"bytes=[ \t]*(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))[ \t]*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Upload(Endpoint):
    """`POST /jmap/upload/{accountId}/` (RFC 8620 §6.1)."""

    surface = "jmap-upload"
    isLeaf = True

    def __init__(self, jmap: Surface) -> None:
        super().__init__()
        self._jmap = jmap
        self._incoming: dict[Request, IncomingBlob] = {}
        self.body_limit = jmap.limits.max_size_upload

    def too_large(self) -> Problem:
        """The problem for an upload over the limit."""
        return problem(OverLimit("maxSizeUpload", f"An upload may have at most {self.body_limit} octets.", status=413))

    async def admit(self, request: Request) -> None:
        """Sign in, and look at the account and at how many uploads the user has under way, before the body comes."""
        jmap = self._jmap
        principal = await jmap.sign_in(request, permissions.UPLOAD)
        account = _account_in(request)
        if account != account_id(principal.account_id):
            await jmap.in_thread(request, lambda principal: jmap.blobs.check_account(principal, account))
        jmap.uploads.take(request, principal.account_id)
        incoming = self._incoming[request] = IncomingBlob(jmap.blobs.begin, jmap.turns.of(principal.account_id))
        request.take_body(incoming.take)
        request.notifyFinish().addBoth(self._ended, request)

    async def post(self, request: Request) -> Response:
        """Keep the body; it is on disk when the answer is sent."""
        jmap, account = self._jmap, _account_in(request)
        media_type = (request.header(b"content-type") or b"").decode("utf-8", "replace").strip() or _OCTETS
        incoming = self._incoming[request]

        def keep(principal: Principal) -> bytes:
            with incoming.written() as upload:
                return jmap.blobs.keep(principal, account, upload, media_type)

        await incoming.settled()
        answer = await jmap.in_thread(request, keep)
        return Response(body=answer, content_type="application/json", headers=(("Cache-Control", "no-store"),))

    def _ended(self, _: object, request: Request) -> None:
        self._incoming.pop(request).forget()


def _account_in(request: Request) -> str:
    segments = request.postpath or []
    if len(segments) == 1 or (len(segments) == 2 and segments[1] == b""):
        return segments[0].decode("utf-8", "replace")
    raise Problem(404, "The path of an upload is /jmap/upload/{accountId}/.")


class Download(Endpoint):
    """`GET /jmap/download/{accountId}/{blobId}/{name}?accept={type}` (RFC 8620 §6.2)."""

    surface = "jmap-download"
    isLeaf = True

    def __init__(self, jmap: Surface) -> None:
        super().__init__()
        self._jmap = jmap

    async def admit(self, request: Request) -> None:
        """Sign in."""
        await self._jmap.sign_in(request, permissions.DOWNLOAD)

    async def get(self, request: Request) -> Response:
        """The octets of the blob, of the type and under the name that the client asks for."""
        jmap = self._jmap
        segments = [segment.decode("utf-8", "replace") for segment in request.postpath or []]
        if not 2 <= len(segments) <= 3:
            raise Problem(404, "The path of a download is /jmap/download/{accountId}/{blobId}/{name}.")
        account, blob = segments[:2]
        name = segments[2] if len(segments) == 3 else ""
        etag = f'"{blob}"'
        headers = [
            # RFC 8620 §6.2, and §8.6 for what keeps hostile content apart from other pages
            ("Cache-Control", "private, immutable, max-age=31536000"),
            ("Content-Disposition", content_disposition(name)),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Security-Policy", "default-src 'none'; sandbox"),
            ("ETag", etag),
            ("Accept-Ranges", "bytes"),
        ]
        asked = _text(request, b"range")
        condition = _text(request, b"if-range")
        if request.method == b"HEAD" or (condition and condition != etag):
            asked = ""  # RFC 9110 §14.2, §13.1.5

        read_at_once = request.method != b"HEAD" and not request.header(b"if-none-match")

        def look(principal: Principal) -> _Piece:
            content = jmap.blobs.open(principal, account, blob)
            status, start, length = byte_range(asked, content.size)
            first = b""
            if length and read_at_once and content.held <= _BLOCK:
                first = content.read(start, min(length, _BLOCK))
            return _Piece(status=status, content=content, start=start, length=length, first=first)

        piece = await jmap.in_thread(request, look)
        size = piece.content.size
        if matches(_text(request, b"if-none-match"), etag):
            return Response(status=304, headers=tuple(headers))
        if piece.status == 416:
            raise Problem(416, "The range begins behind the end.", headers=(("Content-Range", f"bytes */{size}"),))
        if piece.status == 206:
            headers.append(("Content-Range", f"bytes {piece.start}-{piece.start + piece.length - 1}/{size}"))
        media_type = media_type_of((request.query_args.get("accept") or [""])[0])
        assert request.principal is not None
        account_row = request.principal.account_id
        if piece.content.held > _BLOCK and request.method != b"HEAD":
            jmap.decoded.take(request, account_row, piece.content.held)
        if len(piece.first) == piece.length:
            return Response(status=piece.status, body=piece.first, content_type=media_type, headers=tuple(headers))
        return Response(
            status=piece.status,
            content_type=media_type,
            headers=tuple(headers),
            stream=_blocks(piece, jmap.pool if not piece.content.held else jmap.turns.of(account_row)),
            length=piece.length,
        )


class _Piece(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a content that is sent: `length` octets from `start`, of which `first` were read already."""

    status: int
    content: Content
    start: int
    length: int
    first: bytes


async def _blocks(piece: _Piece, pool: RunsInThread) -> AsyncIterator[bytes]:
    if piece.first:
        yield piece.first
    position, end = piece.start + len(piece.first), piece.start + piece.length
    while position < end:
        length = min(_BLOCK, end - position)
        block = await pool.run(lambda start=position, length=length: piece.content.read(start, length))  # type: ignore[misc]
        if not block:
            return
        yield block
        position += len(block)


def _text(request: Request, name: bytes) -> str:
    return (request.header(name) or b"").decode("ascii", "replace").strip()


def byte_range(asked: str, size: int) -> tuple[int, int, int]:
    """Status, first octet and length for a Range field over `size` octets (RFC 9110 §14.2).

    A field that isn't understood, or asks for more than one range, is ignored.
    """
    match = _RANGE.fullmatch(asked)
    if match is None:
        return 200, 0, size
    first, last, suffix = match.groups()
    if suffix is not None:
        length = min(int(suffix), size)
        return (206, size - length, length) if length else (416, 0, 0)
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return 200, 0, size  # RFC 9110 §14.1.1: such a range is invalid
    if start >= size:
        return 416, 0, 0
    return 206, start, end - start + 1


def media_type_of(asked: str) -> str:
    """The Content-Type for what a client asked for: itself if it is one, else octets."""
    cleaned = asked.replace("\r", "").replace("\n", "").strip()
    return cleaned if len(cleaned) <= 1000 and _MEDIA_TYPE.fullmatch(cleaned) else _OCTETS


def content_disposition(name: str) -> str:
    """`attachment` with the name, for every client (RFC 6266 §4.3, appendix D)."""
    name = _CONTROL.sub("", name)
    if not name:
        return "attachment"
    # Percent signs are decoded by some clients that should not.
    plain = "".join(c if " " <= c <= "~" and c != "%" else "_" for c in name)
    quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
    if plain == name:
        return f'attachment; filename="{quoted}"'
    return f"attachment; filename=\"{quoted}\"; filename*=UTF-8''{quote(name, safe='!#$&+-.^_`|~')}"
