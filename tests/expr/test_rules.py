"""Rules: the published examples, clauses, captures, lookups, results, contexts and bounds."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.expr import EvalError, ExprError, Lookup, Type, compile_rule
from stalwart.expr.functions import FUNCTIONS
from stalwart.expr.limits import MAX_ITEMS, MAX_SOURCE, MAX_TEXT
from tests.expr.support import CONTEXT, fault_of, rule_of, value_of

API = [("starts_with(url_path, '/api') && remote_ip != '127.0.0.1'", "404")]
PREFIX = [
    ("starts_with(remote_ip, '192.168.1.') || contains(['robots.txt', '.well-known'], split(url_path, '/')[1])", "200")
]
LISTENER = [
    ("listener == 'private-http' || contains(['jmap', 'robots.txt', '.well-known'], split(url_path, '/')[1])", "200")
]
JMAP = [("!starts_with(url, '/jmap') || method == 'OPTIONS'", "200")]


class RuleTests(SynchronousTestCase):
    """Whole rules."""

    def test_published_examples(self) -> None:
        """The four documented rules give the documented statuses."""
        for clauses, otherwise, changed, status in (
            (API, "200", {"url_path": "/api/x"}, 404),
            (API, "200", {"url_path": "/api/x", "remote_ip": "127.0.0.1"}, 200),
            (API, "200", {"url_path": "/jmap"}, 200),
            (PREFIX, "400", {"remote_ip": "192.168.1.7"}, 200),
            (PREFIX, "400", {"remote_ip": "192.168.10.7"}, 400),
            (PREFIX, "400", {"url_path": "/robots.txt"}, 200),
            (PREFIX, "400", {"url_path": "/.well-known/jmap"}, 200),
            (PREFIX, "400", {"url_path": "/"}, 400),
            (LISTENER, "404", {"listener": "private-http", "url_path": "/api"}, 200),
            (LISTENER, "404", {"url_path": "/jmap/session"}, 200),
            (LISTENER, "404", {"url_path": "/api"}, 404),
            (JMAP, "400", {"url": "/jmap"}, 400),
            (JMAP, "400", {"url": "/jmap", "method": "OPTIONS"}, 200),
            (JMAP, "400", {"url": "/.well-known/jmap"}, 200),
        ):
            self.assertEqual(rule_of(clauses, otherwise, **changed), status, (clauses, changed))

    def test_first_true_clause_decides(self) -> None:
        """The first clause whose `if` is true gives the result; without one it is the `else`."""
        clauses = [("method == 'PUT'", "403"), ("method == 'GET'", "'201'"), ("is_tls", "202")]
        self.assertEqual(rule_of(clauses, "404"), 201)
        self.assertEqual(rule_of(clauses, "404", method="POST"), 202)
        self.assertEqual(rule_of(clauses, "404", method="POST", is_tls=False), 404)

    def test_captures_reach_later_texts(self) -> None:
        """Groups stay until the next `matches`, which clears them when it fails."""
        rule = compile_rule([("matches('^/([a-z]+)/([a-z]+)', url_path)", "$2 + $1")], "'-' + $1")
        self.assertEqual(rule.evaluate({"url_path": "/jmap/session"}), "sessionjmap")
        self.assertEqual(rule.evaluate({"url_path": "/"}), "-")

    def test_path_and_url_path(self) -> None:
        """Both names of the path are known."""
        self.assertEqual(value_of("path == url_path"), 1)

    def test_status_at_run_time(self) -> None:
        """A result that turns out to be no status is an error, never wrapped around."""
        rule = compile_rule([], "local_port + 200", result="status")
        self.assertEqual(rule.evaluate({"local_port": 4}), 204)
        for port in (65536, 0 - 200, 799 + 1):
            with self.assertRaises(EvalError):
                rule.evaluate({"local_port": port})

    def test_text_result(self) -> None:
        """With text as the wanted result a number becomes its digits."""
        self.assertEqual(compile_rule([], "local_port", result="text").evaluate(CONTEXT), "443")

    def test_contexts(self) -> None:
        """A context has attributes or is a dict; a variable without a value ends the evaluation."""

        class Context:
            method = "GET"

        rule = compile_rule([], "method == 'GET'")
        self.assertEqual(rule.evaluate(Context()), 1)
        self.assertEqual(rule.evaluate({"method": "PUT"}), 0)
        with self.assertRaises(EvalError):
            rule.evaluate(object())
        with self.assertRaises(EvalError):
            rule.evaluate({"method": b"GET"})
        self.assertEqual(compile_rule([], "local_ip").evaluate({"local_ip": None}), "")

    def test_only_needed_variables(self) -> None:
        """What a short circuit skips is not read."""
        self.assertEqual(compile_rule([], "is_tls || url == ''").evaluate({"is_tls": True}), 1)


class LookupTests(SynchronousTestCase):
    """Functions that the caller answers."""

    def test_only_when_reached(self) -> None:
        """A lookup behind a deciding operand is not asked for; its answer is the value of the call."""
        rule = compile_rule([], "is_tls || key_get('default', 'x' + method)")
        self.assertTrue(rule.needs_io)
        with self.assertRaises(StopIteration) as skipped:
            next(rule.start({**CONTEXT, "is_tls": True}))
        self.assertEqual(skipped.exception.value, 1)
        steps = rule.start({**CONTEXT, "is_tls": False})
        self.assertEqual(next(steps), Lookup(function="key_get", arguments=("default", "xGET")))
        with self.assertRaises(StopIteration) as asked:
            steps.send("value")
        self.assertEqual(asked.exception.value, 1)
        with self.assertRaises(EvalError):
            rule.evaluate(CONTEXT)

    def test_if_then_asks_for_one_branch(self) -> None:
        """The branch not taken is not worked out."""
        rule = compile_rule([], "if_then(is_tls, 1, counter_incr('s', 'k', 1))")
        with self.assertRaises(StopIteration):
            next(rule.start({"is_tls": 1}))

    def test_failed_lookup(self) -> None:
        """The failure of a lookup is the failure of the evaluation."""
        steps = compile_rule([], "dns_query('example.org', 'mx')").start({})
        next(steps)
        with self.assertRaises(EvalError):
            steps.throw(EvalError("timed out"))

    def test_unusable_answer(self) -> None:
        """An answer of a type that the language doesn't have is an error."""
        steps = compile_rule([], "config_get('server.hostname')").start({})
        next(steps)
        with self.assertRaises(EvalError):
            steps.send({"a": 1})

    def test_rule_without_lookups(self) -> None:
        """A rule without lookups can be evaluated step by step too."""
        with self.assertRaises(StopIteration) as done:
            next(compile_rule([], "1 + 1").start({}))
        self.assertEqual(done.exception.value, 2)

    def test_every_lookup(self) -> None:
        """Every function that needs the outside asks for itself by name, with its arguments."""
        arguments = {"config_get": "'a.b'", "system": "'hostname'", "metric": "'m'", "dns_query": "'x', 'ip'"}
        for name, function in FUNCTIONS.items():
            if not function.is_lookup:
                continue
            count = len(function.parameters)
            given = arguments.get(name, ", ".join("'x'" for _ in range(count)))
            found = next(compile_rule([], f"{name}({given})").start({}))
            self.assertEqual((found.function, len(found.arguments)), (name, count))
        for name in ("is_local_domain", "is_local_address"):
            found = next(compile_rule([], f"{name}('example.org')").start({}))
            self.assertEqual(found.arguments, ("example.org",))


