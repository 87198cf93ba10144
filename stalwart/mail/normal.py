"""Unicode normalization in a time that is bounded by the length of the text, whoever wrote it.

Python sorts the marks on one letter in a time that grows with the square of their number, and holds every other
thread up meanwhile; a few hundred kilobytes of marks would take minutes.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Literal

_MOST_MARKS = 30
_JOINER = "\N{COMBINING GRAPHEME JOINER}"


def normalized(form: Literal["NFC", "NFKC", "NFKD"], text: str) -> str:
    """The text in that form. Behind each thirty marks in a row stands a joiner (UAX #15 §13, Stream-Safe Text)."""
    if text.isascii():
        return text
    every, too_many = _marks()
    # Of more marks in a row than that, one is among these.
    if every.search(text[::_MOST_MARKS]):
        text = too_many.sub(rf"\g<0>{_JOINER}", text)
    return unicodedata.normalize(form, text)


@functools.cache
def _marks() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Find a mark, and thirty with another one behind them: what is sorted behind a letter, or begins with that."""
    first = ((chr(code), unicodedata.normalize("NFKD", chr(code))[0]) for code in range(0x300, 0x20000))
    marks = "".join(character for character, letter in first if unicodedata.combining(letter))
    return re.compile(f"[{marks}]"), re.compile(f"[{marks}]{{{_MOST_MARKS}}}(?=[{marks}])")
