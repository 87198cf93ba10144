"""A slow, obvious interpreter of expression trees: what the compiled code has to agree with.

It walks the tree as it was parsed, knows no types and folds nothing. Functions are the table's own, since they have
tests of their own; operators, coercions, captures and short circuits are written here a second time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

from stalwart.expr import EvalError, Lookup, Value
from stalwart.expr.functions import FUNCTIONS
from stalwart.expr.limits import MAX_PATTERN_WORK
from stalwart.expr.patterns import Match, compile_pattern, group, search
from stalwart.expr.tree import Array, Binary, Call, Capture, Index, Literal, Logical, Node, Unary, Variable
from stalwart.expr.values import from_outside, parse_number, to_text

Answer = Callable[[Lookup], object]


class Oracle:
    """Evaluates the texts of one rule on one context."""

    def __init__(self, context: Mapping[str, object], answer: Answer) -> None:
        self._context = context
        self._answer = answer
        self._match: Match | None = None

    def rule(self, clauses: list[tuple[Node, Node]], otherwise: Node) -> Value:
        """The result of a rule."""
        for condition, then in clauses:
            if self.evaluate(condition):
                return self.evaluate(then)
        return self.evaluate(otherwise)

    def evaluate(self, node: Node) -> Value:
        """The value of a tree."""
        match node:
            case Literal():
                return node.value
            case Variable():
                return from_outside(self._context[node.name])
            case Capture():
                return group(self._match, node.number)
            case Unary(operator="!"):
                return 0 if self.evaluate(node.operand) else 1
            case Unary():
                return fit(-number(self.evaluate(node.operand)))
            case Binary():
                return binary(node.operator, self.evaluate(node.left), self.evaluate(node.right))
            case Logical():
                result = self.evaluate(node.operands[0])
                for operand in node.operands[1:]:
                    if bool(result) is (node.operator == "||"):
                        continue
                    result = 1 if self.evaluate(operand) else 0
                return result
            case Array():
                return tuple(self.evaluate(item) for item in node.items)
            case Index():
                return item(self.evaluate(node.array), self.evaluate(node.index))
            case Call(name="if_then"):
                return self.evaluate(node.arguments[1 if self.evaluate(node.arguments[0]) else 2])
            case Call(name="matches"):
                pattern = self.evaluate(node.arguments[0])
                subject = to_text(self.evaluate(node.arguments[1]))
                self._match = search(compile_pattern(to_text(pattern)), subject, MAX_PATTERN_WORK)
                return 0 if self._match is None else 1
            case Call():
                function = FUNCTIONS[node.name]
                arguments = tuple(self.evaluate(argument) for argument in node.arguments)
                if function.call is None:
                    return from_outside(self._answer(Lookup(function=node.name, arguments=arguments)))
                result = function.call(*arguments)
                return int(result) if isinstance(result, bool) else result


def number(value: Value) -> int | float:
    """A value as a number."""
    if isinstance(value, tuple):
        raise EvalError("array")
    if isinstance(value, str):
        found = parse_number(value)
        return 0 if found is None else found
    return value


def fit(value: int | float) -> int | float:
    """Integers saturate at 64 bits."""
    return max(-(2**63), min(2**63 - 1, value)) if isinstance(value, int) else value


def item(value: Value, at: Value) -> Value:
    """An item of an array."""
    array = value if isinstance(value, tuple) else (() if value == "" else (value,))
    place: int | float = 0 if isinstance(at, tuple) else number(at)
    if math.isnan(place) or place < 0:
        place = 0
    if place >= len(array):
        return ""
    return array[int(place)]


def binary(operator: str, left: Value, right: Value) -> Value:
    """An operator that works out both sides."""
    match operator:
        case "+":
            return plus(left, right)
        case "-" if isinstance(left, tuple):
            return tuple(one for one in left if not same(one, right))
        case "-" if isinstance(right, tuple):
            return tuple(one for one in right if not same(one, left))
        case "-":
            return fit(number(left) - number(right))
        case "*":
            return fit(number(left) * number(right))
        case "/":
            dividend, divisor = number(left), number(right)
            return 0.0 if divisor == 0 else float(dividend) / float(divisor)
        case "^":
            return 1 if bool(left) is not bool(right) else 0
        case "==":
            return int(same(left, right))
        case "!=":
            return int(not same(left, right))
    order = compare(left, right)
    wanted = {"<": (-1,), "<=": (-1, 0), ">": (1,), ">=": (0, 1)}[operator]
    return int(order in wanted)


def plus(left: Value, right: Value) -> Value:
    """Addition, concatenation, an item more."""
    if isinstance(left, tuple) and isinstance(right, tuple):
        return left + right
    if isinstance(left, tuple):
        return (*left, right)
    if isinstance(right, tuple):
        return (left, *right)
    if left == "":
        return right
    if right == "":
        return left
    if isinstance(left, str) or isinstance(right, str):
        return to_text(left) + to_text(right)
    return fit(left + right)


def same(left: Value, right: Value) -> bool:
    """Equality."""
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(same(one, other) for one, other in zip(left, right, strict=True))
    if isinstance(left, tuple) or isinstance(right, tuple):
        return False
    if isinstance(left, str) and isinstance(right, str):
        return left.encode() == right.encode()
    return number(left) == number(right)


def compare(left: Value, right: Value) -> int | None:
    """-1, 0 or 1; None for what has no order (NaN)."""
    if isinstance(left, tuple) and isinstance(right, tuple):
        for one, other in zip(left, right, strict=False):
            order = compare(one, other)
            if order:
                return order
        return (len(left) > len(right)) - (len(left) < len(right))
    if isinstance(left, tuple):
        return 1
    if isinstance(right, tuple):
        return -1
    if isinstance(left, str) and isinstance(right, str):
        return (left.encode() > right.encode()) - (left.encode() < right.encode())
    one, other = number(left), number(right)
    if math.isnan(one) or math.isnan(other):
        return None
    if math.isinf(one) or math.isinf(other):
        return (one > other) - (one < other)
    return (Fraction(one) > Fraction(other)) - (Fraction(one) < Fraction(other))
