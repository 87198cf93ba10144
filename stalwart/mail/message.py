"""The MIME structure of a message: each part with its place in the octets (RFC 2045, 2046, 5322).

Any octets are a message. One pass over the lines that start with "--" finds all parts of all levels, so that
time stays linear whatever the nesting is.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stalwart.mail import transfer
from stalwart.mail.charsets import decode_header
from stalwart.mail.comments import strip_comments
from stalwart.mail.fields import HeaderBlock, Span, blank_line, leading_lines, line_view, scan_header
from stalwart.mail.parameters import file_name, parse_parameterized, token
from stalwart.mail.transfer import Encoding
from stalwart.mail.words import decode_words, unfold

__all__ = ["MAX_DEPTH", "MAX_PARTS", "Message", "Part", "decode_structure", "encode_structure", "parse", "scan"]

#: A multipart nested deeper is read as plain text.
MAX_DEPTH: Final = 50
#: Parts after this many, containers included, are not read.
MAX_PARTS: Final = 1000

# RFC 2046 §5.1.1 allows 70 octets; no sane sender needs more than this.
_MAX_BOUNDARY: Final = 1000
_MAX_FIELD: Final = 65_536
_TEXT_PLAIN: Final = "text/plain"

#: What is kept of each text of a part. A list of mails reads them all, and there may be a thousand parts in each.
_MAX_TEXT: Final = 500
_MAX_TAGS: Final = 10
_MAX_TAG: Final = 40


class Part(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One part (EmailBodyPart of RFC 8621 §4.1.4). Offsets count octets of the whole message.

    It is stored as an array: new fields go to the end and have defaults.
    """

    #: Number of the part among the parts that are not multipart, from "1"; None iff multipart.
    part_id: str | None
    #: "text/plain", always in lower case.
    type: str
    charset: str | None
    name: str | None
    #: "inline", "attachment" …, in lower case.
    disposition: str | None
    cid: str | None
    language: tuple[str, ...] | None
    location: str | None
    encoding: Encoding
    #: Octets after decoding the transfer encoding.
    size: int
    header_start: int
    #: Also the end of the header, whose empty line it follows.
    body_start: int
    body_end: int
    #: None iff not multipart.
    sub_parts: tuple[Part, ...] | None
    #: False when the Content-Transfer-Encoding is one that nobody knows.
    encoding_known: bool = True


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message and its structure."""

    octets: bytes
    structure: Part


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Part)


def encode_structure(part: Part) -> bytes:
    """A structure as compact JSON, to be stored beside the message."""
    return _encoder.encode(part)


def decode_structure(encoded: bytes) -> Part:
    """The structure that `encode_structure` wrote; `msgspec.DecodeError` for anything else."""
    return _decoder.decode(encoded)


def parse(data: bytes) -> Message:
    """Read a message: any octets, never an error, time linear in their number."""
    return Message(octets=data, structure=scan(data)[0])


def scan(data: bytes) -> tuple[Part, list[Span]]:
    """The structure of a message and the fields of its own header."""
    scanner = _Scanner(line_view(data))
    root = scanner.run()
    return _finish(root, data, scanner.charset, _Numbers()), root.header.fields


class _Node:
    """A part while its end is not known yet."""

    __slots__ = ("boundary", "children", "content", "end", "header", "start")

    def __init__(self, start: int, header: HeaderBlock, end: int, content: _Content) -> None:
        self.start = start
        self.header = header
        self.end = end
        self.content = content
        self.boundary: bytes | None = None
        self.children: list[_Node] = []


class _Scanner:
    def __init__(self, view: bytes) -> None:
        self.view = view
        self.end = len(view)
        self.path: list[_Node] = []
        # The levels, as indexes into the path, at which each boundary is awaited: the innermost last.
        self.awaited: dict[bytes, list[int]] = {}
        self.blank = (-1, -1)
        self.count = 0
        # The first charset that a text names.
        self.charset: str | None = None

    def run(self) -> _Node:
        root = self._open(leading_lines(self.view), _TEXT_PLAIN)
        position = root.header.body_start - 1
        while self.awaited:
            found = self._next_delimiter(position, self.end)
            if found is None:
                break
            line_break, after, level, closes = found
            self._close_below(level, self._before_break(line_break))
            container = self.path[level]
            if closes:
                # RFC 2046 §5.1.1: what follows up to the next outer delimiter is the epilogue.
                self._forget(container)
                position = after - 1
                continue
            if self.count >= MAX_PARTS:
                break
            digest = container.content.type == "multipart/digest"
            child = self._open(after, "message/rfc822" if digest else _TEXT_PLAIN)
            container.children.append(child)
            position = max(child.header.body_start, after) - 1
        return root

    def _open(self, start: int, default_type: str) -> _Node:
        """Start a part at the first octet of its header."""
        self.count += 1
        if self.blank[0] < start:
            self.blank = blank_line(self.view, start)
        end, body = self.blank
        # RFC 2046 §5.1: a delimiter inside a header ends the part there.
        cut = self._next_delimiter(start - 1, end) if self.awaited else None
        if cut is not None:
            end = body = max(cut[0] + 1, start)
        header = scan_header(self.view, start, end, body)
        content = _Content(self.view, header, default_type)
        node = _Node(start, header, self.end, content)
        if self.charset is None and content.type.startswith("text/") and content.charset != "us-ascii":
            self.charset = content.charset
        boundary = content.boundary
        if boundary is not None and cut is None and len(self.path) < MAX_DEPTH:
            node.boundary = boundary
            self.awaited.setdefault(boundary, []).append(len(self.path))
        self.path.append(node)
        return node

    def _next_delimiter(self, position: int, end: int) -> tuple[int, int, int, bool] | None:
        """The next line that is an awaited delimiter, its line break at or after `position`.

        Gives the line break before it, the octet after its line, the level, and whether it closes that level.
        """
        view, awaited = self.view, self.awaited
        # Few messages await more than one boundary at a time; then most lines with dashes are passed over quickly.
        mark = b"\n--" + next(iter(awaited)) if len(awaited) == 1 else b"\n--"
        while (at := view.find(mark, max(position, 0), end)) >= 0:
            after = view.find(b"\n", at + 1)
            after = self.end if after < 0 else after
            if after - at <= _MAX_BOUNDARY + 8:
                # RFC 2046 §5.1.1: white space after the boundary is padding that transports add.
                line = view[at + 3 : after].rstrip(b" \t\r")
                if levels := awaited.get(line):
                    return at, min(after + 1, self.end), levels[-1], False
                if line.endswith(b"--") and (levels := awaited.get(line[:-2])):
                    return at, min(after + 1, self.end), levels[-1], True
            position = after
        return None

    def _before_break(self, at: int) -> int:
        # RFC 2046 §5.1.1: the line break before a delimiter belongs to the delimiter.
        return at - 1 if at > 0 and self.view[at - 1] == 13 else at

    def _close_below(self, level: int, end: int) -> None:
        for node in self.path[level + 1 :]:
            node.end = max(end, node.header.body_start)
            self._forget(node)
        del self.path[level + 1 :]

    def _forget(self, node: _Node) -> None:
        if node.boundary is not None:
            levels = self.awaited[node.boundary]
            levels.pop()
            if not levels:
                del self.awaited[node.boundary]
            node.boundary = None


class _Content:
    """What the Content-* fields of a part say."""

    __slots__ = (
        "boundary",
        "charset",
        "cid",
        "disposition",
        "encoding",
        "encoding_known",
        "language",
        "location",
        "names",
        "type",
    )

    def __init__(self, view: bytes, header: HeaderBlock, default_type: str) -> None:
        found: dict[bytes, bytes] = {}
        for field in header.fields:
            if field.name.startswith(b"content-") and field.name not in found:
                # The first instance counts: others are mostly added on the way, by relays that missed it.
                found[field.name] = view[field.value_start : min(field.value_end, field.value_start + _MAX_FIELD)]
        self.type = default_type
        # RFC 2045 §5.2; RFC 8621 §4.1.4
        self.charset: str | None = "us-ascii" if default_type == _TEXT_PLAIN else None
        self.boundary: bytes | None = None
        # What may be the name of the file, as it is written: the first that is one counts.
        self.names: tuple[str | None, ...] = ()
        self.disposition: str | None = None
        self.encoding: Encoding = "identity"
        self.encoding_known = True
        self.cid: str | None = None
        self.language: tuple[str, ...] | None = None
        self.location: str | None = None
        if not found:
            return
        name: str | None = None
        filename: str | None = None
        if (value := found.get(b"content-type")) is not None:
            name = self._read_type(value)
        if (value := found.get(b"content-disposition")) is not None:
            disposition = parse_parameterized(value)
            self.disposition = token(disposition.value)
            filename = disposition.parameters.get("filename")
        self.names = (filename, name)
        if (value := found.get(b"content-transfer-encoding")) is not None:
            self.encoding, self.encoding_known = transfer.encoding_named(strip_comments(decode_header(value)))
        if (value := found.get(b"content-id")) is not None:
            self.cid = strip_comments(unfold(decode_header(value))).strip().removeprefix("<").removesuffix(">") or None
        if (value := found.get(b"content-language")) is not None:
            tags = strip_comments(unfold(decode_header(value))).split(",")
            self.language = tuple(tag.strip() for tag in tags if tag.strip()) or None
        if (value := found.get(b"content-location")) is not None:
            # RFC 2557 §4.4: the URI may be folded, and encoded words may stand in it.
            self.location = decode_words(unfold(decode_header(value)).strip()).replace(" ", "") or None

    def _read_type(self, value: bytes) -> str | None:
        """Read Content-Type; the answer is its name parameter."""
        content_type, parameters = parse_parameterized(value)
        main, slash, subtype = content_type.partition("/")
        main, subtype = main.strip(), subtype.strip()
        if slash and main and subtype and content_type.isascii() and content_type.isprintable():
            self.type = f"{main}/{subtype.split(None, 1)[0]}"
        else:
            self.type = _TEXT_PLAIN  # RFC 2045 §5.2: assumed when the field is syntactically invalid
        self.charset = token(parameters.get("charset"))
        if self.charset is None and self.type.startswith("text/"):
            self.charset = "us-ascii"
        if self.type.startswith("multipart/"):
            self.charset = None
            boundary = parameters.get("boundary", "").rstrip()
            octets = boundary.encode("utf-8", "surrogateescape")
            if 0 < len(octets) <= _MAX_BOUNDARY:
                self.boundary = octets
        return parameters.get("name")


class _Numbers:
    def __init__(self) -> None:
        self.last = 0

    def next(self) -> str:
        self.last += 1
        return str(self.last)


def _finish(node: _Node, data: bytes, charset_of_text: str | None, numbers: _Numbers) -> Part:
    """The node and all below it as values, once the end of each is known."""
    content = node.content
    body_start = node.header.body_start
    body_end = max(node.end, body_start)
    part_id: str | None = None
    sub_parts: tuple[Part, ...] | None = None
    part_type, charset = content.type, content.charset
    if node.children:
        sub_parts = tuple(_finish(child, data, charset_of_text, numbers) for child in node.children)
        encoding: Encoding = "identity"
        size = body_end - body_start
    else:
        part_id = numbers.next()
        if part_type.startswith("multipart/"):
            # No delimiter was found: shown as the text that it is, not as an empty container.
            part_type, charset = _TEXT_PLAIN, "us-ascii"
        encoding = content.encoding
        size = transfer.decoded_size(data, body_start, body_end, encoding)
    return Part(
        part_id=part_id,
        type=part_type[:_MAX_TEXT],
        charset=_bounded(charset),
        name=_bounded(next(filter(None, (file_name(name, charset_of_text) for name in content.names)), None)),
        disposition=_bounded(content.disposition),
        cid=_bounded(content.cid),
        language=content.language and tuple(tag[:_MAX_TAG] for tag in content.language[:_MAX_TAGS]),
        location=_bounded(content.location),
        encoding=encoding,
        size=size,
        header_start=node.start,
        body_start=body_start,
        body_end=body_end,
        sub_parts=sub_parts,
        encoding_known=content.encoding_known,
    )


def _bounded(text: str | None) -> str | None:
    return text and text[:_MAX_TEXT]
