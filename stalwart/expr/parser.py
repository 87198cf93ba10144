"""Makes the tree of an expression from its tokens, by precedence.

Trees are at most `MAX_NESTING` high, so that whatever walks over one may recurse.
"""

from __future__ import annotations

from stalwart.expr.errors import ExprError
from stalwart.expr.limits import MAX_NESTING
from stalwart.expr.tokens import Token, fault, tokenize
from stalwart.expr.tree import PRECEDENCE, Array, Binary, Call, Capture, Index, Literal, Logical, Node, Unary, Variable


def parse(text: str) -> Node:
    """The tree of a text; raises `ExprError` with the first fault of its grammar."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokenize(text)
        self._at = 0
        self._nesting = 0
        # The height of every tree made, by identity; the trees live as long as the parser.
        self._heights: dict[int, int] = {}
        self._made: list[Node] = []

    def parse(self) -> Node:
        if self._next.kind == "end":
            raise self._fault(self._next, "the expression is empty")
        node = self._expression(0)
        token = self._next
        if token.kind == "end":
            return node
        if token.kind in (")", "]"):
            raise self._fault(token, f'"{token.kind}" closes nothing')
        if token.kind == ",":
            raise self._fault(token, '"," stands only in arrays and between arguments')
        raise self._adjacent(token)

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _fault(self, token: Token, message: str, hint: str | None = None) -> ExprError:
        return fault(self._text, token.position, token.end, message, hint)

    def _adjacent(self, token: Token) -> ExprError:
        if token.kind == "!":
            return self._fault(token, 'an operator is missing before "!"')
        if token.kind == "[":
            return self._fault(token, "only variables, calls, arrays and parentheses can be indexed")
        words = {"and": "&&", "or": "||", "not": "!", "in": "contains(array, value)"}
        operator = words.get(str(token.value).lower()) if token.kind == "name" else None
        hint = f"Write {operator}." if operator else None
        return self._fault(token, "an operator is missing between two values", hint)

    def _tall(self, node: Node, *below: Node) -> Node:
        """Notes the height of a new node."""
        height = 1 + max((self._heights[id(child)] for child in below), default=0)
        if height > MAX_NESTING:
            raise fault(
                self._text, node.position, node.position + 1, f"more than {MAX_NESTING} operations inside each other"
            )
        self._heights[id(node)] = height
        self._made.append(node)
        return node

    def _expression(self, weakest: int) -> Node:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self._fault(self._next, f"more than {MAX_NESTING} operations inside each other")
        node = self._unary()
        while (level := PRECEDENCE.get(self._next.kind, -1)) >= weakest:
            operator = self._next.kind
            if operator in ("&&", "||"):
                node = self._logical(operator, level, node)
                continue
            self._take()
            right = self._expression(level + 1)
            made = Binary(operator=operator, left=node, right=right, position=node.position, end=right.end)
            node = self._tall(made, node, right)
        self._nesting -= 1
        return node

    def _logical(self, operator: str, level: int, first: Node) -> Node:
        operands = [first]
        while self._next.kind == operator:
            self._take()
            operands.append(self._expression(level + 1))
        made = Logical(operator=operator, operands=tuple(operands), position=first.position, end=operands[-1].end)
        return self._tall(made, *operands)

    def _unary(self) -> Node:
        token = self._next
        if token.kind not in ("!", "-"):
            return self._postfix()
        self._take()
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self._fault(token, f"more than {MAX_NESTING} operations inside each other")
        operand = self._unary()
        self._nesting -= 1
        made = Unary(operator=token.kind, operand=operand, position=token.position, end=operand.end)
        return self._tall(made, operand)

    def _postfix(self) -> Node:
        start = self._next
        node = self._primary()
        # A literal is followed by no index: 'text'[0] would be two values beside each other.
        while self._next.kind == "[" and start.kind != "value":
            self._take()
            index = self._expression(0)
            end = self._close("]")
            made = Index(array=node, index=index, position=node.position, end=end)
            node = self._tall(made, node, index)
        return node

    def _primary(self) -> Node:
        token = self._take()
        if token.kind == "value":
            return self._tall(Literal(value=token.value, position=token.position, end=token.end))
        if token.kind == "capture" and isinstance(token.value, int):
            return self._tall(Capture(number=token.value, position=token.position, end=token.end))
        if token.kind == "name":
            return self._named(token, str(token.value))
        if token.kind == "(":
            if self._next.kind == ")":
                raise self._fault(self._next, "an expression is missing between the parentheses")
            node = self._expression(0)
            self._close(")")
            return node
        if token.kind == "[":
            items, end = self._list("]")
            return self._tall(Array(items=items, position=token.position, end=end), *items)
        before = self._tokens[self._at - 2] if self._at > 1 else None
        if before is not None and before.kind in (*PRECEDENCE, "!"):
            raise self._fault(before, f'"{before.kind}" has no value behind it')
        if token.kind in PRECEDENCE:
            raise self._fault(token, f'"{token.kind}" has no value before it')
        if token.kind == "end":
            raise self._fault(token, "the expression ends too early")
        raise self._fault(token, f'a value is missing before "{token.kind}"')

    def _named(self, token: Token, name: str) -> Node:
        if self._next.kind != "(":
            return self._tall(Variable(name=name, position=token.position, end=token.end))
        self._take()
        arguments, end = self._list(")")
        return self._tall(Call(name=name, arguments=arguments, position=token.position, end=end), *arguments)

    def _list(self, closing: str) -> tuple[tuple[Node, ...], int]:
        """Expressions between commas, up to the closing sign."""
        items: list[Node] = []
        if self._next.kind != closing:
            items.append(self._expression(0))
            while self._next.kind == ",":
                self._take()
                items.append(self._expression(0))
        return tuple(items), self._close(closing)

    def _close(self, closing: str) -> int:
        token = self._next
        if token.kind == closing:
            return self._take().end
        if token.kind in ("end", ")", "]", ","):
            raise self._fault(token, f'"{closing}" is missing')
        raise self._adjacent(token)
