"""What is said about an expression before it runs, and what the reference's faults are here."""

from __future__ import annotations

import contextlib
import ipaddress
import time

from twisted.trial.unittest import SynchronousTestCase

from stalwart.expr import EvalError, ExprError, Place, addresses, compile_rule
from tests.expr.support import fault_of, value_of, warnings_of

# Text, position, a part of the message, a part of the hint.
ERRORS: list[tuple[str, int, str, str]] = [
    ("starts_wth(url, 'a')", 0, 'unknown function "starts_wth"', "starts_with"),
    ("metod == 'GET'", 0, 'unknown name "metod"', '"method"'),
    ("1 + METHOD", 4, "unknown name", '"method"'),
    ("sender == 'a'", 0, "only in rules for mail", "url_path"),
    ("$name", 0, 'no value "$name"', "groups"),
    ("is_email", 0, "is a function", "is_email(text)"),
    ("starts_with(url)", 0, "takes 2 arguments; 1 was given", "starts_with(text, prefix)"),
    ("is_local_domain('a', 'b', 'c')", 0, "takes 1 or 2 arguments", ""),
    ("starts_with(headers, 'x')", 12, "needs text or a number here", "contains"),
    ("sort(url, true)", 5, "needs an array", ""),
    ("headers * 2", 0, "needs a number", "count"),
    ("-headers", 1, "needs a number", ""),
    ("url[headers]", 4, "an index is a number", ""),
    ("contains(url, headers)", 0, "wrong way round", ""),
    ("matches('(a', url)", 8, "no regular expression", ""),
    ("matches('a(?=b)', url)", 8, "no regular expression", "look-around"),
    ("matches(url, 'a')", 8, "text in quotes", ""),
    ("config_get(url)", 11, "text in quotes", ""),
    ("remote_ip == '10.0.0.256'", 13, "no IP address", ""),
    ("'10.0.0.0/8' != remote_ip", 0, "no IP address", "is_ip_in_cidr(remote_ip, '10.0.0.0/8')"),
    ("local_ip == '10.'", 12, "no IP address", "starts_with(local_ip"),
    ("remote_ip == '2001:DB8::1'", 13, "never written like this", "'2001:db8::1'"),
    ("contains(['127.0.0.1', 'localhost'], remote_ip)", 23, "no IP address", ""),
    ("is_ip_in_cidr(remote_ip, '10.0.0/8')", 25, "neither an IP address nor a network", ""),
    ("is_ip_in_cidr(remote_ip, '10.0.0.' + '0/33')", 25, "neither an IP address nor a network", ""),
    ("hash(url, 'md4')", 10, "knows 'md5'", "md5"),
    ("email_part(url, 'host')", 16, "knows 'local', 'domain'", ""),
    ("system('hostnam')", 7, "knows 'domain'", '"hostname"'),
    ("dns_query('x', 'aaaa')", 15, "knows 'ip'", ""),
    ("trim('a') * [1]", 12, "needs a number", ""),
    ("", 0, "is empty", ""),
    ("'abc", 0, "no closing '", ""),
    (r"'abc\'", 0, "no closing '", "backslash"),
    ("9223372036854775808", 0, "larger than", ""),
    ("5w", 0, "no unit of time", "ms, s, m"),
    ("1.2.3.4", 0, "no number", "quotes"),
    ("a % b", 2, 'unexpected character "%"', "remainder"),
    ("is_tls ? 1", 7, 'unexpected character "?"', "if_then"),
    ("(1", 2, '")" is missing', ""),
    ("[1, 2", 5, '"]" is missing', ""),
    ("1)", 1, "closes nothing", ""),
    ("1, 2", 1, '","', ""),
    ("()", 1, "missing between the parentheses", ""),
    ("[1,,2]", 3, 'missing before ","', ""),
    ("* 2", 0, "no value before it", ""),
    ("is_tls and url", 7, "operator is missing", "&&"),
]
# The reference accepts these and does something nobody meant.
FAULTS_REFUSED = [
    "is_tls == 1 } || 1",  # `}` ended the expression silently
    "1 2",  # adjacent values: the last won
    "'a'[0]",  # the same, with an array
    "1 +",  # a missing operand was ''
    "&& 1",
    "url == ",
    "is_tls ! 1",
]
WARNINGS: list[tuple[str, str]] = [
    ("$1", "no matches() before it"),
    ("matches('(a)', url) && $2", "no pattern before it has 2 groups"),
    ("headers == 'a'", "never =="),
    ("headers > 1", "larger than any single value"),
    ("url * 'x'", "as a number"),
    ("headers[-1]", "the first item"),
]


