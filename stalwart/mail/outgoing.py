"""A message as it goes out over SMTP, made of one as it is kept: legal lines, no Bcc, Message-ID and Date there.

What a relay could not carry is encoded anew where that changes nothing for the reader, and refused where it would.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from stalwart.mail.build_fields import MAX_LINE
from stalwart.mail.build_transfer import TransferEncoding, encode
from stalwart.mail.fields import blank_line, leading_lines, line_view, scan_header
from stalwart.mail.headers import HeaderField, as_addresses, unfolded
from stalwart.mail.identifiers import parse_message_ids
from stalwart.mail.message import Part, scan
from stalwart.mail.originators import Ambiguous, mailboxes
from stalwart.mail.transfer import pieces

__all__ = ["NotSendable", "Outgoing", "Read", "prepare", "read"]

_MOST_NESTED: Final = 8
#: Octets of a field that are read as addresses; recipients beyond them would be lost.
_MOST_ADDRESS_OCTETS: Final = 1 << 19

# The look-behind keeps a long run of CR from being tried at each of them.
_BREAK: Final = re.compile(rb"(?<!\r)\r*\n")
_BARE_CR: Final = re.compile(rb"\r(?!\n)")
_HIGH: Final = re.compile(rb"[\x80-\xff]")

# RFC 8621 §7.5: any Bcc MUST be removed. RFC 5321 §4.4: Return-Path is added by the last server, and by no other.
_DROPPED: Final = frozenset({"bcc", "resent-bcc", "return-path"})
# RFC 5322 §3.6: at most one of each. The Email property that shows it (RFC 8621 §4.1.3).
_ONCE: Final[Mapping[str, str]] = {
    "from": "from",
    "sender": "sender",
    "reply-to": "replyTo",
    "to": "to",
    "cc": "cc",
    "date": "sentAt",
    "message-id": "messageId",
    "in-reply-to": "inReplyTo",
    "references": "references",
    "subject": "subject",
}
_ADDRESS_FIELDS: Final = ("from", "sender", "resent-from", "resent-sender", "to", "cc", "bcc")


class NotSendable(ValueError):
    """No relay could be given this message. `properties` are those of the Email that are at fault (RFC 8621 §7.5)."""

    def __init__(self, text: str, properties: Sequence[str]) -> None:
        super().__init__(text)
        self.properties = tuple(dict.fromkeys(properties))


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose header was read: its octets with CRLF as the only line break, and where its body starts.

    `authors` are the addresses in From, `resenders` those in all Resent-From and Resent-Sender, as every program reads
    them.
    """

    octets: bytes
    fields: tuple[HeaderField, ...]
    body_start: int
    authors: tuple[str, ...]
    sender: str | None
    resenders: tuple[str, ...]

    def addresses(self, name: str) -> list[str]:
        """The addresses in all fields of that (lower-case) name, in order."""
        return [
            address.email for field in self.fields if field.name.lower() == name for address in as_addresses(field.raw)
        ]


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """The octets that go out; whether they need 8BITMIME (RFC 6152) and SMTPUTF8 (RFC 6531).

    `message_id` is theirs, without brackets; None if it can't be read.
    """

    octets: bytes
    message_id: str | None
    is_8bit: bool
    needs_smtputf8: bool


def read(data: bytes) -> Read:
    """Read the header of a message that is to be sent.

    Raises:
        NotSendable: From is missing, a field is there more often than it may be, or it can be read in several ways
            who sends this.
    """
    octets = _plain_breaks(data)
    start = leading_lines(octets)
    end, body = blank_line(octets, start)
    header = scan_header(octets, start, end, body)
    fields = tuple(
        HeaderField(
            name=octets[span.name_start : span.name_end].decode("ascii"),
            raw=octets[span.value_start : span.value_end],
        )
        for span in header.fields
    )
    _check_counts(fields)
    senders = _mailboxes(fields, "sender")
    return Read(
        octets=octets,
        fields=fields,
        body_start=header.body_start,
        authors=_mailboxes(fields, "from"),
        sender=senders[0] if senders else None,
        resenders=_mailboxes(fields, "resent-from") + _mailboxes(fields, "resent-sender"),
    )


