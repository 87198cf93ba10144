"""A rule: clauses of `if` and `then` with an `else`, checked as a whole and compiled to one function.

The first clause whose `if` is true gives the result; `then` and `else` are expressions too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import msgspec

from stalwart.expr.checker import Checker
from stalwart.expr.compiler import Wanted, compile_clauses, compiled_patterns, reaches_lookups
from stalwart.expr.errors import EvalError, ExprError, Finding, Part, Place
from stalwart.expr.folding import fold, uses_captures
from stalwart.expr.limits import MAX_CLAUSES, MAX_PATTERN_STEPS, USUAL_TEXT
from stalwart.expr.lookups import Lookup
from stalwart.expr.parser import parse
from stalwart.expr.patterns import longest_text
from stalwart.expr.reading import MappingContext
from stalwart.expr.tree import Call, Literal, Node, Variable, children
from stalwart.expr.types import Type, only
from stalwart.expr.values import Value, to_status
from stalwart.expr.variables import HTTP_VARIABLES

_STATUS = "If this is meant as text, put it in quotes; but what is wanted is an HTTP status, like 200."
_QUOTE = "If this is meant as text, put it in quotes of its own: \"'text'\"."


class RuleTree(msgspec.Struct, frozen=True, kw_only=True):
    """The trees of a rule as they were written."""

    clauses: tuple[tuple[Node, Node], ...]
    otherwise: Node
    longest_text: int
    """Octets of text that each pattern may be given, by the cost of those that can be reached."""


class CompiledRule:
    """A rule ready to be evaluated, any number of times and from any thread.

    A context has the variables as attributes; a dict with their names does as well. Each variable is read when it is
    first needed, once in an evaluation.
    """

    __slots__ = ("_function", "needs_io", "tree", "variables", "warnings")

    def __init__(
        self, *, function: Callable[[object], Any], needs_io: bool, tree: RuleTree, warnings: Sequence[Finding]
    ) -> None:
        self._function = function
        # Whether the rule may ask for lookups: then only `start` evaluates it.
        self.needs_io = needs_io
        self.tree = tree
        self.variables = frozenset(_names(tree))
        self.warnings = tuple(warnings)

    def evaluate(self, context: object) -> Value:
        """The result; raises `EvalError`. Only for rules without lookups."""
        if self.needs_io:
            raise EvalError("the rule asks for lookups, and nobody is there to answer")
        try:
            result: Value = self._function(MappingContext(context) if type(context) is dict else context)
        except AttributeError as error:
            raise EvalError(f"a variable has no value: {error}") from error
        return result

    def start(self, context: object) -> Generator[Lookup, object, Value]:
        """Evaluates step by step: yields each `Lookup`, is sent its answer, and returns the result.

        A lookup that failed is told by throwing `EvalError` in. Rules without lookups yield nothing.
        """
        if not self.needs_io:
            return self.evaluate(context)
        try:
            result: Value = yield from self._function(MappingContext(context) if type(context) is dict else context)
        except AttributeError as error:
            raise EvalError(f"a variable has no value: {error}") from error
        return result


def compile_rule(
    clauses: Sequence[tuple[str, str]],
    otherwise: str,
    variables: Mapping[str, Type] = HTTP_VARIABLES,
    *,
    result: Wanted = "any",
) -> CompiledRule:
    """Checks and compiles a rule; `result` says what it has to give.

    "status" makes every result an integer from 100 to 999, "text" a text. Raises `ExprError` with every fault found,
    each with the place of its text.
    """
    return _Builder(variables, result).build(clauses, otherwise)


class _Text(msgspec.Struct, frozen=True, kw_only=True):
    """One text of the rule, parsed."""

    text: str
    place: Place
    node: Node


class _Builder:
    def __init__(self, variables: Mapping[str, Type], wanted: Wanted) -> None:
        self._variables = variables
        self._wanted = wanted
        self._errors: list[Finding] = []
        self._warnings: list[Finding] = []

    def build(self, clauses: Sequence[tuple[str, str]], otherwise: str) -> CompiledRule:
        if len(clauses) > MAX_CLAUSES:
            message = f"the rule has {len(clauses)} clauses; the bound is {MAX_CLAUSES}"
            raise ExprError([Finding(text=otherwise, position=0, end=1, message=message)])
        sources: list[tuple[str, int, Part]] = []
        for number, (condition, then) in enumerate(clauses):
            sources += [(condition, number, "if"), (then, number, "then")]
        sources.append((otherwise, len(clauses), "else"))
        parsed = [self._parse(text, Place(clause=number, part=part)) for text, number, part in sources]
        written = [text for text in parsed if text is not None]
        self._check(Checker(self._variables), written, first=True)
        self._stop()
        captures = any(uses_captures(text.node) for text in written)
        folded = [found for text in written if (found := self._fold(text, captures)) is not None]
        self._stop()
        checker = Checker(self._variables)
        self._check(checker, folded, first=False)
        self._stop()
        kept, last = self._reachable(folded)
        self._check_patterns(folded)
        self._stop()
        reached = [node for pair in kept for node in pair] + [last]
        longest = longest_text(sum(made.programsize for node in reached for _, made in compiled_patterns(node)))
        function = compile_clauses(kept, last, self._variables, checker.types, self._wanted, longest)
        nodes = [text.node for text in written]
        clauses_written = tuple(zip(nodes[:-1:2], nodes[1::2], strict=True))
        tree = RuleTree(clauses=clauses_written, otherwise=nodes[-1], longest_text=longest)
        needs_io = any(map(reaches_lookups, reached))
        return CompiledRule(function=function, needs_io=needs_io, tree=tree, warnings=self._warnings)

    def _stop(self) -> None:
        if self._errors:
            raise ExprError(self._errors)

    def _parse(self, text: str, place: Place) -> _Text | None:
        try:
            return _Text(text=text, place=place, node=parse(text))
        except ExprError as error:
            self._note(self._errors, error.findings, place)
            return None

    def _fold(self, text: _Text, captures: bool) -> _Text | None:
        try:
            return _Text(text=text.text, place=text.place, node=fold(text.text, text.node, captures=captures))
        except ExprError as error:
            self._note(self._errors, error.findings, text.place)
            return None

    def _note(self, to: list[Finding], findings: Sequence[Finding], place: Place) -> None:
        """Keeps findings with their place; a result that fails is probably a text that lacks its quotes."""
        for finding in findings:
            hint = finding.hint
            if place.part != "if" and _unquoted(finding):
                advice = _STATUS if self._wanted == "status" else _QUOTE
                hint = advice if hint is None else f"{hint} {advice}"
            to.append(msgspec.structs.replace(finding, hint=hint, place=place))

    def _check(self, checker: Checker, texts: Sequence[_Text], *, first: bool) -> None:
        for text in texts:
            known, errors, warnings = checker.check(text.text, text.node)
            self._note(self._errors, errors, text.place)
            if first:
                self._note(self._warnings, warnings, text.place)
            elif text.place.part != "if" and not errors:
                self._check_result(text, known)

    def _check_result(self, text: _Text, known: Type) -> None:
        if self._wanted == "status":
            self._warn_of_status(text, text.node)
        if self._wanted == "text" and only(known, Type.LIST):
            self._fault(text, "the result is an array, but text is wanted", None)
        if self._wanted != "status":
            return
        if isinstance(text.node, Literal):
            try:
                to_status(text.node.value)
            except EvalError as error:
                self._fault(text, str(error), "Only 200 allows; any other status denies with that status.")
        elif only(known, Type.TRUTH):
            hint = f"Write if_then({text.text.strip()}, 200, 403)." if len(text.text) < 200 else None
            self._fault(text, "the result is 1 or 0, which is no HTTP status", hint)
        elif not known & (Type.WHOLE | Type.STRING):
            self._fault(text, "the result can't be an HTTP status", "A status is an integer from 100 to 999.")

    def _warn_of_status(self, text: _Text, node: Node) -> None:
        """A denial with a status that says that all went well misleads clients; some can't be sent at all."""
        if isinstance(node, Call) and node.name == "if_then":
            for branch in node.arguments[1:]:
                self._warn_of_status(text, branch)
        if not isinstance(node, Literal):
            return
        try:
            status = to_status(node.value)
        except EvalError:
            return
        if 200 < status < 400:
            message = f"{status} denies the request, but looks like success to its client"
        elif not 200 <= status < 600:  # RFC 9110 §15: neither 1xx nor what has no class can be the answer
            message = f"{status} can't be the status of an answer: it denies with 500"
        else:
            return
        self._warnings.append(
            Finding(
                text=text.text,
                position=node.position,
                end=node.end,
                message=message,
                hint="Only 200 allows. To deny, give a status from 400 to 599, such as 404.",
                place=text.place,
            )
        )

    def _check_patterns(self, texts: Sequence[_Text]) -> None:
        """All patterns of a rule may run in one evaluation, so that they share the bound of its time."""
        found = [(text, *made) for text in texts for made in compiled_patterns(text.node)]
        steps = sum(pattern.programsize for _, _, pattern in found)
        longest = longest_text(steps)
        if steps <= MAX_PATTERN_STEPS and longest >= USUAL_TEXT:
            return
        text, node, pattern = max(found, key=lambda each: each[2].programsize)
        size = f"this pattern has {pattern.programsize} steps"
        if len(found) > 1:
            size += f", all {len(found)} of the rule {steps}"
        if steps > MAX_PATTERN_STEPS:
            message, to = f"{size}; the bound is {MAX_PATTERN_STEPS}", self._errors
        else:
            message = f"{size}: on a text of more than {longest} octets no pattern is tried, and the rule fails"
            to = self._warnings
        to.append(
            Finding(
                text=text.text,
                position=node.position,
                end=node.end,
                message=message,
                hint="A counted repetition multiplies what it repeats, and classes such as \\pL or a negated one are "
                "large: use +, *, ASCII ranges and len(…).",
                place=text.place,
            )
        )

    def _fault(self, text: _Text, message: str, hint: str | None) -> None:
        self._errors.append(self._finding(text, message, hint))

    def _finding(self, text: _Text, message: str, hint: str | None = None) -> Finding:
        node = text.node
        return Finding(
            text=text.text, position=node.position, end=node.end, message=message, hint=hint, place=text.place
        )

    def _reachable(self, texts: Sequence[_Text]) -> tuple[list[tuple[Node, Node]], Node]:
        """The clauses that may decide, and what else decides; warns of the others."""
        kept: list[tuple[Node, Node]] = []
        for at in range(0, len(texts) - 1, 2):
            condition, then = texts[at], texts[at + 1]
            if not isinstance(condition.node, Literal):
                if any(condition.node == earlier for earlier, _ in kept) and _is_steady(condition.node):
                    self._warnings.append(
                        self._finding(condition, "this never decides: a clause before it has the same condition")
                    )
                kept.append((condition.node, then.node))
            elif condition.node.value:
                self._warnings.append(
                    self._finding(texts[at + 2], "this is never reached: the clause before it is always true")
                )
                return kept, then.node
            else:
                self._warnings.append(self._finding(condition, "this is never true"))
        return kept, texts[-1].node


def _is_steady(node: Node) -> bool:
    """Whether a condition gives the same wherever it stands in a rule: nothing is asked, no group is read."""
    return not reaches_lookups(node) and not uses_captures(node)


def _unquoted(finding: Finding) -> bool:
    """Whether a fault is what a text without quotes looks like."""
    if finding.message.startswith("unknown name"):
        return finding.text[finding.position : finding.end] == finding.text.strip()
    return finding.message.startswith(("unexpected character", "an operator is missing between"))


def _names(tree: RuleTree) -> set[str]:
    waiting = [tree.otherwise, *(node for pair in tree.clauses for node in pair)]
    found: set[str] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, Variable):
            found.add(node.name)
        waiting.extend(children(node))
    return found
