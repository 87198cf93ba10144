"""The operators, on values of any type.

Comparisons give Python's booleans, which the compiler turns into 1 and 0 where a value is asked for. An array is no
number: arithmetic that would need one ends the evaluation.
"""

from __future__ import annotations

from collections.abc import Callable

from stalwart.expr.values import Value, bounded_items, bounded_text, saturate, to_array, to_integer, to_number, to_text


def add(left: Value, right: Value) -> Value:
    """Sum, concatenation, or an item more; an empty text leaves the other side as it is."""
    if isinstance(left, tuple):
        return bounded_items(left + right if isinstance(right, tuple) else (*left, right))
    if isinstance(right, tuple):
        return bounded_items((left, *right))
    if isinstance(left, str):
        return bounded_text(left + to_text(right)) if left else right
    if isinstance(right, str):
        return bounded_text(to_text(left) + right) if right else left
    total = left + right
    return saturate(total) if isinstance(total, int) else total


def subtract(left: Value, right: Value) -> Value:
    """Difference; with an array on a side, its items without those equal to the other side."""
    if isinstance(left, tuple):
        return tuple(item for item in left if not equal(item, right))
    if isinstance(right, tuple):
        return tuple(item for item in right if not equal(item, left))
    total = to_number(left) - to_number(right)
    return saturate(total) if isinstance(total, int) else total


def multiply(left: Value, right: Value) -> Value:
    """Product of numbers."""
    total = to_number(left) * to_number(right)
    return saturate(total) if isinstance(total, int) else total


def divide(left: Value, right: Value) -> float:
    """Always a float; 0 when divided by zero."""
    dividend, divisor = to_number(left), to_number(right)
    return float(dividend) / float(divisor) if divisor else 0.0


def negate(value: Value) -> Value:
    """The number with the other sign."""
    number = to_number(value)
    return saturate(-number) if isinstance(number, int) else -number


def equal(left: Value, right: Value) -> bool:
    """Texts exactly, a text against a number by number, arrays item by item and only with arrays."""
    if isinstance(left, tuple) or isinstance(right, tuple):
        return (
            isinstance(left, tuple)
            and isinstance(right, tuple)
            and len(left) == len(right)
            and all(map(equal, left, right))
        )
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    return to_number(left) == to_number(right)


def not_equal(left: Value, right: Value) -> bool:
    """The opposite of `equal`."""
    return not equal(left, right)


def less(left: Value, right: Value) -> bool:
    """Texts by their octets in UTF-8, else numbers; arrays item by item, and above all that is no array."""
    return _order(left, right) < 0


def _order(left: Value, right: Value) -> int:
    """-1, 0 or 1; 0 also for what has no order. Each pair is looked at once: twice would grow with 2 to the depth."""
    if isinstance(left, tuple) or isinstance(right, tuple):
        if not isinstance(left, tuple):
            return -1
        if not isinstance(right, tuple):
            return 1
        for one, other in zip(left, right, strict=False):
            if order := _order(one, other):
                return order
        return (len(left) > len(right)) - (len(left) < len(right))
    # The order of code points is the order of UTF-8.
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    first, second = to_number(left), to_number(right)
    return (first > second) - (first < second)


def less_or_equal(left: Value, right: Value) -> bool:
    """Smaller, or neither side smaller; never for NaN."""
    if isinstance(left, tuple) or isinstance(right, tuple):
        return not less(right, left)
    if isinstance(left, str) and isinstance(right, str):
        return left <= right
    return to_number(left) <= to_number(right)


def greater(left: Value, right: Value) -> bool:
    """`less` the other way round."""
    return less(right, left)


def greater_or_equal(left: Value, right: Value) -> bool:
    """`less_or_equal` the other way round."""
    return less_or_equal(right, left)


def exclusive_or(left: Value, right: Value) -> bool:
    """Exactly one side is true."""
    return bool(left) != bool(right)


def index(value: Value, at: Value) -> Value:
    """The item at a place; '' beyond the end; the first one for a place that is negative or no number."""
    array = to_array(value)
    place = 0 if isinstance(at, tuple) else max(0, to_integer(at))
    return array[place] if place < len(array) else ""


ARITHMETIC: dict[str, Callable[[Value, Value], Value]] = {"+": add, "-": subtract, "*": multiply, "/": divide}
COMPARISONS: dict[str, Callable[[Value, Value], bool]] = {
    "==": equal,
    "!=": not_equal,
    "<": less,
    "<=": less_or_equal,
    ">": greater,
    ">=": greater_or_equal,
    "^": exclusive_or,
}
