"""Configurations in JSON: read as those in TOML, with lines and errors of their own."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import ConfigErrors
from stalwart.config.json_lines import KeyTwice, json_lines
from stalwart.config.show import as_text, as_values
from tests.config.support import JSON_FILE, errors_of, load_text
from tests.config.test_lines import paths

VALID = """\
{
  "log-level": "debug",
  "server": {"hostname": "mail.example.org", "listener": {
    "http": {"protocol": "http", "bind": ["127.0.0.1:80",
                                          "[::1]:80"]}}},
  "Http": {
    "allowedEndpoints": {"match": {"0": {"if": "is_tls", "then": "200"}}, "else": "404"},
    "enableHsts": true, "responseHeaders": {"X-A": "b"}
  }
}
"""


class LineTests(SynchronousTestCase):
    """On which line each key stands."""

    def test_example(self) -> None:
        """Objects, arrays, and texts with every mark in them."""
        text = '{"a": [1,\n {"b\\u0041": "}],:\\""}\n,2], "c": {}, "d":\n []}'
        self.assertEqual(
            json_lines(text),
            {("a",): 1, ("a", 0): 1, ("a", 1): 2, ("a", 1, "bA"): 2, ("a", 2): 3, ("c",): 3, ("d",): 3},
        )

    def test_key_twice(self) -> None:
        """The same key again, in one object; in another it is another key."""
        self.assertEqual(self.assertRaises(KeyTwice, json_lines, '{"a": 1,\n"\\u0061": 2}').line, 2)
        json_lines('[{"a": {"a": 1}}, {"a": 1}]')

    @given(
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
            lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(max_size=4), inner)),
            max_leaves=20,
        ),
        st.sampled_from([None, 0, 2]),
        st.booleans(),
    )
    @settings(deadline=None, max_examples=200)
    def test_same_keys_as_json(self, value: object, indent: int | None, ascii_: bool) -> None:
        """There is a line for every key and element that json finds, and for nothing else."""
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_)
        found = json_lines(text)
        self.assertEqual(set(found), set(paths(value)))
        self.assertTrue(all(1 <= line <= text.count("\n") + 1 for line in found.values()))


class FileTests(SynchronousTestCase):
    """Whole files."""

    def sole_error(self, data: bytes | str) -> tuple[int | None, str]:
        (error,) = errors_of(data, file=JSON_FILE)
        return error.line, str(error)

    def test_right_file(self) -> None:
        """All settings can stand in JSON, and each has its line."""
        found = load_text(VALID, file=JSON_FILE)
        self.assertEqual(
            (found.log_level, found.hostname, len(found.listeners[0].bind)), ("debug", "mail.example.org", 2)
        )
        self.assertEqual(found.http.headers, (("X-A", "b"),))
        self.assertTrue(found.http.hsts_enabled)
        self.assertEqual(found.http.allowed_endpoint.otherwise.line, 7)
        lines = {entry.key: entry.origin.line for entry in found.entries if entry.origin.kind == "file"}
        self.assertEqual((lines["http.hsts"], lines["http.headers"], lines["log-level"]), (8, 8, 2))

    def test_name_decides(self) -> None:
        """A file is JSON by its name, in any case; elsewhere JSON is a syntax error."""
        self.assertEqual(load_text("{}", file="/X.JSON").log_level, "info")
        self.assertIn("TOML", str(errors_of("{}")[0]))

    def test_errors(self) -> None:
        """Errors name the line and the key as in TOML."""
        text = '{"server": {\n"hostname": 3,\n"listener": {"a": {"protocol": "http",\n"bind": ["x", "127.0.0.1:1"]}}}}'
        self.assertEqual(
            [(error.line, error.key) for error in errors_of(text, file=JSON_FILE)],
            [(2, "server.hostname"), (4, "server.listener.a.bind[0]")],
        )

    def test_no_json(self) -> None:
        """What is no JSON, or no object, or says one thing twice."""
        self.assertEqual(self.sole_error('{"a":\n 1,}')[0], 2)
        self.assertIn("JSON (RFC 8259)", self.sole_error("{")[1])
        self.assertIn("an object", self.sole_error("[]")[1])
        self.assertIn("an object", self.sole_error("3")[1])
        self.assertEqual(self.sole_error('{"log-level": "info",\n"log-level": "warn"}')[0], 2)
        self.assertIn("NaN", self.sole_error('{"a": NaN}')[1])
        self.assertIn("surrogate", self.sole_error('{"a": "\\ud800"}')[1])
        self.assertIn("digits", self.sole_error('{"a": ' + "9" * 5000 + "}")[1])
        self.assertIn("nested too deeply", self.sole_error("[" * 100_000)[1])

    def test_only_an_optional_setting_can_be_null(self) -> None:
        """Null switches off what can be switched off; elsewhere it is an error."""
        self.assertIsNone(load_text('{"http": {"url": null}}', file=JSON_FILE).http.url)
        self.assertIn("null", self.sole_error('{"Http": {"enableHsts": null}}')[1])
        self.assertIn("null", self.sole_error('{"http": null}')[1])

    @given(st.integers(0, len(VALID)), st.integers(0, 30), st.binary(max_size=4))
    @settings(deadline=None, max_examples=300)
    def test_damaged_file(self, start: int, length: int, octets: bytes) -> None:
        """A right file with a stretch replaced gives settings that can be shown, or errors."""
        data = VALID.encode()
        try:
            found = load_text(data[:start] + octets + data[start + length :], file=JSON_FILE)
        except ConfigErrors as errors:
            self.assertTrue(all(str(error).isprintable() for error in errors.errors))
            return
        json.dumps(list(as_values(found)))
        as_text(found)