class CheckTests(SynchronousTestCase):
    """Errors and warnings of single texts."""

    def test_errors(self) -> None:
        """Each fault is found at its place, with what to do about it."""
        for text, position, message, hint in ERRORS:
            finding = fault_of(text)
            self.assertEqual(finding.position, position, (text, finding))
            self.assertIn(message, finding.message, text)
            self.assertIn(hint, finding.hint or "", text)

    def test_warnings(self) -> None:
        """What works but can't be meant is warned of."""
        for text, message in WARNINGS:
            self.assertIn(message, "; ".join(warnings_of(text)), text)

    def test_faults_of_the_reference(self) -> None:
        """What the reference swallows is refused; what it trips over works."""
        for text in FAULTS_REFUSED:
            fault_of(text)
        self.assertEqual(value_of("1\t+\t1"), 2)
        self.assertEqual(value_of("is_tls =1 && local_port='443'"), 1)
        self.assertEqual(value_of("[-1]"), (-1,))
        self.assertEqual(value_of("2 * - 1"), -2)

    def test_caret(self) -> None:
        """The caret stands under the place, also in a text of several lines and in a long one."""
        finding = fault_of("is_tls ||\n  metod == 'GET'")
        self.assertEqual(
            finding.caret(),
            '    metod == \'GET\'\n    ^^^^^\nunknown name "metod"\nDid you mean "method"?',
        )
        line, carets, *_ = fault_of("url == 'a' || " * 30 + "nothing").caret().splitlines()
        self.assertEqual(line[carets.index("^") : carets.rindex("^") + 1], "nothing")


class PatternCostTests(SynchronousTestCase):
    """All patterns of a rule share one bound of work."""

    def warnings(self, *texts: str) -> list[str]:
        """The warnings of a rule of pairs of condition and result, and the last word."""
        pairs = list(zip(texts[:-1:2], texts[1::2], strict=True))
        return [finding.message for finding in compile_rule(pairs, texts[-1], result="status").warnings]

    def test_ordinary(self) -> None:
        """Patterns as rules have them are neither refused nor warned of, and take a request line of any length."""
        for pattern in (
            "^/(api|jmap|[.]well-known|auth|admin|healthz|metrics)(/.*)?$",
            "[.](php|aspx?|jsp|cgi|env|git|sql|bak|old)$",
            "(?i)(union.*select|<script|[.][.]/|etc/passwd)",
            "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
            "(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])([.](25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}",
            "^/download/([^/]+)/([^/]+)/([^/?]+)",
        ):
            self.assertEqual(self.warnings(f"matches('{pattern}', path)", "404", "200"), [], pattern)
            value_of(f"matches('{pattern}', path)", path="/" * 8192)

    def test_costly(self) -> None:
        """A costly pattern is warned of, and then given short texts only; behind the bound it is an error."""
        costly = "matches('^[^/]{1,60}$', path)"
        [warning] = self.warnings(costly, "404", "200")
        self.assertIn("on a text of more than", warning)
        self.assertEqual(value_of(costly, path="a" * 60), 1)
        with self.assertRaises(EvalError):
            value_of(costly, path="a" * 8192)
        fault = fault_of("matches('[^/]{1,900}', path)")
        self.assertIn("the bound is 2048", fault.message)
        self.assertEqual((fault.position, fault.end), (8, 21))

    def test_together(self) -> None:
        """Many patterns cost as much as a large one."""
        pattern = "matches('(abc|def|ghi|jkl)+x', path)"
        self.assertEqual(self.warnings(pattern, "404", "200"), [])
        [warning] = self.warnings(" || ".join([pattern] * 20), "404", "200")
        self.assertIn("all 20 of the rule", warning)
        with self.assertRaises(ExprError):
            self.warnings(*((pattern, "404") * 200), "200")

    def test_bounded_time(self) -> None:
        """The worst texts for the worst patterns take some milliseconds, not a second."""
        alternating = "".join("ab"[number * number % 7 % 2] for number in range(65536))
        for pattern in ("(a|b)*a(a|b){60}x", "((a|b)?){60}((a|b)?){60}b$", "(.*)(.*)(.*)(.*)(.*)x", "[^x]{1,200}y"):
            rule = compile_rule([], f"matches('{pattern}', path)")
            for size in (500, 4000, 16000, 65536):
                started = time.process_time()
                with contextlib.suppress(EvalError):
                    rule.evaluate({"path": alternating[:size]})
                self.assertLess(time.process_time() - started, 0.1, (pattern, size))


