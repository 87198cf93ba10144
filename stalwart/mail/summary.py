"""All that is worked out once, when a message comes in, so that lists need no parsing later.

RFC 8621 §4.2 names the properties that must be fast to fetch; the rest serves threads, sorting and search.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import islice
from typing import Final
from urllib.parse import unquote

import msgspec

from stalwart.mail import charsets, transfer
from stalwart.mail.addresses import Address
from stalwart.mail.bodies import BodyLists, body_lists, is_media, normalize_lines, text_charset
from stalwart.mail.dates import format_date, parse_date
from stalwart.mail.fields import Span
from stalwart.mail.headers import as_addresses, as_text, unfolded
from stalwart.mail.html import html_to_text
from stalwart.mail.identifiers import parse_message_ids
from stalwart.mail.message import Part, scan
from stalwart.mail.preview import preview_of_html, preview_of_text
from stalwart.mail.subjects import base_subject, thread_subject

__all__ = ["MAX_HEADER_NAMES", "Digest", "SearchText", "Summary", "encode_summary", "summarize"]

#: Characters of body text that can be found.
MAX_SEARCH_TEXT: Final = 1 << 20
#: Encoded octets of one part that are read for its text.
_MAX_PART_OCTETS: Final = 4 << 20
#: Encoded octets that are read of all parts together: HTML may cost a lot and have no text.
_MAX_OCTETS: Final = 8 << 20
#: Parts whose text is read, those of attached messages among them.
_MAX_TEXT_PARTS: Final = 100
#: Attached messages within attached messages that are read for search.
_MAX_ATTACHED_DEPTH: Final = 3
#: Attached messages that are read for search, on all levels together: many small ones cost more than their octets.
_MAX_ATTACHED: Final = 100
#: Ids of one message that count for threads: its own, the first it refers to, and the last ones.
_MAX_THREAD_IDS: Final = 100
_MAX_RECEIVED: Final = 20
#: What a UTCDate can say (RFC 8620 §1.4): an offset takes other moments out of the years that there are.
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
#: Different names of header fields by which a message can be found.
MAX_HEADER_NAMES: Final = 2000
#: Octets of the header that a summary is made of, all its fields together: some 3,000 recipients. Summaries are sent in
#: lists, and a few mails with monstrous headers must not make the list of a mailbox too large to send.
_MAX_HEADER: Final = 1 << 17

_Addresses = tuple[Address, ...] | None
_Ids = tuple[str, ...] | None

# RFC 8621 §4.1.4: parts that programs read by themselves needn't count as attachments.
_SIGNATURES: Final = frozenset(
    {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}
)
_CID_URL: Final = re.compile(r"cid:([^\s\"'<>()&]++)", re.IGNORECASE)


class Summary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Properties of the Email object (RFC 8621 §4.1.3 and §4.1.4)."""

    message_id: _Ids
    in_reply_to: _Ids
    references: _Ids
    sender: _Addresses
    from_: _Addresses = msgspec.field(name="from")
    to: _Addresses
    cc: _Addresses
    bcc: _Addresses
    reply_to: _Addresses
    subject: str | None
    sent_at: str | None
    has_attachment: bool
    preview: str


