"""What a search found, to be shown: the matching words marked in HTML (RFC 8621 §5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from stalwart.mail.terms import Term, Word, fold, plain_words, words
from stalwart.mail.words import nfc

__all__ = ["Marker"]

#: RFC 8621 §5: a preview MUST NOT be bigger, in octets.
MAX_PREVIEW: Final = 255
#: Octets of a preview that may stand before the first match.
_BEFORE: Final = 80
_MARK_OCTETS: Final = len("<mark></mark>")
_GAP: Final = "…"
_GAP_OCTETS: Final = len(_GAP.encode())

_Span = tuple[int, int]


class Marker:
    """Marks what some terms match. Characters that HTML knows are escaped."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self._terms = [(split, term.begins) for term in terms if (split := plain_words(term.text))]

    def __bool__(self) -> bool:
        """Whether there is anything to mark."""
        return bool(self._terms)

    def whole(self, text: str) -> str | None:
        """The text with all matches marked; None without a match."""
        text = nfc(text)
        spans = self._matches(text)
        if not spans:
            return None
        return "".join(
            f"<mark>{escape(piece)}</mark>" if marked else escape(piece) for piece, marked in _pieces(text, spans, 0)
        )

    def excerpt(self, text: str) -> str | None:
        """The part of the text around its first match, white space collapsed, in at most `MAX_PREVIEW` octets."""
        if not self._may_match(text):
            return None
        text = nfc(" ".join(text.split()))
        spans = self._matches(text)
        if not spans:
            return None
        start = _beginning(text, spans[0][0])
        out = [_GAP] if start else []
        left = MAX_PREVIEW - _GAP_OCTETS * (1 + bool(start))
        for piece, marked in _pieces(text, spans, start):
            if marked:
                left -= _MARK_OCTETS
            kept = _fitting(piece, left) if left > 0 else ""
            if kept:
                escaped = escape(kept)
                left -= len(escaped.encode())
                out.append(f"<mark>{escaped}</mark>" if marked else escaped)
            if kept != piece:
                out.append(_GAP)
                break
        return "".join(out)

    def _may_match(self, text: str) -> bool:
        """A quick look, so that long texts without a match cost little."""
        folded = fold(text).casefold()
        return any(split[0] in folded for split, _ in self._terms)

    def _matches(self, text: str) -> list[_Span]:
        """Where the terms are, in order; what overlaps is one."""
        found = words(text)
        places: dict[str, list[int]] = {}
        for index, word in enumerate(found):
            places.setdefault(word.text, []).append(index)
        spans = [span for split, begins in self._terms for span in _occurrences(found, places, split, begins)]
        merged: list[_Span] = []
        for start, end in sorted(spans):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged


def _occurrences(
    found: Sequence[Word], places: Mapping[str, Sequence[int]], split: Sequence[str], begins: bool
) -> list[_Span]:
    *first, last = split
    if first or not begins:
        starts = places.get(split[0], ())
    else:
        starts = [index for text, indexes in places.items() if text.startswith(last) for index in indexes]
    spans: list[_Span] = []
    for index in starts:
        run = found[index : index + len(split)]
        if len(run) == len(split) and all(word.text == text for word, text in zip(run, first, strict=False)):
            end = run[-1]
            if end.text.startswith(last) if begins else end.text == last:
                spans.append((run[0].start, end.end))
    return spans


def _pieces(text: str, spans: Sequence[_Span], start: int) -> list[tuple[str, bool]]:
    """The text from `start` on, cut into what is to be marked and what is not."""
    pieces: list[tuple[str, bool]] = []
    for first, end in spans:
        if first > start:
            pieces.append((text[start:first], False))
        pieces.append((text[first:end], True))
        start = end
    if start < len(text):
        pieces.append((text[start:], False))
    return pieces


def _beginning(text: str, match: int) -> int:
    """Where to begin so that a little is seen before the match: at the text's start, or at a word's."""
    start, octets = match, 0
    while start > 0:
        octets += len(escape(text[start - 1]).encode())
        if octets > _BEFORE:
            break
        start -= 1
    if start > 0:
        space = text.find(" ", start, match)
        start = space + 1 if space >= 0 else start
    return start


def _fitting(text: str, octets: int) -> str:
    """The beginning of a text that has no more than so many octets once it is escaped."""
    if len(text) <= octets and len(escape(text).encode()) <= octets:
        return text
    for index, character in enumerate(text[: octets + 1]):
        octets -= len(escape(character).encode())
        if octets < 0:
            return text[:index]
    return text[: octets + 1]
