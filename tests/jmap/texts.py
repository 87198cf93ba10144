"""Texts that may stand in a request: I-JSON forbids noncharacters, and what UTF-8 can't hold (RFC 7493 §2.1)."""

from __future__ import annotations

from hypothesis import strategies as st

NONCHARACTERS = "".join(map(chr, range(0xFDD0, 0xFDF0))) + "".join(
    chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF)
)


def texts(most: int) -> st.SearchStrategy[str]:
    """Texts of at most so many characters."""
    return st.text(st.characters(codec="utf-8", exclude_characters=NONCHARACTERS), max_size=most)
