"""Header fields written: each parsed form of RFC 8621 §4.1.2 as the octets that give it back when they are read.

Lines are folded at 78 characters where there is a place for it, and are never longer than 998 octets (RFC 5322 §2.1.1).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from stalwart.mail.addresses import Address, AddressGroup
from stalwart.mail.headers import HeaderField

__all__ = [
    "MAX_LINE",
    "InvalidValue",
    "address_field",
    "date_field",
    "encoded_words",
    "field_named",
    "fold",
    "format_moment",
    "message_id_field",
    "raw_field",
    "text_field",
    "url_field",
]

#: RFC 5322 §2.1.1: octets of a line without its CRLF, and the characters that it should have at most.
MAX_LINE: Final = 998
_WIDTH: Final = 78
#: What can't be folded (an address, an id, a URL) may have this many octets: its line has room for more.
_MAX_TOKEN: Final = 900
_MAX_NAME: Final = 255
#: RFC 2047 §2
_MAX_WORD: Final = 75
_WORD_FRAME: Final = len("=?utf-8?q??=")
#: A display-name that is longer is written as encoded words, which can be folded anywhere.
_MAX_QUOTED: Final = 60

_NAME: Final = re.compile(r"[!-9;-~]+")
_CONTROL: Final = re.compile("[\0-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_OR_TAB: Final = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PIECE: Final = re.compile(r"[ \t]*[^ \t]+|[ \t]+")
# RFC 5322 §3.2.3 and RFC 6532 §3.2: atext
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\x80-\U0010ffff]+"
_DOT_ATOM: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+)*")
_QUOTED_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL: Final = re.compile(r"\[[^\[\]\\<>]*\]")
_LOOSE_TEXT: Final = re.compile(rf"{_ATOM}(?: {_ATOM})*")
_NOT_IN_ID: Final = re.compile(r"[\s<>()\"\\]")
_NOT_IN_URL: Final = re.compile(r"[\s<>]")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.+", re.ASCII)
# RFC 2047 §5 (3): what may stand unencoded in an encoded word of a phrase, and everywhere else as well
_Q_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class InvalidValue(ValueError):
    """A value that no header field can have. The text says what is wrong with it, for whoever sent it."""


def field_named(name: str, value: str) -> HeaderField:
    """A field of that name; `value` is folded and begins with white space. InvalidValue for a name that is none."""
    if _NAME.fullmatch(name) is None or len(name) > _MAX_NAME:
        raise InvalidValue(f"{name[:100]!r} is not the name of a header field")
    raw = value.encode("utf-8")
    if any(len(line) > MAX_LINE for line in (name.encode() + b":" + raw).split(b"\r\n")):
        raise InvalidValue(f"a line of {name} would be longer than {MAX_LINE} octets")
    return HeaderField(name=name, raw=raw)


def raw_field(name: str, value: str) -> HeaderField:
    """The value as it stands. InvalidValue where it would begin another field or end the header (RFC 5322 §2.2)."""
    lines = value.replace("\r\n", "\n").split("\n")
    if any(_CONTROL.search(line) for line in lines):
        raise InvalidValue("control characters, NUL and a CR by itself are not allowed")
    for line in lines[1:]:
        if not line.startswith((" ", "\t")) or not line.strip(" \t"):
            raise InvalidValue("a line break must be followed by white space and then by text")
    if any(len(line.encode("utf-8")) + len(name) >= MAX_LINE for line in lines):
        return field_named(name, fold(name, _pieces("".join(lines))))
    return field_named(name, "\r\n".join(lines))


def text_field(name: str, text: str) -> HeaderField:
    """The Text form: encoded words where something isn't ASCII (RFC 2047). A tab becomes a space.

    InvalidValue for other control characters.
    """
    _refuse_controls(text, _CONTROL)
    text = text.replace("\t", " ")  # an encoded word can't have it
    if not text:
        return field_named(name, " ")
    return field_named(name, fold(name, _text_pieces(name, text)))


def address_field(name: str, groups: Iterable[AddressGroup]) -> HeaderField:
    """The Addresses and GroupedAddresses forms (RFC 5322 §3.4). InvalidValue for what can't be written as one."""
    pieces: list[str] = []
    for group in groups:
        inner = [piece for address in group.addresses for piece in _closed(_mailbox(address), ",")]
        if inner:
            inner[-1] = inner[-1][:-1]
        if group.name is not None:
            phrase = _phrase(group.name) or [' ""']
            # RFC 2047 §5 (3): white space parts an encoded word from a special
            inner = [*_closed(phrase, " :" if phrase[-1].endswith("?=") else ":"), *inner]
            inner[-1] += ";"
        if inner and pieces:
            pieces[-1] += ","
        pieces += inner
    return field_named(name, fold(name, pieces))


