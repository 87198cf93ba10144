"""A relay in the test's own process that takes all mail and remembers it."""

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
                recipients.append(line.split(b"<")[1].split(b">")[0].decode())
                self._say("250 ok")
            elif verb == b"DATA":
                self._say("354 go on")
                message = b""
                while (line := self.rfile.readline()) != b".\r\n":
                    if not line:
                        return
                    message += line
                self.server.relay.take(recipients, message)
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

    `before_answer` is called with the recipients and the message before it is answered that it was taken.
    """

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.messages: dict[str, bytes] = {}
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
        if self.before_answer is not None:
            self.before_answer(recipients, message)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
