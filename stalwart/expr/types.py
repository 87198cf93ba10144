"""What is known about a value before the rule runs: the set of types it may have."""

from __future__ import annotations

import enum

from stalwart.expr.values import Value


class Type(enum.Flag):
    """A set of types; `TRUTH` is an integer that is 0 or 1, `ADDRESS` a text with an IP address in canonical form."""

    TRUTH = enum.auto()
    INTEGER = enum.auto()
    FLOAT = enum.auto()
    TEXT = enum.auto()
    ADDRESS = enum.auto()
    TEXTS = enum.auto()  # an array of nothing but texts
    ARRAY = enum.auto()  # any other array
    WHOLE = TRUTH | INTEGER
    NUMBER = WHOLE | FLOAT
    STRING = TEXT | ADDRESS
    LIST = TEXTS | ARRAY
    SCALAR = NUMBER | STRING
    ANY = SCALAR | LIST


def only(known: Type, wanted: Type) -> bool:
    """Whether a value of `known` type is always of the wanted one."""
    return not known & ~wanted


def type_of(value: Value) -> Type:
    """The type of a constant."""
    if isinstance(value, str):
        return Type.TEXT
    if isinstance(value, int):
        return Type.TRUTH if value in (0, 1) else Type.INTEGER
    if isinstance(value, float):
        return Type.FLOAT
    return Type.TEXTS if all(isinstance(item, str) for item in value) else Type.ARRAY


def describe(known: Type) -> str:
    """A type in words, for messages."""
    for wanted, words in (
        (Type.TRUTH, "true or false"),
        (Type.NUMBER, "a number"),
        (Type.ADDRESS, "an IP address"),
        (Type.STRING, "text"),
        (Type.LIST, "an array"),
        (Type.SCALAR, "text or a number"),
    ):
        if only(known, wanted):
            return words
    return "a value of any type"