def message_id_field(name: str, ids: Sequence[str]) -> HeaderField:
    """The MessageIds form: ids without their angle brackets (RFC 5322 §3.6.4). InvalidValue."""
    for one in ids:
        _refuse_controls(one, _CONTROL_OR_TAB)
        if not one or _NOT_IN_ID.search(one) or len(one.encode("utf-8")) > _MAX_TOKEN:
            raise InvalidValue(f"{one[:100]!r} is not a message id")
    return field_named(name, fold(name, [f" <{one}>" for one in ids]))


def url_field(name: str, urls: Sequence[str]) -> HeaderField:
    """The URLs form (RFC 2369 §2). InvalidValue."""
    pieces: list[str] = []
    for url in urls:
        _refuse_controls(url, _CONTROL_OR_TAB)
        if not _URL.fullmatch(url) or _NOT_IN_URL.search(url) or len(url.encode("utf-8")) > _MAX_TOKEN:
            raise InvalidValue(f"{url[:100]!r} is not a URL that a header field can have")
        pieces.append(f" <{url}>,")
    pieces[-1] = pieces[-1][:-1]
    return field_named(name, fold(name, pieces))


def date_field(name: str, moment: datetime) -> HeaderField:
    """The Date form (RFC 5322 §3.3) of a moment with an offset; fractions of a second are left out."""
    return field_named(name, " " + format_moment(moment))


def format_moment(moment: datetime) -> str:
    """A date-time of RFC 5322 §3.3, never with the names of the machine's locale."""
    minutes = int((moment.utcoffset() or datetime.resolution * 0).total_seconds()) // 60
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day} {_MONTHS[moment.month - 1]} {moment.year:04} "
        f"{moment:%H:%M:%S} {sign}{minutes // 60:02}{minutes % 60:02}"
    )


def fold(name: str, pieces: Iterable[str]) -> str:
    """Pieces that begin with white space, with a line break before each that its line has no room for."""
    out: list[str] = []
    column = start = len(name) + 1
    for piece in pieces:
        if column > start and column + len(piece) > _WIDTH and piece[0] in " \t" and piece.strip(" \t"):
            out.append("\r\n")
            column, start = 0, 0
        out.append(piece)
        column += len(piece)
    return "".join(out)


