"""Makes one Python function of a folded rule, through `ast`: texts of the user go into it as constants only.

Variables are read when they are first needed, each once. Where types are known, operators become Python's own;
predicates are Python booleans where a condition is asked for, and 1 or 0 where a value is.
"""

from __future__ import annotations

import ast
import operator as python
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from typing import Literal as OneOf

from stalwart.expr import addresses, operators, patterns, reading, text
from stalwart.expr.functions import FUNCTIONS
from stalwart.expr.limits import MAX_ITEMS, MAX_TEXT
from stalwart.expr.lookups import Lookup
from stalwart.expr.tree import Array, Binary, Call, Capture, Index, Literal, Logical, Node, Unary, Variable, children
from stalwart.expr.types import Type, only
from stalwart.expr.values import Value, from_outside, to_status, to_text

Wanted = OneOf["any", "status", "text"]

_COMPARE: dict[str, type[ast.cmpop]] = {
    "==": ast.Eq,
    "!=": ast.NotEq,
    "<": ast.Lt,
    "<=": ast.LtE,
    ">": ast.Gt,
    ">=": ast.GtE,
}
# By declared type, narrowest first.
_READERS: tuple[tuple[Type, Callable[[str, object], Value]], ...] = (
    (Type.STRING, reading.read_text),
    (Type.WHOLE, reading.read_integer),
    (Type.NUMBER, reading.read_number),
    (Type.TEXTS, reading.read_texts),
    (Type.LIST, reading.read_array),
    (Type.ANY, reading.read_any),
)


def compile_clauses(
    clauses: Sequence[tuple[Node, Node]],
    otherwise: Node,
    variables: Mapping[str, Type],
    known: Mapping[int, Type],
    wanted: Wanted,
    longest: int,
) -> Callable[[object], Any]:
    """The function of a rule, of the context; a generator function if the rule reaches lookups.

    The trees are checked and folded, `known` has the type of each of their nodes by identity. Patterns are given texts
    of at most `longest` octets.
    """
    return _Compiler(variables, known, wanted, longest).compile(clauses, otherwise)


def compiled_patterns(node: Node) -> Iterator[tuple[Node, patterns.Pattern]]:
    """The patterns of a checked tree, each with the text that it is made of."""
    if isinstance(node, Call) and node.name == "matches" and isinstance(node.arguments[0], Literal):
        yield node.arguments[0], patterns.compile_pattern(to_text(node.arguments[0].value))
    for child in children(node):
        yield from compiled_patterns(child)


def reaches_lookups(node: Node) -> bool:
    """Whether a tree may ask for a lookup."""
    if isinstance(node, Call) and FUNCTIONS[node.name].is_lookup:
        return True
    return any(map(reaches_lookups, children(node)))


def request(function: str, *arguments: Value) -> Lookup:
    """The lookup of one call."""
    return Lookup(function=function, arguments=arguments)


