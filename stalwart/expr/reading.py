"""How compiled code takes the values of variables: their declared type is made sure of, whatever the context gave."""

from __future__ import annotations

from collections.abc import Mapping

from stalwart.expr.errors import EvalError
from stalwart.expr.limits import MAX_ITEMS, MAX_TEXT
from stalwart.expr.values import Value, from_outside, to_text


class MappingContext:
    """A mapping with the values of variables, as a context."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> object:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name, name=name, obj=self) from None


def read_text(name: str, value: object) -> str:
    """A text of bounded size; None is ''."""
    if type(value) is str and len(value) <= MAX_TEXT:
        return value
    found = from_outside(value)
    if not isinstance(found, str):
        raise EvalError(f"{name} is no text")
    return found


def read_integer(name: str, value: object) -> int:
    """An integer."""
    found = from_outside(value)
    if not isinstance(found, int):
        raise EvalError(f"{name} is no integer")
    return found


def read_number(name: str, value: object) -> int | float:
    """An integer or a float."""
    found = from_outside(value)
    if not isinstance(found, int | float):
        raise EvalError(f"{name} is no number")
    return found


def read_texts(name: str, value: object) -> tuple[Value, ...]:
    """An array of texts; other items become texts."""
    if type(value) is tuple and len(value) <= MAX_ITEMS and set(map(type, value)) == {str}:
        if max(map(len, value)) > MAX_TEXT:
            raise EvalError(f"{name} has a text of more than {MAX_TEXT} characters")
        return value
    return tuple(map(to_text, read_array(name, value)))


def read_array(name: str, value: object) -> tuple[Value, ...]:
    """An array."""
    found = from_outside(value)
    if not isinstance(found, tuple):
        raise EvalError(f"{name} is no array")
    return found


def read_any(name: str, value: object) -> Value:
    """Any value."""
    return from_outside(value)
