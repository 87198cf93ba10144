"""Works out beforehand what doesn't depend on the request: constants, and operands that a constant makes pointless."""

from __future__ import annotations

from stalwart.expr import operators, patterns
from stalwart.expr.errors import EvalError, ExprError, Finding
from stalwart.expr.functions import FUNCTIONS
from stalwart.expr.limits import MAX_TEXT
from stalwart.expr.tree import Array, Binary, Call, Capture, Index, Literal, Logical, Node, Unary, Variable, children
from stalwart.expr.values import Value, bounded_items, to_text


def fold(text: str, node: Node, *, captures: bool) -> Node:
    """The tree with its constants worked out; `captures`: whether a `matches` may be asked for its groups later.

    Raises `ExprError` for a constant that can't be worked out at all.
    """
    return _Folder(text, captures).fold(node)


def uses_captures(node: Node) -> bool:
    """Whether a tree asks for a group of a pattern."""
    return isinstance(node, Capture) or any(map(uses_captures, children(node)))


class _Folder:
    def __init__(self, text: str, captures: bool) -> None:
        self._text = text
        self._captures = captures

    def fold(self, node: Node) -> Node:
        try:
            return self._fold(node)
        except EvalError as error:
            message = f"this can never be worked out: {error}"
            raise ExprError([Finding(text=self._text, position=node.position, end=node.end, message=message)]) from None

    def _fold(self, node: Node) -> Node:
        match node:
            case Literal() | Variable() | Capture():
                return node
            case Unary(operator=operator, operand=operand):
                inner = self.fold(operand)
                if isinstance(inner, Literal):
                    return _constant(node, int(not inner.value) if operator == "!" else operators.negate(inner.value))
                return Unary(operator=operator, operand=inner, position=node.position, end=node.end)
            case Binary(operator=operator, left=left, right=right):
                one, other = self.fold(left), self.fold(right)
                if isinstance(one, Literal) and isinstance(other, Literal):
                    return _constant(node, _binary(operator, one.value, other.value))
                return Binary(operator=operator, left=one, right=other, position=node.position, end=node.end)
            case Logical():
                return self._logical(node)
            case Array(items=items):
                folded = tuple(map(self.fold, items))
                values = tuple(item.value for item in folded if isinstance(item, Literal))
                if len(values) == len(folded):
                    return _constant(node, bounded_items(values))
                return Array(items=folded, position=node.position, end=node.end)
            case Index(array=array, index=index):
                inner, at = self.fold(array), self.fold(index)
                if isinstance(inner, Literal) and isinstance(at, Literal):
                    return _constant(node, operators.index(inner.value, at.value))
                return Index(array=inner, index=at, position=node.position, end=node.end)
            case Call():
                return self._call(node)

    def _logical(self, node: Logical) -> Node:
        """Drops what can't change the result; the first operand keeps its place, since it may be the result."""
        deciding = node.operator == "||"
        first, *others = map(self.fold, node.operands)
        if isinstance(first, Literal) and bool(first.value) is deciding:
            return first
        rest: list[Node] = []
        for operand in others:
            if isinstance(operand, Literal):
                if bool(operand.value) is deciding:
                    rest.append(_constant(operand, int(deciding)))
                    break
                continue
            rest.append(operand)
        if not rest:
            if isinstance(first, Literal):
                return _constant(node, int(not deciding))
            rest.append(_constant(node, int(not deciding)))
        if not isinstance(first, Literal):
            return Logical(operator=node.operator, operands=(first, *rest), position=node.position, end=node.end)
        # The first operand has no say: the result is 1 or 0 by the others.
        if len(rest) == 1:
            chain = rest[0]
        else:
            chain = Logical(operator=node.operator, operands=tuple(rest), position=node.position, end=node.end)
        if isinstance(chain, Literal):
            return _constant(node, int(bool(chain.value)))
        inner = Unary(operator="!", operand=chain, position=node.position, end=node.end)
        return Unary(operator="!", operand=inner, position=node.position, end=node.end)

    def _call(self, node: Call) -> Node:
        arguments = tuple(map(self.fold, node.arguments))
        if node.name == "if_then" and isinstance(arguments[0], Literal):
            return arguments[1] if arguments[0].value else arguments[2]
        values = tuple(argument.value for argument in arguments if isinstance(argument, Literal))
        if len(values) == len(arguments):
            call = FUNCTIONS[node.name].call
            if call is not None:
                result = call(*values)
                return _constant(node, int(result) if isinstance(result, bool) else result)
            if node.name == "matches" and not self._captures:
                pattern = patterns.compile_pattern(to_text(values[0]))
                return _constant(node, int(patterns.search(pattern, to_text(values[1]), MAX_TEXT) is not None))
        return Call(name=node.name, arguments=arguments, position=node.position, end=node.end)


def _constant(node: Node, value: Value) -> Literal:
    return Literal(value=value, position=node.position, end=node.end)


def _binary(operator: str, left: Value, right: Value) -> Value:
    comparison = operators.COMPARISONS.get(operator)
    if comparison is not None:
        return int(comparison(left, right))
    return operators.ARITHMETIC[operator](left, right)
