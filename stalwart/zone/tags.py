"""Lists of tags and values, as the TXT records of DKIM, DMARC, TLS reporting and others have them."""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def read_tags(text: str) -> dict[str, str] | None:
    """The values by name in lower case (RFC 6376 §3.2); None if it isn't such a list, or names a tag twice."""
    found: dict[str, str] = {}
    parts = text.split(";")
    if not parts[-1].strip():
        parts.pop()
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name) or name.lower() in found:
            return None
        found[name.lower()] = value.strip()
    return found
