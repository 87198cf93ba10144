"""What a rule is said to have done: the same as it does, with the value of every part that was asked."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given, reject, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.expr import EvalError, Explanation, ExprError, Lookup, Step, Value, compile_rule, explain, unparse
from stalwart.expr.tree import Node
from tests.expr.random_trees import VARIABLES, contexts, trees
from tests.expr.test_properties import answer, run

CONTEXT = {"url_path": "/api/x", "remote_ip": "192.0.2.7", "method": "GET"}


def nobody(lookup: Lookup) -> Value | None:
    """Knows no answer."""
    return None


def explained(*texts: str) -> Explanation:
    """A rule of pairs of condition and result, and the last word, on a request for /api/x."""
    rule = compile_rule(list(zip(texts[:-1:2], texts[1::2], strict=True)), texts[-1], result="status")
    return explain(rule.tree, CONTEXT, nobody)


def part(step: Step | None, text: str) -> Step:
    """The part with this text."""
    assert step is not None
    found = [step] if step.text == text else [one for inner in step.parts if (one := part_or_none(inner, text))]
    return found[0]


def part_or_none(step: Step, text: str) -> Step | None:
    """The part with this text, if there is one."""
    return next((step for step in walk(step) if step.text == text), None)


def walk(step: Step) -> list[Step]:
    """A step and all below it."""
    return [step, *(below for inner in step.parts for below in walk(inner))]


class ExplanationTests(SynchronousTestCase):
    """`explain` on rules and requests."""

    def test_values(self) -> None:
        """Each part has its value, and what a short circuit left out was not asked."""
        found = explained("starts_with(url_path, '/api') || method == 'POST'", "404", "200")
        self.assertEqual((found.decided, found.value, found.error), (0, 404, None))
        condition = found.clauses[0].condition
        self.assertEqual(part(condition, "url_path").value, "/api/x")
        self.assertEqual(part(condition, "starts_with(url_path, '/api')").value, 1)
        skipped = part(condition, "method == 'POST'")
        self.assertEqual((skipped.asked, skipped.value), (False, None))
        self.assertFalse(found.clauses[1].then.asked)

    def test_last_word(self) -> None:
        """Without a clause that holds `else` decides."""
        found = explained("method == 'POST'", "404", "200")
        self.assertEqual((found.decided, found.value), (1, 200))
        self.assertFalse(found.clauses[0].then.asked)

    def test_branches(self) -> None:
        """Of `if_then` only the branch that counts is asked, and captures come from the match before."""
        found = explained("matches('^/([a-z]+)', url_path) && $1 == 'api'", "if_then(method == 'GET', 403, 404)", "200")
        self.assertEqual(found.value, 403)
        self.assertEqual(part(found.clauses[0].condition, "$1").value, "api")

    def test_failure(self) -> None:
        """A part that fails says how, and the rule has no value."""
        found = explained("url_path + 'x' == 'y'", "200", "to_lowercase(method)")
        self.assertIsNone(found.value)
        self.assertIn("no HTTP status", found.error or "")

    def test_costly_pattern(self) -> None:
        """A pattern that can't be reached costs the others nothing, here as in the rule itself."""
        costly = "matches('[a-z]{900}[0-9]{900}', url_path)"
        rule = [("matches('/x', url_path)", "404"), ("1 == 1", "403"), (costly, "401")]
        compiled = compile_rule(rule, "200", result="status")
        for length in (1_000, 5_000, 20_000, 60_000):
            context = {**CONTEXT, "url_path": "/" * length + "x"}
            self.assertEqual(explain(compiled.tree, context, nobody).value, compiled.evaluate(context), length)

    def test_unknown_lookup(self) -> None:
        """A lookup without an answer is taken as '' and named."""
        found = explained("key_get('default', remote_ip) == 'banned'", "403", "200")
        self.assertEqual((found.value, found.unknown), (200, ("key_get(default,192.0.2.7)",)))
        step = part(found.clauses[0].condition, "key_get('default', remote_ip)")
        self.assertEqual((step.lookup, step.known, step.value), ("key_get(default,192.0.2.7)", False, ""))

    @settings(deadline=None, max_examples=200)
    @given(st.lists(trees(lookups=True), min_size=3, max_size=3), contexts)
    def test_agrees(self, nodes: list[Node], context: dict[str, object]) -> None:
        """The result is that of the compiled rule, and so is its failure."""
        one, two, three = map(unparse, nodes)
        try:
            clauses = [(one, "401"), (two, f"if_then({three}, 402, '403')")]
            rule = compile_rule(clauses, "404", VARIABLES, result="status")
        except ExprError:
            reject()
        found = explain(rule.tree, dict(context), lambda lookup: cast(Any, answer(lookup)))
        try:
            wanted: Value | None = run(rule, context, [])
        except EvalError:
            wanted = None
        self.assertEqual(found.value, wanted)
