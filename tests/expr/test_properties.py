"""What holds for all expressions: agreement with the oracle, round trips, and errors of the language's own only."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from hypothesis import given, reject, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.expr import CompiledRule, EvalError, ExprError, Lookup, Value, compile_rule, parse, unparse
from stalwart.expr.limits import MAX_ITEMS, MAX_TEXT
from stalwart.expr.tree import Node
from tests.expr.oracle import Oracle
from tests.expr.random_trees import TEXTS, VARIABLES, contexts, trees

PIECES = [
    *"()[],!-+*/<>=&|^.$'\"\\ \t\n}{:%",
    *("url", "path", "method", "matches(", "starts_with(", "split(", "'a'", "12", "5m", "1.5", "true", "$1", "==", "é"),
]


def answer(lookup: Lookup) -> object:
    """An answer that depends on the request and is of any type."""
    choices: list[object] = [None, True, *TEXTS, 7, 1.5, ["a", 1]]
    return choices[len(repr(lookup)) % len(choices)]


def run(rule: CompiledRule, context: Mapping[str, object], asked: list[Lookup]) -> Value:
    """Evaluates step by step, answering lookups."""
    steps = rule.start(dict(context))
    try:
        lookup = next(steps)
        while True:
            asked.append(lookup)
            lookup = steps.send(answer(lookup))
    except StopIteration as done:
        result: Value = done.value
        return result


class AgreementTests(SynchronousTestCase):
    """Compiled code and the interpreter."""

    def agree(self, nodes: list[Node], context: dict[str, object]) -> None:
        *pairs, otherwise = nodes
        sources = list(map(unparse, nodes))
        try:
            clauses = list(zip(sources[:-1:2], sources[1:-1:2], strict=True))
            rule = compile_rule(clauses, sources[-1], VARIABLES)
        except ExprError:
            reject()
        asked: list[Lookup] = []

        def answered(lookup: Lookup) -> object:
            asked.append(lookup)
            return answer(lookup)

        wanted: Any = None
        try:
            wanted = Oracle(context, answered).rule(list(zip(pairs[::2], pairs[1::2], strict=True)), otherwise)
        except EvalError:
            with self.assertRaises(EvalError):
                run(rule, context, [])
            return
        seen: list[Lookup] = []
        found = run(rule, context, seen)
        self.assertEqual((type(found), repr(found)), (type(wanted), repr(wanted)), sources)
        self.assertEqual(repr(seen), repr(asked))
        self.assertTrue(rule.needs_io or not asked)

    @settings(deadline=None, max_examples=600)
    @given(tree=trees(), context=contexts)
    def test_expression(self, tree: Node, context: dict[str, object]) -> None:
        """An expression has the value that the interpreter finds, of the same type."""
        self.agree([tree], context)

    @settings(deadline=None, max_examples=300)
    @given(nodes=st.lists(trees(lookups=True), min_size=5, max_size=5), context=contexts)
    def test_rule(self, nodes: list[Node], context: dict[str, object]) -> None:
        """A rule gives what the interpreter finds, and asks for the same lookups in the same order."""
        self.agree(nodes, context)

    @settings(deadline=None, max_examples=150)
    @given(tree=trees(), unit=st.sampled_from(["a", "/", "é ", "a\n", "1"]))
    def test_bounds(self, tree: Node, unit: str) -> None:
        """On the largest values a result keeps to the bounds, and is there soon, or the evaluation fails."""
        try:
            rule = compile_rule([], unparse(tree), VARIABLES)
        except ExprError:
            reject()
        context: dict[str, object] = {name: unit * (MAX_TEXT // len(unit)) for name in VARIABLES}
        context |= {"remote_port": 1, "local_port": 2, "is_tls": 1, "ratio": 0.5}
        context |= {"headers": (unit * 15,) * MAX_ITEMS, "list": ((unit,), 1) * (MAX_ITEMS // 2)}
        start = time.process_time()
        try:
            result = rule.evaluate(context)
        except EvalError:
            result = 0
        self.assertLess(time.process_time() - start, 10)
        if isinstance(result, str):
            self.assertLessEqual(len(result), MAX_TEXT)
        elif isinstance(result, tuple):
            self.assertLessEqual(len(result), MAX_ITEMS)

    @settings(deadline=None, max_examples=300)
    @given(tree=trees(), context=contexts)
    def test_each_variable_is_read_once(self, tree: Node, context: dict[str, object]) -> None:
        """An evaluation reads no variable twice, and none that the expression doesn't name."""
        try:
            rule = compile_rule([], unparse(tree), VARIABLES)
        except ExprError:
            reject()
        reads: list[str] = []

        class Context:
            def __getattr__(self, name: str) -> object:
                reads.append(name)
                return context[name]

        try:
            rule.evaluate(Context())
        except EvalError:
            return
        self.assertEqual(len(reads), len(set(reads)))
        self.assertLessEqual(set(reads), rule.variables)


class TextTests(SynchronousTestCase):
    """Texts and trees."""

    @settings(deadline=None, max_examples=500)
    @given(trees(lookups=True))
    def test_round_trip(self, tree: Node) -> None:
        """What is written for a tree is parsed to the same tree."""
        text = unparse(tree)
        self.assertEqual(repr(tree), _without_places(parse(text)), text)

    @settings(deadline=None, max_examples=500)
    @given(
        st.one_of(
            st.text(), st.lists(st.sampled_from(PIECES)).map("".join), st.binary().map(lambda b: b.decode("latin-1"))
        )
    )
    def test_any_text(self, text: str) -> None:
        """Any text is an expression or raises `ExprError` with a place inside it and something to show."""
        for result in ("any", "status", "text"):
            try:
                rule = compile_rule([(text, text)], text, result=result)
            except ExprError as error:
                for finding in error.findings:
                    self.assertTrue(0 <= finding.position <= len(text))
                    self.assertIn("^", finding.caret())
                    self.assertIsNotNone(finding.place)
            else:
                self.assertEqual(parse(unparse(rule.tree.otherwise)), rule.tree.otherwise)

    @settings(deadline=None, max_examples=100)
    @given(st.text(alphabet=st.characters(), max_size=20))
    def test_any_value(self, text: str) -> None:
        """Any text may be the value of a variable, lone surrogates too."""
        source = "matches('a(.)', url) && $1 != '' || len(url) > 3 || contains(split(url, '/'), hash(url, 'md5'))"
        self.assertIn(compile_rule([], source).evaluate({"url": text}), (0, 1))


def _without_places(node: Node) -> str:
    return re.sub(r"position=\d+, end=\d+", "position=0, end=0", repr(node))