class _Compiler:
    def __init__(self, variables: Mapping[str, Type], known: Mapping[int, Type], wanted: Wanted, longest: int) -> None:
        self._variables = variables
        self._known = known
        self._wanted = wanted
        # Octets of text that a pattern may be given.
        self._longest = longest
        # All the names that compiled code sees; Python's own are not among them.
        self._names: dict[str, object] = {"__builtins__": {}, "type": type, "len": len, "str": str, "int": int}
        self._numbers: dict[int, str] = {}
        # Variables that are surely read at the place now compiled, and those that may have been.
        self._read: set[str] = set()
        self._perhaps: set[str] = set()
        # Locals that need a value before the first clause.
        self._initial: set[str] = set()
        self._temporaries = 0

    def compile(self, clauses: Sequence[tuple[Node, Node]], otherwise: Node) -> Callable[[object], Any]:
        body: list[ast.stmt] = []
        for condition, then in clauses:
            test = self._condition(condition)
            body.append(ast.If(test=test, body=[ast.Return(value=self._apart(self._result, then))], orelse=[]))
        body.append(ast.Return(value=self._result(otherwise)))
        start: list[ast.stmt] = [
            ast.Assign(targets=[ast.Name(id=name, ctx=ast.Store())], value=ast.Constant(None))
            for name in sorted(self._initial)
        ]
        function = ast.FunctionDef(
            name="rule",
            args=ast.arguments(
                posonlyargs=[], args=[ast.arg(arg="context")], kwonlyargs=[], kw_defaults=[], defaults=[]
            ),
            body=start + body,
            decorator_list=[],
        )
        module = ast.fix_missing_locations(ast.Module(body=[function], type_ignores=[]))
        outer = compile(module, "<rule>", "exec", dont_inherit=True)
        code = next(constant for constant in outer.co_consts if isinstance(constant, types.CodeType))
        return types.FunctionType(code, self._names)

    def _type(self, node: Node) -> Type:
        return self._known[id(node)]

    def _result(self, node: Node) -> ast.expr:
        if self._wanted == "status":
            if isinstance(node, Literal):
                return ast.Constant(to_status(node.value))
            return self._call(to_status, self._value(node))
        return self._text(node) if self._wanted == "text" else self._value(node)

    def _apart(self, compiled: Callable[[Node], ast.expr], node: Node) -> ast.expr:
        """Compiles what may be skipped: what is read in it isn't surely read behind it."""
        before = set(self._read)
        made = compiled(node)
        self._read = before
        return made

    # Values

    def _value(self, node: Node) -> ast.expr:
        match node:
            case Literal(value=value):
                return ast.Constant(value)  # type: ignore[arg-type] # tuples are constants too
            case Variable(name=name):
                return self._variable(name)
            case Capture(number=number):
                self._initial.add("match")
                return self._call(patterns.group, _load("match"), ast.Constant(number))
            case Unary(operator="-", operand=operand):
                return self._call(operators.negate, self._value(operand))
            case Binary(operator=operator, left=left, right=right) if operator in operators.ARITHMETIC:
                return self._call(operators.ARITHMETIC[operator], self._value(left), self._value(right))
            case Logical(operator=operator, operands=operands) if not only(self._type(operands[0]), Type.TRUTH):
                return self._chain(operator, operands)
            case Array(items=items):
                return ast.Tuple(elts=[self._value(item) for item in items], ctx=ast.Load())
            case Index(array=array, index=index):
                return self._index(array, index)
            case Call() if not self._is_predicate(node):
                return self._function(node)
            case _:
                return _truth(self._condition(node))

    def _text(self, node: Node) -> ast.expr:
        value = self._value(node)
        return value if only(self._type(node), Type.STRING) else self._call(to_text, value)

    def _is_predicate(self, node: Call) -> bool:
        """Whether a call is compiled to a Python boolean."""
        return node.name == "matches" or (
            FUNCTIONS[node.name].call is not None and FUNCTIONS[node.name].result is Type.TRUTH
        )

    def _chain(self, operator: str, operands: tuple[Node, ...]) -> ast.expr:
        """`a || b`: a itself if it is true; `a && b`: a itself if it is false; else 1 or 0 by the others."""
        self._temporaries += 1
        name = f"first{self._temporaries}"
        first = ast.NamedExpr(target=ast.Name(id=name, ctx=ast.Store()), value=self._value(operands[0]))
        before = set(self._read)
        rest = _truth(self._any_or_all(operator, operands[1:]))
        self._read = before
        if operator == "||":
            return ast.IfExp(test=first, body=_load(name), orelse=rest)
        return ast.IfExp(test=first, body=rest, orelse=_load(name))

    def _index(self, array: Node, index: Node) -> ast.expr:
        """An item; `split(text, 'separator')[1]` doesn't make the array."""
        match array, index:
            case Call(name="split", arguments=(whole, Literal(value=str(separator)))), Literal(value=int(at)) if (
                separator and 0 <= at < MAX_ITEMS
            ):
                return self._call(text.piece, self._text(whole), ast.Constant(separator), ast.Constant(at))
        return self._call(operators.index, self._value(array), self._value(index))

    def _function(self, node: Call) -> ast.expr:
        function = FUNCTIONS[node.name]
        if node.name == "if_then":
            condition, then, otherwise = node.arguments
            test = self._condition(condition)
            return ast.IfExp(test=test, body=self._apart(self._value, then), orelse=self._apart(self._value, otherwise))
        arguments = [self._value(argument) for argument in node.arguments]
        if function.is_lookup:
            asked = ast.Yield(value=self._call(request, ast.Constant(node.name), *arguments))
            return self._call(from_outside, asked)
        assert function.call is not None
        return self._call(function.call, *arguments)

    def _variable(self, name: str) -> ast.expr:
        # The prefix keeps names of the user apart from those of the compiled code.
        local = f"v_{name}"
        if name in self._read:
            return _load(local)
        made = self._reading(name, local)
        if name in self._perhaps:
            self._initial.add(local)
            made = ast.IfExp(
                test=ast.Compare(left=_load(local), ops=[ast.Is()], comparators=[ast.Constant(None)]),
                body=made,
                orelse=_load(local),
            )
        self._read.add(name)
        self._perhaps.add(name)
        return made

    def _reading(self, name: str, local: str) -> ast.expr:
        """Reads a variable into its local; the usual case is tested in place."""
        declared = self._variables[name]
        attribute = ast.Attribute(value=_load("context"), attr=name, ctx=ast.Load())
        if only(declared, Type.TRUTH):
            return _keep(local, _truth(attribute))
        reader = next(reader for wanted, reader in _READERS if only(declared, wanted))
        if reader not in (reading.read_text, reading.read_integer):
            return _keep(local, self._call(reader, ast.Constant(name), attribute))
        plain = "str" if reader is reading.read_text else "int"
        type_of = ast.Call(func=_load("type"), args=[_keep(local, attribute)], keywords=[])
        test: ast.expr = ast.Compare(left=type_of, ops=[ast.Is()], comparators=[_load(plain)])
        if plain == "str":
            size = ast.Call(func=_load("len"), args=[_load(local)], keywords=[])
            bound = ast.Compare(left=size, ops=[ast.LtE()], comparators=[ast.Constant(MAX_TEXT)])
            test = ast.BoolOp(op=ast.And(), values=[test, bound])
        checked = _keep(local, self._call(reader, ast.Constant(name), _load(local)))
        return ast.IfExp(test=test, body=_load(local), orelse=checked)

    # Conditions

    def _condition(self, node: Node) -> ast.expr:
        match node:
            case Unary(operator="!", operand=operand):
                return ast.UnaryOp(op=ast.Not(), operand=self._condition(operand))
            case Logical(operator=operator, operands=operands):
                return self._any_or_all(operator, operands)
            case Binary(operator="^", left=left, right=right):
                one = ast.UnaryOp(op=ast.Not(), operand=self._condition(left))
                other = ast.UnaryOp(op=ast.Not(), operand=self._condition(right))
                return ast.Compare(left=one, ops=[ast.NotEq()], comparators=[other])
            case Binary(operator=operator, left=left, right=right) if operator in operators.COMPARISONS:
                return self._comparison(operator, left, right)
            case Call() if self._is_predicate(node):
                return self._predicate(node)
            case _:
                return self._value(node)

    def _any_or_all(self, operator: str, operands: Sequence[Node]) -> ast.expr:
        made = [self._condition(operands[0])]
        # Each operand comes after all before it; behind the chain only the first was worked out for sure.
        before = set(self._read)
        made.extend(self._condition(operand) for operand in operands[1:])
        self._read = before
        if len(made) == 1:
            return made[0]
        return ast.BoolOp(op=ast.Or() if operator == "||" else ast.And(), values=made)

    def _comparison(self, operator: str, left: Node, right: Node) -> ast.expr:
        both = self._type(left) | self._type(right)
        one, other = self._value(left), self._value(right)
        if only(both, Type.STRING) or only(both, Type.NUMBER):
            return ast.Compare(left=one, ops=[_COMPARE[operator]()], comparators=[other])
        return self._call(operators.COMPARISONS[operator], one, other)

    def _predicate(self, node: Call) -> ast.expr:
        arguments = node.arguments
        texts = all(only(self._type(argument), Type.STRING) for argument in arguments)
        match node.name, arguments:
            case "matches", (Literal(value=str(pattern)), value):
                compiled = patterns.compile_pattern(pattern)
                found = self._call(
                    patterns.search, self._global(compiled), self._text(value), ast.Constant(self._longest)
                )
                kept = _keep("match", found)
                return ast.Compare(left=kept, ops=[ast.IsNot()], comparators=[ast.Constant(None)])
            case "is_ip_in_cidr", (address, Literal(value=str(written))):
                network = addresses.parse_network(written)
                assert network is not None
                return self._call(addresses.Members(network), self._value(address))
            case "starts_with" | "ends_with", (whole, part) if texts:
                method = "startswith" if node.name == "starts_with" else "endswith"
                function = ast.Attribute(value=self._value(whole), attr=method, ctx=ast.Load())
                return ast.Call(func=function, args=[self._value(part)], keywords=[])
            case "contains", (Literal(value=tuple(items)), needle) if self._are_texts(arguments[0], needle):
                return _within(self._value(needle), ast.Constant(frozenset(items)))  # type: ignore[arg-type]
            case "contains", (hay, needle) if texts or self._are_texts(hay, needle):
                return self._call(python.contains, self._value(hay), self._value(needle))
        called = FUNCTIONS[node.name].call
        assert called is not None
        return self._call(called, *[self._value(argument) for argument in arguments])

    def _are_texts(self, hay: Node, needle: Node) -> bool:
        return only(self._type(hay), Type.TEXTS) and only(self._type(needle), Type.STRING)

    # Names

    def _call(self, function: Callable[..., object], *arguments: ast.expr) -> ast.expr:
        return ast.Call(func=self._global(function), args=list(arguments), keywords=[])

    def _global(self, value: object) -> ast.expr:
        """An object under a name of its own."""
        name = self._numbers.get(id(value))
        if name is None:
            name = f"g{len(self._numbers)}"
            self._numbers[id(value)] = name
            self._names[name] = value
        return _load(name)


def _load(name: str) -> ast.Name:
    return ast.Name(id=name, ctx=ast.Load())


def _keep(name: str, value: ast.expr) -> ast.expr:
    return ast.NamedExpr(target=ast.Name(id=name, ctx=ast.Store()), value=value)


def _truth(condition: ast.expr) -> ast.expr:
    return ast.IfExp(test=condition, body=ast.Constant(1), orelse=ast.Constant(0))


def _within(needle: ast.expr, hay: ast.expr) -> ast.expr:
    return ast.Compare(left=needle, ops=[ast.In()], comparators=[hay])
