"""Replies of an SMTP server (RFC 5321 §4.2) read from octets, however they are cut, within bounds."""

from __future__ import annotations

import re

from stalwart.delivery.replies import Reply

# RFC 5321 §4.5.3.1.5 has 512 octets; servers with long URLs in refusals go beyond.
MOST_LINE = 4096
MOST_LINES = 256
MOST_REPLY = 65_536

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|$)")  # RFC 2034 §3
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_QUOTED = 80


class PeerFault(Exception):
    """The peer doesn't speak SMTP. The text says what it did."""


class ReplyReader:
    """Takes octets in and gives whole replies."""

    def __init__(self) -> None:
        self._inbox = bytearray()
        self._code = b""
        self._lines: list[str] = []
        self._size = 0

    @property
    def pending(self) -> bool:
        """Whether there are octets that belong to no whole reply yet."""
        return bool(self._inbox or self._lines)

    def receive(self, data: bytes) -> None:
        """Take in octets."""
        self._inbox += data

    def next(self) -> Reply | None:
        """The next whole reply, None if there is none yet. Raises PeerFault."""
        while (end := self._inbox.find(b"\n")) >= 0:
            if end > MOST_LINE:
                raise PeerFault(f"a line of a reply has more than {MOST_LINE} octets")
            line = bytes(self._inbox[:end]).removesuffix(b"\r")
            del self._inbox[: end + 1]
            if (reply := self._take(line)) is not None:
                return reply
        if len(self._inbox) > MOST_LINE:
            raise PeerFault(f"a line of a reply has more than {MOST_LINE} octets")
        return None

    def _take(self, line: bytes) -> Reply | None:
        found = _LINE.fullmatch(line)
        if found is None:
            raise PeerFault(f"this is no reply of SMTP: {_shown(line)!r}")
        code, mark, text = found.groups()
        if self._code and code != self._code:
            raise PeerFault(f"one reply has the codes {self._code.decode()} and {code.decode()}")
        self._code = code
        self._lines.append(_shown(text or b"", MOST_LINE))
        self._size += len(line)
        if self._size > MOST_REPLY or len(self._lines) > MOST_LINES:
            raise PeerFault(f"a reply has more than {MOST_LINES} lines or {MOST_REPLY} octets")
        if mark == b"-":
            return None
        # RFC 5321 §4.2: a line without hyphen is the last, also when nothing follows the code.
        lines, self._lines, self._code, self._size = self._lines, [], b"", 0
        return _reply(int(code), lines)


def _reply(code: int, lines: list[str]) -> Reply:
    found = _ENHANCED.match(lines[0])
    # RFC 2034 §4: the class is that of the code; what differs is text.
    if found is None or found[1][0] != str(code)[0]:
        return Reply(code=code, lines=tuple(lines))
    enhanced = found[1]
    texts = (line.removeprefix(enhanced).lstrip(" ") for line in lines)
    return Reply(code=code, enhanced=enhanced, lines=tuple(texts))


def one_line(reply: Reply) -> str:
    """RFC 8621 §7: a reply as one string, what lines have in common with the first one only once."""
    return " ".join(filter(None, (str(reply.code), reply.enhanced, *reply.lines)))


def _shown(octets: bytes, most: int = _QUOTED) -> str:
    """Octets of a peer as text that is safe in logs and bounces."""
    return _CONTROL.sub("?", octets[:most].decode("utf-8", "replace"))