def prepare(message: Read, *, message_id: str, date: str, sender: str | None = None) -> Outgoing:
    """The message as it goes out; `message_id` (without brackets) and `date` are used where it has none.

    `sender` is what Sender shall say; None leaves it as it is.

    Raises:
        NotSendable: a line is too long where none can be broken, or octets that no header can have.
    """
    lines: list[bytes] = []
    names = {field.name.lower() for field in message.fields}
    if "date" not in names:
        lines.append(b"Date: %s\r\n" % date.encode("ascii"))  # RFC 6409 §8.3
    if "message-id" not in names:
        lines.append(b"Message-ID: <%s>\r\n" % message_id.encode("ascii"))
    dropped = _DROPPED
    if sender is not None:
        dropped |= {"sender"}
        if message.authors != (sender,):  # RFC 5322 §3.6.2: it SHOULD NOT only repeat From
            lines.append(b"Sender: %s\r\n" % sender.encode())
    # Messages are large: what stays as it is isn't copied before it is joined to the header.
    body: bytes | memoryview = memoryview(message.octets)[message.body_start :]
    transfer: TransferEncoding | None = None
    part: Part | None = None
    if not _is_legal(message.octets):
        part = scan(message.octets)[0]
        if not _is_legal(message.octets, message.body_start):
            if part.sub_parts is None and not part.type.startswith("message/"):
                transfer = _wanted_encoding(part)
            body = b"".join(_mended(message.octets, part, _Place(1, signed=False)))
    for field in message.fields:
        name = field.name.lower()
        if name not in dropped and (transfer is None or name != "content-transfer-encoding"):
            lines.append(_field(field))
    if transfer is not None:
        lines += () if "mime-version" in names else (b"MIME-Version: 1.0\r\n",)
        lines.append(b"Content-Transfer-Encoding: %s\r\n" % transfer.encode("ascii"))
    octets = b"".join((*lines, b"\r\n", body))
    is_8bit = _HIGH.search(octets) is not None
    needs_smtputf8 = False
    if part is not None or is_8bit:
        sent = scan(octets)[0]
        if part is not None and _shape(sent) != _shape(part):
            raise NotSendable("The lines of the message can't be made legal without other parts.", ["bodyStructure"])
        # RFC 6531 §3.1: UTF-8 in the header, also in that of a part
        needs_smtputf8 = _check_headers(octets, sent)
    return Outgoing(
        octets=octets, message_id=_message_id(message, message_id), is_8bit=is_8bit, needs_smtputf8=needs_smtputf8
    )


def _message_id(message: Read, otherwise: str) -> str | None:
    for field in message.fields:
        if field.name.lower() == "message-id":
            found = parse_message_ids(unfolded(field.raw))
            return found[0] if found else None
    return otherwise


def _plain_breaks(data: bytes) -> bytes:
    """The same with CRLF as the only line break; a CR alone stays, so that it can't end a line that was one."""
    view = line_view(data)
    if view.count(b"\n") == view.count(b"\r\n") and b"\r\r\n" not in view:
        return view
    return _BREAK.sub(b"\r\n", view)


def _is_legal(octets: bytes, start: int = 0) -> bool:
    """RFC 5321 §4.5.3.1.6 and §2.3.8, RFC 5322 §2.3: short lines, no CR alone, no NUL; from that octet on."""
    if octets.find(b"\0", start) >= 0 or octets.count(b"\r", start) != octets.count(b"\n", start):
        return False
    end = len(octets)
    while end - start > MAX_LINE:
        # As many lines at a time as a legal one is long.
        line_break = octets.rfind(b"\n", start, start + MAX_LINE + 2)
        if line_break < 0:
            return False
        start = line_break + 1
    return True


def _check_counts(fields: Sequence[HeaderField]) -> None:
    counts: dict[str, int] = {}
    for field in fields:
        name = field.name.lower()
        counts[name] = counts.get(name, 0) + 1
        if name in _ADDRESS_FIELDS and len(field.raw) > _MOST_ADDRESS_OCTETS:
            raise NotSendable(f"{field.name} is longer than {_MOST_ADDRESS_OCTETS} octets.", [name])
    if "from" not in counts:
        raise NotSendable("There is no From.", ["from"])
    if repeated := [name for name in _ONCE if counts.get(name, 0) > 1]:
        raise NotSendable(
            f"More than one field {', '.join(repeated)}; RFC 5322 allows one of each.",
            [_ONCE[name] for name in repeated],
        )


def _mailboxes(fields: Sequence[HeaderField], name: str) -> tuple[str, ...]:
    """The addresses in the fields of that (lower-case) name; of a Sender there can be one only. NotSendable."""
    found: tuple[str, ...] = ()
    for field in fields:
        if field.name.lower() == name:
            try:
                read = mailboxes(field.raw)
            except Ambiguous as error:
                raise NotSendable(f"{field.name} can't be sent: {error}.", [_property(name)]) from None
            if len(read) > 1 and name.endswith("sender"):  # RFC 5322 §3.6.2, §3.6.6
                raise NotSendable(f"{field.name} has more than one address.", [_property(name)])
            found += read
    return found


def _property(name: str) -> str:
    return _ONCE.get(name.lower(), f"header:{name}")


def _field(field: HeaderField) -> bytes:
    """A field in legal lines. NotSendable."""
    wrong = _property(field.name)
    if b"\0" in field.raw:
        raise NotSendable(f"{field.name[:100]} has a NUL octet.", [wrong])
    # A CR alone is read as a line break by some relays, and would begin another field there.
    value = _BARE_CR.sub(b" ", field.raw)
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        raise NotSendable(f"{field.name[:100]} has octets that are no UTF-8 (RFC 6532 §3.1).", [wrong]) from None
    lines = (field.name.encode("ascii") + b":" + value).split(b"\r\n")
    # RFC 5322 §4.2: a line of nothing but white space is obsolete, and ends the header for some.
    kept = [lines[0], *(line for line in lines[1:] if line.strip(b" \t"))]
    return b"".join(folded + b"\r\n" for line in kept for folded in _folded(line, field.name, wrong))


