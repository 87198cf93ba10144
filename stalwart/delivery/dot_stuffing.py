"""Octets of a message made ready for DATA, in pieces: RFC 5321 §4.5.2."""

from __future__ import annotations


class DotStuffer:
    """One message. Doubles each dot that begins a line, however the octets are cut."""

    def __init__(self) -> None:
        self._last = b"\r\n"  # the last two octets: what precedes the message begins a line

    def feed(self, octets: bytes) -> bytes:
        """The next octets, stuffed."""
        if not octets:
            return b""
        before = self._last
        joined = before + octets
        self._last = joined[-2:]
        return joined.replace(b"\r\n.", b"\r\n..")[len(before) :]

    def end(self) -> bytes:
        """What ends the message. RFC 5321 §4.1.1.4: the dot stands on a line of its own."""
        return b".\r\n" if self._last == b"\r\n" else b"\r\n.\r\n"
