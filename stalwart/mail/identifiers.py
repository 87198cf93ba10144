"""Message ids (RFC 5322 §3.6.4) and the URLs of list commands (RFC 2369) in header fields."""

from __future__ import annotations

import re
from typing import Final

from stalwart.mail.comments import strip_comments

__all__ = ["parse_message_ids", "parse_urls"]

_ANGLE: Final = re.compile(r"<([^<>]*+)>")
_SPACE: Final = re.compile(r"\s+")
# The look-behind keeps a long word without "@" from being tried at each of its characters.
_BARE_ID: Final = re.compile(r"(?<![^\s<>,;:\"()@])[^\s<>,;:\"()@]++@[^\s<>,;\"()@]++")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:.", re.DOTALL)


def parse_message_ids(text: str) -> list[str] | None:
    """The ids of an unfolded field without angle brackets; None when there are none.

    RFC 5322 §4.5.4 lets old messages put phrases between ids: they are passed over. Ids that were sent
    without brackets are taken when no others are there.
    """
    text = strip_comments(text)
    ids = [_SPACE.sub("", strip_comments(found)) for found in _ANGLE.findall(text)]
    ids = [one for one in ids if one]
    if not ids and "<" not in text:
        ids = _BARE_ID.findall(text)
    return ids or None


def parse_urls(text: str) -> list[str] | None:
    """The URLs of an unfolded field that stand in angle brackets (RFC 2369 §2); None when there are none."""
    urls = [_SPACE.sub("", found) for found in _ANGLE.findall(strip_comments(text))]
    return [url for url in urls if _URL.match(url)] or None
