"""Every operator, every function and every form of literal, as tables of expressions and their values."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stalwart.expr import EvalError, Value, compile_rule
from stalwart.expr.functions import FUNCTIONS
from stalwart.expr.operators import less
from stalwart.expr.types import Type
from tests.expr.support import value_of

I64 = 2**63 - 1

LITERALS: list[tuple[str, Value]] = [
    ("12", 12),
    ("9223372036854775807", I64),
    ("1.5", 1.5),
    ("true", 1),
    ("false", 0),
    ("5m", 300_000),
    ("30s", 30_000),
    ("100ms", 100),
    ("2h", 7_200_000),
    ("1d", 86_400_000),
    ("'a\"b'", 'a"b'),
    ('"it\'s"', "it's"),
    (r"'\.'", r"\."),
    (r"'\''", r"\'"),
    (r"'\n'", "\\\n"),
    ("[]", ()),
    ("[1, 'a', [2.5]]", (1, "a", (2.5,))),
    ("\t1\r\n+\t1 ", 2),
    ("$1", ""),
]
OPERATORS: list[tuple[str, Value]] = [
    # +
    ("1 + 2", 3),
    ("9223372036854775807 + 1", I64),
    ("1 + 0.5", 1.5),
    ("'a' + 1", "a1"),
    ("1 + 'a'", "1a"),
    ("'a' + 1.0", "a1"),
    ("'' + 5", 5),
    ("5 + ''", 5),
    ("[1] + [2]", (1, 2)),
    ("[1] + 2", (1, 2)),
    ("1 + [2]", (1, 2)),
    ("[1] + ''", (1, "")),
    # -
    ("5 - 7", -2),
    ("-9223372036854775807 - 9", -(2**63)),
    ("'5' - 2", 3),
    ("'x' - 2", -2),
    ("[1, 2, '1'] - 1", (2,)),
    ("'a' - ['a', 'b']", ("b",)),
    ("[[1], 2] - [1]", (2,)),
    # * and /
    ("3 * '4'", 12),
    ("9223372036854775807 * 2", I64),
    ("7 / 2", 3.5),
    ("4 / 2", 2.0),
    ("1 / 0", 0.0),
    ("1 / 'x'", 0.0),
    # == and !=
    ("1 == 1.0", 1),
    ("'1' == '1.0'", 0),
    ("'1' == 1.0", 1),
    ("'abc' == 0", 1),
    ("[1, 'a'] == ['1', 'a']", 1),
    ("[1] == 1", 0),
    ("[] != ''", 1),
    ("1 = 1", 1),
    ("2 =1", 0),
    # order
    ("2 < 10", 1),
    ("'2' < '10'", 0),
    ("'2' < 10", 1),
    ("1 <= 1", 1),
    ("1 =< 1", 1),
    ("1 => 2", 0),
    ("2 >= 1.5", 1),
    ("[] > 99", 1),
    ("'z' < []", 1),
    ("[1, 2] < [1, 3]", 1),
    ("[1] < [1, 0]", 1),
    # logic: the deciding left operand is the result itself
    ("'abc' || 0", "abc"),
    ("'' || 'b'", 1),
    ("'' || 0", 0),
    ("0 || 0 || 7", 1),
    ("'' && 1", ""),
    ("'a' && 'b'", 1),
    ("'a' & 0", 0),
    ("0 | 2", 1),
    ("url || 1", "/jmap/session?a=b"),
    ("url && 2 && method", 1),
    ("1 ^ 0", 1),
    ("1 ^ 'a'", 0),
    # unary
    ("!''", 1),
    ("!'0'", 0),
    ("!'false'", 0),
    ("!![0]", 1),
    ("-'5'", -5),
    ("-'x'", 0),
    ("-1.5", -1.5),
    ("[-1, 2 - -3]", (-1, 5)),
    # precedence and associativity
    ("1 + 2 * 3", 7),
    ("(1 + 2) * 3", 9),
    ("10 - 4 - 3", 3),
    ("1 + 1 == 2 && 3 > 2", 1),
    ("1 || 1 && 0", 1),
    ("1 ^ 1 && 0", 0),
    ("1 < 2 == 1", 1),
    ("!0 + 1", 2),
    ("-2 * 3", -6),
    # index
    ("headers[1]", "user-agent: curl/8.5"),
    ("headers['1']", "user-agent: curl/8.5"),
    ("headers[9]", ""),
    ("headers[0 - 4]", "host: example.org"),
    ("headers['x']", "host: example.org"),
    ("(url)[0]", "/jmap/session?a=b"),
    ("local_port[0]", 443),
    ("local_port[1]", ""),
    ("[1, [2, 3]][1][0]", 2),
    ("split(url_path, '/')[1]", "jmap"),
    ("split(url_path, '/')[0]", ""),
    ("split(url_path, '/')[7]", ""),
]
CALLS: list[tuple[str, Value]] = [
    ("count([1, 2])", 2),
    ("count('a')", 1),
    ("count('')", 0),
    ("count(0)", 1),
    ("sort(['b', 3, 'a', 1], true)", (1, 3, "a", "b")),
    ("sort(['b', 3, 'a', 1], false)", ("b", "a", 3, 1)),
    ("dedup(['b', 'a', 'b', 1, 1.0])", ("b", "a", 1)),
    ("winnow(['', 'a', [], 0])", ("a", 0)),
    ("is_intersect([1, 'a'], ['a'])", 1),
    ("is_intersect('a', ['b'])", 0),
    ("is_email('me@example.org')", 1),
    ("is_email('me@localhost')", 0),
    ("is_email('a b@example.org')", 0),
    ("is_email('\"a b\"@example.org')", 1),
    ("is_email('@example.org')", 0),
    ("email_part('me@example.org', 'local')", "me"),
    ("email_part('me@example.org', 'domain')", "example.org"),
    ("email_part('me', 'domain')", ""),
    ("is_empty('')", 1),
    ("is_empty([])", 1),
    ("is_empty(0)", 0),
    ("is_number(1.5)", 1),
    ("is_number('5')", 0),
    ("is_ip_addr('::1')", 1),
    ("is_ip_addr('1.2.3')", 0),
    ("is_ipv4_addr('1.2.3.4')", 1),
    ("is_ipv4_addr('::1')", 0),
    ("is_ipv6_addr('::1')", 1),
    ("is_ipv6_addr('fe80::1%eth0')", 0),
    ("ip_reverse_name('1.2.3.4')", "4.3.2.1"),
    ("ip_reverse_name('2001:db8::1')", "1.0.0.0." + "0.0.0.0." * 5 + "8.b.d.0.1.0.0.2"),
    ("ip_reverse_name('x')", ""),
    ("is_ip_in_cidr(remote_ip, '203.0.113.0/24')", 1),
    ("is_ip_in_cidr(remote_ip, '10.0.0.0/8')", 0),
    ("is_ip_in_cidr(remote_ip, '2001:db8::/32')", 0),
    ("is_ip_in_cidr('::ffff:10.1.2.3', '10.0.0.0/8')", 1),
    ("is_ip_in_cidr(url, '0.0.0.0/0')", 0),
    ("is_ip_in_cidr(remote_ip, url)", 0),
    ("trim(' a ')", "a"),
    ("trim([' a ', 5])", ("a", "5")),
    ("trim_start(' a ')", "a "),
    ("trim_end(' a ')", " a"),
    ("len('é')", 2),
    ("len([1, 2, 3])", 3),
    ("to_lowercase('ÀB')", "àb"),
    ("to_uppercase(['a', 'b'])", ("A", "B")),
    ("is_uppercase('AB1')", 1),
    ("is_uppercase('Ab')", 0),
    ("is_lowercase('ab!')", 1),
    ("is_lowercase('aB')", 0),
    ("has_digits('a1')", 1),
    ("has_digits('a')", 0),
    ("count_spaces('a b\tc')", 2),
    ("count_uppercase('aBC')", 2),
    ("count_lowercase('aBC')", 1),
    ("count_chars('éa')", 2),
    ("contains(['a', '443'], local_port)", 1),
    ("contains(['a', 'b'], method)", 0),
    ("contains(['GET', 'HEAD'], method)", 1),
    ("contains(url, 'session')", 1),
    ("contains(headers, 'host: example.org')", 1),
    ("contains(headers, 'host')", 0),
    ("contains_ignore_case(['Get'], method)", 1),
    ("contains_ignore_case('xGETx', 'get')", 1),
    ("eq_ignore_case('É', 'é')", 1),
    ("starts_with(url, '/jmap')", 1),
    ("starts_with(local_port, 44)", 1),
    ("ends_with(url, 'b')", 1),
    ("ends_with(443, '4')", 0),
    ("lines('a\r\nb\n\nc\n')", ("a", "b", "", "c")),
    ("lines('')", ()),
    ("substring('héllo', 1, 3)", "éll"),
    ("substring('abc', 2, 9)", "c"),
    ("substring('abc', 0 - 5, 1)", "a"),
    ("strip_prefix('abc', 'a')", "bc"),
    ("strip_prefix('abc', 'x')", ""),
    ("strip_suffix('abc', 'c')", "ab"),
    ("strip_suffix('abc', '')", "abc"),
    ("strip_suffix('abc', 'x')", ""),
    ("split('a,b,,c', ',')", ("a", "b", "", "c")),
    ("split('ab', '')", ("", "a", "b", "")),
    ("split('', ',')", ("",)),
    ("rsplit('a,b,c', ',')", ("c", "b", "a")),
    ("split_once('a=b=c', '=')", ("a", "b=c")),
    ("split_once('a', '=')", ""),
    ("rsplit_once('a=b=c', '=')", ("a=b", "c")),
    ("rsplit_once('a', '=')", ""),
    ("split_n('a,b,c', ',', 2)", ("a", "b,c")),
    ("split_n('a,b,c', ',', 9)", ("a", "b", "c")),
    ("split_n('abc', '', 3)", ("", "a", "bc")),
    ("split_n('a,b', ',', 0)", ()),
    ("split_words('Hello, big_world 2')", ("Hello", "big", "world", "2")),
    ("hash('a', 'md5')", "0cc175b9c0f1b6a831c399e269772661"),
    ("len(hash('a', 'sha1'))", 40),
    ("len(hash('a', 'sha256'))", 64),
    ("len(hash(url, 'sha512'))", 128),
    ("hash('a', method)", ""),
    ("if_then(is_tls, 'a', 'b')", "a"),
    ("if_then('', 'a', 'b')", "b"),
    ("matches('^/([a-z]+)', url)", 1),
    ("matches('^/([a-z]+)$', url)", 0),
    ("matches('^/([a-z]+)', url) && $1 == 'jmap' && $0 == '/jmap'", 1),
    ("matches('(a)|(j)', url) && $1 == '' && $2", 1),
    ("matches('curl', headers)", 1),
    (r"matches('e\.o', headers[0])", 1),
]


class TableTests(SynchronousTestCase):
    """The tables, with constants worked out beforehand and with values that are known only at run time."""

    def test_folded(self) -> None:
        """Each expression of the tables has its value and its type."""
        for text, wanted in LITERALS + OPERATORS + CALLS:
            with self.subTest(text):
                found = value_of(text)
                self.assertEqual((type(found), found), (type(wanted), wanted), text)

    def test_at_run_time(self) -> None:
        """The functions give the same when their first argument isn't known beforehand."""
        for text, wanted in CALLS:
            name, _, rest = text.partition("(")
            if not rest.endswith(")") or name in ("matches", "len", "if_then") or "," not in rest[:-1]:
                continue
            first, _, others = rest.partition("', ") if rest.startswith("'") else ("", "", "")
            if not first or not others or "'" in first[1:]:
                continue
            rule = compile_rule([], f"{name}(x, {others}", {"x": Type.ANY, "url": Type.TEXT, "method": Type.TEXT})
            found = rule.evaluate({"x": first[1:], "url": "/jmap/session?a=b", "method": "GET"})
            self.assertEqual((type(found), found), (type(wanted), wanted), text)

    def test_every_function_has_a_row(self) -> None:
        """No function is without a row, but for lookups."""
        named = {text.split("(")[0] for text, _ in CALLS}
        self.assertEqual({name for name, function in FUNCTIONS.items() if not function.is_lookup} - named, set())

    def test_array_as_a_number(self) -> None:
        """Arithmetic on an array that shows up at run time ends the evaluation."""
        rule = compile_rule([], "x * 2", {"x": Type.ANY})
        self.assertEqual(rule.evaluate({"x": "4"}), 8)
        with self.assertRaises(EvalError):
            rule.evaluate({"x": ["4"]})


class DepthTests(SynchronousTestCase):
    """Comparisons of deep arrays."""

    def test_deep_arrays(self) -> None:
        """Each pair of items is looked at once, however deep: twice at each level would never end."""
        deep: Value = "x"
        for _ in range(90):
            deep = (deep,)
        self.assertFalse(less(deep, deep))
        self.assertTrue(less((deep,), (deep, "y")))
