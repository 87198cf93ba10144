"""Where a line per request goes."""

from __future__ import annotations

from typing import Protocol


class RequestLog(Protocol):
    """Takes one line per request that was answered or broken off."""

    def request(
        self,
        *,
        request_id: str,
        listener: str,
        client: str,
        method: str,
        path: str,
        protocol: str,
        status: int,
        octets: int,
        seconds: float,
        user: str | None,
        agent: str,
    ) -> None:
        """Note one request. `path` has no query; `octets` counts the body sent; status 499: the client left first."""


class NoRequestLog:
    """Drops every line."""

    def request(
        self,
        *,
        request_id: str,
        listener: str,
        client: str,
        method: str,
        path: str,
        protocol: str,
        status: int,
        octets: int,
        seconds: float,
        user: str | None,
        agent: str,
    ) -> None:
        """Do nothing."""
