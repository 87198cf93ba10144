"""A message as octets, made of header fields and a tree of parts (RFC 5322, RFC 2045, RFC 2046).

What is built here reads back as what was put in. Contents come in pieces, and the message leaves in pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from stalwart.mail.build_fields import InvalidValue, field_named, fold
from stalwart.mail.build_transfer import TransferEncoding, choose, encode, look_at
from stalwart.mail.headers import HeaderField

__all__ = ["Contents", "NewPart", "build", "parameterized_field"]

#: Gives the octets of a content from their beginning, each time it is called.
Contents = Callable[[], Iterable[bytes]]

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+")
#: Characters of a parameter that stays on one line.
_LONGEST_PARAMETER: Final = 60
_SEGMENT: Final = 50
_PLAIN_TEXT: Final = re.compile(r"[ -~]*")
_BREAK: Final = re.compile(r"\r\n|\r|\n")
_ATTEMPTS: Final = 16


class NewPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part to be built: a multipart with `sub_parts`, or else a leaf whose `content` is text or octets.

    Text has any line breaks, and is written in UTF-8 unless it is plain ASCII; the charset of octets is among the
    `parameters`. The fields that say what a part is (Content-Type, Content-Transfer-Encoding) come from here, all
    others are in `fields`.
    """

    type: str
    parameters: tuple[tuple[str, str], ...] = ()
    fields: tuple[HeaderField, ...] = ()
    content: str | Contents = ""
    sub_parts: tuple[NewPart, ...] | None = None


def build(fields: Sequence[HeaderField], body: NewPart, random_token: Callable[[], str]) -> Iterator[bytes]:
    """The message, in pieces. `fields` is its header without the fields of the body.

    `random_token` gives letters and digits nobody can guess, for the boundaries. Each content is gone through twice.
    InvalidValue for a parameter that can't be written.
    """
    if all(field.name.lower() != "mime-version" for field in fields):
        fields = (*fields, HeaderField(name="MIME-Version", raw=b" 1.0"))  # RFC 2045 §4
    return _written(_planned(body, random_token), fields)


class _Plan(msgspec.Struct, frozen=True):
    """A part with all that had to be found out."""

    part: NewPart
    pieces: Contents
    encoding: TransferEncoding
    boundary: str
    sub_parts: tuple[_Plan, ...]


class _Planner:
    def __init__(self, token: str) -> None:
        self.token = token
        self.multiparts = 0
        self.collides = False

    def plan(self, part: NewPart) -> _Plan:
        if part.sub_parts is not None:
            self.multiparts += 1
            # RFC 2045 §6.7: "=_" is in no quoted-printable, and no base64. No boundary begins with another.
            boundary = f"=_{self.multiparts}.{self.token}"
            sub_parts = tuple(self.plan(sub_part) for sub_part in part.sub_parts)
            # RFC 2045 §6.4: a multipart is 8bit when something in it is
            eight = any(sub_part.encoding == "8bit" for sub_part in sub_parts)
            return _Plan(part, _nothing, "8bit" if eight else "7bit", boundary, sub_parts)
        pieces = _text_pieces(part.content) if isinstance(part.content, str) else part.content
        traits = look_at(pieces(), self.token.encode("ascii"))
        encoding = choose(part.type, traits)
        self.collides = self.collides or (traits.holds_mark and encoding in ("7bit", "8bit"))
        if isinstance(part.content, str):
            # Readers take what is called ASCII and has an ESC in it for ISO-2022-JP (RFC 1468).
            is_ascii = not traits.high and "\x1b" not in part.content
            parameters = (("charset", "us-ascii" if is_ascii else "utf-8"), *part.parameters)
            part = msgspec.structs.replace(part, parameters=parameters)
        return _Plan(part, pieces, encoding, "", ())


def _planned(body: NewPart, random_token: Callable[[], str]) -> _Plan:
    for _ in range(_ATTEMPTS):
        planner = _Planner(random_token())
        plan = planner.plan(body)
        # RFC 2046 §5.1: a boundary must not be in what it encloses.
        if not planner.collides or not planner.multiparts:
            return plan
    raise RuntimeError("the source of boundaries gives what is in the message already")


def _nothing() -> Iterable[bytes]:
    return ()


def _text_pieces(text: str) -> Contents:
    # RFC 2046 §4.1.1: the canonical form of text has CRLF as its line break, and CR or LF nowhere else.
    octets = _BREAK.sub("\r\n", text.replace("\0", "")).encode("utf-8", "replace")
    return lambda: (octets,)


def _written(plan: _Plan, fields: Sequence[HeaderField]) -> Iterator[bytes]:
    yield _header((*fields, *_content_fields(plan)))
    if plan.part.sub_parts is None:
        yield from encode(plan.pieces(), plan.encoding)
        return
    delimiter = b"--" + plan.boundary.encode("ascii")
    between = b""
    for sub_part in plan.sub_parts:
        yield between + delimiter + b"\r\n"
        yield from _written(sub_part, ())
        between = b"\r\n"
    yield between + delimiter + b"--\r\n"


def _header(fields: Iterable[HeaderField]) -> bytes:
    return b"".join(field.name.encode("ascii") + b":" + field.raw + b"\r\n" for field in fields) + b"\r\n"


def _content_fields(plan: _Plan) -> Iterator[HeaderField]:
    parameters = plan.part.parameters
    if plan.boundary:
        parameters = (*parameters, ("boundary", plan.boundary))
    yield parameterized_field("Content-Type", plan.part.type, parameters)
    if plan.encoding != "7bit":
        yield HeaderField(name="Content-Transfer-Encoding", raw=b" " + plan.encoding.encode("ascii"))
    yield from plan.part.fields


def parameterized_field(name: str, value: str, parameters: Iterable[tuple[str, str]]) -> HeaderField:
    """A field such as Content-Type: a value with parameters (RFC 2045 §5.1, RFC 2231). InvalidValue."""
    pieces = [f" {value}"]
    for key, text in parameters:
        if _TOKEN.fullmatch(key) is None or "*" in key or len(key) > _LONGEST_PARAMETER:
            raise InvalidValue(f"{key[:100]!r} is not the name of a parameter")
        for piece in _parameter(key, text):
            pieces[-1] += ";"
            pieces.append(piece)
    return field_named(name, fold(name, pieces))


def _parameter(key: str, text: str) -> list[str]:
    if _PLAIN_TEXT.fullmatch(text) and len(text) <= _LONGEST_PARAMETER and "=?" not in text:
        if _TOKEN.fullmatch(text):
            return [f" {key}={text}"]
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return [f' {key}="{escaped}"']
    # RFC 2231 §4: octets that are no attribute-char as %XX
    encoded = [quote(character, safe="!#$&+-.^_`{|}~") for character in text]
    if sum(map(len, encoded)) <= _SEGMENT:
        return [f" {key}*=utf-8''{''.join(encoded)}"]
    # RFC 2231 §3: long values in numbered sections
    sections = ["utf-8''"]
    for one in encoded:
        if len(sections[-1]) + len(one) > _SEGMENT:
            sections.append("")
        sections[-1] += one
    return [f" {key}*{index}*={section}" for index, section in enumerate(sections)]
