"""A message made fit for servers that take only 7-bit octets (RFC 6152 §3): parts with others are encoded.

The text and the attachments stay what they are; signatures over the octets don't, so a message is converted before
it is signed.
"""

from __future__ import annotations

import re
from typing import Final

from stalwart.mail.build_transfer import choose, encode, look_at
from stalwart.mail.message import Part, parse

__all__ = ["NotConvertible", "is_seven_bit", "to_seven_bit"]

_FIELD: Final = re.compile(rb"^content-transfer-encoding[ \t]*:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", re.I | re.M)
# RFC 2046 §5.2.1: an encoding is not allowed for it, so that what is in it has to be encoded.
_MESSAGE: Final = "message/rfc822"
_SIGNED: Final = "multipart/signed"
_DEEPEST: Final = 20


class NotConvertible(Exception):
    """There are octets over 127 where no encoding may be. The text says where."""


def is_seven_bit(message: bytes) -> bool:
    """Whether there are no octets over 127."""
    return message.isascii()


def to_seven_bit(message: bytes) -> bytes:
    """The message with all octets under 128; itself if it has no others. `message` has CRLF line ends.

    Raises NotConvertible.
    """
    return _convert(message, 0)


def _convert(message: bytes, depth: int) -> bytes:
    if message.isascii():
        return message
    if depth > _DEEPEST:
        raise NotConvertible("messages are nested too deep")
    out: list[bytes] = []
    end = _part(message, parse(message).structure, out, 0, depth)
    out.append(message[end:])
    converted = b"".join(out)
    if not converted.isascii():
        raise NotConvertible("octets over 127 between its parts")
    return converted


def _part(message: bytes, part: Part, out: list[bytes], at: int, depth: int) -> int:
    """Write out what lies from `at` to the end of a part; gives that end."""
    header, body = message[part.header_start : part.body_start], message[part.body_start : part.body_end]
    if header.isascii() and body.isascii():
        out.append(message[at : part.body_end])
        return part.body_end
    if not header.isascii():
        raise NotConvertible("octets over 127 in a header, which only SMTPUTF8 can carry")
    out.append(message[at : part.header_start])
    if part.sub_parts is not None:
        if part.type == _SIGNED:
            raise NotConvertible("octets over 127 under a signature")
        out.append(_labelled(header, b"7bit"))
        end = part.body_start
        for child in part.sub_parts:
            end = _part(message, child, out, end, depth)
        out.append(message[end : part.body_end])
    elif part.type == _MESSAGE:
        out.extend((_labelled(header, b"7bit"), _convert(body, depth + 1)))
    elif part.encoding != "identity" or not part.encoding_known:
        raise NotConvertible(f"octets over 127 in a part that says it is {part.encoding}")
    else:
        encoding = choose("text/plain" if part.type.startswith("text/") else "", look_at([body], b"--"))
        out.extend((_labelled(header, encoding.encode()), b"".join(encode([body], encoding))))
    return part.body_end


def _labelled(header: bytes, encoding: bytes) -> bytes:
    """A header, its empty line included, with another Content-Transfer-Encoding."""
    rest = _FIELD.sub(b"", header)
    fields = rest[:-2] if rest.endswith(b"\r\n\r\n") or rest == b"\r\n" else rest
    return fields + b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n"
