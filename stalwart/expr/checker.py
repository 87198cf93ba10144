"""Finds what is wrong with a tree before it runs: names, numbers of arguments, types, patterns, addresses.

The types are those a value may have; a use is an error only if it fails, or makes no sense, for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from stalwart.expr.addresses import parse_address, parse_network
from stalwart.expr.errors import Finding, nearest
from stalwart.expr.functions import FUNCTIONS, Function, Parameter
from stalwart.expr.operators import COMPARISONS
from stalwart.expr.patterns import BadPattern, compile_pattern
from stalwart.expr.tree import Array, Binary, Call, Capture, Index, Literal, Logical, Node, Unary, Variable
from stalwart.expr.types import Type, describe, only, type_of
from stalwart.expr.variables import MAIL_VARIABLES


class Checker:
    """Checks the texts of one rule; captures of a `matches` reach into the texts behind it."""

    def __init__(self, variables: Mapping[str, Type]) -> None:
        self._variables = variables
        self._text = ""
        self._errors: list[Finding] = []
        self._warnings: list[Finding] = []
        # The most groups of a pattern so far; None without one.
        self._groups: int | None = None
        # The type of every node checked, by identity.
        self.types: dict[int, Type] = {}

    def check(self, text: str, node: Node) -> tuple[Type, list[Finding], list[Finding]]:
        """The type of a text's result, errors and warnings."""
        self._text, self._errors, self._warnings = text, [], []
        return self._type(node), self._errors, self._warnings

    def _error(self, node: Node, message: str, hint: str | None = None) -> None:
        self._errors.append(self._finding(node, message, hint))

    def _warn(self, node: Node, message: str, hint: str | None = None) -> None:
        self._warnings.append(self._finding(node, message, hint))

    def _finding(self, node: Node, message: str, hint: str | None) -> Finding:
        return Finding(text=self._text, position=node.position, end=node.end, message=message, hint=hint)

    def _type(self, node: Node) -> Type:
        known = self._infer(node)
        self.types[id(node)] = known
        return known

    def _infer(self, node: Node) -> Type:
        match node:
            case Literal(value=value):
                return type_of(value)
            case Variable():
                return self._variable(node)
            case Capture():
                return self._capture(node)
            case Unary(operator="!", operand=operand):
                self._type(operand)
                return Type.TRUTH
            case Unary(operand=operand):
                self._number(operand, self._type(operand), "-")
                return Type.INTEGER | Type.FLOAT
            case Binary(operator=operator, left=left, right=right):
                return self._binary(node, operator, left, right)
            case Logical(operands=operands):
                # The first operand may be the result itself, the others only make it 1 or 0.
                types = [self._type(operand) for operand in operands]
                return types[0] | Type.TRUTH
            case Array(items=items):
                types = [self._type(item) for item in items]
                return Type.TEXTS if all(only(known, Type.STRING) for known in types) else Type.ARRAY
            case Index(array=array, index=index):
                return self._index(array, index)
            case Call():
                return self._call(node)

    def _variable(self, node: Variable) -> Type:
        name = node.name
        known = self._variables.get(name)
        if known is not None:
            return known
        if name.startswith("$"):
            self._error(node, f'there is no value "{name}"', "$1 to $9999 are the groups of matches().")
        elif name in FUNCTIONS:
            self._error(node, f'"{name}" is a function', f"Write {FUNCTIONS[name].signature()}.")
        elif name in MAIL_VARIABLES:
            known_here = ", ".join(self._variables)
            self._error(node, f'"{name}" has a value only in rules for mail', f"Known here: {known_here}.")
        else:
            self._error(node, f'unknown name "{name}"', nearest(name, self._variables))
        return Type.ANY

    def _capture(self, node: Capture) -> Type:
        if self._groups is None:
            self._warn(node, f"${node.number} is always empty: there is no matches() before it")
        elif node.number > self._groups:
            self._warn(node, f"${node.number} is always empty: no pattern before it has {node.number} groups")
        return Type.TEXT

    def _binary(self, node: Node, operator: str, left: Node, right: Node) -> Type:
        one, other = self._type(left), self._type(right)
        if operator == "^":
            return Type.TRUTH
        if operator in COMPARISONS:
            self._comparison(node, operator, (left, one), (right, other))
            return Type.TRUTH
        if operator == "+":
            return _sum(one, other)
        if operator == "-" and (one | other) & Type.LIST:
            numbers = Type.INTEGER | Type.FLOAT if one & Type.SCALAR and other & Type.SCALAR else Type.ARRAY
            return numbers | (one | other) & Type.LIST
        self._number(left, one, operator)
        self._number(right, other, operator)
        return Type.FLOAT if operator == "/" else Type.INTEGER | Type.FLOAT

    def _number(self, node: Node, known: Type, operator: str) -> None:
        if only(known, Type.LIST):
            self._error(node, f'"{operator}" needs a number; this is an array', "count(…) gives its length.")
        elif isinstance(node, Literal) and isinstance(node.value, str):
            self._warn(node, f'"{operator}" uses this text as a number')

    def _comparison(self, node: Node, operator: str, left: tuple[Node, Type], right: tuple[Node, Type]) -> None:
        for (one, known), (other, against) in ((left, right), (right, left)):
            if only(known, Type.LIST) and only(against, Type.SCALAR):
                if operator in ("==", "!="):
                    answer = "never" if operator == "==" else "always"
                    self._warn(node, f"an array is {answer} {operator} a single value", "Use contains(array, value).")
                else:
                    self._warn(node, "an array is larger than any single value", "count(…) gives its length.")
                return
            if only(known, Type.ADDRESS) and operator in ("==", "!="):
                self._address(one, other)

    def _address(self, variable: Node, node: Node) -> None:
        """A text that an address is compared with has to be one, in the form that addresses have here."""
        if isinstance(node, Array):
            for item in node.items:
                self._address(variable, item)
        if not isinstance(node, Literal) or node.value == "" or isinstance(node.value, tuple):
            return
        address = parse_address(node.value) if isinstance(node.value, str) else None
        name = variable.name if isinstance(variable, Variable) else "the address"
        if address is None:
            hint = None
            if isinstance(node.value, str) and parse_network(node.value) is not None:
                hint = f"For a network write is_ip_in_cidr({name}, '{node.value}')."
            elif isinstance(node.value, str) and node.value.endswith((".", ":")):
                hint = f"Write starts_with({name}, …)."
            self._error(node, f"this is no IP address, so it never equals {name}", hint)
        elif str(address) != node.value:
            self._error(node, f"{name} is never written like this", f"Write '{address}'.")

    def _index(self, array: Node, index: Node) -> Type:
        known, at = self._type(array), self._type(index)
        if only(at, Type.LIST):
            self._error(index, "an index is a number; this is an array")
        if isinstance(index, Unary) and index.operator == "-":
            self._warn(index, "a negative index means the first item")
        if known & Type.ARRAY:
            return Type.ANY
        return Type.TEXT | known & Type.NUMBER

    def _call(self, node: Call) -> Type:
        function = FUNCTIONS.get(node.name)
        if function is None:
            name = Variable(name=node.name, position=node.position, end=node.position + len(node.name))
            self._error(name, f'unknown function "{node.name}"', nearest(node.name, FUNCTIONS))
            for argument in node.arguments:
                self._type(argument)
            return Type.ANY
        types = [self._type(argument) for argument in node.arguments]
        if not function.required <= len(types) <= len(function.parameters):
            given = f"{len(types)} {'was' if len(types) == 1 else 'were'} given"
            self._error(node, f"{node.name} takes {function.arity()}; {given}", f"Write {function.signature()}.")
            return function.result if isinstance(function.result, Type) else Type.ANY
        for parameter, argument, known in zip(function.parameters, node.arguments, types, strict=False):
            self._argument(function, parameter, argument, known)
        if function.name == "contains" and only(types[1], Type.ADDRESS):
            self._address(node.arguments[1], node.arguments[0])
        elif function.name == "contains" and only(types[1], Type.LIST) and only(types[0], Type.SCALAR):
            self._error(node, "contains looks for its second argument in its first; these are the wrong way round")
        return function.result_type(types)

    def _argument(self, function: Function, parameter: Parameter, node: Node, known: Type) -> None:
        value = node.value if isinstance(node, Literal) else None
        if parameter.literal and not isinstance(value, str):
            self._error(node, f"{function.name} needs a text in quotes here", f"Write {function.signature()}.")
            return
        if not known & parameter.accepts:
            hint = None
            if only(known, Type.LIST):
                hint = "Use contains(array, value), or one item: array[0]."
            wanted = describe(parameter.accepts)
            self._error(
                node, f"{function.name} needs {wanted} here ({function.signature()}); this is {describe(known)}", hint
            )
            return
        if not isinstance(value, str):
            return
        if parameter.choices and value not in parameter.choices:
            choices = ", ".join(f"'{choice}'" for choice in parameter.choices)
            self._error(node, f"{function.name} knows {choices}", nearest(value, parameter.choices))
        elif parameter.spells == "network" and parse_network(value) is None:
            self._error(node, "this is neither an IP address nor a network", "A network is written '192.0.2.0/24'.")
        elif parameter.spells == "regex":
            self._pattern(node, value)

    def _pattern(self, node: Node, text: str) -> None:
        try:
            groups = compile_pattern(text).groups
        except BadPattern as error:
            hint = None
            if any(sign in text for sign in ("(?=", "(?!", "(?<=", "(?<!")):
                hint = "There is no look-around: matching time stays proportional to the text."
            self._error(node, f"this is no regular expression: {error}", hint)
            return
        self._groups = max(groups, self._groups or 0)


def _sum(left: Type, right: Type) -> Type:
    if only(left | right, Type.NUMBER):
        return Type.INTEGER | (Type.FLOAT & (left | right))
    if only(left | right, Type.STRING):
        return Type.TEXT
    if only(left, Type.LIST) or only(right, Type.LIST):
        texts = not (left | right) & ~(Type.TEXTS | Type.STRING)
        return Type.TEXTS if texts else Type.LIST
    return left | right | Type.TEXT | Type.INTEGER | (Type.LIST if (left | right) & Type.LIST else Type.TEXT)
