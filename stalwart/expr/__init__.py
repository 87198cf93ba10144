"""The expression language: rules as text in, functions of a request out. Pure: no I/O, no clock.

`compile_rule` checks a rule and gives a `CompiledRule`; `ExprError` says what is wrong with one, with a caret under the
place.
"""

from __future__ import annotations

from stalwart.expr.errors import EvalError, ExprError, Finding, Place
from stalwart.expr.explanation import ClauseSteps, Explanation, Step, explain, lookup_text
from stalwart.expr.lookups import Lookup
from stalwart.expr.parser import parse
from stalwart.expr.rules import CompiledRule, RuleTree, compile_rule
from stalwart.expr.types import Type
from stalwart.expr.unparser import unparse
from stalwart.expr.values import Value, to_status
from stalwart.expr.variables import HTTP_VARIABLES

__all__ = [
    "HTTP_VARIABLES",
    "ClauseSteps",
    "CompiledRule",
    "EvalError",
    "Explanation",
    "ExprError",
    "Finding",
    "Lookup",
    "Place",
    "RuleTree",
    "Step",
    "Type",
    "Value",
    "compile_rule",
    "explain",
    "lookup_text",
    "parse",
    "to_status",
    "unparse",
]
