"""The functions on arrays, and those that ask what kind of value they have.

A single value given for an array is an array of one item.
"""

from __future__ import annotations

from stalwart.expr import operators
from stalwart.expr.values import Value, is_empty, to_array, to_text


def count(value: Value) -> int:
    """Items of an array; a single value is 1, or 0 if empty."""
    if isinstance(value, tuple):
        return len(value)
    return 0 if is_empty(value) else 1


def sort(value: Value, ascending: Value) -> Value:
    """Numbers before texts before arrays, each by their own order."""
    return tuple(sorted(to_array(value), key=_sort_key, reverse=not ascending))


def dedup(value: Value) -> Value:
    """Each item once, at its first place."""
    return tuple(dict.fromkeys(to_array(value)))


def winnow(value: Value) -> Value:
    """Without empty items."""
    return tuple(item for item in to_array(value) if not is_empty(item))


def is_intersect(left: Value, right: Value) -> bool:
    """Whether both have an item in common; a text and a number are never the same item."""
    return not set(to_array(left)).isdisjoint(to_array(right))


def contains(hay: Value, needle: Value) -> bool:
    """Whether an array has an item that `==` the needle, or a text has the needle in it."""
    if isinstance(hay, tuple):
        return any(operators.equal(item, needle) for item in hay)
    return to_text(needle) in to_text(hay)


def contains_ignore_case(hay: Value, needle: Value) -> bool:
    """`contains` by text, without regard to case."""
    wanted = to_text(needle).lower()
    if isinstance(hay, tuple):
        return any(to_text(item).lower() == wanted for item in hay)
    return wanted in to_text(hay).lower()


def is_number(value: Value) -> bool:
    """Whether the value is an integer or a float; a text never is."""
    return isinstance(value, int | float)


def _sort_key(value: Value) -> tuple[int, object]:
    if isinstance(value, tuple):
        return 2, tuple(map(_sort_key, value))
    if isinstance(value, str):
        return 1, value
    return 0, value
