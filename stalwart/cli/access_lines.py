"""Reads the daemon's access log back, in both of its formats (`stalwart.ops.log.AccessLog`), line by line."""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, cast

import msgspec

# After the time; before it may stand what syslog or the journal put there.
_TEXT = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) INFO  stalwart\.access: (?P<client>\S+) (?P<listener>.+?) "
    r"(?P<method>\S+) (?P<path>\S+) (?P<protocol>HTTP/\S+|-) (?P<status>\d{3}) \d+B \d+\.\d+ms id=\S+ user=.+?"
    r"(?: peer=(?P<peer>\S+))? agent=",
    re.ASCII,
)
_OTHER = re.compile(r"(?:^|\s)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:[A-Z]+) +(?!stalwart\.access:)\S+: ", re.ASCII)
_LONGEST = 65_536  # octets of a line
_GZIP = b"\x1f\x8b"


class Past(msgspec.Struct, frozen=True):
    """A request of the past."""

    time: str
    listener: str
    client: str
    peer: str | None
    method: str
    path: str
    status: int


class Unreadable(msgspec.Struct, frozen=True):
    """A line that is none of this log's; `text` is its beginning."""

    text: str


@contextmanager
def open_log(name: str) -> Iterator[BinaryIO]:
    """A log for reading, `-` for standard input; unpacked if it is packed by gzip. Raises OSError."""
    with ExitStack() as stack:
        raw: BinaryIO = sys.stdin.buffer if name == "-" else stack.enter_context(open(name, "rb"))
        buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, raw))
        packed = buffered.peek(2)[:2] == _GZIP
        yield stack.enter_context(gzip.GzipFile(fileobj=buffered)) if packed else buffered  # type: ignore[misc]


def read_lines(log: BinaryIO) -> Iterator[Past | Unreadable | None]:
    """Each line as a request, None for one about something else. Raises OSError and EOFError for a damaged file."""
    while line := log.readline(_LONGEST):
        if not line.endswith(b"\n") and len(line) >= _LONGEST:
            while (rest := log.readline(_LONGEST)) and not rest.endswith(b"\n"):
                pass
            yield Unreadable(line[:200].decode("utf-8", "replace"))
            continue
        yield read_line(line.decode("utf-8", "replace").rstrip("\r\n"))


def read_line(line: str) -> Past | Unreadable | None:
    """One line without its end."""
    if "stalwart.access" not in line:
        return None if _is_other(line) else Unreadable(line[:200])
    if line.startswith("{"):
        return _from_json(line)
    match, other = _TEXT.search(line), _OTHER.search(line)
    if other is not None and (match is None or other.start() < match.start()):
        return None  # a message of another logger, which may quote one of these lines
    if match is None:
        return Unreadable(line[:200])
    return Past(
        match["time"],
        match["listener"],
        match["client"],
        match["peer"],
        match["method"],
        match["path"],
        int(match["status"]),
    )


def _is_other(line: str) -> bool:
    """Whether a line belongs to the log though it is about no request: an event, or a line of a traceback."""
    if not line or line.startswith("    "):
        return True
    if line.startswith("{"):
        try:
            record = json.loads(line)
        except ValueError:
            return False
        return isinstance(record, dict) and {"time", "level", "logger", "message"} <= record.keys()
    return _OTHER.search(line) is not None


class _Record(msgspec.Struct):
    """The members of an access line in JSON that count here."""

    logger: str
    time: str
    listener: str = ""
    client: str = ""
    method: str = ""
    path: str = ""
    status: int = 0
    peer: str | None = None


def _from_json(line: str) -> Past | Unreadable | None:
    try:
        record = msgspec.json.decode(line, type=_Record)
    except msgspec.DecodeError:
        return Unreadable(line[:200])
    if record.logger != "stalwart.access":
        return None
    if not (record.listener and record.client and record.method and record.path and record.status):
        return Unreadable(line[:200])
    return Past(record.time, record.listener, record.client, record.peer, record.method, record.path, record.status)
