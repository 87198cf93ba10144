"""Measures policy rules: nanoseconds per evaluation of the four documented `allowed-endpoint` rules.

Each rule is evaluated on requests that end at different places of it; the median of several runs is printed, and what a
call of an empty method costs beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from stalwart.expr import CompiledRule, compile_rule

RUNS = 9
CALLS = 50_000
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
    """The median of several runs, per call."""
    found = []
    for _ in range(RUNS):
        start = time.perf_counter_ns()
        for _ in range(CALLS):
            call(request)
        found.append((time.perf_counter_ns() - start) / CALLS)
    return statistics.median(found)


def main() -> None:
    """Prints the table."""
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


if __name__ == "__main__":
    main()
