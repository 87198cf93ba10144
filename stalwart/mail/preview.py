"""The line of a message that lists show (RFC 8621 §4.1.4, `preview`)."""

from __future__ import annotations

import re
from typing import Final

from stalwart.mail.html import html_to_text

__all__ = ["MAX_PREVIEW", "preview_of_html", "preview_of_text"]

#: RFC 8621 §4.1.4: characters, at most.
MAX_PREVIEW: Final = 256

_LOOKED_AT: Final = 16_384
_HTML_LOOKED_AT: Final = 131_072

# What newsletters pad their first line with, and other characters that nobody sees.
_UNSEEN: Final = (0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x3164, 0xFEFF, 0xFFA0)
_INVISIBLE: Final = {
    **dict.fromkeys((*_UNSEEN, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070))),
    **dict.fromkeys((*range(9), *range(14, 32), *range(127, 160)), " "),
}
_RULE: Final = re.compile(r"([-=_*~#+.])\1{3,}+")
_ATTRIBUTION: Final = re.compile(
    r"[^\n]{0,200}(?:wrote|writes|schrieb|écrit|escribió|scrisse|schreef|skrev)\W{0,3}\Z"
)


def preview_of_text(text: str) -> str:
    """The start of a plain text: without quotes, their attribution, rules and signature where more is left."""
    text = text[:_LOOKED_AT]
    kept: list[str] = []
    for line in text.split("\n"):
        if line.startswith("-- ") and line.rstrip() == "--" and kept:
            break  # RFC 3676 §4.3: the signature separator
        if line.startswith(">"):
            while kept and not kept[-1].strip():
                kept.pop()
            if kept and _ATTRIBUTION.search(kept[-1].rstrip()):
                kept.pop()
            continue
        kept.append(line)
    return _squeeze("\n".join(kept)) or _squeeze(text)


def preview_of_html(html: str) -> str:
    """The start of what an HTML body shows."""
    html = html[:_HTML_LOOKED_AT]
    return preview_of_text(html_to_text(html, quotes=False)) or preview_of_text(html_to_text(html))


def _squeeze(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        text = text.translate(_INVISIBLE)
    text = " ".join(_RULE.sub(" ", text).split())
    return text[:MAX_PREVIEW].rstrip()
