"""security.txt: whom to tell of security holes (RFC 9116)."""

from __future__ import annotations

from collections.abc import Iterator

from stalwart.config import SecurityTxt
from stalwart.config.discovery_kinds import show_instant


def security_txt(told: SecurityTxt) -> bytes | None:
    """The file; None while nobody is named in it."""
    if not told.contact or told.expires is None:
        return None
    return "".join(f"{name}: {value}\n" for name, value in _fields(told)).encode("utf-8")


def _fields(told: SecurityTxt) -> Iterator[tuple[str, str]]:
    for uri in told.contact:
        yield "Contact", uri
    assert told.expires is not None
    yield "Expires", show_instant(told.expires)
    for uri in told.encryption:
        yield "Encryption", uri
    if told.acknowledgments is not None:
        yield "Acknowledgments", told.acknowledgments
    if told.preferred_languages:
        # RFC 9116 §2.5.8: one field with all of them.
        yield "Preferred-Languages", ", ".join(told.preferred_languages)
    for uri in told.canonical:
        yield "Canonical", uri
    if told.policy is not None:
        yield "Policy", told.policy
    if told.hiring is not None:
        yield "Hiring", told.hiring