class BoundTests(SynchronousTestCase):
    """No expression is larger or deeper, and makes larger values, than the bounds."""

    def test_source(self) -> None:
        """A text that is too long, has too many tokens or nests too deeply is refused."""
        self.assertIn("characters", fault_of("1" + " " * MAX_SOURCE).message)
        self.assertIn("tokens", fault_of("1," * 5000).message)
        for deep in (
            "(" * 4000,
            "!" * 4000,
            "[" * 4000,
            "-" * 200 + "1",
            "1" + "+1" * 200,
            "trim(" * 150,
            "(1)" + "[0]" * 150,
        ):
            self.assertIn("inside each other", fault_of(deep).message)

    def test_long_chains(self) -> None:
        """Alternatives beside each other are no nesting."""
        text = " || ".join(f"url == '/{number}'" for number in range(700))
        self.assertEqual(value_of(text, url="/699"), 1)

    def test_deepest(self) -> None:
        """What just keeps to the bound of nesting is compiled and evaluated."""
        self.assertEqual(value_of("local_port" + "+1" * 99), 542)
        self.assertEqual(value_of("if_then(is_tls," * 98 + "7" + ",1)" * 98), 7)

    def test_values(self) -> None:
        """Texts and arrays that would be too large end the evaluation."""
        long = "x" * (MAX_TEXT // 2 + 1)
        for text in (
            "url + url",
            "to_lowercase(url) + url",
            "len(url + 1 + url)",
            "[url, url] + [url] == trim([[url, url]])",
        ):
            with self.assertRaises(EvalError):
                value_of(text, url=long)
        with self.assertRaises(EvalError):
            value_of("url == ''", url=long * 3)
        for text in (
            "split(url, '/')",
            "rsplit(url, '')",
            "split_n(url, '/', 99999)",
            "split_words(url)",
            "lines(url)",
        ):
            with self.assertRaises(EvalError):
                value_of(text, url="a/\n" * (MAX_ITEMS + 2))
        with self.assertRaises(EvalError):
            value_of(f"to_uppercase([{', '.join(['url'] * 40)}])", url=long)
        with self.assertRaises(EvalError):
            value_of("headers + headers", headers=("a",) * MAX_ITEMS)

    def test_patterns(self) -> None:
        """A pattern whose program is too large is refused; a hostile one takes linear time."""
        self.assertIn("regular expression", fault_of("matches('((a{100}){100}){100}', url)").message)
        self.assertEqual(value_of("matches('^(a+)+$', url)", url="a" * 50_000 + "b"), 0)

    def test_clauses(self) -> None:
        """The number of clauses is bounded."""
        with self.assertRaises(ExprError):
            compile_rule([("is_tls", "1")] * 1001, "2")
        self.assertEqual(compile_rule([("is_tls", "1")] * 1000, "2").evaluate({"is_tls": 0}), 2)

    def test_huge_array_index(self) -> None:
        """An index beyond all bounds is beyond the end."""
        variables = {"x": Type.FLOAT, "list": Type.ARRAY}
        for number in (float("inf"), 1e300):
            self.assertEqual(compile_rule([], "list[x]", variables).evaluate({"x": number, "list": [1]}), "")
