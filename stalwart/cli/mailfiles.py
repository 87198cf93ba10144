"""Reads mail out of files: mbox, Maildir (with Maildir++ folders), single messages and folders of them."""

from __future__ import annotations

import calendar
import email.utils
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

_FROM_LINE = re.compile(rb"From \S+ .*\d{4}")
_FROM_DATE = re.compile(rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) .*")
_QUOTED_FROM = re.compile(rb"(?m)^>(>*From )")
_MAILDIR_FLAGS = {"S": "$seen", "R": "$answered", "F": "$flagged", "D": "$draft", "P": "$forwarded"}
_STATUS_FLAGS = {"R": "$seen", "A": "$answered", "F": "$flagged", "D": "$draft"}
_STATUS = re.compile(rb"(?mi)^X?-?Status:[ \t]*([A-Za-z]*)[ \t]*\r?$")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_MESSAGE_SUFFIXES = (".eml", ".msg", ".mail")


class UnknownFormat(Exception):
    """A path that holds no mail in a form known here."""


class FoundMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message in a file.

    `folder` is the Maildir++ folder ("Sent", "Work/Plans"), None outside of one. `stored_at` is when the file's
    keeper received it, seconds since the epoch, None if nothing tells. `progress` counts octets read so far.
    """

    where: str
    octets: bytes
    keywords: frozenset[str]
    folder: str | None
    stored_at: float | None
    progress: int


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A file that could not be read, and why."""

    where: str
    reason: str


def total_octets(path: Path) -> int:
    """How many octets `read_mail` will go through."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file, _ in _message_files(path) if file.exists())


def read_mail(path: Path) -> Iterator[FoundMessage | Unreadable]:
    """Every message under a path, always in the same order, so that an interrupted import can go on."""
    if path.is_dir():
        yield from _read_files(path)
    elif _looks_like_mbox(path):
        yield from _read_mbox(path)
    else:
        yield from _read_file(path, None, 0)


def _looks_like_mbox(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.readline(1000)
    return _FROM_LINE.match(start) is not None


def _is_maildir(folder: Path) -> bool:
    return (folder / "cur").is_dir() and (folder / "new").is_dir()


def _message_files(root: Path) -> list[tuple[Path, str | None]]:
    """The message files under a folder, each with its Maildir++ folder."""
    if _is_maildir(root):
        maildirs: list[tuple[Path, str | None]] = [(root, None)]
        for child in sorted(root.iterdir()):
            if child.name.startswith(".") and _is_maildir(child):
                maildirs.append((child, _folder_name(child.name)))
        return [
            (file, name)
            for maildir, name in maildirs
            for part in ("cur", "new")
            for file in sorted((maildir / part).iterdir())
            if file.is_file() and not file.name.startswith(".")
        ]
    files = [
        Path(folder) / name
        for folder, _, names in sorted(os.walk(root))
        for name in sorted(names)
        if name.lower().endswith(_MESSAGE_SUFFIXES)
    ]
    if not files:
        raise UnknownFormat(
            f"{root}: neither a Maildir (no cur/ and new/ in it) nor a folder with files that end in "
            + ", ".join(_MESSAGE_SUFFIXES)
        )
    return [(file, None) for file in files]


def _folder_name(name: str) -> str:
    """The name of a Maildir++ folder: dots separate levels, other characters are in IMAP's modified UTF-7."""
    return "/".join(_from_modified_utf7(part) for part in name.lstrip(".").split("."))


def _from_modified_utf7(text: str) -> str:
    # RFC 3501 §5.1.3: "&" shifts to base64 with "," for "/", and "&-" is an ampersand.
    def decode(match: re.Match[str]) -> str:
        if not match[1]:
            return "&"
        try:
            return ("+" + match[1].replace(",", "/") + "-").encode("ascii").decode("utf-7")
        except UnicodeError:
            return match[0]

    return re.sub(r"&([^-]*)-", decode, text)


def _read_files(root: Path) -> Iterator[FoundMessage | Unreadable]:
    progress = 0
    for file, folder in _message_files(root):
        for found in _read_file(file, folder, progress):
            if isinstance(found, FoundMessage):
                progress = found.progress
            yield found


def _read_file(path: Path, folder: str | None, before: int) -> Iterator[FoundMessage | Unreadable]:
    try:
        octets = path.read_bytes()
        modified = path.stat().st_mtime
    except OSError as error:
        yield Unreadable(where=str(path), reason=error.strerror or str(error))
        return
    _, flagged, flags = path.name.partition(":2,")
    keywords = frozenset(_MAILDIR_FLAGS[flag] for flag in flags if flag in _MAILDIR_FLAGS)
    yield FoundMessage(
        where=str(path),
        octets=_with_crlf(octets),
        keywords=keywords,
        folder=folder,
        # A Maildir's file is written once, when the mail comes; a copied .eml file's time says nothing.
        stored_at=modified if flagged or path.parent.name in ("cur", "new") else None,
        progress=before + len(octets),
    )


def _read_mbox(path: Path) -> Iterator[FoundMessage]:
    with path.open("rb") as file:
        from_line = file.readline()
        lines: list[bytes] = []
        number, line_number, started = 1, 1, 1
        previous_blank = False
        for line in file:
            line_number += 1
            # A new message starts at a "From " line after a blank one (RFC 4155, appendix A).
            if previous_blank and line.startswith(b"From ") and _FROM_LINE.match(line):
                yield _mbox_message(path, number, started, from_line, lines, file.tell())
                number, started, from_line, lines = number + 1, line_number, line, []
                previous_blank = False
                continue
            previous_blank = not line.strip(b"\r\n")
            lines.append(line)
        yield _mbox_message(path, number, started, from_line, lines, file.tell())


def _mbox_message(
    path: Path, number: int, line_number: int, from_line: bytes, lines: list[bytes], progress: int
) -> FoundMessage:
    if lines and not lines[-1].strip(b"\r\n"):
        lines.pop()  # the blank line that parts it from the next
    octets = _QUOTED_FROM.sub(rb"\1", b"".join(lines))
    head = _HEAD_END.split(octets, maxsplit=1)[0]
    flags = b"".join(_STATUS.findall(head)).decode("ascii")
    return FoundMessage(
        where=f"{path}: message {number} (line {line_number})",
        octets=_with_crlf(octets),
        keywords=frozenset(_STATUS_FLAGS[flag] for flag in flags if flag in _STATUS_FLAGS),
        folder=None,
        stored_at=_from_line_time(from_line),
        progress=progress,
    )


def _from_line_time(line: bytes) -> float | None:
    match = _FROM_DATE.search(line)
    if match is None:
        return None
    text = match[0].decode("ascii", "replace").strip()
    try:
        return float(calendar.timegm(time.strptime(text, "%a %b %d %H:%M:%S %Y")))
    except ValueError:
        pass
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None


def _with_crlf(octets: bytes) -> bytes:
    """Files on Unix keep mail with LF; what JMAP hands out is the message of RFC 5322 §2.1, with CRLF."""
    if b"\r\n" in octets[:4096]:
        return octets
    return octets.replace(b"\n", b"\r\n")
