"""Random trees and contexts for the properties."""

from __future__ import annotations

from hypothesis import strategies as st

from stalwart.expr import HTTP_VARIABLES, Type
from stalwart.expr.functions import FUNCTIONS
from stalwart.expr.tree import LEVELS, Array, Binary, Call, Capture, Index, Literal, Logical, Node, Unary, Variable
from stalwart.expr.types import only

# Texts that meet each other often, as a lexer may have made them.
TEXTS = [
    "",
    "a",
    "abc",
    "A",
    "/api/x",
    "/",
    "0",
    "1",
    "2.5",
    "-3",
    "x,y,,z",
    "GET",
    "127.0.0.1",
    "10.0.0.0/8",
    " é\n",
    "it's",
]
PATTERNS = ["", "a", "(a)(b)?", "^/([a-z]+)", "[0-9]+", "x|y", "\\\\."]
VARIABLES = {**HTTP_VARIABLES, "anything": Type.ANY, "ratio": Type.FLOAT, "list": Type.ARRAY}

texts = st.sampled_from(TEXTS)
numbers = st.one_of(
    st.integers(0, 5), st.sampled_from([80, 443, 2**62, 2**63 - 1]), st.sampled_from([0.0, 0.5, 2.0, 1e300])
)
literals = st.builds(lambda value: Literal(value=value), st.one_of(texts, numbers))
leaves = st.one_of(
    literals,
    st.builds(lambda name: Variable(name=name), st.sampled_from(sorted(VARIABLES))),
    st.builds(lambda number: Capture(number=number), st.integers(0, 3)),
)


def calls(inner: st.SearchStrategy[Node], lookups: bool) -> st.SearchStrategy[Node]:
    """Calls of every function with the right number of arguments."""

    def one(name: str) -> st.SearchStrategy[Node]:
        arguments = []
        for parameter in FUNCTIONS[name].parameters:
            if parameter.spells == "regex":
                arguments.append(st.sampled_from(PATTERNS).map(_text))
            elif parameter.choices:
                arguments.append(st.sampled_from(parameter.choices).map(_text))
            elif parameter.literal:
                arguments.append(texts.map(_text))
            else:
                arguments.append(inner)
        return st.tuples(*arguments).map(lambda given: Call(name=name, arguments=given))

    usable = [name for name, function in FUNCTIONS.items() if lookups or not function.is_lookup]
    return st.sampled_from([*usable, "matches", "matches", "matches"]).flatmap(one)


def _text(value: str) -> Node:
    return Literal(value=value)


def trees(lookups: bool = False) -> st.SearchStrategy[Node]:
    """Trees that the grammar can write."""

    def extend(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        plain = [operator for level in LEVELS[2:] for operator in level]
        return st.one_of(
            st.builds(lambda sign, node: Unary(operator=sign, operand=node), st.sampled_from("!-"), inner),
            st.builds(
                lambda sign, left, right: Binary(operator=sign, left=left, right=right),
                st.sampled_from(plain),
                inner,
                inner,
            ),
            st.builds(
                lambda sign, nodes: Logical(operator=sign, operands=tuple(nodes)),
                st.sampled_from(["&&", "||"]),
                st.lists(inner, min_size=2, max_size=4),
            ),
            st.builds(lambda nodes: Array(items=tuple(nodes)), st.lists(inner, max_size=3)),
            st.builds(lambda array, index: Index(array=array, index=index), inner, inner),
            calls(inner, lookups),
        )

    return st.recursive(leaves, extend, max_leaves=12)


values = st.recursive(st.one_of(texts, numbers), lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


def _of(known: Type) -> st.SearchStrategy[object]:
    if only(known, Type.TRUTH):
        return st.sampled_from([0, 1])
    if only(known, Type.INTEGER):
        return st.integers(0, 65535)
    if only(known, Type.FLOAT):
        return st.floats()
    if only(known, Type.STRING):
        return texts
    if only(known, Type.TEXTS):
        return st.lists(texts, max_size=4).map(tuple)
    if only(known, Type.LIST):
        return st.lists(values, max_size=3).map(tuple)
    return values


contexts: st.SearchStrategy[dict[str, object]] = st.fixed_dictionaries(
    {name: _of(known) for name, known in VARIABLES.items()}
)
