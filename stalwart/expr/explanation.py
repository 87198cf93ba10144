"""Why a rule gave what it gave: every part of its text with the value it had, and which parts were not asked.

Walks the trees as they were written, where the compiled code has constants worked out; both come to the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from stalwart.expr import operators, patterns
from stalwart.expr.errors import EvalError
from stalwart.expr.functions import FUNCTIONS
from stalwart.expr.lookups import Lookup
from stalwart.expr.reading import MappingContext
from stalwart.expr.rules import RuleTree
from stalwart.expr.tree import Array, Binary, Call, Capture, Index, Literal, Logical, Node, Unary, Variable, children
from stalwart.expr.unparser import unparse
from stalwart.expr.values import Value, from_outside, to_status, to_text

Answer: TypeAlias = "Callable[[Lookup], Value | None]"


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of an expression. `value` is None if it was not asked, or if it failed; `error` then says how."""

    text: str
    value: Value | None = None
    asked: bool = True
    error: str | None = None
    lookup: str | None = None
    """What had to be looked up, as a call with its arguments."""

    known: bool = True
    """False for a lookup that nobody answered; its value is taken as ''."""

    parts: tuple[Step, ...] = ()
    """What it was worked out from; values that are written down are left out."""


class ClauseSteps(msgspec.Struct, frozen=True, kw_only=True):
    """A clause; `condition` is None for `else`."""

    condition: Step | None
    then: Step


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A rule on one request. `decided` counts clauses from zero, `else` being the last; None if none was reached."""

    clauses: tuple[ClauseSteps, ...]
    decided: int | None
    value: Value | None
    error: str | None
    unknown: tuple[str, ...]
    """Lookups that nobody answered."""


def explain(tree: RuleTree, context: object, answer: Answer) -> Explanation:
    """Evaluate a rule whose result is a status; `context` as for `CompiledRule.evaluate`.

    `answer` is asked for lookups, and gives None for those that it knows no answer to.
    """
    walk = _Walk(MappingContext(context) if type(context) is dict else context, answer, tree.longest_text)
    clauses: list[ClauseSteps] = []
    decided: int | None = None
    result: Step | None = None
    over = False
    for number, (condition, then) in enumerate(tree.clauses):
        first = _skipped(condition) if over else walk.step(condition)
        holds = not over and first.error is None and bool(first.value)
        second = walk.step(then) if holds else _skipped(then)
        clauses.append(ClauseSteps(condition=first, then=second))
        if holds:
            decided, result, over = number, second, True
        elif first.error is not None:
            decided, result, over = number, first, True
    last = _skipped(tree.otherwise) if over else walk.step(tree.otherwise)
    clauses.append(ClauseSteps(condition=None, then=last))
    if result is None:
        decided, result = len(tree.clauses), last
    value, error = result.value, result.error
    if error is None and value is not None:
        try:
            value = to_status(value)
        except EvalError as failed:
            value, error = None, str(failed)
    else:
        value = None
    return Explanation(
        clauses=tuple(clauses), decided=decided, value=value, error=error, unknown=tuple(dict.fromkeys(walk.unknown))
    )


def _skipped(node: Node) -> Step:
    return Step(text=unparse(node), asked=False)


def _is_written(node: Node) -> bool:
    """Whether a node is its own value."""
    return isinstance(node, Literal) or (isinstance(node, Array) and all(map(_is_written, node.items)))


class _Walk:
    """One evaluation: the request, the variables read so far, and the latest match."""

    def __init__(self, context: object, answer: Answer, longest: int) -> None:
        self._context = context
        self._answer = answer
        self._longest = longest
        self._match: patterns.Match | None = None
        self.unknown: list[str] = []

    def step(self, node: Node) -> Step:
        """A node with its value, or with what went wrong in it."""
        parts: list[Step] = []
        lookup: list[tuple[str, bool]] = []
        value: Value | None = None
        error: str | None = None
        try:
            value = self._value(node, parts, lookup)
        except EvalError as failed:
            error = str(failed)
        except AttributeError as failed:
            error = f"a variable has no value: {failed}"
        done = len(parts)
        shown = [part for part, of in zip(parts, children(node), strict=False) if not _is_written(of)]
        shown += [_skipped(of) for of in children(node)[done:] if not _is_written(of)]
        return Step(
            text=unparse(node),
            value=value,
            error=error,
            lookup=lookup[0][0] if lookup else None,
            known=not lookup or lookup[0][1],
            parts=tuple(shown),
        )

    def _part(self, node: Node, parts: list[Step]) -> Value:
        step = self.step(node)
        parts.append(step)
        if step.error is not None or step.value is None:
            raise EvalError(step.error or "it has no value")
        return step.value

    def _value(self, node: Node, parts: list[Step], lookup: list[tuple[str, bool]]) -> Value:
        match node:
            case Literal(value=value):
                return value
            case Variable(name=name):
                return from_outside(getattr(self._context, name))
            case Capture(number=number):
                return patterns.group(self._match, number)
            case Unary(operator=operator, operand=operand):
                inner = self._part(operand, parts)
                return int(not inner) if operator == "!" else operators.negate(inner)
            case Binary(operator=operator, left=left, right=right):
                one, other = self._part(left, parts), self._part(right, parts)
                comparison = operators.COMPARISONS.get(operator)
                if comparison is not None:
                    return int(comparison(one, other))
                return operators.ARITHMETIC[operator](one, other)
            case Logical(operator=operator, operands=operands):
                deciding = operator == "||"
                result = self._part(operands[0], parts)
                for operand in operands[1:]:
                    if bool(result) is deciding:
                        break
                    result = int(bool(self._part(operand, parts)))
                return result
            case Array(items=items):
                return tuple(self._part(item, parts) for item in items)
            case Index(array=array, index=index):
                return operators.index(self._part(array, parts), self._part(index, parts))
            case Call():
                return self._call(node, parts, lookup)

    def _call(self, node: Call, parts: list[Step], lookup: list[tuple[str, bool]]) -> Value:
        if node.name == "if_then":
            condition, then, otherwise = node.arguments
            if self._part(condition, parts):
                return self._part(then, parts)
            parts.append(_skipped(then))
            return self._part(otherwise, parts)
        arguments = [self._part(argument, parts) for argument in node.arguments]
        if node.name == "matches":
            pattern = patterns.compile_pattern(to_text(arguments[0]))
            self._match = patterns.search(pattern, to_text(arguments[1]), self._longest)
            return int(self._match is not None)
        call = FUNCTIONS[node.name].call
        if call is not None:
            result = call(*arguments)
            return int(result) if isinstance(result, bool) else result
        asked = lookup_text(node.name, arguments)
        answer = self._answer(Lookup(function=node.name, arguments=tuple(arguments)))
        lookup.append((asked, answer is not None))
        if answer is None:
            self.unknown.append(asked)
            return ""
        return from_outside(answer)


def lookup_text(function: str, arguments: list[Value]) -> str:
    """A lookup as one would ask for it by hand, such as `key_get(default,x)`."""
    return f"{function}({','.join(map(to_text, arguments))})"