class SearchText(msgspec.Struct, frozen=True, kw_only=True):
    """What a search looks in: addresses as "name email" and names of files, one to a line; the body as text.

    `header_names` are those of all header fields, in lower case.
    """

    subject: str
    from_: str
    to: str
    cc: str
    bcc: str
    body: str
    attachments: str
    header_names: tuple[str, ...]


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the store keeps it."""

    summary: Summary
    structure: Part
    #: One hash for each message id and the thread subject: messages that share one are one thread's.
    thread_keys: tuple[bytes, ...]
    #: RFC 8621 §4.4.2; all three with letter case folded.
    base_subject: str
    sort_from: str
    sort_to: str
    #: Seconds since the epoch, from the newest Received field that has a date.
    received: int | None
    search: SearchText


_encoder: Final = msgspec.json.Encoder()


def encode_summary(summary: Summary) -> bytes:
    """The summary as a JSON object with the property names of JMAP."""
    return _encoder.encode(summary)


def summarize(data: bytes) -> Digest:
    """Read a message once: any octets, never an error."""
    root, fields = scan(data)
    header = _Header(data, fields, text_charset(root))
    texts = _Texts(data)
    lists = body_lists(root)
    subject = header.text(b"subject")
    summary = Summary(
        sent_at=header.date(b"date"),
        message_id=header.ids(b"message-id"),
        in_reply_to=header.ids(b"in-reply-to"),
        from_=header.addresses(b"from"),
        sender=header.addresses(b"sender"),
        reply_to=header.addresses(b"reply-to"),
        subject=subject,
        references=header.ids(b"references"),
        to=header.addresses(b"to"),
        cc=header.addresses(b"cc"),
        bcc=header.addresses(b"bcc"),
        has_attachment=_has_attachment(lists, texts),
        preview=_preview(lists, texts),
    )
    search = _Search(texts)
    search.add_body(lists, 0)
    return Digest(
        summary=summary,
        structure=root,
        thread_keys=_thread_keys(summary),
        base_subject=base_subject(subject or "").casefold(),
        sort_from=_sort_key(summary.from_),
        sort_to=_sort_key(summary.to),
        received=header.received,
        search=SearchText(
            subject=subject or "",
            from_=_listing(summary.from_),
            to=_listing(summary.to),
            cc=_listing(summary.cc),
            bcc=_listing(summary.bcc),
            body="\n".join(search.out),
            attachments="\n".join(search.names),
            header_names=tuple(name.decode("ascii") for name in islice(header.last, MAX_HEADER_NAMES)),
        ),
    )


class _Header:
    """The fields of the message's own header that the summary needs."""

    def __init__(self, data: bytes, fields: list[Span], charset: str | None) -> None:
        self.data = data
        self.charset = charset
        # RFC 8621 §4.1.3: a property without ":all" is the last instance of its field.
        self.last = {field.name: field for field in fields}
        self.received = self._received(fields)
        self._left = _MAX_HEADER

    def raw(self, name: bytes) -> bytes | None:
        """The octets of a field, as far as those that were asked for before have left room."""
        field = self.last.get(name)
        if field is None:
            return None
        raw = self.data[field.value_start : min(field.value_end, field.value_start + self._left)]
        self._left -= len(raw)
        return raw

    def text(self, name: bytes) -> str | None:
        raw = self.raw(name)
        return None if raw is None else as_text(raw, self.charset)

    def addresses(self, name: bytes) -> _Addresses:
        raw = self.raw(name)
        return None if raw is None else as_addresses(raw, self.charset)

    def ids(self, name: bytes) -> _Ids:
        raw = self.raw(name)
        ids = None if raw is None else parse_message_ids(unfolded(raw, self.charset))
        return None if ids is None else tuple(ids)

    def date(self, name: bytes) -> str | None:
        raw = self.raw(name)
        moment = None if raw is None else parse_date(unfolded(raw))
        return None if moment is None else format_date(moment)

    def _received(self, fields: list[Span]) -> int | None:
        if b"received" not in self.last:
            return None
        received = [field for field in fields if field.name == b"received"]
        for field in received[:_MAX_RECEIVED]:
            # RFC 5322 §3.6.7: the date follows the last semicolon.
            value = unfolded(self.data[field.value_start : field.value_end])
            moment = parse_date(value.rpartition(";")[2])
            if moment is not None and _EARLIEST <= moment <= _LATEST:
                return int(moment.timestamp())
        return None


