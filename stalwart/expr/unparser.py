"""Writes a tree as text again, with no more parentheses than it needs: parsing the text gives the same tree."""

from __future__ import annotations

from collections.abc import Iterable

from stalwart.expr.tree import PRECEDENCE, Array, Binary, Call, Capture, Index, Literal, Logical, Node, Unary, Variable
from stalwart.expr.values import Value, format_float

_UNARY = len(PRECEDENCE)
_CONTROL = {"\n": "n", "\r": "r", "\t": "t"}


def unparse(node: Node) -> str:
    """The text of a tree."""
    match node:
        case Literal(value=value):
            return literal(value)
        case Variable(name=name):
            return name
        case Capture(number=number):
            return f"${number}"
        case Unary(operator=operator, operand=operand):
            return operator + _inside(operand, _UNARY)
        case Binary(operator=operator, left=left, right=right):
            level = PRECEDENCE[operator]
            return f"{_inside(left, level)} {operator} {_inside(right, level + 1)}"
        case Logical(operator=operator, operands=operands):
            level = PRECEDENCE[operator]
            return f" {operator} ".join(_inside(operand, level + 1) for operand in operands)
        case Array(items=items):
            return f"[{_list(items)}]"
        case Index(array=array, index=index):
            inner = unparse(array)
            plain = isinstance(array, Variable | Capture | Index | Array | Call)
            return f"{inner if plain else f'({inner})'}[{unparse(index)}]"
        case Call(name=name, arguments=arguments):
            return f"{name}({_list(arguments)})"


def literal(value: Value) -> str:
    """A value as one would write it."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float):
        number = format_float(value)
        return number if "." in number or not number[-1].isdigit() else f"{number}.0"
    if isinstance(value, int):
        return str(int(value))
    return f"[{', '.join(map(literal, value))}]"


def _inside(node: Node, weakest: int) -> str:
    text = unparse(node)
    if isinstance(node, Binary | Logical) and PRECEDENCE[node.operator] < weakest:
        return f"({text})"
    return text


def _list(nodes: Iterable[Node]) -> str:
    return ", ".join(map(unparse, nodes))


def _quoted(text: str) -> str:
    """In quotes; what follows a backslash in the value is one character of a pair, as the lexer made it."""
    parts: list[str] = []
    plain: set[str] = set()
    at = 0
    while at < len(text):
        character = text[at]
        parts.append(character)
        at += 1
        if character == "\\" and at < len(text):
            parts.append(_CONTROL.get(text[at], text[at]))
            at += 1
        else:
            plain.add(character)
    quote = '"' if "'" in plain else "'"
    return f"{quote}{''.join(parts)}{quote}"
