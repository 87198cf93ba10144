"""The words of a search, and the words of a text: folded alike, so that the one finds the other.

Scripts that are written without spaces are taken letter by letter, so that any run of letters is found.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from stalwart.mail.normal import normalized

__all__ = ["Term", "Word", "fold", "parse_terms", "plain_words", "words"]

# Thai, Lao, Myanmar, Khmer, kana, Han and Hangul.
_UNSPACED: Final = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3100-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff])"
)

# What a reader doesn't look for: accents of all alphabets, vowel points of Hebrew and Arabic, soft hyphens and
# characters of no width.
_MARK: Final = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u00ad\u200b-\u200d\u2060\ufeff"
)
_MARKS: Final = re.compile(f"[{_MARK}]+")
_TOKEN: Final = re.compile(rf"[^\W_](?:[^\W_]|[{_MARK}])*")

# RFC 8621 §4.4.1: text in matched quotes is a phrase, with backslash escapes; white space divides the rest.
_WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'(?!\w)|(\S+)', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)

# More of a query than this is not looked at.
_MOST_CHARACTERS: Final = 4000
_MOST_TERMS: Final = 100
_SHORTEST_BEGINNING: Final = 3


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """A word or phrase to look for, folded: all its words must follow each other.

    `begins` lets the last word be the beginning of a longer one, so that "bus" finds "buses"; a quoted phrase matches
    whole words only.
    """

    text: str
    begins: bool


def parse_terms(query: str) -> tuple[Term, ...]:
    """What a text has to have, all of it, to match; none for a query without letters and digits."""
    found: dict[Term, None] = {}
    for match in _WORD.finditer(query[:_MOST_CHARACTERS]):
        plain = match[3]
        text = plain if plain is not None else _ESCAPED.sub(r"\1", match[1] if match[1] is not None else match[2])
        text = fold(text).strip()
        if any(character.isalnum() for character in text):
            begins = plain is not None and len(plain) >= _SHORTEST_BEGINNING and not _UNSPACED.search(text[-1])
            found[Term(text=text, begins=begins)] = None
            if len(found) == _MOST_TERMS:
                break
    return tuple(found)


def fold(text: str) -> str:
    """The text with compatible forms made one, marks left out, letters of unspaced scripts set apart.

    ASCII keeps its case, which the index folds; of other letters it doesn't know all.
    """
    if "\0" in text:
        text = text.replace("\0", " ")
    if text.isascii():
        return text
    text = normalized("NFKD", text.encode("utf-8", "replace").decode("utf-8"))
    text = normalized("NFKC", _MARKS.sub("", text).casefold())
    return " ".join(_UNSPACED.split(text))


class Word(msgspec.Struct, frozen=True, gc=False):
    """A word of a text, folded and in lower case, and the characters of the text that it stands for."""

    text: str
    start: int
    end: int


def words(text: str) -> list[Word]:
    """The words of a text in their order, as an index sees them."""
    found: list[Word] = []
    known: dict[str, list[str]] = {}
    for token in _TOKEN.finditer(text):
        piece = token[0]
        if piece.isascii():
            found.append(Word(piece.lower(), token.start(), token.end()))
            continue
        start = token.start()
        # Every other piece is a letter of an unspaced script.
        for part in filter(None, _UNSPACED.split(piece)):
            end = start + len(part)
            folded = known.get(part)
            if folded is None:
                folded = known[part] = plain_words(fold(part))
            found.extend(Word(one, start, end) for one in folded)
            start = end
    return found


def plain_words(folded: str) -> list[str]:
    """The words of a folded text, in lower case."""
    return [one.casefold() for one in _TOKEN.findall(folded)]
