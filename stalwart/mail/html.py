"""The text that a reader of an HTML body sees, for previews and search.

A tokenizer and no parser: one pass over the pieces between "<" signs, in time linear in the input.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Final

__all__ = ["MAX_INPUT", "html_to_text"]

#: Characters of HTML that are looked at.
MAX_INPUT: Final = 1 << 20

_TAG: Final = re.compile(r"(/?)([A-Za-z][^\s/>]*+)([^>\"']*+(?:\"[^\"]*+\"?+[^>\"']*+|'[^']*+'?+[^>\"']*+)*+)>")
# Beyond Unicode, and `int` refuses thousands of digits.
_HUGE_REFERENCE: Final = re.compile(r"&#(?:[0-9]{20,}+|[xX][0-9a-fA-F]{20,}+);?")
_HIDDEN: Final = re.compile(r"display\s{0,9}:\s{0,9}none|[\s\"']hidden(?=[\s/>=]|\Z)|mso-hide\s{0,9}:\s{0,9}all", re.I)
_SHOWN_ATTRIBUTE: Final = re.compile(r"\s(?:alt|title)\s{0,9}=\s{0,9}(?:\"([^\"]*+)\"|'([^']*+)'|([^\s>\"']++))", re.I)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_UNSEEN: Final = _names("head script style title template object applet iframe noframes select datalist textarea svg")
_RAW_TEXT: Final = _names("script style title textarea iframe noframes")
_VOID: Final = _names("area base br col embed hr img input link meta param source track wbr")
# Elements that are often left open and that end where the next one of their kind starts.
_UNNESTED: Final = _names("p li dt dd option")
_INLINE: Final = _names(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark nobr o:p q s samp small span "
    "strike strong sub sup time tt u var wbr"
)
_CELLS: Final = _names("td th img input button")


def html_to_text(html: str, *, attributes: bool = False, quotes: bool = True) -> str:
    """The text of an HTML body, one line for each block; character references decoded, white space collapsed.

    `attributes` adds what `alt` and `title` say (RFC 8621 §4.4.1); without `quotes` a blockquote element becomes
    a line ">". Head, script, style and elements that are hidden are always left out.
    """
    # A line break in the source is white space and no new line; from here on "\n" is a break between blocks.
    pieces = html[:MAX_INPUT].replace("\n", " ").split("<")
    out: list[str] = [pieces[0]]
    # While an element is passed over: its name, and how many of that name are open.
    skipped, depth = "", 0
    in_comment = False
    tag_of = _TAG.match
    for piece in pieces[1:]:
        if in_comment:
            _, end, rest = piece.partition("-->")
            if end:
                in_comment = False
                if not skipped:
                    out.append(rest)
            continue
        if skipped in _RAW_TEXT and not _closes(piece, skipped):
            continue
        tag = tag_of(piece)
        if tag is None:
            if piece.startswith("!--"):
                _, end, rest = piece[2:].partition("-->")
                in_comment = not end and not piece.startswith("!-->")
                if not skipped and not in_comment:
                    out.append(rest if end else piece[4:])
            elif skipped:
                continue
            elif piece[:1].isalpha() or piece.startswith(("!", "?", "/")):
                out.append(piece.partition(">")[2])  # quotes that are never closed, declarations
            else:
                out.append("<" + piece)  # a sign in running text
            continue
        closing, name, attributes_text = tag.groups()
        name = name.lower()
        rest = piece[tag.end() :]
        if skipped:
            if name == skipped and not (closing or name not in _UNNESTED):
                skipped = ""  # the next of its kind is a new element, seen below
            elif name == skipped:
                depth += -1 if closing else 1
                if depth == 0:
                    skipped = ""
                    out.append("\n" + rest)
                continue
            elif skipped == "head" and name == "body":
                skipped = ""
            else:
                continue
        if name not in _INLINE:
            out.append(" " if name in _CELLS else "\n")
        if not closing:
            if name in _UNSEEN or (name == "blockquote" and not quotes):
                if name == "blockquote":
                    out.append(">\n")
                if not attributes_text.endswith("/"):
                    skipped, depth = name, 1
                continue
            if attributes_text:
                lowered = attributes_text.lower()
                # The quick looks come first: few tags have attributes that matter here.
                if ("hid" in lowered or "display" in lowered) and _HIDDEN.search(lowered):
                    if name in _VOID:
                        out.append(rest)
                    else:
                        skipped, depth = name, 1
                    continue
                if attributes and ("alt" in lowered or "title" in lowered):
                    for shown in _SHOWN_ATTRIBUTE.finditer(attributes_text):
                        out.append(f" {shown[1] or shown[2] or shown[3] or ''} ")
        out.append(rest)
    text = "".join(out)
    if "&" in text:
        text = unescape(_HUGE_REFERENCE.sub("\ufffd", text))
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _closes(piece: str, name: str) -> bool:
    return piece.startswith("/") and piece[1 : len(name) + 1].lower() == name
