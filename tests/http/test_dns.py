"""DNS answers as values: what each type gives, how long it is kept, and how servers fail."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSServerError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from stalwart.expr import EvalError
from stalwart.http import dns as answers
from stalwart.http.dns import LONGEST_KEPT, QUERY_SECONDS, DnsAnswers


def record(payload: Any, ttl: int = 60, name: bytes = b"a.example") -> dns.RRHeader:
    """A record of an answer."""
    return dns.RRHeader(name=name, type=payload.TYPE, ttl=ttl, payload=payload)


class Servers:
    """Keeps queries until the test answers them."""

    def __init__(self) -> None:
        self.queries: list[tuple[str, int]] = []
        self.waiting: list[Deferred[Any]] = []

    def query(self, query: dns.Query, timeout: Sequence[int] | None = None) -> Deferred[Any]:
        """See `Resolver`."""
        self.queries.append((query.name.name.decode(), query.type))
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def answer(self, *records: dns.RRHeader, authority: Sequence[dns.RRHeader] = ()) -> None:
        """Answer the oldest query."""
        self.waiting.pop(0).callback((list(records), list(authority), []))

    def deny(self, error: type[Exception], *authority: dns.RRHeader, code: int = dns.ENAME) -> None:
        """Refuse the oldest query."""
        message = dns.Message(rCode=code)
        message.authority = list(authority)
        self.waiting.pop(0).errback(Failure(error(message)))


class DnsTests(SynchronousTestCase):
    """`DnsAnswers` over servers of the test."""

    def setUp(self) -> None:
        """Servers that are silent."""
        self.clock = Clock()
        self.servers = Servers()
        self.dns = DnsAnswers(lambda: self.servers, self.clock)

    def ask(self, name: str, kind: str) -> Deferred[object]:
        """A query that has to be asked."""
        found = self.dns.ask(name, kind)
        assert isinstance(found, Deferred), found
        return found

    def test_types(self) -> None:
        """Each type gives its texts; aliases on the way are left out."""
        soa = record(dns.Record_SOA(b"ns.example", b"x.example", minimum=30))
        alias = record(dns.Record_CNAME(b"b.example"))
        four, six = record(dns.Record_A("192.0.2.7")), record(dns.Record_AAAA("2001:db8::7"))
        for kind, name, answered, expected in (
            ("ipv4", "a.example", [[alias, four]], ("192.0.2.7",)),
            ("ipv6", "A.Example.", [[six]], ("2001:db8::7",)),
            ("ip", "a.example", [[four], [six]], ("192.0.2.7", "2001:db8::7")),
            ("ip", "b.example", [[four], [soa]], ("192.0.2.7",)),
            (
                "mx",
                "a.example",
                [[record(dns.Record_MX(20, b"Two.example")), record(dns.Record_MX(10, b"one.example"))]],
                ("one.example", "two.example"),
            ),
            ("txt", "a.example", [[record(dns.Record_TXT(b"v=spf1 ", b"-all"))]], ("v=spf1 -all",)),
            ("ptr", "192.0.2.7", [[record(dns.Record_PTR(b"host.example"))]], ("host.example",)),
            ("txt", "empty.example", [[]], ""),
        ):
            waiting = self.ask(name, kind)
            for records in answered:
                self.servers.answer(*records)
            self.assertEqual(self.successResultOf(waiting), expected, kind)
        self.assertIn(("7.2.0.192.in-addr.arpa", dns.PTR), self.servers.queries)
        self.assertIn(("a.example", dns.AAAA), self.servers.queries)

    def test_international(self) -> None:
        """A name with other letters is asked for by its A-labels."""
        self.ask("bücher.example", "mx")
        self.assertEqual(self.servers.queries, [("xn--bcher-kva.example", dns.MX)])

    def test_impossible_names(self) -> None:
        """What can't be a name has no records, and nobody is asked."""
        for name in ("", ".", "a..b", "a" * 64 + ".example", ".".join(["abc"] * 64), "\ud800"):
            self.assertEqual(self.dns.ask(name, "ip"), "", name)
        self.assertEqual(self.servers.queries, [])

    def test_unknown_type(self) -> None:
        """A type that isn't known is an error."""
        with self.assertRaises(EvalError):
            self.dns.ask("a.example", "srv")

    def test_kept(self) -> None:
        """An answer is kept for its shortest TTL, an hour at most, then asked for again."""
        for ttls, seconds in (((60, 20), 20), ((10**6,), LONGEST_KEPT), ((0,), 1)):
            waiting = self.ask("a.example", "ipv4")
            self.servers.answer(*(record(dns.Record_A("192.0.2.7"), ttl=ttl) for ttl in ttls))
            self.successResultOf(waiting)
            self.clock.advance(seconds - 0.5)
            self.assertTrue(self.dns.ask("a.example", "ipv4"))
            self.assertNotIsInstance(self.dns.ask("a.example", "ipv4"), Deferred)
            self.clock.advance(0.5)
        self.ask("a.example", "ipv4")

    def test_denial(self) -> None:
        """No such name and no such records are answers, kept for as long as the zone says."""
        soa = record(dns.Record_SOA(b"ns.example", b"x.example", minimum=40), ttl=100)
        for deny, seconds in (
            (lambda: self.servers.deny(DNSNameError, soa), 40),
            (lambda: self.servers.deny(DNSNameError), 30),
            (lambda: self.servers.answer(authority=[soa]), 40),
        ):
            waiting = self.ask("no.example", "mx")
            deny()
            self.assertEqual(self.successResultOf(waiting), "")
            self.clock.advance(seconds - 1)
            self.assertEqual(self.dns.ask("no.example", "mx"), "")
            self.clock.advance(1)

    def test_failures(self) -> None:
        """A server that fails, and silence, are errors that say so, and aren't kept."""
        waiting = self.ask("a.example", "ipv4")
        self.servers.deny(DNSServerError, code=dns.ESERVER)
        self.assertIn("SERVFAIL", self.failureResultOf(waiting, EvalError).getErrorMessage())
        waiting = self.ask("a.example", "ip")
        self.clock.advance(QUERY_SECONDS)
        self.assertIn("in time", self.failureResultOf(waiting, EvalError).getErrorMessage())

    def test_half_failed(self) -> None:
        """If one of the two families can't be told, nothing is."""
        waiting = self.ask("a.example", "ip")
        self.servers.answer(record(dns.Record_A("192.0.2.7")))
        self.servers.deny(DNSServerError, code=dns.EREFUSED)
        self.assertIn("REFUSED", self.failureResultOf(waiting, EvalError).getErrorMessage())

    def test_shared(self) -> None:
        """Who asks the same meanwhile shares the query, and one that leaves doesn't take it from the others."""
        first, second = self.ask("a.example", "ipv4"), self.ask("a.example", "ipv4")
        self.assertEqual(len(self.servers.queries), 1)
        first.addErrback(lambda _: None)
        first.cancel()
        self.servers.answer(record(dns.Record_A("192.0.2.7")))
        self.assertEqual(self.successResultOf(second), ("192.0.2.7",))

    def test_bounded(self) -> None:
        """So many queries at once and no more; so many answers are kept, the latest used."""
        self.dns = DnsAnswers(lambda: self.servers, self.clock)
        for number in range(answers.MOST_AT_ONCE + 1):
            self.ask(f"h{number}.example", "ipv4")
        self.assertEqual(len(self.servers.queries), answers.MOST_AT_ONCE)
        self.servers.answer(record(dns.Record_A("192.0.2.7")))
        self.assertEqual(len(self.servers.queries), answers.MOST_AT_ONCE + 1)
        self.patch(answers, "MOST_KEPT", 2)
        while self.servers.waiting:
            self.servers.answer(record(dns.Record_A("192.0.2.7"), ttl=1000))
        self.assertEqual(len(self.dns._kept), 2)

    def test_nobody_waits(self) -> None:
        """A query whose turn hasn't come is dropped when nobody waits for it any more; one that came back is asked."""
        for number in range(answers.MOST_AT_ONCE):
            self.ask(f"h{number}.example", "ipv4")
        for _ in range(2):
            first, second = self.ask("late.example", "ipv4"), self.ask("late.example", "ipv4")
            for leaving in (first, second):
                leaving.addErrback(lambda _: None)
                leaving.cancel()
            self.assertEqual((len(self.dns._queued), len(self.dns._waiting)), (0, answers.MOST_AT_ONCE))
        again = self.ask("late.example", "ipv4")
        for _ in range(answers.MOST_AT_ONCE + 1):
            self.servers.answer(record(dns.Record_A("192.0.2.7")))
        self.assertEqual(self.servers.queries.count(("late.example", dns.A)), 1)
        self.assertEqual(self.successResultOf(again), ("192.0.2.7",))

    def test_one_makes_another_leave(self) -> None:
        """Whoever is told the answer may have others leave who wait for the same one."""
        first, second = self.ask("a.example", "ipv4"), self.ask("a.example", "ipv4")
        told: list[object] = []
        for one, other in ((first, second), (second, first)):
            one.addCallbacks(told.append, lambda _: None)
            one.addCallback(lambda _, other: other.cancel(), other)
        self.servers.answer(record(dns.Record_A("192.0.2.7")))
        self.assertEqual(told, [("192.0.2.7",)])
        self.assertTrue(first.called and second.called)

    def test_many_fail_at_once(self) -> None:
        """However many wait for their turn, a network that goes away fails them all."""
        waiting = [self.ask(f"h{number}.example", "mx") for number in range(2000)]
        self.servers.query = lambda query, timeout=None: fail(OSError("no network"))  # type: ignore[method-assign]
        for _ in range(answers.MOST_AT_ONCE):
            self.servers.deny(DNSServerError, code=dns.ESERVER)
        for one in waiting:
            self.failureResultOf(one, EvalError)

    def test_no_resolver(self) -> None:
        """A resolver that refuses at once is a failure too."""
        self.servers.query = lambda query, timeout=None: fail(OSError("no network"))  # type: ignore[method-assign]
        self.assertIn("no network", self.failureResultOf(self.ask("a.example", "mx"), EvalError).getErrorMessage())

    @settings(deadline=None, max_examples=200)
    @given(name=st.text(max_size=300), kind=st.sampled_from(["ip", "mx", "txt", "ptr"]))
    def test_any_name(self, name: str, kind: str) -> None:
        """Whatever text is given for a name, it is asked for in a form that goes on the wire, or has no records."""
        servers = Servers()
        found = DnsAnswers(lambda: servers, Clock()).ask(name, kind)
        self.assertEqual(isinstance(found, Deferred), bool(servers.queries))
        for asked, number in servers.queries:
            written = io.BytesIO()
            dns.Query(asked.encode("ascii"), number, dns.IN).encode(written)
            self.assertLessEqual(len(written.getvalue()), 259)
