"""A relay in the test's own process that remembers what it takes: all mail, but for recipients it is to refuse."""

from __future__ import annotations

import socketserver
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress


class _Session(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Talk SMTP until the client leaves."""
        with suppress(OSError, ValueError):  # the client was killed
            self._talk()

    def _talk(self) -> None:
        self._say("220 relay.example ESMTP")
        recipients: list[str] = []
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                self._say("250-relay.example", "250-PIPELINING", "250-8BITMIME", "250 SIZE 100000000")
            elif verb == b"RCPT":
                recipient = line.split(b"<")[1].split(b">")[0].decode()
                if recipient.startswith(self.server.relay.refused):
                    self._say("550 5.1.1 nobody here has this name")
                else:
                    recipients.append(recipient)
                    self._say("250 ok")
            elif verb == b"DATA" and not recipients:
                self._say("554 no recipients")
            elif verb == b"DATA":
                self._say("354 go on")
                lines: list[bytes] = []
                while (line := self.rfile.readline()) != b".\r\n":
                    if not line.endswith(b"\n"):
                        return
                    lines.append(line[1:] if line.startswith(b".") else line)  # RFC 5321 §4.5.2
                self.server.relay.take(recipients, b"".join(lines))
                recipients = []
                self._say("250 taken")
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                recipients = [] if verb in (b"MAIL", b"RSET") else recipients
                self._say("250 ok")

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    relay: RecordingRelay


class RecordingRelay:
    """Runs from when it is made until `close`, in threads of its own, on `port` of 127.0.0.1.

    `before_answer` is called with the recipients and the message before it is answered that it was taken. Recipients
    that begin with one of `refused` are refused for good. `deliveries` has each copy of a message for each recipient.
    """

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.messages: dict[str, bytes] = {}
        self.deliveries: list[tuple[str, bytes]] = []
        self.refused: tuple[str, ...] = ()
        self.before_answer: Callable[[list[str], bytes], object] | None = None
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Session)
        self._server.relay = self
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def take(self, recipients: list[str], message: bytes) -> None:
        """A message has come in whole; its answer is about to be sent."""
        with self._lock:
            self.taken.update(recipients)
            for recipient in recipients:
                self.messages[recipient] = message
                self.deliveries.append((recipient, message))
        if self.before_answer is not None:
            self.before_answer(recipients, message)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