def _folded(line: bytes, name: str, wrong: str) -> Iterator[bytes]:
    """A line of a header in pieces of at most 998 octets, broken before white space (RFC 5322 §2.2.3)."""
    while len(line) > MAX_LINE:
        cut = max(line.rfind(b" ", 1, MAX_LINE), line.rfind(b"\t", 1, MAX_LINE))
        # Neither piece may be of white space alone, nor the name without anything behind it.
        if cut <= len(line) - len(line.lstrip(b" \t")) or cut <= len(name) + 1:
            raise NotSendable(f"{name[:100]} has a line of more than {MAX_LINE} octets.", [wrong])
        yield line[:cut]
        line = line[cut:]
        if not line.strip(b" \t"):
            return
    yield line


class _Place(msgspec.Struct, frozen=True):
    """Where in a message a part is: how deep in messages within messages, and whether a signature is on it."""

    depth: int
    signed: bool


def _mended(data: bytes, part: Part, place: _Place) -> Iterator[bytes]:
    """The body of a part in legal lines. NotSendable."""
    body = data[part.body_start : part.body_end]
    if _is_legal(body):
        yield body
    elif place.signed:
        # RFC 1847 §2.1: what is signed may not be changed on the way.
        raise NotSendable("A signed part has lines that no relay would take.", ["bodyStructure"])
    elif part.sub_parts is not None:
        yield from _mended_multipart(data, part, place)
    elif part.type.startswith("message/") and part.encoding == "identity":
        # RFC 2046 §5.2.1: no other encoding is allowed there, so what is inside is mended.
        yield _mended_message(body, place)
    else:
        yield from encode(pieces(data, part.body_start, part.body_end, part.encoding), _wanted_encoding(part))


def _mended_multipart(data: bytes, part: Part, place: _Place) -> Iterator[bytes]:
    inside = _Place(place.depth, signed=part.type == "multipart/signed")
    position = part.body_start
    for child in part.sub_parts or ():
        yield _between(data[position : child.header_start])
        header = data[child.header_start : child.body_start]
        position = child.body_end
        body = data[child.body_start : child.body_end]
        if not _is_legal(body) and child.sub_parts is None and not child.type.startswith("message/"):
            yield from _mended_header(header, _wanted_encoding(child))
        elif _is_legal(header):
            yield header
        elif inside.signed:
            raise NotSendable("A signed part has a header that no relay would take.", ["bodyStructure"])
        else:
            yield from _mended_header(header, None)
        yield from _mended(data, child, inside)
    yield _between(data[position : part.body_end])


def _mended_header(header: bytes, transfer: TransferEncoding | None) -> Iterator[bytes]:
    for span in scan_header(header, 0, len(header), len(header)).fields:
        name = header[span.name_start : span.name_end].decode("ascii")
        if transfer is None or name.lower() != "content-transfer-encoding":
            yield _field(HeaderField(name=name, raw=header[span.value_start : span.value_end]))
    if transfer is not None:
        yield b"Content-Transfer-Encoding: %s\r\n" % transfer.encode("ascii")
    yield b"\r\n"


def _mended_message(octets: bytes, place: _Place) -> bytes:
    if place.depth >= _MOST_NESTED:
        raise NotSendable("Messages nest too deeply for their lines to be made legal.", ["bodyStructure"])
    part = scan(octets)[0]
    header = octets[part.header_start : part.body_start]
    transfer = None
    if not _is_legal(octets[part.body_start :]) and part.sub_parts is None and not part.type.startswith("message/"):
        transfer = _wanted_encoding(part)
    body = b"".join(_mended(octets, part, _Place(place.depth + 1, signed=False)))
    if transfer is not None or not _is_legal(header):
        header = b"".join(_mended_header(header, transfer))
    return header + body


def _between(octets: bytes) -> bytes:
    """What stands around the parts of a multipart, where nobody reads it. NotSendable."""
    if _is_legal(octets):
        return octets
    octets = _BARE_CR.sub(b" ", octets.replace(b"\0", b""))
    if not _is_legal(octets):
        raise NotSendable("A line between the parts of the body is too long.", ["bodyStructure"])
    return octets


def _wanted_encoding(part: Part) -> TransferEncoding:
    if part.encoding == "identity":
        return "base64"
    return part.encoding


def _shape(part: Part) -> object:
    return part.type, None if part.sub_parts is None else tuple(map(_shape, part.sub_parts))


def _check_headers(octets: bytes, part: Part) -> bool:
    """Whether the header of a part, or of one in it, has UTF-8. NotSendable for other octets beyond ASCII."""
    header = octets[part.header_start : part.body_start]
    found = not header.isascii()
    if found:
        try:
            header.decode("utf-8")
        except UnicodeDecodeError:
            raise NotSendable("The header of a part has octets that are no UTF-8.", ["bodyStructure"]) from None
    for child in part.sub_parts or ():
        found = _check_headers(octets, child) or found
    return found
