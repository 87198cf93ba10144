"""Request bodies as they come over HTTP/1.1: octets in, the body's blocks out. Pure."""

from __future__ import annotations

import re

from stalwart.http.problem import Problem

_MOST_LINE = 1024
_MOST_TRAILERS = 8192
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\Z")


class SizedBody:
    """A body of known length (RFC 9112 §6.2)."""

    def __init__(self, length: int) -> None:
        self.left = length

    def feed(self, data: bytes) -> tuple[list[bytes], bytes | None]:
        """The blocks of the body in `data`, and what follows the body, None while it isn't complete."""
        if len(data) < self.left:
            self.left -= len(data)
            return [data], None
        block, rest = data[: self.left], data[self.left :]
        self.left = 0
        return [block] if block else [], rest


class ChunkedBody:
    """A body in the chunked coding (RFC 9112 §7.1). Extensions and trailers are bounded and dropped."""

    left: int | None = None

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._chunk = 0
        self._trailers = 0
        self._state = self._size

    def feed(self, data: bytes) -> tuple[list[bytes], bytes | None]:
        """As `SizedBody.feed`; raises Problem 400 for a coding that is not well formed."""
        self._buffer += data
        blocks: list[bytes] = []
        while self._state(blocks):
            pass
        self._buffer, self._at = self._buffer[self._at :], 0
        if self._state == self._done:
            return blocks, self._buffer
        return blocks, None

    def _line(self, most: int, what: str) -> bytes | None:
        start = self._at
        end = self._buffer.find(b"\n", start, start + most + 2)
        if end < 0:
            if len(self._buffer) - start >= most + 2:
                raise Problem(400, f"{what} is too long.")
            return None
        if end == start or self._buffer[end - 1] != 13:
            raise Problem(400, f"{what} must end with CR LF.")
        self._at = end + 1
        return self._buffer[start : end - 1]

    def _size(self, blocks: list[bytes]) -> bool:
        line = self._line(_MOST_LINE, "A chunk's size line")
        if line is None:
            return False
        match = _SIZE.match(line)
        if match is None:
            raise Problem(400, "A chunk must begin with its size in hexadecimal digits.")
        self._chunk = int(match[1], 16)
        self._state = self._data if self._chunk else self._trailer
        return True

    def _data(self, blocks: list[bytes]) -> bool:
        block = self._buffer[self._at : self._at + self._chunk]
        if not block:
            return False
        blocks.append(block)
        self._at += len(block)
        self._chunk -= len(block)
        if not self._chunk:
            self._state = self._data_end
        return True

    def _data_end(self, blocks: list[bytes]) -> bool:
        end = self._buffer[self._at : self._at + 2]
        if not b"\r\n".startswith(end):
            raise Problem(400, "A chunk must end with CR LF after the octets that its size says.")
        if len(end) < 2:
            return False
        self._at += 2
        self._state = self._size
        return True

    def _trailer(self, blocks: list[bytes]) -> bool:
        line = self._line(_MOST_TRAILERS - self._trailers, "The trailer section")
        if line is None:
            return False
        self._trailers += len(line) + 2
        if not line:
            self._state = self._done
        return True

    def _done(self, blocks: list[bytes]) -> bool:
        return False
