"""Reads mail out of files: mbox, Maildir (with Maildir++ folders), single messages and folders of them."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from stalwart.mail.dates import parse_date

# RFC 4155, appendix A, more leniently: a weekday, a time and a year in any order behind it, so that a sentence that
# begins with "From" parts no message.
_FROM_LINE = re.compile(rb"From (?:.* )?(?P<date>(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? (?=.*\d:\d\d)(?=.*\b\d{4}\b).*)")
_FROM_LINE_OCTETS = 300
_MESSAGE_START = re.compile(rb"[\xef\xbb\xbf\r\n]*+(?:>?From |[!-9;-~]++[ \t]*+:)")
_ZONE_BEFORE_YEAR = re.compile(r"([+-]\d{4}) (\d{4})\Z")
_QUOTED_FROM = re.compile(rb"(?m)^>(>*From )")
_LONE_LF = re.compile(rb"(?<!\r)\n")
_MAILDIR_FLAGS = {"S": "$seen", "R": "$answered", "F": "$flagged", "D": "$draft", "P": "$forwarded"}
_STATUS_FLAGS = {"R": "$seen", "A": "$answered", "F": "$flagged", "D": "$draft"}
_STATUS = re.compile(rb"(?mi)^X?-?Status:[ \t]*([A-Za-z]*)[ \t]*\r?$")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_MESSAGE_SUFFIXES = (".eml", ".msg", ".mail")
_LARGEST = 256 * 1024 * 1024
_TOO_LARGE = f"a message larger than {_LARGEST // 1024**2} MiB"
_LINE = 1 << 20  # octets read at once, also of a line that never ends


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


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a Maildir (`folder` as in `FoundMessage`), or outside of one."""

    path: Path
    in_maildir: bool = False
    folder: str | None = None


def total_octets(path: Path) -> int:
    """How many octets `read_mail` will go through, about."""
    total = 0
    for file in _message_files(path) if path.is_dir() else [_File(path=path)]:
        try:
            total += file.path.stat().st_size if isinstance(file, _File) else 0
        except OSError:
            continue  # `read_mail` tells
    return total


def read_mail(path: Path) -> Iterator[FoundMessage | Unreadable]:
    """Every message under a path, always in the same order, so that an interrupted import can go on."""
    progress = 0
    for file in _message_files(path) if path.is_dir() else [_File(path=path)]:
        if isinstance(file, Unreadable):
            yield file
            continue
        try:
            for found in _read_file(file, progress):
                if isinstance(found, FoundMessage):
                    progress = found.progress
                yield found
        except OSError as error:
            yield _unreadable(file.path, error)


def _unreadable(path: Path | str, error: OSError) -> Unreadable:
    return Unreadable(where=str(path), reason=error.strerror or str(error))


def _open(path: Path) -> BinaryIO:
    """Open a file that holds mail. A pipe or a device could keep us waiting for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(descriptor, "rb")


def _is_maildir(folder: Path) -> bool:
    return (folder / "cur").is_dir() and (folder / "new").is_dir()


def _message_files(root: Path) -> list[_File | Unreadable]:
    """The message files under a folder, and the folders that can't be read."""
    if _is_maildir(root):
        return list(_maildir_files(root))
    broken: list[OSError] = []
    files: list[_File | Unreadable] = [
        _File(path=Path(folder) / name)
        for folder, _, names in sorted(os.walk(root, onerror=broken.append))
        for name in sorted(names)
        if name.lower().endswith(_MESSAGE_SUFFIXES)
    ]
    files.extend(_unreadable(error.filename, error) for error in broken)
    if not files:
        raise UnknownFormat(
            f"{root}: neither a Maildir (no cur/ and new/ in it) nor a folder with files that end in "
            + ", ".join(_MESSAGE_SUFFIXES)
        )
    return files


def _maildir_files(root: Path) -> Iterator[_File | Unreadable]:
    """The files of a Maildir and of its Maildir++ folders."""
    for maildir in [root, *(child for child in sorted(root.iterdir()) if child.name.startswith("."))]:
        folder = None if maildir == root else _folder_name(maildir.name)
        try:
            if not _is_maildir(maildir):
                continue
            # A program that reads mail moves it from new to cur: in this order none is missed.
            files = [sorted((maildir / part).iterdir()) for part in ("new", "cur")]
        except OSError as error:
            yield _unreadable(maildir, error)
            continue
        for path in [*files[1], *files[0]]:
            if not path.name.startswith("."):
                yield _File(path=path, in_maildir=True, folder=folder)


