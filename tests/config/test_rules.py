"""Rules in every form that Stalwart has for them, and what is wrong with one."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import ConfigErrors, RuleText
from tests.config.support import FILE, JSON_FILE, errors_of, load_text

PUBLISHED = [
    (
        """{"allowedEndpoints": {"match": [{"if": "starts_with(url_path, '/api') && remote_ip != '127.0.0.1'", "then": "404"}], "else": "200"}}""",  # noqa: E501
        "starts_with(url_path, '/api') && remote_ip != '127.0.0.1'",
        ("404", "200"),
    ),
    (
        """{"allowedEndpoints": {"match": [{"if": "starts_with(remote_ip, '192.168.1.') || contains(['robots.txt', '.well-known'], split(url_path, '/')[1])", "then": "200"}], "else": "400"}}""",  # noqa: E501
        "starts_with(remote_ip, '192.168.1.') || contains(['robots.txt', '.well-known'], split(url_path, '/')[1])",
        ("200", "400"),
    ),
    (
        """{"allowedEndpoints": {"match": [{"if": "listener == 'private-http' || contains(['jmap', 'robots.txt', '.well-known'], split(url_path, '/')[1])", "then": "200"}], "else": "404"}}""",  # noqa: E501
        "listener == 'private-http' || contains(['jmap', 'robots.txt', '.well-known'], split(url_path, '/')[1])",
        ("200", "404"),
    ),
    (
        """{"allowedEndpoints": {"match": [{"if": "!starts_with(url, '/jmap') || method == 'OPTIONS'", "then": "200"}], "else": "400"}}""",  # noqa: E501
        "!starts_with(url, '/jmap') || method == 'OPTIONS'",
        ("200", "400"),
    ),
]
TWO = (("a", "200"), ("b", "403")), "404"


def plain(rule: RuleText) -> tuple[tuple[tuple[str, str], ...], str]:
    """The texts alone."""
    return tuple((clause.if_.text, clause.then.text) for clause in rule.clauses), rule.otherwise.text


def toml_rule(text: str) -> RuleText:
    """The rule of `http.allowed-endpoint` in a TOML document."""
    return load_text(text).http.allowed_endpoint


class PublishedTests(SynchronousTestCase):
    """The examples of the documentation, as they stand there."""

    def check(self, number: int) -> None:
        document, condition, (then, otherwise) = PUBLISHED[number]
        expected = (((condition, then),), otherwise)
        bare = load_text(document, file=JSON_FILE)
        self.assertEqual(plain(bare.http.allowed_endpoint), expected)
        # A file without listeners has one on loopback, where every rule has its exemption.
        self.assertEqual(["http.allow-loopback" in warning.text for warning in bare.warnings], [True])
        whole = load_text(f'{{"Http": {document}}}', file=JSON_FILE)
        self.assertEqual(plain(whole.http.allowed_endpoint), expected)

    def test_api_only_from_here(self) -> None:
        """`/api` is for this machine."""
        self.check(0)

    def test_network_or_public_paths(self) -> None:
        """All for one network, some paths for everybody."""
        self.check(1)

    def test_listener_or_public_paths(self) -> None:
        """All on one listener, some paths on others."""
        self.check(2)

    def test_preflights(self) -> None:
        """JMAP only for preflights."""
        self.check(3)


class FormTests(SynchronousTestCase):
    """One rule in all its forms."""

    def test_default(self) -> None:
        """Without the setting everything is let in, and the rule says where it would be set."""
        rule = toml_rule("")
        self.assertEqual(plain(rule), ((), "200"))
        self.assertEqual((rule.key, rule.otherwise.key), ("http.allowed-endpoint", "http.allowed-endpoint"))
        self.assertEqual((rule.otherwise.file, rule.otherwise.line), (None, None))

    def test_scalar(self) -> None:
        """A number, a text with a number, or an expression."""
        for written, text in [("200", "200"), ('"404"', "404"), ('"is_tls && 200"', "is_tls && 200"), ("-1", "-1")]:
            self.assertEqual(plain(toml_rule(f"http.allowed-endpoint = {written}")), ((), text))

    def test_forms_of_clauses(self) -> None:
        """Arrays of tables, `match` with an array or numbered keys, flattened keys, in TOML and JSON."""
        array = [{"if": "a", "then": 200}, {"if": "b", "then": "403"}, {"else": "404"}]
        for value in (
            array,
            {f"{number:04}": block for number, block in enumerate(array)},
            {"match": array[:2], "else": 404},
            {"match": {"0": array[0], "1": array[1]}, "else": "404"},
            {"match": {"10": array[1], "9": array[0]}, "else": "404"},
        ):
            rule = load_text(json.dumps({"http": {"allowed-endpoint": value}}), file=JSON_FILE).http.allowed_endpoint
            self.assertEqual(plain(rule), TWO, value)
        for text in (
            '[http]\nallowed-endpoint = [{if="a",then=200},{if="b",then="403"},{else="404"}]',
            '[[http.allowed-endpoint]]\nif="a"\nthen=200\n[[http.allowed-endpoint]]\nif="b"\nthen=403\n'
            "[[http.allowed-endpoint]]\nelse=404",
            '[http]\nallowed-endpoint.0000.if="a"\nallowed-endpoint.0000.then="200"\nallowed-endpoint.0001.if="b"\n'
            'allowed-endpoint.0001.then="403"\nallowed-endpoint.0002.else="404"',
            '[http.allowed-endpoint]\nelse="404"\n[http.allowed-endpoint.match.1]\nif="b"\nthen=403\n'
            '[http.allowed-endpoint.match.0]\nif="a"\nthen=200',
        ):
            self.assertEqual(plain(toml_rule(text)), TWO, text)

    def test_else_alone_beside_no_match(self) -> None:
        """`match` may be missing or empty."""
        self.assertEqual(plain(toml_rule("http.allowed-endpoint.else = 404")), ((), "404"))
        self.assertEqual(plain(toml_rule("http.allowed-endpoint = { match = [], else = 404 }")), ((), "404"))

    def test_booleans(self) -> None:
        """Booleans are the expressions of the same name."""
        rule = toml_rule("http.allowed-endpoint = [{ if = true, then = 200 }, { else = false }]")
        self.assertEqual(plain(rule), ((("true", "200"),), "false"))

    def test_places(self) -> None:
        """Each text knows its file, its line and its key as it was written."""
        rule = toml_rule('[server.http]\nallowed-endpoint = [\n  {if="a", then="1"},\n  {else="2"}]\n')
        (clause,) = rule.clauses
        key = "server.http.allowed-endpoint"
        self.assertEqual(rule.key, key)
        self.assertEqual(
            [(text.file, text.line, text.key) for text in (clause.if_, clause.then, rule.otherwise)],
            [(FILE, 3, f"{key}[0].if"), (FILE, 3, f"{key}[0].then"), (FILE, 4, f"{key}[1].else")],
        )

    def test_macros(self) -> None:
        """Macros are replaced in each text, once."""
        text = 'http.allowed-endpoint = [{ if = "listener == \'%{env:L}%\'", then = "%{env:S}%" }, { else = "404" }]'
        found = load_text(text, {"L": "x%{env:S}%", "S": "200"})
        self.assertEqual(plain(found.http.allowed_endpoint), ((("listener == 'x%{env:S}%'", "200"),), "404"))
        (entry,) = [entry for entry in found.entries if entry.key == "http.allowed-endpoint"]
        self.assertEqual(entry.origin.variables, ("L", "S"))

    def test_url(self) -> None:
        """`http.url` takes the same forms; it can be left to its default."""
        self.assertIsNone(load_text("").http.url)
        self.assertIsNone(load_text("http.url = false").http.url)
        rule = load_text("http.url = \"'https://a.example'\"").http.url
        assert rule is not None
        self.assertEqual(plain(rule), ((), "'https://a.example'"))


class FaultTests(SynchronousTestCase):
    """Rules that Stalwart would drop, and let everybody in."""

    def check(self, value: str, *expected: tuple[str, str]) -> None:
        errors = errors_of(f"[http]\nallowed-endpoint = {value}\n")
        self.assertEqual([(error.key, error.found) for error in errors], list(expected), value)
        self.assertEqual({error.line for error in errors}, {2})

    def test_else(self) -> None:
        """`else` is required, stands at the end, once, after an `if`, and alone in its block."""
        key = "http.allowed-endpoint"
        clause = '{ if = "a", then = "200" }'
        self.check(f"[{clause}]", (key, "a rule without else"))
        self.check("[]", (key, "a rule without else"))
        self.check(
            f'[{{ else = "1" }}, {clause}]',
            (f"{key}[0].else", "else before any if"),
            (f"{key}[1]", "a clause after else"),
        )
        self.check('[{ else = "404" }]', (f"{key}[0].else", "else before any if"))
        self.check(f'[{clause}, {{ else = "1" }}, {{ else = "2" }}]', (f"{key}[2].else", "a second else"))
        self.check(f'[{clause}, {{ else = "1" }}, {clause}]', (f"{key}[2]", "a clause after else"))
        self.check(f'[{clause}, {{ then = "1", else = "2" }}]', (f"{key}[1].then", "then beside else"))
        self.check(f"{{ match = [{clause}] }}", (key, "a rule without else"))
        self.check(f'{{ match = [{clause}], else = "" }}', (f"{key}.else", '""'))
        self.check(
            '{ match = [{ if = "a", then = "1", else = "2" }], else = "3" }',
            (f"{key}.match[0].else", "else in a clause"),
        )

    def test_if_and_then(self) -> None:
        """Each clause has both, with something in them."""
        key, end = "http.allowed-endpoint", '{ else = "404" }'
        self.check(f'[{{ then = "1" }}, {end}]', (f"{key}[0]", "then without if"))
        self.check(f'[{{ if = "1" }}, {end}]', (f"{key}[0]", "if without then"))
        self.check(f"[{{}}, {end}]", (f"{key}[0]", "a clause without if and then"))
        self.check(f'[{{ if = "a", then = "1", when = "2" }}, {end}]', (f"{key}[0].when", "an unknown key"))
        self.check(f'[{{ if = " ", then = "" }}, {end}]', (f"{key}[0].if", '" "'), (f"{key}[0].then", '""'))
        self.check(f"[{{ if = [], then = 1.5 }}, {end}]", (f"{key}[0].if", "an empty array"), (f"{key}[0].then", "1.5"))
        self.check(f'["a", {end}]', (f"{key}[0]", '"a"'))

    def test_shape(self) -> None:
        """What is no rule at all."""
        key = "http.allowed-endpoint"
        for value, found in [('""', '""'), ("1.5", "1.5"), ("1979-05-27", "1979-05-27"), ("0x" + "f" * 40, None)]:
            (error,) = errors_of(f"http.allowed-endpoint = {value}")
            self.assertEqual(error.key, key)
            self.assertIn(found or "bits", str(error.found))
        self.check('{ else = "1", mtach = [] }', (f"{key}.mtach", "an unknown key"))
        self.check('{ match = "a", else = "1" }', (f"{key}.match", '"a"'))
        self.check('{ match = { a = "b" }, else = "1" }', (f"{key}.match", "a table"))
        self.check("{}", (key, "a rule without else"))

    def test_number_twice(self) -> None:
        """Two spellings of one number are no order."""
        for table in ('{ 1 = { if = "a", then = "1" }, 01 = { if = "b", then = "1" }, 2 = { else = "1" } }',):
            self.check(table, ("http.allowed-endpoint.01", '"01"'))
            self.check(f'{{ match = {table}, else = "1" }}', ("http.allowed-endpoint.match.01", '"01"'))

    def test_missing_variable(self) -> None:
        """A macro that cannot be replaced is an error of its own text."""
        (error,) = errors_of('http.allowed-endpoint = [{ if = "a", then = "%{env:NO}%" }, { else = "404" }]')
        self.assertEqual(error.key, "http.allowed-endpoint[0].then")
        self.assertIn("NO", error.wanted)

    def test_null(self) -> None:
        """JSON's null is no expression."""
        (error,) = errors_of('{"Http": {"allowedEndpoints": null}}', file=JSON_FILE)
        self.assertEqual((error.key, error.found), ("Http.allowedEndpoints", "null"))


