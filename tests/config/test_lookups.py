"""The tables `lookup`, and what else rules can ask by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import RuleNames, RuleText, UsedStore, load
from stalwart.config.show import as_text
from tests.config.support import FILE, JSON_FILE, errors_of, load_text, reader

STORES = """\
[store.data]
type = "sqlite"
path = "/data/db.sqlite"
[store.staff]
type = "sqlite"
path = "/data/staff.sqlite"
[storage]
data = "data"
"""


class LookupTests(SynchronousTestCase):
    """`[lookup.<store>]`."""

    def test_values(self) -> None:
        """Texts, numbers and booleans become texts, macros are expanded; hostname and domain are there anyway."""
        text = (
            '[lookup.default]\nhostname = "x.example"\n[lookup.b]\n[lookup.a]\nn = 5\nyes = true\n"k k" = "%{env:V}%"\n'
        )
        settings = load_text(text, {"V": "w"})
        self.assertEqual(
            settings.rule_names.lookups,
            {
                "default": {"hostname": "x.example", "domain": "example"},
                "a": {"n": "5", "yes": "1", "k k": "w"},
                "b": {},
            },
        )
        self.assertIn('lookup = { default = { hostname = "x.example" }', as_text(settings))
        self.assertEqual(
            load_text("").rule_names.lookups, {"default": {"hostname": "here.example", "domain": "example"}}
        )

    def test_json(self) -> None:
        """The same in JSON."""
        settings = load_text('{"lookup": {"a": {"k": "v"}}}', file=JSON_FILE)
        self.assertEqual(settings.rule_names.lookups["a"], {"k": "v"})

    def test_errors(self) -> None:
        """What is no table of keys and values; each fault with its place."""
        for text, key in (
            ("lookup = 5", "lookup"),
            ("[lookup]\nx = 5", "lookup.x"),
            ("[lookup.x]\nk = [1]", "lookup.x.k"),
            ("[lookup.x.k]\ndeep = 1", "lookup.x.k"),
            ('[lookup.x]\nk = "%{env:NONE}%"', "lookup.x.k"),
        ):
            self.assertEqual([error.key for error in errors_of(text)], [key], text)
        (error,) = errors_of(f'[lookup.x]\n{"k" * 300} = "v"')
        self.assertIn("at most 256 octets", error.wanted)


class AskedStoreTests(SynchronousTestCase):
    """Databases that rules ask."""

    def test_names(self) -> None:
        """The check is told of every lookup store and database; a store that a rule asks is used."""
        seen: list[RuleNames] = []

        def check(rule: RuleText, wanted: Literal["status", "text"], names: RuleNames) -> Iterator[UsedStore]:
            seen.append(names)
            yield UsedStore(id="staff")

        settings = load(FILE, {}, read=reader({FILE: STORES.encode()}), check_rule=check)
        self.assertEqual(seen[0].databases, {"data": "/data/db.sqlite", "staff": "/data/staff.sqlite"})
        self.assertEqual(settings.warnings, ())
        self.assertEqual([warning.key for warning in load_text(STORES).warnings], ["store.staff"])
