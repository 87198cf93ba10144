"""Measures policy rules: nanoseconds per evaluation of the four documented rules, and what a rule costs a daemon.

Each rule is evaluated on requests that end at different places of it; the median of several runs is printed, and what a
call of an empty method costs beside it. Then two daemons, one with a rule and one without, answer short batches of
requests in turns: the machine's speed changes from second to second, so that each round gives one ratio.
"""

from __future__ import annotations

import socket
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stalwart.expr import CompiledRule, compile_rule
from tests.live.daemon import Daemon

RUNS = 9
CALLS = 50_000
PAIRS = 9
ROUNDS = 500
WARM_UP = 100
BATCH = 64
CONNECTIONS = 8
RULES = {
    "api only from loopback": (
        [("starts_with(url_path, '/api') && remote_ip != '127.0.0.1'", "404")],
        "200",
    ),
    "network or public paths": (
        [
            (
                "starts_with(remote_ip, '192.168.1.') || "
                "contains(['robots.txt', '.well-known'], split(url_path, '/')[1])",
                "200",
            )
        ],
        "400",
    ),
    "listener or public paths": (
        [
            (
                "listener == 'private-http' || "
                "contains(['jmap', 'robots.txt', '.well-known'], split(url_path, '/')[1])",
                "200",
            )
        ],
        "404",
    ),
    "no JMAP but preflights": ([("!starts_with(url, '/jmap') || method == 'OPTIONS'", "200")], "400"),
}


class Request:
    """The variables of one request, as properties: what a gate would compute when asked."""

    __slots__ = ("_ip", "_listener", "_method", "_path")

    def __init__(self, listener: str, ip: str, method: str, path: str) -> None:
        self._listener, self._ip, self._method, self._path = listener, ip, method, path

    @property
    def listener(self) -> str:
        return self._listener

    @property
    def remote_ip(self) -> str:
        return self._ip

    @property
    def method(self) -> str:
        return self._method

    @property
    def url(self) -> str:
        return self._path

    @property
    def url_path(self) -> str:
        return self._path

    def nothing(self, context: object) -> None:
        """What calling a method costs."""


REQUESTS = [
    Request("public-http", "203.0.113.5", "GET", "/jmap/session"),
    Request("public-http", "203.0.113.5", "OPTIONS", "/jmap/"),
    Request("private-http", "192.168.1.17", "POST", "/api/principal"),
    Request("public-http", "203.0.113.5", "GET", "/.well-known/jmap"),
]


def nanoseconds(call: Callable[[object], object], request: Request) -> float:
    """The median of several runs, per call, of this process's CPU time: other programs don't count."""
    found = []
    for _ in range(RUNS):
        start = time.process_time_ns()
        for _ in range(CALLS):
            call(request)
        found.append((time.process_time_ns() - start) / CALLS)
    return statistics.median(found)


class Clients:
    """Connections to a daemon, each with one request under way at a time, as browsers and programs have."""

    def __init__(self, port: int) -> None:
        self._wires = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(CONNECTIONS)]
        self._request = b"GET /robots.txt HTTP/1.1\r\nHost: bench\r\n\r\n"
        for wire in self._wires:
            wire.sendall(self._request)
            answer = wire.recv(65536)
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"bench: {answer!r}")

    def batch(self) -> float:
        """Requests per second of one batch."""
        started = time.perf_counter()
        for _ in range(BATCH // CONNECTIONS):
            for wire in self._wires:
                wire.sendall(self._request)
            for wire in self._wires:
                wire.recv(65536)
        return BATCH / (time.perf_counter() - started)


def served(name: str) -> None:
    """Prints what the rule costs a daemon that answers `GET /robots.txt`, which the rule lets in."""
    ((condition, then),), otherwise = RULES[name]
    # Without the exemption, which would leave out the rule for requests from this machine.
    plain = "[http]\nallow-loopback = false\n"
    rule = f'allowed-endpoint = [{{ if = "{condition}", then = "{then}" }}, {{ else = "{otherwise}" }}]\n'
    same, ruled = pairs(plain, plain), pairs(plain, plain + rule)
    print(f"\nGET /robots.txt, {PAIRS} pairs of daemons, {ROUNDS} rounds of {BATCH} requests to each in turns")
    print(f"{'without the rule':28}{spread([rate for rate, _ in ruled], 0):>30}   requests per second")
    print(f"{'with, in % of without':28}{spread([ratio for _, ratio in ruled], 1):>30}")
    print(f"{'two without, in %':28}{spread([ratio for _, ratio in same], 1):>30}   what chance makes of two starts")


def pairs(one: str, other: str) -> list[tuple[float, float]]:
    """For each start of two daemons: requests per second of the one, and those of the other in % of that.

    Each is the median of its rounds. Two starts of the same program differ by some percent, from round to round a
    shared machine does by far more.
    """
    found = []
    for _ in range(PAIRS):
        with Daemon.start(extra_config=one) as first, Daemon.start(extra_config=other) as second:
            clients = (Clients(first.http_port), Clients(second.http_port))
            rates: tuple[list[float], list[float]] = ([], [])
            for turn in range(-WARM_UP, ROUNDS):
                for index in (0, 1) if turn % 2 else (1, 0):
                    rate = clients[index].batch()
                    if turn >= 0:
                        rates[index].append(rate)
        ratio = statistics.median(100 * right / left for left, right in zip(*rates, strict=True))
        found.append((statistics.median(rates[0]), ratio))
    return found


def spread(values: list[float], digits: int) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def main() -> None:
    """Prints the tables; about four minutes."""
    print(f"{'rule':28}{'median':>9}{'slowest':>9}   ns per evaluation")
    empty = nanoseconds(REQUESTS[0].nothing, REQUESTS[0])
    print(f"{'(an empty method)':28}{empty:9.0f}")
    for name, (clauses, otherwise) in RULES.items():
        rule: CompiledRule = compile_rule(clauses, otherwise, result="status")
        costs = [nanoseconds(rule.evaluate, request) for request in REQUESTS]
        print(f"{name:28}{statistics.median(costs):9.0f}{max(costs):9.0f}")
    start = time.perf_counter()
    for _ in range(100):
        for clauses, otherwise in RULES.values():
            compile_rule(clauses, otherwise, result="status")
    print(f"{'compiling one rule':28}{(time.perf_counter() - start) / 400 * 1e6:9.0f}            µs")
    served("listener or public paths")


if __name__ == "__main__":
    main()