def _folder_name(name: str) -> str:
    """The name of a Maildir++ folder: dots separate levels, other characters are in IMAP's modified UTF-7."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return "/".join(_from_modified_utf7(part) for part in text.split(".") if part)


def _from_modified_utf7(text: str) -> str:
    # RFC 3501 §5.1.3: "&" shifts to base64 with "," for "/", and "&-" is an ampersand.
    def decode(match: re.Match[str]) -> str:
        if not match[1]:
            return "&"
        try:
            decoded = ("+" + match[1].replace(",", "/") + "-").encode("ascii").decode("utf-7")
            decoded.encode("utf-8")  # half of a surrogate pair is no name
            return decoded
        except UnicodeError:
            return match[0]

    return re.sub(r"&([^-]*)-", decode, text)


def _read_file(file: _File, before: int) -> Iterator[FoundMessage | Unreadable]:
    with _open(file.path) if not file.in_maildir else _open_moved(file.path) as stream:
        if not file.in_maildir:
            start = stream.read(_FROM_LINE_OCTETS)
            if _FROM_LINE.match(start.partition(b"\n")[0]):
                stream.seek(0)
                yield from _read_mbox(file.path, stream, before)
                return
            if not _MESSAGE_START.match(start) and file.path.suffix.lower() not in _MESSAGE_SUFFIXES:
                raise UnknownFormat(
                    f'{file.path}: neither an mbox (no "From " line at its start) nor a message (no header field '
                    f"there); a message that looks otherwise needs a name that ends in {', '.join(_MESSAGE_SUFFIXES)}"
                )
        status = os.fstat(stream.fileno())
        if status.st_size > _LARGEST:
            yield Unreadable(where=str(file.path), reason=_TOO_LARGE)
            return
        stream.seek(0)
        octets = stream.read(_LARGEST)
    flags = file.path.name.partition(":2,")[2] if file.in_maildir else ""
    yield FoundMessage(
        where=str(file.path),
        octets=_with_crlf(octets),
        keywords=frozenset(_MAILDIR_FLAGS[flag] for flag in flags if flag in _MAILDIR_FLAGS),
        folder=file.folder,
        # A Maildir's file is written once, when the mail comes; a copied .eml file's time says nothing.
        stored_at=status.st_mtime if file.in_maildir else None,
        progress=before + len(octets),
    )


def _open_moved(path: Path) -> BinaryIO:
    """Open a file of a Maildir, also if it was renamed since it was listed: read, or given another flag."""
    try:
        return _open(path)
    except FileNotFoundError:
        unique = path.name.partition(":")[0]
        for part in ("cur", "new"):
            for other in (path.parent.parent / part).iterdir():
                if other.name.partition(":")[0] == unique:
                    return _open(other)
        raise


def _read_mbox(path: Path, stream: BinaryIO, before: int) -> Iterator[FoundMessage | Unreadable]:
    from_line = stream.readline(_LINE)
    content = bytearray()
    number, line_number, started = 1, 1, 1
    size = blank = 0  # `blank` has the octets of the last line if that is blank
    at_start = True  # of a line

    def message() -> FoundMessage | Unreadable:
        where = f"{path}: message {number} (line {started})"
        if size > _LARGEST:
            return Unreadable(where=where, reason=_TOO_LARGE)
        del content[len(content) - blank :]  # the blank line that parts it from the next
        return _mbox_message(where, from_line, bytes(content), before + stream.tell())

    while line := stream.readline(_LINE):
        line_number += at_start
        # A new message starts at a "From " line after a blank one (RFC 4155, appendix A).
        if at_start and blank and line.startswith(b"From ") and _FROM_LINE.match(line[:_FROM_LINE_OCTETS]):
            yield message()
            number, started, from_line, size, blank = number + 1, line_number, line, 0, 0
            content.clear()
            continue
        blank = len(line) if at_start and not line.strip(b"\r\n") else 0
        at_start = line.endswith(b"\n")
        size += len(line)
        if size <= _LARGEST:
            content += line
    yield message()


def _mbox_message(where: str, from_line: bytes, octets: bytes, progress: int) -> FoundMessage:
    octets = _QUOTED_FROM.sub(rb"\1", octets)
    head_end = _HEAD_END.search(octets)
    flags = b"".join(_STATUS.findall(octets[: head_end.start()] if head_end else octets)).decode("ascii")
    return FoundMessage(
        where=where,
        octets=_with_crlf(octets),
        keywords=frozenset(_STATUS_FLAGS[flag] for flag in flags if flag in _STATUS_FLAGS),
        folder=None,
        stored_at=_from_line_time(from_line),
        progress=progress,
    )


def _from_line_time(line: bytes) -> float | None:
    match = _FROM_LINE.match(line[:_FROM_LINE_OCTETS])
    if match is None:
        return None
    text = match["date"].decode("ascii", "replace").strip()
    moment = parse_date(_ZONE_BEFORE_YEAR.sub(r"\2 \1", text))
    return moment.timestamp() if moment is not None else None


def _with_crlf(octets: bytes) -> bytes:
    """Files on Unix keep mail with LF; what JMAP hands out is the message of RFC 5322 §2.1, with CRLF.

    A message whose first line ends in CRLF came so, and stays as it is.
    """
    first = octets.find(b"\n")
    if first < 0 or octets[first - 1 : first] == b"\r":
        return octets
    return _LONE_LF.sub(b"\r\n", octets) if b"\r\n" in octets else octets.replace(b"\n", b"\r\n")