class _Texts:
    """The text of parts, each read once, and no more than so many."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.known: dict[str | None, str] = {}
        self.left = _MAX_TEXT_PARTS
        self.octets_left = _MAX_OCTETS

    def within(self, data: bytes) -> _Texts:
        """Those of an attached message, within the same bounds; `take_back` what is left of them."""
        texts = _Texts(data)
        texts.left, texts.octets_left = self.left, self.octets_left
        return texts

    def take_back(self, texts: _Texts) -> None:
        """Go on with what the texts of an attached message have left."""
        self.left, self.octets_left = texts.left, texts.octets_left

    def of(self, part: Part) -> str:
        text = self.known.get(part.part_id)
        if text is None:
            if self.left <= 0 or self.octets_left <= 0:
                return ""
            self.left -= 1
            end = min(part.body_end, part.body_start + min(_MAX_PART_OCTETS, self.octets_left))
            self.octets_left -= end - part.body_start
            octets = transfer.decode(self.data[part.body_start : end], part.encoding)
            text = self.known[part.part_id] = normalize_lines(charsets.decode(octets, part.charset).text)
        return text


def _has_attachment(lists: BodyLists, texts: _Texts) -> bool:
    shown: frozenset[str] | None = None
    for part in lists.attachments:
        if part.type in _SIGNATURES:
            continue
        if part.disposition == "inline" and (is_media(part.type) or not part.name):
            continue
        if part.cid and is_media(part.type):
            # RFC 8621 §4.1.4: images that the HTML shows needn't count.
            if shown is None:
                shown = _shown_ids(lists, texts)
            if unquote(part.cid) in shown:
                continue
        return True
    return False


def _shown_ids(lists: BodyLists, texts: _Texts) -> frozenset[str]:
    """The Content-IDs that the HTML refers to. RFC 2392 §2: they may be percent-encoded there."""
    html = (texts.of(part) for part in lists.html if part.type == "text/html")
    return frozenset(unquote(found) for text in html for found in _CID_URL.findall(text))


def _preview(lists: BodyLists, texts: _Texts) -> str:
    for part in (*lists.text, *lists.html):
        preview = ""
        if part.type == "text/plain":
            preview = preview_of_text(texts.of(part))
        elif part.type == "text/html":
            preview = preview_of_html(texts.of(part))
        if preview:
            return preview
    return ""


class _Search:
    """Body text and file names, gathered within bounds."""

    def __init__(self, texts: _Texts) -> None:
        self.texts = texts
        self.out: list[str] = []
        self.names: list[str] = []
        self.left = MAX_SEARCH_TEXT
        self.attached_left = _MAX_ATTACHED

    def add_body(self, lists: BodyLists, depth: int) -> None:
        seen: set[int] = set()
        for part in (*lists.text, *lists.html, *lists.attachments):
            if self.left <= 0:
                return
            if id(part) in seen:
                continue
            seen.add(id(part))
            if part.name:
                self.names.append(part.name)
            if part.type == "text/html":
                self._add(html_to_text(self.texts.of(part), attributes=True))
            elif part.type.startswith("text/"):
                self._add(self.texts.of(part).strip())
            elif part.type in ("message/rfc822", "message/global"):
                if depth < _MAX_ATTACHED_DEPTH and self.attached_left > 0:
                    self.attached_left -= 1
                    self._add_message(part, depth + 1)
            elif part.type.startswith("message/"):  # delivery-status and the like are text
                self._add(self.texts.of(part).strip())

    def _add_message(self, part: Part, depth: int) -> None:
        data = self.texts.data[part.body_start : min(part.body_end, part.body_start + _MAX_PART_OCTETS)]
        attached = transfer.decode(data, part.encoding)
        root, fields = scan(attached)
        header = _Header(attached, fields, text_charset(root))
        self._add(header.text(b"subject") or "")
        for name in (b"from", b"to", b"cc", b"bcc"):
            self._add(_listing(header.addresses(name)))
        texts, self.texts = self.texts, self.texts.within(attached)
        self.add_body(body_lists(root), depth)
        texts.take_back(self.texts)
        self.texts = texts

    def _add(self, text: str) -> None:
        if text and self.left > 0:
            self.out.append(text[: self.left])
            self.left -= len(text) + 1


def _thread_keys(summary: Summary) -> tuple[bytes, ...]:
    ids = [*(summary.message_id or ()), *(summary.in_reply_to or ()), *(summary.references or ())]
    distinct = list(dict.fromkeys(ids))
    if len(distinct) > _MAX_THREAD_IDS:
        distinct = distinct[:2] + distinct[2 - _MAX_THREAD_IDS :]
    subject = b"\0" + thread_subject(summary.subject or "").encode("utf-8")
    return tuple(blake2b(one.encode("utf-8") + subject, digest_size=16).digest() for one in distinct)


def _sort_key(addresses: _Addresses) -> str:
    # RFC 8621 §4.4.2: the name, or else the email, of the first address.
    if not addresses:
        return ""
    first = addresses[0]
    return (first.name or first.email).casefold()


def _listing(addresses: _Addresses) -> str:
    if not addresses:
        return ""
    return "\n".join(f"{one.name} {one.email}" if one.name else one.email for one in addresses)
