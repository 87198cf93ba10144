"""The answers to lookups, over a real store, and what the check says of lookups that can't be answered."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Coroutine
from contextlib import closing
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from stalwart.config import RuleFault, RuleNames, UsedStore
from stalwart.expr import EvalError, Value, compile_rule
from stalwart.http.dns import DnsAnswers
from stalwart.http.evaluation import Evaluator
from stalwart.http.kept import Kept
from stalwart.http.lookups import ServerAnswers, WithoutWriting
from stalwart.http.rules import check_rule
from stalwart.ops.metrics import Metrics, metric_names
from stalwart.store import ReadOnlyDatabase, StoreError, add_alias, create_list, foreign
from tests.http.test_rules import rule
from tests.store.bed import StoreTestCase
from tests.test_housekeeping import HereAndNow

LOOKUPS = {"default": {"hostname": "mail.example.org"}, "visits": {}}


def no_resolver() -> Any:
    """There is no DNS here."""
    raise OSError("no network")


class AnswerTests(StoreTestCase):
    """Every function but `dns_query`, which has tests of its own."""

    def setUp(self) -> None:
        """A store, and a database of somebody else's."""
        super().setUp()
        other = os.path.join(self.folder, "other.sqlite")
        connection = sqlite3.connect(other)
        connection.execute("CREATE TABLE person (name TEXT, age INTEGER, photo BLOB)")
        rows = [("ada", 36, None), ("bob", 41, b"\x00"), ("o'hara", None, None)]
        connection.executemany("INSERT INTO person VALUES (?, ?, ?)", rows)
        connection.commit()
        connection.close()
        self.clock = Clock()
        self.pool = HereAndNow()
        self.metrics = Metrics("0")
        names = RuleNames(lookups=LOOKUPS, databases={"hr": other, "gone": other + ".none"})
        databases = {name: ReadOnlyDatabase(path) for name, path in names.databases.items()}
        self.answers = ServerAnswers(
            {"a.b": "c"},
            names,
            databases=databases,
            store=self.store,
            kept=Kept(self.store, self.pool, self.clock),
            dns=DnsAnswers(no_resolver, self.clock),
            pool=self.pool,
            metrics=self.metrics,
            reactor=self.clock,
        )
        for database in databases.values():
            self.addCleanup(database.close)

    def value(self, text: str, **variables: object) -> Value:
        """The value of an expression."""
        found = Evaluator(compile_rule([], text), self.answers, self.clock).start(variables)
        if isinstance(found, Coroutine):
            result: Value = self.successResultOf(Deferred.fromCoroutine(found))
            return result
        return found

    def fails(self, text: str, **variables: object) -> str:
        """How the evaluation of an expression fails."""
        try:
            found = Evaluator(compile_rule([], text), self.answers, self.clock).start(variables)
        except EvalError as error:
            return str(error)
        assert isinstance(found, Coroutine), found
        return str(self.failureResultOf(Deferred.fromCoroutine(found), EvalError).value)

    def test_facts(self) -> None:
        """Settings are answered from memory."""
        self.assertEqual(self.value("config_get('a.b')"), "c")
        self.assertEqual(self.pool.runs, 0)

    def test_local_domain(self) -> None:
        """With and without a directory, whatever the case; what is no domain is not local."""
        self.assertEqual(self.value("is_local_domain('Example.ORG')"), 1)
        self.assertEqual(self.value("is_local_domain('*', 'example.org')"), 1)
        self.assertEqual(self.value("is_local_domain('default', 'example.net')"), 0)
        self.assertEqual(self.value("is_local_domain('..')"), 0)
        self.assertIn("no directory 'sql'", self.fails("is_local_domain(method, 'example.org')", method="sql"))

    def test_local_address(self) -> None:
        """Accounts, aliases, tags and mailing lists are local."""
        with self.store.write() as session:
            create_list(session, "all@example.org", owner="ada@example.org")
            add_alias(session, self.account_id, "hostmaster@example.org")
        for text, expected in (
            ("is_local_address('ADA+x@example.org')", 1),
            ("is_local_address('default', 'hostmaster@example.org')", 1),
            ("is_local_address('All@example.org')", 1),
            ("is_local_address('bob@example.org')", 0),
            ("is_local_address('ada')", 0),
        ):
            self.assertEqual(self.value(text), expected, text)

    def test_keys(self) -> None:
        """The configuration's values come first and can't be set; the others can."""
        self.assertEqual(self.value("key_get('default', 'hostname')"), "mail.example.org")
        self.assertEqual(self.value("key_exists('default', 'hostname')"), 1)
        self.assertIn("configuration", self.fails("key_set('default', 'host' + method, 1)", method="name"))
        self.assertEqual(self.value("[key_get('visits', 'x'), key_exists('visits', 'x')]"), ("", 0))
        self.assertEqual(self.value("key_set('visits', 'x', 5 + 1)"), 1)
        self.assertEqual(self.value("[key_get('visits', 'x'), key_exists('visits', 'x')]"), ("6", 1))
        self.assertEqual(self.pool.runs, 0)

    def test_counters(self) -> None:
        """A counter begins at 0, and gives its sum; a rule can count whom it asks for."""
        self.assertEqual(self.value("counter_get('visits', 'x')"), 0)
        found = [self.value("counter_incr('visits', remote_ip, 2)", remote_ip="192.0.2.7") for _ in range(2)]
        self.assertEqual(found, [2, 4])
        self.assertEqual(self.value("counter_get('visits', '192.0.2.7')"), 4)
        self.assertIn("'elsewhere'", self.fails("counter_get(method, 'x')", method="elsewhere"))

    def test_without_writing(self) -> None:
        """A rule can be asked what it would give without counting or keeping anything."""
        self.value("counter_incr('visits', 'x', 2)")
        rehearsed = WithoutWriting(self.answers)
        text = (
            "[counter_incr('visits', 'x', 3), key_set('visits', 'k', 'v'), key_get('visits', 'k'), config_get('a.b')]"
        )
        for _ in range(2):
            found = Evaluator(compile_rule([], text), rehearsed, self.clock).start({})
            self.assertEqual(found, (5, 1, "", "c"))
        self.assertEqual(self.value("counter_get('visits', 'x')"), 2)

    def test_sql(self) -> None:
        """A cell, a row, a column or all; arguments are bound, never pasted."""
        one = "sql_query('hr', 'SELECT age FROM person WHERE name = ?', method)"
        self.assertEqual(self.value(one, method="ada"), 36)
        self.assertEqual(self.value(one, method="o'hara"), "")
        self.assertEqual(self.value(one, method="' OR 1=1 --"), "")
        self.assertEqual(self.value("sql_query('hr', 'SELECT name, age FROM person WHERE age < ?', [40])"), ("ada", 36))
        self.assertEqual(self.value("sql_query('hr', 'SELECT name FROM person LIMIT 2', [])"), ("ada", "bob"))
        self.assertEqual(
            self.value("sql_query('hr', 'SELECT name, age FROM person WHERE age > ? AND age < ?', [1, 99])"),
            (("ada", 36), ("bob", 41)),
        )

    def test_sql_failures(self) -> None:
        """Wrong SQL, a missing file, a blob, too many rows and too much time are failures that say so."""
        for text, reason in (
            ("sql_query('hr', 'SELECT x FROM person', [])", "no such column"),
            ("sql_query('hr', 'SELECT name FROM person WHERE age = ?', [])", "bindings"),
            ("sql_query('gone', 'SELECT 1', [])", "can't be opened"),
            ("sql_query('hr', 'SELECT photo FROM person', [])", "blob"),
            ("sql_query('hr', 'SELECT 1; SELECT 2', [])", "one statement"),
            ("sql_query(method, 'SELECT 1', [])", "no [store.<id>]"),
        ):
            self.assertIn(reason, self.fails(text, method="x"), text)
        counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
        self.assertIn("more than 100 rows", self.fails(f"sql_query('hr', '{counting}', [])"))
        self.patch(foreign, "QUERY_SECONDS", 0.01)
        self.assertIn("took more than", self.fails(f"sql_query('hr', '{counting} WHERE i < 0', [])"))

    def test_sql_only_reads(self) -> None:
        """Nothing can be written or attached, whatever the text says."""
        for query in ("INSERT INTO person VALUES (1, 2, 3)", "DELETE FROM person", "ATTACH 'x.sqlite' AS x"):
            self.assertTrue(self.fails(f'sql_query("hr", "{query}", [])'), query)
        self.assertEqual(self.value("sql_query('hr', 'SELECT count(*) FROM person', [])"), 3)
        self.assertFalse(os.path.exists("x.sqlite"))

    def test_sql_file_replaced(self) -> None:
        """A file that is moved into the place of the old one is asked from then on; one that is gone is told."""
        count = "sql_query('hr', 'SELECT count(*) FROM person', [])"
        self.assertEqual(self.value(count), 3)
        path = os.path.join(self.folder, "other.sqlite")
        with closing(sqlite3.connect(path + ".new")) as connection:
            connection.execute("CREATE TABLE person (name TEXT)")
        os.replace(path + ".new", path)
        self.assertEqual(self.value(count), 0)
        os.unlink(path)
        self.assertIn("can't be opened", self.fails(count))

    def test_metric(self) -> None:
        """The sum of a metric's series, at most a second old."""
        self.metrics.sign_ins.labels("ok").inc(2)
        self.metrics.sign_ins.labels("failed").inc(3)
        self.assertEqual(self.value("metric('stalwart_sign_ins_total')"), 5)
        self.metrics.sign_ins.labels("ok").inc()
        self.assertEqual(self.value("metric('stalwart_sign_ins_total')"), 5)
        self.clock.advance(1)
        self.assertEqual(self.value("metric('stalwart_sign_ins_total')"), 6)
        self.assertIn("no metric", self.fails("metric('x')"))
        self.assertLess({"stalwart_connections", "stalwart_store_seconds_count"}, metric_names())

    def test_store_fails(self) -> None:
        """A store that can't answer is a failure of the evaluation."""
        self.pool.error = StoreError("the disk failed")
        self.assertEqual(self.fails("is_local_domain('example.org')"), "the disk failed")

    def test_dns_fails(self) -> None:
        """So is a resolver that can't be had."""
        self.assertIn("no network", self.fails("dns_query('example.org', 'mx')"))

    def test_check(self) -> None:
        """What can't be answered is an error with a caret before the start; the stores that are asked are told."""
        names = RuleNames(lookups=LOOKUPS, databases={"hr": "x"})
        for text, reason, at in (
            ("key_get('defualt', 'x')", 'Did you mean "default"', "'defualt'"),
            ("counter_incr('new', 'x', 1)", "[lookup.new]", "'new'"),
            ("key_set('default', 'hostname', 'x')", "configuration sets", "'hostname'"),
            ("is_local_domain('sql', 'x')", "no directory", "'sql'"),
            ("sql_query('rh', 'SELECT 1', [])", 'named "rh"', "'rh'"),
            ("sql_query('hr', 'DROP TABLE x', [])", "no SELECT", "'DROP TABLE x'"),
            ("sql_query('hr', 'SELECT ' + url, [])", "text in quotes", "'SELECT ' + url"),
            ("metric('stalwart_sign_ins')", 'Did you mean "stalwart_sign_ins_total"', "metric('stalwart_sign_ins')"),
        ):
            [fault] = check_rule(rule(f"{text} == 1", "404", "200"), "status", names)
            assert isinstance(fault, RuleFault)
            self.assertTrue(fault.is_error)
            self.assertIn(reason, fault.text)
            self.assertEqual(fault.text.count("^"), len(at) if "metric" not in text else len("'stalwart_sign_ins'"))
        sound = rule("sql_query('hr', ' select 1', []) == key_get('visits', 'x')", "404", "200")
        self.assertEqual(list(check_rule(sound, "status", names)), [UsedStore(id="hr")])
