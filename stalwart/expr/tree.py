"""An expression as a tree: what the parser makes, and the checker, the folder and the compiler read.

Nodes are compared without their positions: two texts that mean the same by their grammar have equal trees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from stalwart.expr.values import Value

# Operators by precedence, weakest first; all are left-associative.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("||",),
    ("&&",),
    ("^",),
    ("==", "!="),
    ("<", "<=", ">", ">="),
    ("+", "-"),
    ("*", "/"),
)
PRECEDENCE = {operator: level for level, operators in enumerate(LEVELS) for operator in operators}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    # From the first character of the node up to the one after its last.
    position: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal(_Node):
    """A value written down; after folding also one worked out beforehand."""

    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable(_Node):
    """A value of the request, by name."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture(_Node):
    """`$1`: a group of the latest `matches`."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unary(_Node):
    """`!x` or `-x`."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(_Node):
    """Every operator of two operands that works out both."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Logical(_Node):
    """A chain of `&&` or of `||`, two operands or more.

    If the first operand decides, it is the result itself; otherwise the result is 1 or 0. That is what a chain of
    left-associative operators of two operands gives.
    """

    operator: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Array(_Node):
    """`[a, b]`."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index(_Node):
    """`a[b]`."""

    array: Node
    index: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(_Node):
    """`name(a, b)`."""

    name: str
    arguments: tuple[Node, ...]


Node: TypeAlias = Literal | Variable | Capture | Unary | Binary | Logical | Array | Index | Call


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly under one, in the order of their evaluation."""
    match node:
        case Unary(operand=operand):
            return (operand,)
        case Binary(left=left, right=right):
            return (left, right)
        case Logical(operands=operands):
            return operands
        case Array(items=items):
            return items
        case Index(array=array, index=index):
            return (array, index)
        case Call(arguments=arguments):
            return arguments
        case _:
            return ()
