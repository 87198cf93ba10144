"""Rules with lookups in the real daemon, and `dns_query` against a DNS server on a real socket."""

from __future__ import annotations

import http.client
import sqlite3
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.names import dns, server
from twisted.names.authority import FileAuthority
from twisted.names.common import ResolverBase
from twisted.trial.unittest import SynchronousTestCase, TestCase

from stalwart.expr import EvalError, Lookup, compile_rule
from stalwart.http.dns import DnsAnswers, system_resolver
from stalwart.http.evaluation import Evaluator
from tests.live.daemon import Daemon

REACTOR: Any = reactor

# Each clause counts for one path, so that it is seen which lookup decided.
RULE = """
[http]
allow-loopback = false
url = "'https://' + key_get('default', 'public')"
allowed-endpoint = [
  { if = "path == '/key'", then = "if_then(key_get('visits', 'door') == 'open', 410, 403)" },
  { if = "path == '/open'", then = "if_then(key_set('visits', 'door', 'open'), 411, 403)" },
  { if = "path == '/count'", then = "400 + counter_incr('visits', remote_ip, 1)" },
  { if = "matches('^/domain/(.+)$', path)", then = "if_then(is_local_domain($1), 412, 413)" },
  { if = "matches('^/sql/(.+)$', path)", then = "sql_query('staff', 'SELECT status FROM person WHERE name = ?', $1)" },
  { if = "path == '/slow'", then = "sql_query('staff', 'SLOW', [])" },
  { else = "200" },
]
[lookup.default]
public = "mail.public.example"
[lookup.visits]
[store.staff]
type = "sqlite"
path = "PATH"
"""
SLOW = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def status(daemon: Daemon, path: str) -> int:
    """The status of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.http_port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


class LookupTests(SynchronousTestCase):
    """One daemon with a rule that asks for everything."""

    def test_rule(self) -> None:
        """Each lookup decides, a slow one denies, and what was kept is there after a start."""
        with tempfile.TemporaryDirectory() as home:
            other = Path(home) / "staff.sqlite"
            connection = sqlite3.connect(other)
            connection.execute("CREATE TABLE person (name TEXT, status INTEGER)")
            connection.execute("INSERT INTO person VALUES ('ada', 414)")
            connection.commit()
            connection.close()
            settings = RULE.replace("PATH", str(other)).replace("SLOW", SLOW)
            with Daemon.start(Path(home), extra_config=settings) as daemon:
                for path, expected in (
                    *(("/key", 403), ("/open", 411), ("/key", 410)),
                    *(("/count", 401), ("/count", 402)),
                    *(("/domain/example.org", 412), ("/domain/example.net", 413)),
                    *(("/sql/ada", 414), ("/sql/bob", 500), ("/slow", 500), ("/healthz/live", 200)),
                ):
                    self.assertEqual(status(daemon, path), expected, (path, daemon.log))
                self.assertIn("http.allowed-endpoint failed and denies", daemon.log)
                self.assertEqual(daemon.stop(), 0)
                daemon.run()
                self.assertEqual((status(daemon, "/key"), status(daemon, "/count")), (410, 403), daemon.log)


class DnsTests(TestCase):
    """`system_resolver` over UDP, with retries and failures as they come."""

    def setUp(self) -> None:
        """A server of one zone on a free port."""
        zone = _Zone(
            dns.Record_SOA(b"ns.test", b"x.test", minimum=60),
            {
                b"zone.test": [dns.Record_MX(10, b"mx.zone.test", ttl=60)],
                b"host.zone.test": [dns.Record_A("192.0.2.7", ttl=60), dns.Record_AAAA("2001:db8::7", ttl=60)],
            },
        )
        factory = server.DNSServerFactory(authorities=[zone])
        factory.noisy = False
        protocol = dns.DNSDatagramProtocol(factory)
        protocol.noisy = False
        self.port = REACTOR.listenUDP(0, protocol, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        servers = [("127.0.0.1", self.port.getHost().port)]
        self.resolver = system_resolver(REACTOR, servers)
        self.dns = DnsAnswers(lambda: self.resolver, REACTOR)
        self.addCleanup(self.dns.close)

    async def value(self, text: str) -> object:
        """The value of an expression."""
        found = Evaluator(compile_rule([], text), _DnsOnly(self.dns), REACTOR).start({})
        return await found if isinstance(found, Coroutine) else found

    async def test_answers(self) -> None:
        """Addresses, mail servers, and names that aren't there."""
        self.assertEqual(await self.value("dns_query('HOST.zone.test', 'ip')"), ("192.0.2.7", "2001:db8::7"))
        self.assertEqual(await self.value("dns_query('zone.test', 'mx')[0]"), "mx.zone.test")
        self.assertEqual(await self.value("dns_query('no.zone.test', 'ipv4')"), "")
        self.assertEqual(await self.value("dns_query('zone.test', 'txt')"), "")

    async def test_silence(self) -> None:
        """A server that isn't there is a failure within seconds."""
        await self.port.stopListening()
        with self.assertRaises(EvalError):
            await self.value("dns_query('host.zone.test', 'ipv4')")
        # Sockets of queries that were given up close by themselves.
        pause: Deferred[None] = Deferred()
        REACTOR.callLater(0, pause.callback, None)
        await pause


class _DnsOnly:
    def __init__(self, answers: DnsAnswers) -> None:
        self._answers = answers

    def ask(self, lookup: Lookup) -> object:
        """See `Answers`."""
        name, kind = map(str, lookup.arguments)
        return self._answers.ask(name, kind)


class _Zone(FileAuthority):
    """A zone without a file."""

    soa: Any
    records: Any

    def __init__(self, soa: dns.Record_SOA, records: Mapping[bytes, Sequence[object]]) -> None:
        ResolverBase.__init__(self)
        self.soa = (b"zone.test", soa)
        self.records = {**records, b"zone.test": [soa, *records[b"zone.test"]]}
