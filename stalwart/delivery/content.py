"""The octets after DATA: finds where the message ends and takes the stuffed dots out, however the octets are cut.

Only CR LF . CR LF ends a message, and only a dot after CR LF counts as stuffed: CR or LF alone are content, so that
nobody hides a second message in a first one.
"""

from __future__ import annotations

_END = b"\r\n.\r\n"
# What may turn out, with the next octets, to be the end or a stuffed dot.
_OPEN_ENDS = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


class ContentDecoder:
    """One message. RFC 5321 §4.5.2: transparency; §4.1.1.4: only a line with a lone dot ends the mail data."""

    def __init__(self) -> None:
        # The CR LF of the DATA command counts as the one before the first line, so that "." CR LF alone is an
        # empty message (RFC 5321 §4.1.1.4); it is no content and is taken off again.
        self._held = b"\r\n"
        self._at_start = True

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Take in octets; gives what is certain to be content, and, once the message has ended, what followed it.

        The second value is None as long as the message goes on.
        """
        data = self._held + data
        end = data.find(_END)
        if end >= 0:
            # The CR LF before the dot ends the message's last line, so it is content.
            self._held = b""
            return self._unstuff(data[: end + 2]), data[end + len(_END) :]
        self._held = next((tail for tail in _OPEN_ENDS if data.endswith(tail)), b"")
        return self._unstuff(data[: len(data) - len(self._held)]), None

    def _unstuff(self, data: bytes) -> bytes:
        data = data.replace(b"\r\n.", b"\r\n")
        if self._at_start and len(data) >= 2:
            self._at_start = False
            return data[2:]
        return data