def encoded_words(text: str, room: int = _MAX_WORD) -> list[str]:
    """Text as encoded words in UTF-8, which white space must part; the first has at most `room` characters.

    RFC 2047 §5: no character is cut in two. Whichever of "Q" and "B" makes fewer characters is taken.
    """
    octets = text.encode("utf-8")
    plain = sum(1 for octet in octets if octet in _Q_PLAIN or octet == 32)
    quoted = plain + 3 * (len(octets) - plain) <= (len(octets) + 2) // 3 * 4
    words: list[str] = []
    chunk: list[str] = []
    used = 0
    room = min(max(room, _WORD_FRAME + 12), _MAX_WORD) - _WORD_FRAME
    for character in text:
        piece = _q(character) if quoted else character
        cost = len(piece) if quoted else len(character.encode("utf-8"))
        if (used + cost if quoted else (used + cost + 2) // 3 * 4) > room:
            words.append(_word(chunk, quoted=quoted))
            chunk, used, room = [], 0, _MAX_WORD - _WORD_FRAME
        chunk.append(piece)
        used += cost
    words.append(_word(chunk, quoted=quoted))
    return words


def _word(chunk: list[str], *, quoted: bool) -> str:
    text = "".join(chunk)
    return f"=?utf-8?q?{text}?=" if quoted else f"=?utf-8?b?{base64.b64encode(text.encode('utf-8')).decode('ascii')}?="


def _q(character: str) -> str:
    if character == " ":
        return "_"
    octets = character.encode("utf-8")
    return character if len(octets) == 1 and octets[0] in _Q_PLAIN else "".join(f"={octet:02X}" for octet in octets)


def _text_pieces(name: str, text: str) -> list[str]:
    """Unstructured text, cut where it may be folded; what can't stand as it is becomes encoded words."""
    out: list[str] = []
    run = ""
    first = _WIDTH - len(name) - 2
    parts = _PIECE.findall(text)
    for index, part in enumerate(parts):
        bare = part.lstrip(" \t")
        # White space at either end of a value is lost on the way or when it is read.
        at_end = not bare or (index == 0 and bare != part)
        if at_end or not bare.isascii() or "=?" in bare or len(bare) >= _WIDTH - (len(name) + 1 if index == 0 else 0):
            run += part
            continue
        if run:
            _add_run(out, run, first)
            run = ""
        out.append(part if out else " " + part)
    if run:
        _add_run(out, run, first)
    return out


def _add_run(out: list[str], run: str, room: int) -> None:
    """Add text that has to be encoded; white space between it and plain text before it stays as it is."""
    bare = run.lstrip(" \t") if out else run
    space = run[: len(run) - len(bare)]
    if not bare:  # white space at the end
        bare, space = run, " "
        before = out.pop()
        plain = before.lstrip(" \t")
        # RFC 2047 §6.2: white space between two encoded words is lost, and so it goes into the second
        kept = before if out and out[-1].lstrip(" \t").startswith("=?") else plain
        space, bare = before[: len(before) - len(plain)] if kept is plain else " ", kept + bare
    words = encoded_words(bare, _MAX_WORD if out else room)
    out.append((space or " ") + words[0])
    out.extend(" " + word for word in words[1:])


def _pieces(text: str) -> list[str]:
    return _PIECE.findall(text)


def _phrase(name: str) -> list[str]:
    """A display-name (RFC 5322 §3.2.5), cut where it may be folded."""
    _refuse_controls(name, _CONTROL)
    name = name.replace("\t", " ").strip()
    if not name:
        return []
    if name.isascii() and "=?" not in name and len(name) <= _MAX_QUOTED:
        if _ATOMS.fullmatch(name):
            return [" " + name]
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return [f' "{escaped}"']
    # RFC 2047 §5: an encoded word is never within a quoted-string
    return [" " + word for word in encoded_words(name)]


def _mailbox(address: Address) -> list[str]:
    name = _phrase(address.name) if address.name else []
    _refuse_controls(address.email, _CONTROL_OR_TAB)
    email = address.email.strip()
    if len(email.encode("utf-8")) > _MAX_TOKEN:
        raise InvalidValue(f"an email may have at most {_MAX_TOKEN} octets")
    if not email and not name:
        raise InvalidValue("an address without name and email can not be written")
    if not name and "@" not in email and _LOOSE_TEXT.fullmatch(email):
        return [" " + email]  # an address that isn't typed to its end, in a draft
    local, at, domain = email.rpartition("@")
    if not at:
        local, domain = email, ""
    elif domain and not _DOT_ATOM.fullmatch(domain) and not _LITERAL.fullmatch(domain):
        raise InvalidValue(f"{email[:200]!r} is not an email address: {domain[:100]!r} is not a domain")
    if local and not _DOT_ATOM.fullmatch(local) and not _QUOTED_STRING.fullmatch(local):
        local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
    spec = f"{local}{at}{domain}"
    return [*name, f" <{spec}>"] if name or not _DOT_ATOM.fullmatch(local) or not domain else [" " + spec]


def _closed(pieces: list[str], mark: str) -> list[str]:
    return [*pieces[:-1], pieces[-1] + mark] if pieces else []


def _refuse_controls(text: str, controls: re.Pattern[str]) -> None:
    if found := controls.search(text):
        raise InvalidValue(f"a header field can not have the character U+{ord(found[0]):04X}")
