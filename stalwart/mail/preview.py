"""The line of a message that lists show (RFC 8621 §4.1.4, `preview`)."""

from __future__ import annotations

import re
from typing import Final

from stalwart.mail.html import html_to_text

__all__ = ["MAX_PREVIEW", "preview_of_html", "preview_of_text"]

#: RFC 8621 §4.1.4: characters, at most.
MAX_PREVIEW: Final = 256

_LOOKED_AT: Final = 16_384
_ENOUGH: Final = 1_000  # most texts give a whole preview by then
_HTML_LOOKED_AT: Final = 131_072

# What newsletters pad their first line with, and other characters that nobody sees.
_UNSEEN: Final = (0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x3164, 0xFEFF, 0xFFA0)
_INVISIBLE: Final = re.compile(f"[{''.join(map(chr, _UNSEEN))}\u200b-\u200f\u202a-\u202e\u2060-\u206f]+")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]+")
_RULE: Final = re.compile(r"([-=_*~#+.])\1{3,}+")
_DIGIT: Final = re.compile(r"\d")
_ATTRIBUTION: Final = re.compile(
    r"\b(?:wrote|writes|schrieb|écrit|escribió|scrisse|ha scritto|schreef|skrev|escreveu|napisał|написал|пишет)\b"
    r"[^\n]{0,100}:\Z|(?:写道|書きました|写了)[^\n]{0,5}[:\uff1a]?\Z"
)


def preview_of_text(text: str) -> str:
    """The start of a plain text: without quotes, their attribution, rules and signature where more is left."""
    return _unquoted(text) or _squeeze(text)


def preview_of_html(html: str) -> str:
    """The start of what an HTML body shows."""
    html = html[:_HTML_LOOKED_AT]
    return _unquoted(html_to_text(html, quotes=False)) or preview_of_text(html_to_text(html))


def _unquoted(text: str) -> str:
    """What of the start of a text is its writer's own."""
    kept: list[str] = []
    length = 0
    for line in text[:_LOOKED_AT].split("\n"):
        if length > _ENOUGH:
            break
        if line.startswith("-- ") and line.rstrip() == "--" and kept:
            break  # RFC 3676 §4.3: the signature separator
        if line.startswith(">"):
            while kept and not kept[-1].strip():
                kept.pop()
            if kept and _ATTRIBUTION.search(kept[-1].rstrip()[-200:]):
                dated = _DIGIT.search(kept.pop())
                if not dated and kept and _DIGIT.search(kept[-1][-200:]):
                    kept.pop()  # a long one is folded between the date and the name
            continue
        kept.append(line)
        length += len(line)
    return _squeeze("\n".join(kept))


def _squeeze(text: str) -> str:
    """The start with white space collapsed, and what nobody sees taken out."""
    squeezed = ""
    for length in (_ENOUGH, _LOOKED_AT):
        squeezed = _CONTROLS.sub(" ", text[:length])
        if not squeezed.isascii():
            squeezed = _INVISIBLE.sub("", squeezed)
        squeezed = " ".join(_RULE.sub(" ", squeezed).split())
        if len(squeezed) >= MAX_PREVIEW:
            break
    return squeezed[:MAX_PREVIEW].rstrip()