TEXTS = st.sampled_from(["", " ", "a", "200", "%{env:X}%", "if", "\udcff"])
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-5, 5), st.booleans(), st.none(), st.just(1.5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["if", "then", "else", "match", "0", "1", "01", "x"]), inner, max_size=4),
    ),
    max_leaves=8,
)


class AnyRuleTests(SynchronousTestCase):
    """Whatever stands there."""

    @given(VALUES)
    @settings(deadline=None, max_examples=300)
    def test_rule_or_errors(self, value: object) -> None:
        """It is a rule with a text everywhere, or an error below its key; it shows as a rule that reads the same."""
        try:
            document = json.dumps({"Http": {"allowedEndpoints": value}})
            found = load_text(document, file=JSON_FILE)
        except ConfigErrors as errors:
            for error in errors.errors:
                self.assertTrue(str(error).isprintable())
            return
        rule = found.http.allowed_endpoint
        texts = [rule.otherwise, *(text for clause in rule.clauses for text in (clause.if_, clause.then))]
        self.assertTrue(all(text.text.strip() and text.file == JSON_FILE and text.line == 1 for text in texts))
        (entry,) = [entry for entry in found.entries if entry.key == "http.allowed-endpoint"]
        again = load_text(json.dumps({"http": {"allowed-endpoint": entry.value}}), file=JSON_FILE)
        self.assertEqual(plain(again.http.allowed_endpoint), plain(rule))
