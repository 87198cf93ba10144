"""Rules that wait for lookups: in order, only what is reached, bounded in time and number."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stalwart.expr import EvalError, Lookup, compile_rule
from stalwart.http import Response, evaluation
from stalwart.http.evaluation import WAIT_SECONDS, Evaluator, TooManyWaiting
from stalwart.http.rules import RulePolicy, RuleUrl
from stalwart.http.settings import SiteSettings
from tests.http.bed import Bed
from tests.http.test_http2 import Client
from tests.http.test_rules import Asked, rule


class Oracle:
    """Answers at once what it knows, the rest when the test says so."""

    def __init__(self, **known: object) -> None:
        self.known = known
        self.asked: list[Lookup] = []
        self.waiting: list[Deferred[object]] = []
        self.cancelled = 0

    def ask(self, lookup: Lookup) -> object:
        """See `Answers`."""
        self.asked.append(lookup)
        key = str(lookup.arguments[-1])
        if key in self.known:
            answer = self.known[key]
            if isinstance(answer, Exception):
                raise answer
            return answer
        self.waiting.append(Deferred(self.cancel))
        return self.waiting[-1]

    def cancel(self, deferred: Deferred[object]) -> None:
        """Count it."""
        self.cancelled += 1


class EvaluatorTests(SynchronousTestCase):
    """`Evaluator` alone."""

    def setUp(self) -> None:
        """A clock and an oracle."""
        self.clock = Clock()
        self.oracle = Oracle(now="x")

    def start(self, *texts: str, **variables: object) -> Any:
        """The result, or a Deferred of it."""
        pairs = list(zip(texts[:-1:2], texts[1::2], strict=True))
        self.evaluator = Evaluator(compile_rule(pairs, texts[-1]), self.oracle, self.clock)
        return self.go(**variables)

    def go(self, **variables: object) -> Any:
        """Evaluate the rule once more."""
        found = self.evaluator.start(variables)
        return Deferred.fromCoroutine(found) if isinstance(found, Coroutine) else found

    def test_at_once(self) -> None:
        """Answers that are at hand make no coroutine."""
        self.assertEqual(self.start("key_get('s', 'now') == 'x'", "200", "404"), 200)

    def test_waits(self) -> None:
        """A later answer goes on where the evaluation stands, with its captures and variables."""
        waiting = self.start(
            "matches('^/(a+)$', path) && key_get('s', $1) == 'y'", "$1 + path + key_get('s', 'now')", "404", path="/aa"
        )
        self.assertNoResult(waiting)
        self.assertEqual([lookup.arguments for lookup in self.oracle.asked], [("s", "aa")])
        self.oracle.waiting[0].callback("y")
        self.assertEqual(self.successResultOf(waiting), "aa/aax")

    def test_short_circuit(self) -> None:
        """What the answer to the first makes pointless is never asked."""
        waiting = self.start("key_get('s', '1') || key_get('s', '2')", "200", "404")
        self.oracle.waiting[0].callback("yes")
        self.assertEqual(self.successResultOf(waiting), 200)
        self.assertEqual(len(self.oracle.asked), 1)

    def test_failures(self) -> None:
        """A lookup that fails, now or later, fails the evaluation; so does an answer of no known type."""
        self.oracle.known["bad"] = EvalError("no")
        with self.assertRaises(EvalError):
            self.start("key_get('s', 'bad')")
        waiting = self.start("key_get('s', 'later')")
        self.oracle.waiting[-1].errback(EvalError("late"))
        self.failureResultOf(waiting, EvalError)
        waiting = self.start("key_get('s', 'later')")
        self.oracle.waiting[-1].callback({"a": 1})
        self.failureResultOf(waiting, EvalError)

    def test_time_limit(self) -> None:
        """All lookups of one evaluation have one time limit, and its error names the last that was asked."""
        waiting = self.start("key_get('s', 'one') && key_get('s', 'two')")
        self.clock.advance(WAIT_SECONDS - 1)
        self.oracle.waiting[0].callback("y")
        self.assertNoResult(waiting)
        self.clock.advance(1)
        error = self.failureResultOf(waiting, EvalError).value
        self.assertIn("key_get('s', 'two')", str(error))
        self.assertEqual(self.oracle.cancelled, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bounded(self) -> None:
        """No more than so many wait; who leaves makes room; answers at hand are not affected."""
        self.patch(evaluation, "MOST_WAITING", 2)
        first = self.start("key_get('s', url)", url="a")
        self.go(url="b")
        with self.assertRaises(TooManyWaiting):
            self.go(url="c")
        self.assertEqual(self.oracle.cancelled, 1)
        self.assertEqual(self.go(url="now"), "x")
        first.addErrback(lambda _: None)
        first.cancel()
        self.assertNoResult(self.go(url="d"))


class PolicyTests(SynchronousTestCase):
    """A rule with lookups in a site."""

    def setUp(self) -> None:
        """A site whose rule asks for the path."""
        self.oracle = Oracle(**{"/hello": "200"})
        self.bed = Bed()
        policy = RulePolicy(rule("key_get('s', path)"), self.oracle, self.bed.clock, loopback_exempt=False)
        self.bed.site.settings = SiteSettings(policy=policy)

    def test_at_once(self) -> None:
        """Answers at hand decide at once."""
        self.assertEqual(self.bed.get("/hello").status, 200)

    def test_decides_later(self) -> None:
        """The request goes on, or is refused, when the answer is there."""
        for answer, status in (("200", 404), ("403", 403), ("nonsense", 500)):
            wire = self.bed.connect()
            wire.send(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertEqual(wire.answers(), [])
            self.oracle.waiting.pop().callback(answer)
            (found,) = wire.answers()
            self.assertEqual(found.status, status)

    def test_every_method(self) -> None:
        """OPTIONS waits for the rule too, and so does what follows it on the connection."""
        wire = self.bed.connect()
        wire.send(b"OPTIONS /later HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(wire.answers(), [])
        self.oracle.waiting.pop().callback("404")
        self.assertEqual([answer.status for answer in wire.answers()], [404, 200])

    def test_body_waits(self) -> None:
        """No body is asked for or read before the rule has spoken."""
        wire = self.bed.connect()
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(wire.answers(), [])
        self.oracle.waiting.pop().callback("200")
        self.assertEqual([answer.status for answer in wire.answers()], [100])
        wire.send(b"12345")
        self.assertEqual([answer.body for answer in wire.answers()], [b"12345"])
        wire = self.bed.connect()
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345")
        self.assertEqual(wire.answers(), [])
        self.oracle.waiting.pop().callback("403")
        self.assertEqual([answer.status for answer in wire.answers()], [403])

    def test_client_leaves(self) -> None:
        """The lookup of a client that has gone is cancelled, and nothing is logged as a failure."""
        wire = self.bed.connect()
        wire.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.hang_up()
        self.assertEqual(self.oracle.cancelled, 1)
        self.assertEqual([line["status"] for line in self.bed.log.lines], [499])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_too_late(self) -> None:
        """A rule whose lookup isn't answered in time denies with 500."""
        wire = self.bed.connect()
        wire.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        self.bed.clock.advance(WAIT_SECONDS)
        (found,) = wire.answers()
        self.assertEqual(found.problem()["status"], 500)

    def test_too_many(self) -> None:
        """Those who would be too many to wait are refused with 503."""
        self.patch(evaluation, "MOST_WAITING", 1)
        self.bed.connect().send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(self.bed.get("/b").status, 503)
        self.assertEqual(self.bed.get("/hello").status, 200)

    def test_http2(self) -> None:
        """Streams wait each for themselves, with and without a body; a reset one is cancelled."""
        client = Client(self.bed)
        waits = client.ask("/later")
        posts = client.ask("/echo", method="POST", body=b"12345")
        self.assertEqual(client.status[client.ask("/hello")], 200)
        self.assertEqual((set(client.status) & {waits, posts}, len(self.bed.later.waiting)), (set(), 0))
        first, second = self.oracle.waiting
        second.callback("200")
        client.pump()
        self.assertEqual((client.status[posts], client.body[posts]), (200, b"12345"))
        first.callback("200")
        client.pump()
        (later,) = self.bed.later.waiting
        later.callback(Response(body=b"x"))
        client.pump()
        self.assertEqual(client.status[waits], 200)
        client.h2.reset_stream(client.ask("/gone"))
        client.pump()
        self.assertEqual(self.oracle.cancelled, 1)

    def test_url(self) -> None:
        """`http.url` waits too; one that fails is left aside."""
        url = RuleUrl(rule("'https://' + key_get('s', 'host')"), self.oracle, self.bed.clock)
        waiting = Deferred.fromCoroutine(url(Asked()))
        self.assertNoResult(waiting)
        self.oracle.waiting.pop().callback("a.example")
        self.assertEqual(self.successResultOf(waiting), "https://a.example")
        failing = Deferred.fromCoroutine(url(Asked()))
        self.oracle.waiting.pop().errback(EvalError("no"))
        self.assertIsNone(self.successResultOf(failing))