class MembersTests(SynchronousTestCase):
    """Networks remember whom they were asked about."""

    def test_remembers(self) -> None:
        """The second answer is the first one, and what is remembered is bounded."""
        members = addresses.Members(ipaddress.ip_network("10.0.0.0/8"))
        self.patch(addresses, "_MOST_KNOWN", 2)
        for _ in range(2):
            for text, expected in (("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("192.0.2.1", False), ("x", False)):
                self.assertIs(members(text), expected, text)
        self.assertIs(members("1" * 60_000), False)
        self.assertLessEqual(len(members._known), 2)


class RuleCheckTests(SynchronousTestCase):
    """Checks of a rule as a whole."""

    def errors(self, clauses: list[tuple[str, str]], otherwise: str, result: str = "status") -> ExprError:
        try:
            compile_rule(clauses, otherwise, result="status" if result == "status" else "text")
        except ExprError as error:
            return error
        raise AssertionError("accepted")

    def test_all_faults_at_once(self) -> None:
        """Every text with a fault is named, each with its place in the rule."""
        error = self.errors([("urll", "200"), ("url", "20 0")], "'x' +")
        places = [finding.place for finding in error.findings]
        self.assertIn(Place(clause=0, part="if"), places)
        self.assertIn(Place(clause=1, part="then"), places)
        self.assertIn(Place(clause=2, part="else"), places)

    def test_no_status(self) -> None:
        """A result that can't be an HTTP status is an error, also when it is worked out from constants."""
        for text, message in (
            ("65736", "no HTTP status"),
            ("99", "no HTTP status"),
            ("100 * 10", "no HTTP status"),
            ("200.0", "no HTTP status"),
            ("'ok'", "no HTTP status"),
            ("''", "no HTTP status"),
            ("[200]", "no HTTP status"),
            ("headers", "can't be an HTTP status"),
            ("local_port / 2", "can't be an HTTP status"),
            ("is_tls", "1 or 0"),
            ("is_tls && url == '/'", "1 or 0"),
        ):
            self.assertIn(message, self.errors([], text).message, text)
        for text in ("'404'", "200 + 4", "if_then(is_tls, 200, '403')", "local_port", "url || 404"):
            compile_rule([], text, result="status")

    def test_text_without_quotes(self) -> None:
        """A result that is text without quotes gets the advice to put it in quotes."""
        for text in ("notfound", "not found", "https://example.org"):
            for result in ("status", "text"):
                self.assertIn("quotes", self.errors([("is_tls", text)], "200", result).hint or "", text)

    def test_array_for_text(self) -> None:
        """An array is no text result."""
        self.assertIn("array", self.errors([], "headers", "text").message)

    def test_unreachable(self) -> None:
        """What stands behind a clause that is always true is warned of, as is one that is never true."""
        rule = compile_rule([("1 == 2", "403"), ("'a' || url", "404"), ("is_tls", "405")], "200", result="status")
        found = [(warning.place, warning.message) for warning in rule.warnings]
        self.assertEqual(found[0], (Place(clause=0, part="if"), "this is never true"))
        self.assertEqual(found[1][0], Place(clause=2, part="if"))
        self.assertIn("never reached", found[1][1])
        self.assertEqual(rule.evaluate({}), 404)

    def test_repeated(self) -> None:
        """A condition that a clause before had already never decides, unless what it asks may change."""
        for condition, count in (
            ("is_tls &&url == '/'", 1),
            ("matches('(a)', url)", 1),
            ("$1 == 'a'", 0),
            ("counter_incr('default', 'a', 1) > 1", 0),
        ):
            first = condition.replace("&&", " && ")
            rule = compile_rule([(first, "403"), ("matches('(b)', url)", "404"), (condition, "405")], "200")
            said = [finding for finding in rule.warnings if "never decides" in finding.message]
            self.assertEqual([finding.place for finding in said], [Place(clause=2, part="if")] * count, condition)

    def test_constant_that_fails(self) -> None:
        """What can't be worked out for any request is an error."""
        self.assertIn("never be worked out", fault_of("if_then(1, [1], 2) * 3 == url").message)

    def test_nothing_is_worked_out_by_python(self) -> None:
        """Names of Python mean nothing in an expression, nor can a text become code."""
        for text in ("__import__('os')", "context", "v_url", "g0", "match", "open('/etc/passwd')"):
            fault_of(text)
        self.assertEqual(value_of("'\"); import os; (\"' == url"), 0)
        with self.assertRaises(EvalError):
            compile_rule([], "url").evaluate({"url": object()})

    def test_unsendable_status(self) -> None:
        """What can't be the status of an answer is warned of: the request is denied with 500."""
        for result, count in (("100", 1), ("'199'", 1), ("600", 1), ("999", 1), ("599", 0)):
            warnings = compile_rule([("method == 'GET'", result)], "200", result="status").warnings
            self.assertEqual(["denies with 500" in finding.message for finding in warnings], [True] * count, result)

    def test_success_that_denies(self) -> None:
        """A result from 201 to 399 denies all the same, and is warned of."""
        for result, count in (("204", 1), ("'302'", 1), ("if_then(is_tls, 308, 404)", 1), ("200", 0), ("404", 0)):
            warnings = compile_rule([("method == 'GET'", result)], "200", result="status").warnings
            self.assertEqual(["looks like success" in finding.message for finding in warnings], [True] * count, result)
        self.assertEqual(compile_rule([], "204", result="text").warnings, ())
