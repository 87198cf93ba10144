"""Conditions of requests (RFC 9110 §13)."""

from __future__ import annotations


def matches(condition: str, etag: str) -> bool:
    """Whether an If-None-Match field names the tag (RFC 9110 §13.1.2)."""
    if condition == "*":
        return True
    return any(one.strip().removeprefix("W/") == etag for one in condition.split(","))
