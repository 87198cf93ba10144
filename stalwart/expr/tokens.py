"""Splits the text of an expression into tokens with their places."""

from __future__ import annotations

import re

import msgspec

from stalwart.expr.errors import ExprError, Finding
from stalwart.expr.limits import MAX_INTEGER, MAX_SOURCE, MAX_TOKENS
from stalwart.expr.values import Value

# Other spellings of the same operator.
_SAME = {"&": "&&", "|": "||", "=": "==", "=<": "<=", "=>": ">="}
_WORD = re.compile(r"[A-Za-z0-9_$.]+")
_OPERATOR = re.compile(r"&&?|\|\|?|==|=<|=>|=|!=|!|<=|<|>=|>|[-+*/^(),\[\]]")
_SPACE = re.compile(r"[ \r\n\t]*")
_DURATION = re.compile(r"([0-9]+)([A-Za-z]+)\Z")
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_CONTROL = {"n": "\n", "r": "\r", "t": "\t"}


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One token; `kind` is "name", "value", "capture", "end" or the operator itself."""

    kind: str
    position: int
    end: int
    # A name, or the value of a literal; the number of a capture.
    value: Value = ""


def fault(text: str, position: int, end: int, message: str, hint: str | None = None) -> ExprError:
    """The error for one place of a text."""
    return ExprError([Finding(text=text, position=position, end=end, message=message, hint=hint)])


def tokenize(text: str) -> list[Token]:
    """All tokens, with an "end" behind the last; raises `ExprError`."""
    if len(text) > MAX_SOURCE:
        raise fault(text, 0, 1, f"the expression has {len(text)} characters; the bound is {MAX_SOURCE}")
    tokens: list[Token] = []
    at = 0
    while (at := _space(text, at)) < len(text):
        if len(tokens) == MAX_TOKENS:
            raise fault(text, at, at + 1, f"the expression has more than {MAX_TOKENS} tokens")
        if text[at] in "'\"":
            token = _string(text, at)
        elif found := _WORD.match(text, at):
            token = _word(text, at, found[0])
        elif found := _OPERATOR.match(text, at):
            token = Token(kind=_SAME.get(found[0], found[0]), position=at, end=found.end())
        else:
            raise fault(text, at, at + 1, *_unexpected(text[at]))
        tokens.append(token)
        at = token.end
    tokens.append(Token(kind="end", position=len(text), end=len(text) + 1))
    return tokens


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _unexpected(character: str) -> tuple[str, str | None]:
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    hints = {
        "%": "There is no remainder operator.",
        "?": "For a choice write if_then(condition, a, b).",
        ":": "Text, addresses and URLs stand in quotes.",
        "#": "There are no comments.",
    }
    return f'unexpected character "{shown}"', hints.get(character)


def _string(text: str, start: int) -> Token:
    """A text in quotes. A backslash stays in the value, so that '\\.' reaches a regular expression as it is."""
    quote = text[start]
    parts: list[str] = []
    at = start + 1
    while at < len(text):
        character = text[at]
        if character == quote:
            return Token(kind="value", position=start, end=at + 1, value="".join(parts))
        if 0xD800 <= ord(character) <= 0xDFFF:
            raise fault(text, at, at + 1, f"U+{ord(character):04X} is no character")
        parts.append(character)
        at += 1
        if character == "\\" and at < len(text):
            parts.append(_CONTROL.get(text[at], text[at]))
            if 0xD800 <= ord(text[at]) <= 0xDFFF:
                raise fault(text, at, at + 1, f"U+{ord(text[at]):04X} is no character")
            at += 1
    raise fault(text, start, start + 1, f"the text has no closing {quote}", _escaped_quote(text, quote))


def _escaped_quote(text: str, quote: str) -> str | None:
    if f"\\{quote}" in text:
        return f"A backslash before {quote} keeps it in the text; it doesn't end it."
    return None


def _word(text: str, at: int, word: str) -> Token:
    end = at + len(word)
    if word.startswith("$") and word[1:].isdigit() and len(word) < 6:
        return Token(kind="capture", position=at, end=end, value=int(word[1:]))
    if word in ("true", "false"):
        return Token(kind="value", position=at, end=end, value=int(word == "true"))
    if found := _DURATION.match(word):
        return Token(kind="value", position=at, end=end, value=_duration(text, at, end, found[1], found[2]))
    if not all(c in "0123456789." for c in word):
        return Token(kind="name", position=at, end=end, value=word)
    if "." not in word:
        return Token(kind="value", position=at, end=end, value=_integer(text, at, end, word))
    if word.count(".") > 1:
        raise fault(text, at, end, f'"{word}" is no number', "An address stands in quotes.")
    if word == "." or len(word) > 400:
        raise fault(text, at, end, f'"{word[:20]}" is no number')
    return Token(kind="value", position=at, end=end, value=float(word))


def _duration(text: str, at: int, end: int, digits: str, unit: str) -> int:
    if unit not in _MILLISECONDS:
        raise fault(text, at, end, f'"{unit}" is no unit of time', "The units are ms, s, m, h and d.")
    return _integer(text, at, end, digits, _MILLISECONDS[unit])


def _integer(text: str, at: int, end: int, digits: str, factor: int = 1) -> int:
    number = int(digits) * factor if len(digits) < 30 else MAX_INTEGER + 1
    if number > MAX_INTEGER:
        raise fault(text, at, end, f"the number is larger than {MAX_INTEGER}")
    return number
