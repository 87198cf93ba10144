"""Values of the expression language, and how they turn into each other.

A value is an integer of 64 bits, a float, a text or an array; truth is 1 and 0. Python's truthiness of these four types
is the language's own, which the compiler relies on.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TypeAlias

from stalwart.expr.errors import EvalError
from stalwart.expr.limits import MAX_INTEGER, MAX_ITEMS, MAX_TEXT, MIN_INTEGER

Value: TypeAlias = "int | float | str | tuple[Value, ...]"
Number: TypeAlias = "int | float"

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}\Z")
_FLOAT = re.compile(r"[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,5})?\Z")


def saturate(number: int) -> int:
    """The nearest integer of 64 bits."""
    return MIN_INTEGER if number < MIN_INTEGER else MAX_INTEGER if number > MAX_INTEGER else number


def parse_number(text: str) -> Number | None:
    """The number a text spells: an integer, else a float, else nothing. "nan" and "inf" spell none."""
    if _INTEGER.match(text):
        number = int(text)
        if MIN_INTEGER <= number <= MAX_INTEGER:
            return number
    if _FLOAT.match(text):
        return float(text)
    return None


def format_float(number: float) -> str:
    """Decimal, never scientific; a whole number has no point."""
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "inf" if number > 0 else "-inf"
    text = format(Decimal(repr(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def bounded_text(text: str) -> str:
    """The text, if it isn't too long."""
    if len(text) > MAX_TEXT:
        raise EvalError(f"a text of {len(text)} characters; the bound is {MAX_TEXT}")
    return text


def bounded_items(items: tuple[Value, ...]) -> tuple[Value, ...]:
    """The array, if it hasn't too many items."""
    if len(items) > MAX_ITEMS:
        raise EvalError(f"an array of {len(items)} items; the bound is {MAX_ITEMS}")
    return items


def to_text(value: Value) -> str:
    """Numbers in decimal, the items of an array joined by CRLF."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return format_float(value)
    parts: list[str] = []
    room = MAX_TEXT
    for item in value:
        parts.append(to_text(item))
        room -= len(parts[-1]) + 2
        if room < -2:
            raise EvalError(f"an array that is longer than {MAX_TEXT} characters as a text")
    return "\r\n".join(parts)


def to_number(value: Value) -> Number:
    """A text that spells no number is 0; an array is no number at all."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return parse_number(value) or 0
    raise EvalError("an array was used as a number")


def to_integer(value: Value) -> int:
    """A whole number: fractions are cut off."""
    number = to_number(value)
    if isinstance(number, int):
        return number
    if number != number:
        return 0
    return MAX_INTEGER if number >= 2.0**63 else MIN_INTEGER if number <= -(2.0**63) else int(number)


def to_array(value: Value) -> tuple[Value, ...]:
    """A single value is an array of one item, the empty text an empty array."""
    if isinstance(value, tuple):
        return value
    return () if value == "" else (value,)


def is_empty(value: Value) -> bool:
    """A text or an array of length 0; numbers are never empty."""
    return isinstance(value, str | tuple) and not value


def to_status(value: Value) -> int:
    """The HTTP status a rule gave: an integer from 100 to 999, or a text that spells one."""
    number = parse_number(value) if isinstance(value, str) else value
    if not isinstance(number, int) or not 100 <= number <= 999:
        shown = value if isinstance(value, str | int | float) else "an array"
        raise EvalError(f"the result {shown!r} is no HTTP status (100 to 999)")
    return int(number)


def from_outside(value: object) -> Value:
    """What a context or a lookup gave, as a value: bytes, mappings and the like are refused, sizes bounded."""
    return _from_outside(value, 0)


def _from_outside(value: object, depth: int) -> Value:
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return saturate(int(value))
    if isinstance(value, float):
        return value
    if isinstance(value, str):
        return bounded_text(value)
    if isinstance(value, tuple | list) and depth < 4:
        if len(value) > MAX_ITEMS:
            raise EvalError(f"an array of {len(value)} items; the bound is {MAX_ITEMS}")
        return tuple(_from_outside(item, depth + 1) for item in value)
    raise EvalError(f"a value of type {type(value).__name__} can't be used in an expression")
