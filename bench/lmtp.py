"""Measures LMTP deliveries against a running daemon: deliveries per second and CPU per delivery.

Messages have 10 KB (text and HTML). CPU is the daemon's user and system time; waiting for fsync is not in it, but the
kernel's work for fsync is, so the kernel's part stands beside it. What this machine needs for one fsync tells what the
rate over one connection is mostly made of.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from itertools import count
from pathlib import Path

RUNS = 5
# Deliveries of one run, by the number of connections that deliver at the same time.
LOADS = {1: 60, 8: 320, 32: 640}
_TICK = os.sysconf("SC_CLK_TCK")
_WORDS = (
    "river",
    "boat",
    "oar",
    "club",
    "meeting",
    "invoice",
    "garden",
    "holiday",
    "ticket",
    "recipe",
    "school",
    "train",
)


def message(number: int) -> bytes:
    """A mail of 10 KB with text and HTML, like no other."""
    words = [_WORDS[(number * 7 + place * place) % len(_WORDS)] for place in range(24)]
    text = "".join(f"Line {line}: {' '.join(words[:9])} {number + line}\r\n" for line in range(45))
    rows = "".join(
        f'<p class=3D"line">{line}: <b>{words[line % 24]}</b> {" ".join(words[:8])}</p>\r\n' for line in range(60)
    )
    return (
        f"Received: from a by b; Thu, 20 Nov 2025 13:16:00 +0000\r\n"
        f"From: Person {number % 300} <person{number % 300}@example.net>\r\nTo: Jane <jane@example.org>\r\n"
        f"Message-ID: <{os.getpid()}.{number}@bench.example>\r\nDate: Thu, 20 Nov 2025 13:16:00 +0000\r\n"
        f"Subject: The {words[0]} and the {words[1]}, {number}\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/alternative; boundary="=_b"\r\n\r\n'
        f"--=_b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}"
        "--=_b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        f"<html><body>\r\n{rows}</body></html>\r\n--=_b--\r\n"
    ).encode()


def deliver(address: tuple[str, int], recipient: str, messages: list[bytes]) -> None:
    """Deliver the messages over one connection, as Postfix does: commands pipelined, one message after the other."""
    with socket.create_connection(address, timeout=120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = connection.makefile("rb")

        def expect(code: bytes) -> None:
            line = answers.readline()
            while line[3:4] == b"-":
                line = answers.readline()
            if not line.startswith(code):
                raise SystemExit(f"bench: {line!r} where {code!r} was wanted")

        expect(b"220")
        connection.sendall(b"LHLO bench.example\r\n")
        expect(b"250")
        start = f"MAIL FROM:<s@example.net> SIZE=10240\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()
        for octets in messages:
            connection.sendall(start)
            expect(b"250")
            expect(b"250")
            expect(b"354")
            connection.sendall(octets + b".\r\n")
            expect(b"250")
        connection.sendall(b"QUIT\r\n")
        expect(b"221")


def cpu_seconds(pid: int) -> tuple[float, float]:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / _TICK, int(fields[12]) / _TICK


def run(
    address: tuple[str, int], recipient: str, pid: int, connections: int, numbers: count[int]
) -> tuple[float, float, float]:
    """Deliveries per second, and CPU milliseconds of each in user and in system mode, of one run."""
    each = LOADS[connections] // connections
    loads = [[message(next(numbers)) for _ in range(each)] for _ in range(connections)]
    threads = [threading.Thread(target=deliver, args=(address, recipient, load)) for load in loads]
    (user, system), started = cpu_seconds(pid), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, (user_now, system_now) = time.monotonic() - started, cpu_seconds(pid)
    deliveries = each * connections
    return deliveries / took, (user_now - user) / deliveries * 1000, (system_now - system) / deliveries * 1000


def fsync_milliseconds() -> list[float]:
    """How long this machine takes to write 10 KB and have it on disk."""
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(50):
            started = time.perf_counter()
            file.write(b"x" * 10_240)
            file.flush()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    return times


def shown(values: list[float], digits: int) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def main() -> None:
    """Arguments: HOST:PORT of the LMTP listener, a recipient, the daemon's process id."""
    if len(sys.argv) != 4:
        raise SystemExit("usage: python bench/lmtp.py HOST:PORT RECIPIENT PID")
    host, _, port = sys.argv[1].rpartition(":")
    recipient, pid = sys.argv[2], int(sys.argv[3])
    address = (host, int(port))
    numbers = count()
    print("| LMTP, 10 KB | deliveries per second | CPU ms each | of it in the kernel | Budget |")
    print("| --- | --- | --- | --- | --- |")
    for connections in LOADS:
        run(address, recipient, pid, connections, numbers)  # warm up
        results = [run(address, recipient, pid, connections, numbers) for _ in range(RUNS)]
        rates = [rate for rate, _, _ in results]
        costs, kernel = [user + system for _, user, system in results], [system for _, _, system in results]
        name = "1 connection" if connections == 1 else f"{connections} connections"
        print(f"| {name} | {shown(rates, 0)} | {shown(costs, 2)} | {shown(kernel, 2)} | 3 ms beside the fsync |")
    print(f"\nOne fsync of 10 KB on this machine: {shown(fsync_milliseconds(), 2)} ms")


if __name__ == "__main__":
    main()
