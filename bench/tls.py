"""Measures TLS handshakes of the real daemon, full and resumed: per second over one connection after another, and CPU.

The client is Python's own and shares the machine, so that the column to look at is the daemon's CPU time.
"""

from __future__ import annotations

import os
import socket
import ssl
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.live.daemon import Daemon, free_port  # noqa: E402
from tests.live.tls import Authority  # noqa: E402

RUNS = 5
HANDSHAKES = 300
NAME = "localhost"
_TICK = os.sysconf("SC_CLK_TCK")

CONFIG = """
[server.listener.https]
protocol = "http"
bind = "127.0.0.1:{port}"
tls.implicit = true

[certificate.main]
cert = "%{{file:{cert}}}%"
private-key = "%{{file:{key}}}%"
"""


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def connect(port: int) -> socket.socket:
    """A connection that sends at once: a resumed client's request comes right behind its last message."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def handshake(context: ssl.SSLContext, port: int, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
    """Connect, ask for a page, so that a session comes along, and close; the session."""
    with (
        connect(port) as sock,
        context.wrap_socket(sock, server_hostname=NAME, session=session) as tls,
    ):
        tls.sendall(b"GET /healthz/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while tls.recv(65_536):
            pass
        if session is not None and not tls.session_reused:
            raise SystemExit("a session was not resumed")
        return tls.session


def run(port: int, pid: int, version: ssl.TLSVersion, *, resumed: bool) -> tuple[float, float]:
    """Connections per second, and CPU milliseconds of each."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    session = handshake(context, port, None) if resumed else None
    cpu, started = cpu_seconds(pid), time.monotonic()
    for _ in range(HANDSHAKES):
        handshake(context, port, session)
    return HANDSHAKES / (time.monotonic() - started), (cpu_seconds(pid) - cpu) / HANDSHAKES * 1000


def shown(values: list[float], digits: int) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def main() -> None:
    """Print a table for docs/tls.md."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, port = Path(temporary), free_port()
        cert, key = Authority("Authority of the benchmark").issue(folder, NAME)
        extra = CONFIG.format(port=port, cert=cert, key=key)
        with Daemon.start(folder / "daemon", extra_config=extra) as daemon:
            print("| Handshake and one small request | per second | CPU ms each |")
            print("| --- | --- | --- |")
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                for resumed in (False, True):
                    results = [run(port, daemon.pid, version, resumed=resumed) for _ in range(RUNS)]
                    name = f"{version.name.replace('_', '.')}, {'resumed' if resumed else 'full'}"
                    rate, cpu = ([result[column] for result in results] for column in (0, 1))
                    print(f"| {name} | {shown(rate, 0)} | {shown(cpu, 2)} |")


if __name__ == "__main__":
    main()
