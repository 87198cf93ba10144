"""Measures idle event streams on the real daemon: memory each, CPU at rest, and how soon a delivery reaches them all.

2,000 streams of 40 accounts, each with pings; a figure of WebSockets of the same kind stands beside it.
"""

from __future__ import annotations

import base64
import resource
import selectors
import socket
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.run import cpu_seconds, resident_megabytes  # noqa: E402
from tests.live.daemon import PASSWORD, Daemon  # noqa: E402

ACCOUNTS = 40
EACH = 50
REST_SECONDS = 10.0
_MAIL = b"From: ada@example.net\r\nTo: all@example.org\r\nSubject: Bench\r\n\r\nHello.\r\n"
_WEB_SOCKET = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: jmap\r\n"
)


def address(number: int) -> str:
    """The address of one of the accounts."""
    return f"user{number}@example.org"


def connect(daemon: Daemon, user: str, path: str, fields: str, begins: bytes) -> socket.socket:
    """An open stream, its head read."""
    token = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
    stream = socket.create_connection(("127.0.0.1", daemon.http_port))
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {token}\r\n{fields}\r\n".encode())
    answer = stream.recv(4096)
    if not answer.startswith(begins):
        raise SystemExit(f"bench: {answer!r}")
    return stream


def open_all(daemon: Daemon, path: str, fields: str, begins: bytes) -> tuple[list[socket.socket], float]:
    """All streams, and the megabytes that they take. What one of each account has grown once isn't counted."""
    streams: list[socket.socket] = []
    before = 0.0
    for turn in range(EACH):
        streams += [connect(daemon, address(number), path, fields, begins) for number in range(ACCOUNTS)]
        if turn == 0:
            time.sleep(2)
            before = resident_megabytes(daemon.pid)
    time.sleep(2)
    return streams, resident_megabytes(daemon.pid) - before


def at_rest(daemon: Daemon) -> float:
    """CPU in percent of one core, while nothing happens."""
    before = cpu_seconds(daemon.pid)
    time.sleep(REST_SECONDS)
    return (cpu_seconds(daemon.pid) - before) / REST_SECONDS * 100


def spread(daemon: Daemon, streams: list[socket.socket]) -> tuple[float, float]:
    """Seconds from the LMTP answer until every stream has a state event, and the CPU seconds of all that."""
    selector = selectors.DefaultSelector()
    for stream in streams:
        stream.setblocking(False)
        while True:  # what came before doesn't count
            try:
                if not stream.recv(65536):
                    raise SystemExit("bench: a stream has ended")
            except BlockingIOError:
                break
        selector.register(stream, selectors.EVENT_READ)
    before = cpu_seconds(daemon.pid)
    daemon.deliver(_MAIL, [address(number) for number in range(ACCOUNTS)])
    delivered = time.monotonic()
    waiting = set(streams)
    while waiting:
        for key, _ in selector.select(10) or [(None, 0)]:
            if key is None:
                raise SystemExit(f"bench: {len(waiting)} streams heard nothing")
            stream = key.fileobj
            assert isinstance(stream, socket.socket)
            if b"event: state" in stream.recv(65536):
                waiting.discard(stream)
                selector.unregister(stream)
    return time.monotonic() - delivered, cpu_seconds(daemon.pid) - before


def main() -> None:
    """Print the figures."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    count = ACCOUNTS * EACH
    users = [address(number) for number in range(ACCOUNTS)]
    # A daemon for each, so that one doesn't live in the memory that the other has left.
    with Daemon.start(accounts=users) as daemon:
        daemon.deliver(_MAIL, users)
        path = "/jmap/eventsource/?types=*&closeafter=no&ping=300"
        streams, megabytes = open_all(daemon, path, "", b"HTTP/1.1 200")
        print(f"{count} EventSources: {megabytes:.1f} MB, {megabytes / (count - ACCOUNTS) * 1000:.1f} KB each")
        print(f"CPU at rest: {at_rest(daemon):.2f} % of one core")
        seconds, cpu = spread(daemon, streams)
        print(
            f"one mail to all {ACCOUNTS} accounts: {seconds * 1000:.0f} ms until the last, {cpu * 1000:.0f} ms of CPU"
        )
    with Daemon.start(accounts=users) as daemon:
        daemon.deliver(_MAIL, users)
        _, megabytes = open_all(daemon, "/jmap/ws", _WEB_SOCKET, b"HTTP/1.1 101")
        print(f"{count} WebSockets: {megabytes:.1f} MB, {megabytes / (count - ACCOUNTS) * 1000:.1f} KB each")


if __name__ == "__main__":
    main()
