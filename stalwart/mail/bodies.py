"""Bodies of parts: their octets, their text, and which parts are the message (RFC 8621 §4.1.4)."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from stalwart.mail import charsets, transfer
from stalwart.mail.message import Part

__all__ = ["BodyLists", "BodyValue", "body_lists", "body_value", "decode_octets", "decode_part", "text_charset", "walk"]

_TAG_START: Final = re.compile(r"<(?=[A-Za-z/!?])")
# A quote that never closes takes all that follows, and then no ">" does. As for a possessive group whose last round
# fails half-way: Python 3.11.2, Debian 12's, would not go back to where the round began.
_TAG: Final = re.compile(r"<!--[\s\S]*?-->|<(?!!--)[^<>\"']*+(?:\"[^\"]*+\"?+[^<>\"']*+|'[^']*+'?+[^<>\"']*+)*+>")
_ENTITY_CUT: Final = re.compile(r"&#?[0-9A-Za-z]{0,32}\Z")


class BodyLists(msgspec.Struct, frozen=True, kw_only=True):
    """textBody, htmlBody and attachments."""

    text: tuple[Part, ...]
    html: tuple[Part, ...]
    attachments: tuple[Part, ...]


class BodyValue(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """EmailBodyValue."""

    value: str
    is_encoding_problem: bool
    is_truncated: bool


def walk(part: Part) -> list[Part]:
    """The parts that are not multipart, depth first."""
    if part.sub_parts is None:
        return [part]
    return [leaf for sub_part in part.sub_parts for leaf in walk(sub_part)]


def text_charset(root: Part) -> str | None:
    """The charset of the first text that says one: old programs write header fields in it as well."""
    for part in walk(root):
        if part.type.startswith("text/") and part.charset not in (None, "us-ascii"):
            return part.charset
    return None


def decode_part(data: bytes, part: Part) -> bytes:
    """The content of a part with its transfer encoding undone; `data` is the whole message."""
    return transfer.decode(data[part.body_start : part.body_end], part.encoding)


def decode_octets(raw_body: bytes, part: Part) -> bytes:
    """The same, given only `message[part.body_start:part.body_end]`."""
    return transfer.decode(raw_body, part.encoding)


def body_value(raw_body: bytes, part: Part, max_bytes: int | None = None) -> BodyValue:
    """The text of a part, given `message[part.body_start:part.body_end]`.

    `max_bytes` bounds the UTF-8 octets of the value; None and 0 don't (RFC 8621 §4.2).
    """
    decoded = charsets.decode(transfer.decode(raw_body, part.encoding), part.charset)
    text = normalize_lines(decoded.text)
    truncated = False
    if max_bytes and len(text) * 4 > max_bytes:
        text, truncated = _truncate(text, max_bytes, part.type == "text/html")
    return BodyValue(
        value=text,
        is_encoding_problem=decoded.problem or not part.encoding_known,
        is_truncated=truncated,
    )


def normalize_lines(text: str) -> str:
    """CRLF becomes LF, and CR where it is the only line break; NUL is dropped."""
    if "\r" in text:
        text = text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")
    return text.replace("\0", "") if "\0" in text else text


def _truncate(text: str, max_bytes: int, html: bool) -> tuple[str, bool]:
    encoded = text[: max_bytes + 1].encode("utf-8")
    if len(encoded) <= max_bytes:
        return text, False
    # RFC 8621 §4.2: valid UTF-8, not within a code point; not within an HTML tag.
    kept = encoded[:max_bytes].decode("utf-8", "ignore")
    if html:
        kept = kept[: _outside_markup(kept, text)]
    return kept, True


def _outside_markup(kept: str, text: str) -> int:
    """Where to cut instead, so that no tag, comment or character reference is cut."""
    position = 0
    while start := _TAG_START.search(kept, position):
        tag = _TAG.match(kept, start.start())
        if tag is None:
            whole = _TAG.match(text, start.start())
            if whole is not None or kept.startswith("!--", start.end()) or kept.find(">", start.end()) < 0:
                return start.start()
            position = kept.find(">", start.end()) + 1  # quotes that never close: the browser's tag is not ours
            continue
        position = tag.end()
    cut = _ENTITY_CUT.search(kept, max(position, len(kept) - 40))
    if cut is not None and (text[len(kept)].isalnum() or text[len(kept)] in "#;"):
        return cut.start()
    return len(kept)


def body_lists(root: Part) -> BodyLists:
    """The algorithm of RFC 8621 §4.1.4."""
    text: list[Part] = []
    html: list[Part] = []
    attachments: list[Part] = []
    _sort_parts((root,), "mixed", False, html, text, attachments)
    return BodyLists(text=tuple(text), html=tuple(html), attachments=tuple(attachments))


def is_media(media_type: str) -> bool:
    """Types that are shown in their place without being text."""
    return media_type.startswith(("image/", "audio/", "video/"))


def _sort_parts(
    parts: tuple[Part, ...],
    multipart_type: str,
    in_alternative: bool,
    html: list[Part] | None,
    text: list[Part] | None,
    attachments: list[Part],
) -> None:
    # A list that is None here takes no more parts on this level and below; the caller's stays.
    text_length = -1 if text is None else len(text)
    html_length = -1 if html is None else len(html)
    for index, part in enumerate(parts):
        media = is_media(part.type)
        if part.sub_parts is not None:
            sub_type = part.type.partition("/")[2]
            below = in_alternative or sub_type == "alternative"
            _sort_parts(part.sub_parts, sub_type, below, html, text, attachments)
            continue
        is_body = (
            part.disposition != "attachment"
            and (media or part.type in ("text/plain", "text/html"))
            # Only the first part of multipart/related is shown; a text with a file name that is not the
            # first part is an attachment.
            and (index == 0 or (multipart_type != "related" and (media or not part.name)))
        )
        if not is_body:
            attachments.append(part)
            continue
        if multipart_type == "alternative":
            if part.type == "text/plain" and text is not None:
                text.append(part)
            elif part.type == "text/html" and html is not None:
                html.append(part)
            else:
                attachments.append(part)
            continue
        if in_alternative:
            if part.type == "text/plain":
                html = None
            if part.type == "text/html":
                text = None
        if text is not None:
            text.append(part)
        if html is not None:
            html.append(part)
        if (text is None or html is None) and media:
            attachments.append(part)
    if multipart_type == "alternative" and text is not None and html is not None:
        if text_length == len(text) and html_length != len(html):  # HTML only
            text.extend(html[html_length:])
        if html_length == len(html) and text_length != len(text):  # plain text only
            html.extend(text[text_length:])
