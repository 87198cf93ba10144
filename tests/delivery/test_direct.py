"""The way to the recipients' own servers, with a DNS of the test's own."""

from __future__ import annotations

import hashlib
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.names import dns
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone, ResponseFailed

from stalwart.config import RelaySettings
from stalwart.delivery.direct import DirectRoutes, Exchanger, may_reach
from stalwart.delivery.mail_dns import DnsAnswer, DnsFailed
from stalwart.delivery.mta_sts import BadPolicy, KeptPolicy, Policy, PolicyCache, _Body, read_policy, read_record
from stalwart.delivery.routes import RouteFailed, Target
from stalwart.delivery.sending import limits_for, make_sender
from stalwart.delivery.smtp_connection import Times
from tests.delivery.smtp_server import Authority, reactor
from tests.delivery.test_smtp_client import Bed, message, told

NXDOMAIN = DnsAnswer(exists=False)
POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx1.example.net\r\nmx: *.other.example\r\nmax_age: 1000\r\n"


def mx(*pairs: tuple[int, str], secure: bool = False) -> DnsAnswer:
    """MX records."""
    return DnsAnswer(payloads=tuple(dns.Record_MX(each, name) for each, name in pairs), is_secure=secure)


def a(*addresses: str, secure: bool = False, canonical: str | None = None) -> DnsAnswer:
    """A or AAAA records."""
    kinds = [dns.Record_AAAA if ":" in each else dns.Record_A for each in addresses]
    payloads = tuple(kind(each) for kind, each in zip(kinds, addresses, strict=True))
    return DnsAnswer(payloads=payloads, is_secure=secure, aliases=(canonical,) if canonical else ())


def txt(text: str) -> DnsAnswer:
    """A TXT record."""
    return DnsAnswer(payloads=(dns.Record_TXT(text.encode()),))


def tlsa(*records: bytes, secure: bool = True) -> DnsAnswer:
    """TLSA records."""
    return DnsAnswer(payloads=tuple(dns.UnknownRecord(each) for each in records), is_secure=secure)


class Dns:
    """Answers from a table; what isn't there has no records. An exception is raised."""

    def __init__(self, answers: Mapping[tuple[str, int], DnsAnswer | Exception]) -> None:
        self.answers = dict(answers)
        self.asked: list[tuple[str, int]] = []

    async def ask(self, name: str, kind: int) -> DnsAnswer:
        """See `MailDns`."""
        self.asked.append((name, kind))
        answer = self.answers.get((name, kind), DnsAnswer())
        if isinstance(answer, Exception):
            raise answer
        return answer


class NoPolicies:
    """No domain has one."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy

    async def of(self, domain: str) -> Policy | None:
        """See `Policies`."""
        return self.policy


class Keeps:
    """Keeps policies in a table."""

    def __init__(self, now: list[float]) -> None:
        self.now = now
        self.kept: dict[str, KeptPolicy] = {}
        self.full = False

    async def get(self, domain: str) -> KeptPolicy | None:
        """See `KeepsPolicies`."""
        kept = self.kept.get(domain)
        return kept if kept is not None and self.now[0] < kept.fetched_at + kept.policy.max_age else None

    async def put(self, domain: str, kept: KeptPolicy) -> None:
        """See `KeepsPolicies`."""
        if self.full:
            raise OSError("disk full")
        self.kept[domain] = kept


def result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine that never waits gives, or its exception."""
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)
    (value,) = found
    return value.value if hasattr(value, "value") and isinstance(value.value, Exception) else value


def find(
    answers: Mapping[tuple[str, int], DnsAnswer | Exception], policy: Policy | None = None, domain: str = "example.net"
) -> Any:
    """The targets for a domain, or the failure as its reply."""
    routes = DirectRoutes(
        hostname="mail.example.org",
        asked=Dns(answers),
        policies=NoPolicies(policy),
        shuffle=_unshuffled,
        # Addresses for documentation aren't public.
        may_reach=partial(may_reach, allow_private=True),
    )
    found = result(routes.find(domain))
    return (found.kind, str(found)[:10].strip()) if isinstance(found, RouteFailed) else found


def _unshuffled(exchangers: list[Exchanger]) -> None:
    exchangers.reverse()


def hosts(targets: tuple[Target, ...]) -> list[str]:
    """Their names."""
    return [target.host for target in targets]


ADDRESSES = {(f"mx{number}.example.net", dns.A): a(f"192.0.2.{number}") for number in (1, 2, 3)}


class ExchangerTests(SynchronousTestCase):
    """MX records."""

    def test_order(self) -> None:
        """RFC 5321 §5.1: by preference, those alike mixed; each with its addresses of both families."""
        answers = {
            ("example.net", dns.MX): mx((20, "mx1.example.net"), (10, "MX2.example.net"), (10, "mx3.example.net"))
        }
        both = {("mx2.example.net", dns.AAAA): a("2001:db8::2")}
        targets = find(answers | ADDRESSES | both)
        self.assertEqual(hosts(targets), ["mx3.example.net", "mx2.example.net", "mx1.example.net"])
        self.assertEqual(targets[1].addresses, ("2001:db8::2", "192.0.2.2"))
        self.assertEqual({(each.tls, each.names, each.port) for each in targets}, {("offered", (), 25)})

    def test_no_mx(self) -> None:
        """RFC 5321 §5.1: the domain itself then; RFC 7505: not if it says that it takes no mail."""
        self.assertEqual(hosts(find({("example.net", dns.A): a("192.0.2.9")})), ["example.net"])
        self.assertEqual(find({("example.net", dns.MX): mx((0, ""))}), ("permanent", "556 5.1.10"))
        self.assertEqual(find({("example.net", dns.MX): NXDOMAIN}), ("permanent", "550 5.1.2"))
        self.assertEqual(find({}), ("permanent", "550 5.4.4"))
        self.assertEqual(find({}, domain="a..b"), ("permanent", "550 5.1.2"))
        self.assertEqual(find({}, domain="bücher.example"), ("permanent", "550 5.1.2"))

    def test_trouble(self) -> None:
        """Servers that don't answer are for now; another exchanger that is known is tried all the same."""
        broken = DnsFailed("no DNS server answered")
        self.assertEqual(find({("example.net", dns.MX): broken}), ("temporary", "451 4.4.3"))
        answers = {("example.net", dns.MX): mx((1, "mx1.example.net"), (2, "mx2.example.net"))}
        self.assertEqual(hosts(find(answers | ADDRESSES | {("mx1.example.net", dns.A): broken})), ["mx2.example.net"])
        self.assertEqual(find(answers | {("mx1.example.net", dns.A): broken}), ("temporary", "451 4.4.3"))
        # Some DNS servers never answer for AAAA; where DANE may count, that could be an attack (RFC 7672 §2.1.2).
        for secure, wanted in ((False, ["mx1.example.net"]), (True, ["mx2.example.net"])):
            pairs = ((1, "mx1.example.net"), (2, "mx2.example.net"))
            exchangers = {("example.net", dns.MX): mx(*pairs, secure=secure)}
            targets = find(exchangers | ADDRESSES | {("mx1.example.net", dns.AAAA): broken})
            self.assertEqual(hosts(targets)[: len(wanted)], wanted)

    def test_loops(self) -> None:
        """RFC 5321 §5.1: we and those behind us are left out; addresses that are this machine aren't connected to."""
        pairs = ((10, "mx1.example.net"), (20, "mail.example.org"), (20, "mx2.example.net"), (30, "mx3.example.net"))
        self.assertEqual(hosts(find({("example.net", dns.MX): mx(*pairs)} | ADDRESSES)), ["mx1.example.net"])
        self.assertEqual(find({("example.net", dns.MX): mx(*pairs[1:])} | ADDRESSES), ("permanent", "554 5.4.6"))
        for address in ("127.0.0.1", "0.0.0.0", "::1", "::ffff:127.0.0.1"):
            self.assertFalse(may_reach(address, allow_private=True), address)
            kind = dns.AAAA if ":" in address else dns.A
            self.assertEqual(find({("example.net", kind): a(address)}), ("permanent", "550 5.4.4"))
        self.assertEqual(find({("example.net", dns.MX): mx((1, "127.0.0.1"))}), ("permanent", "550 5.4.4"))

    def test_private(self) -> None:
        """Mail opens no way into private networks: such addresses are refused for good, beside others left out."""

        def found(*addresses: str, domain: str = "example.net") -> Any:
            kinds = {True: dns.AAAA, False: dns.A}
            answers: dict[tuple[str, int], DnsAnswer | Exception] = {
                ("mx.example.net", kinds[v6]): a(*(each for each in addresses if (":" in each) is v6)) for v6 in kinds
            }
            answers["example.net", dns.MX] = mx((1, "mx.example.net"))
            routes = DirectRoutes(hostname="h", asked=Dns(answers), policies=NoPolicies(), shuffle=_unshuffled)
            return result(routes.find(domain))

        for address in ("10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.0.0.1",
                        "fd00::1", "fe80::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::",
                        "0.0.0.0", "::"):  # fmt: skip
            for failed in (found(address), found(domain=f"[{'IPv6:' if ':' in address else ''}{address}]")):
                self.assertIsInstance(failed, RouteFailed, address)
                self.assertEqual((failed.kind, str(failed)[:9]), ("permanent", "550 5.4.4"))
                self.assertIn("relay.allow-private-addresses", str(failed))
        (target,) = found("10.0.0.1", "1.1.1.1", "fd00::1")
        self.assertEqual(target.addresses, ("1.1.1.1",))
        self.assertEqual(found(domain="[1.1.1.1]")[0].addresses, ("1.1.1.1",))

    def test_literals(self) -> None:
        """RFC 5321 §4.1.3: an address in brackets needs no DNS."""
        self.assertEqual(find({}, domain="[192.0.2.7]")[0].addresses, ("192.0.2.7",))
        self.assertEqual(find({}, domain="[IPv6:2001:db8::7]")[0].addresses, ("2001:db8::7",))
        self.assertEqual(find({}, domain="[127.0.0.1]"), ("permanent", "550 5.4.4"))
        self.assertEqual(find({}, domain="[x]"), ("permanent", "550 5.1.2"))


class StsTests(SynchronousTestCase):
    """MTA-STS."""

    def test_policies(self) -> None:
        """RFC 8461 §3.2: policies, and what is none; §4.1: a wildcard is one label."""
        policy = read_policy(POLICY)
        self.assertEqual((policy.mode, policy.max_age), ("enforce", 1000))
        allowed = {"mx1.example.net": True, "MX1.example.net.": True, "a.other.example": True,
                   "a.b.other.example": False, "other.example": False, "mx2.example.net": False}  # fmt: skip
        self.assertEqual({host: policy.allows(host) for host in allowed}, allowed)
        self.assertEqual(read_policy(b"version: STSv1\nmode: none\nmax_age: 99999999\n").max_age, 31_557_600)
        for bad in (b"", b"\xff", b"mode: none", POLICY.replace(b"STSv1", b"STSv2"), POLICY.replace(b"1000", b"x"),
                    POLICY.replace(b"enforce", b"maybe"), POLICY.replace(b"mx1", b"http://"),
                    b"version: STSv1\nmode: enforce\nmax_age: 1\n"):  # fmt: skip
            with self.assertRaises(BadPolicy):
                read_policy(bad)

    def test_records(self) -> None:
        """RFC 8461 §3.1: exactly one record."""
        self.assertEqual(read_record(["v=spf1", "v=STSv1; id=20260101T0;"]), "20260101T0")
        for text in ("v=STSv1;id=a", "v=STSv1 ; id=a ; ", "v=STSv1; x-1.y=<b:c>; id=a;", "v=STSv1; ID=b; id=a"):
            self.assertEqual(read_record([text]), "a", text)
        for texts in ([], ["v=STSv1; id=a;", "v=STSv1; id=b;"], ["v=STSv1"], ["v=STSv1;"], ["v=STSv1; id=a-b"],
                      ["v=STSv1; id = a"], ["v=STSv1; x=1"], ["v=STSv1; id=a;;"], ["v=STSv1; id=a; what"],
                      ["v=STSv1; id=" + "a" * 33], ["id=a; v=STSv1"], ["v=STSv12; id=a"]):  # fmt: skip
            self.assertIsNone(read_record(texts), texts)

    def test_enforced(self) -> None:
        """RFC 8461 §5: TLS with the exchanger's name, and only those named; `testing` changes nothing."""
        answers = {("example.net", dns.MX): mx((1, "mx2.example.net"), (2, "mx1.example.net"))} | ADDRESSES
        (target,) = find(answers, read_policy(POLICY))
        self.assertEqual((target.host, target.tls, target.names), ("mx1.example.net", "required", ("mx1.example.net",)))
        targets = find(answers, read_policy(POLICY.replace(b"enforce", b"testing")))
        self.assertEqual([(each.tls, each.names) for each in targets], [("offered", ())] * 2)
        others = {("example.net", dns.MX): mx((1, "mx2.example.net"))} | ADDRESSES
        self.assertEqual(find(others, read_policy(POLICY)), ("temporary", "451 4.4.3"))

    def test_cache(self) -> None:
        """RFC 8461 §3.3: a policy holds until it is too old, though its record, its server or the DNS is gone."""
        asked = Dns({("_mta-sts.example.net", dns.TXT): txt("v=STSv1; id=1;")})
        fetched: list[str] = []
        reports: list[str] = []
        texts: list[bytes | Exception] = [POLICY]
        now = [0.0]
        keeps = Keeps(now)

        async def fetch(domain: str) -> bytes:
            fetched.append(domain)
            if isinstance(texts[0], Exception):
                raise texts[0]
            return texts[0]

        def cache() -> PolicyCache:
            return PolicyCache(asked, fetch, keeps, lambda: now[0], lambda domain, reason: reports.append(reason))

        policies = cache()
        policy = read_policy(POLICY)
        key = ("_mta-sts.example.net", dns.TXT)
        for answer in (asked.answers[key], asked.answers[key], DnsAnswer(), DnsFailed("gone")):
            asked.answers[key] = answer
            self.assertEqual(result(policies.of("example.net")), policy)
            policies = cache()  # a restart forgets nothing
        self.assertEqual(fetched, ["example.net"])
        asked.answers[key] = txt("v=STSv1; id=2;")
        texts[0] = OSError("bad certificate")
        for _ in range(2):
            self.assertEqual((result(policies.of("example.net")), reports), (policy, ["bad certificate"]))
        now[0] = 1000.0
        self.assertIsNone(result(policies.of("example.net")))
        self.assertIsNone(result(policies.of("example.net")))
        self.assertEqual(len(fetched), 3)  # a failure is kept for a while
        now[0], texts[0] = 1400.0, POLICY
        self.assertEqual(result(policies.of("example.net")), policy)
        self.assertIsNone(result(policies.of("without.example")))
        other = POLICY.replace(b"mx1", b"mx9")
        texts[0] = other
        asked.answers[key] = txt("v=STSv1; id=3;")
        self.assertEqual(result(policies.of("example.net")), read_policy(other))

    def test_renewed(self) -> None:
        """RFC 8461 §3.3: a policy is fetched again after a day, long before it is too old; failing that, it stays."""
        asked = Dns({("_mta-sts.example.net", dns.TXT): txt("v=STSv1; id=1;")})
        now = [0.0]
        times: list[float] = []
        reports: list[str] = []

        async def fetch(domain: str) -> bytes:
            times.append(now[0])
            if now[0] > 0:
                raise OSError("gone")
            return POLICY.replace(b"1000", b"1000000")

        keeps = Keeps(now)
        policies = PolicyCache(asked, fetch, keeps, lambda: now[0], lambda domain, reason: reports.append(reason))
        for now[0] in (0.0, 86_399.0, 86_400.0, 86_500.0, 86_700.0, 1_000_000.0):
            found = result(policies.of("example.net"))
            self.assertEqual(found is None, now[0] == 1_000_000.0)
        self.assertEqual(times, [0.0, 86_400.0, 86_700.0, 1_000_000.0])
        keeps.full = True
        now[0] = 0.0
        policies = PolicyCache(asked, fetch, keeps, lambda: now[0], lambda domain, reason: reports.append(reason))
        keeps.kept.clear()
        self.assertIsNotNone(result(policies.of("example.net")))
        self.assertEqual(reports[-1], "it can't be kept: disk full")

    def test_cut_off(self) -> None:
        """RFC 8461 §3.3: a policy whose end never came is none, as it may lack exchangers, and would be kept long."""
        for reason, wanted in ((ResponseDone(), POLICY), (ResponseFailed([]), BadPolicy)):
            read: Deferred[bytes] = Deferred()
            body = _Body(read)
            body.dataReceived(POLICY)
            body.connectionLost(Failure(reason))
            if isinstance(wanted, bytes):
                self.assertEqual(self.successResultOf(read), wanted)
            else:
                self.failureResultOf(read, wanted)


class DaneTests(Bed):
    """DANE, with servers on real sockets."""

    def test_records(self) -> None:
        """RFC 7672 §2.1, §2.2, §3.1.3: used only where DNSSEC proves all of it; unusable ones still ask for TLS."""
        good = bytes([3, 1, 1]) + bytes(32)
        name = ("_25._tcp.mx1.example.net", 52)
        base = {
            ("example.net", dns.MX): mx((1, "mx1.example.net"), secure=True),
            ("mx1.example.net", dns.A): a("192.0.2.1", secure=True),
            ("mx1.example.net", dns.AAAA): DnsAnswer(is_secure=True),
        }
        (target,) = find(base | {name: tlsa(good)})
        self.assertEqual((target.tls, len(target.tlsa), target.names[0]), ("required", 1, "mx1.example.net"))
        for unusable in (
            bytes([0, 1, 1]) + bytes(32),
            bytes([3, 1, 1]) + bytes(31),
            bytes([3, 9, 1]) + bytes(32),
            b"x",
        ):
            (target,) = find(base | {name: tlsa(unusable)})
            self.assertEqual((target.tls, target.tlsa, target.names), ("required", (), ()))
        for insecure in (
            {name: tlsa(good, secure=False)},
            {name: tlsa(good), ("example.net", dns.MX): mx((1, "mx1.example.net"))},
            {name: tlsa(good), ("mx1.example.net", dns.A): a("192.0.2.1")},
        ):
            (target,) = find(base | insecure)
            self.assertEqual((target.tls, target.tlsa), ("offered", ()))
        self.assertEqual(find(base | {name: DnsFailed("SERVFAIL")}), ("temporary", "451 4.4.3"))

    def test_aliases(self) -> None:
        """RFC 7672 §2.2.2: records are looked for at the end of a proven alias first, then at the alias itself."""
        good = bytes([3, 1, 1]) + bytes(32)
        base = {
            ("example.net", dns.MX): mx((1, "mx1.example.net"), secure=True),
            ("mx1.example.net", dns.A): a("192.0.2.1", secure=True, canonical="real.example"),
            ("mx1.example.net", dns.AAAA): DnsAnswer(is_secure=True, aliases=("real.example",)),
        }
        there, here = ("_25._tcp.real.example", 52), ("_25._tcp.mx1.example.net", 52)
        for found, names in (
            ({there: tlsa(good), here: tlsa(good)}, ("real.example", "example.net")),
            ({there: tlsa(good, secure=False), here: tlsa(good)}, ("mx1.example.net", "example.net")),
            ({here: tlsa(good)}, ("mx1.example.net", "example.net")),
            ({}, ()),
        ):
            (target,) = find(base | found)
            self.assertEqual((target.names, target.tls), (names, "required" if names else "offered"))
        self.assertEqual(find(base | {there: DnsFailed("x"), here: tlsa(good)}), ("temporary", "451 4.4.3"))
        # The alias is proven, what it leads to isn't.
        base["mx1.example.net", dns.A] = a("192.0.2.1", canonical="real.example")
        alias = ("mx1.example.net", dns.CNAME)
        for is_secure, names in ((True, ("mx1.example.net", "example.net")), (False, ())):
            cname = DnsAnswer(payloads=(dns.Record_CNAME("real.example"),), is_secure=is_secure)
            (target,) = find(base | {there: tlsa(good), here: tlsa(good), alias: cname})
            self.assertEqual(target.names, names)
        # RFC 7672 §3.2.2: also the name that the domain of the mail is an alias for.
        base["mx1.example.net", dns.A] = a("192.0.2.1", secure=True)
        base["mx1.example.net", dns.AAAA] = DnsAnswer(is_secure=True)
        base["alias.example", dns.MX] = DnsAnswer(
            payloads=base["example.net", dns.MX].payloads, is_secure=True, aliases=("example.net",)
        )
        (target,) = find(base | {here: tlsa(good)}, domain="alias.example")
        self.assertEqual(target.names, ("mx1.example.net", "alias.example", "example.net"))

    async def test_certificates(self) -> None:
        """RFC 7672 §3.1: DANE-EE looks at the key alone; DANE-TA at the chain and the names; others get nothing."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        from stalwart.delivery.routes import Tlsa

        starttls = (b"250-mx\r\n250 STARTTLS\r\n", b"250 mx\r\n")
        for usage, names, digest_of, right in (
            (3, ("mx.example.net",), 0, True),
            (3, ("other.example",), 0, True),
            (3, ("mx.example.net",), 1, False),
            (2, ("mx.example.net",), 1, True),
            (2, ("other.example",), 1, False),
        ):
            options = Authority().server(*names)
            chain: list[Any] = [options.certificate, *options.extraCertChain]
            octets = chain[digest_of].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            record = Tlsa(usage=usage, selector=1, matching=1, data=hashlib.sha256(octets).digest())
            server = self.server({"EHLO": starttls}, tls=options)
            target = self.target(server, tls="required", names=("mx.example.net", "example.net"), tlsa=(record,))
            sender = self.sender(target, times=Times(command=5.0))
            ((kind, reply),) = told(await sender.send(message(), "example.net"))
            self.assertEqual(
                (kind, "TLSA" in reply), ("accepted", False) if right else ("temporary", True), (usage, names)
            )
            self.assertEqual(len(server.messages), int(right))


class WholeTests(Bed):
    """From the domain to the server."""

    async def test_as_set_up(self) -> None:
        """What the settings make of it brings nothing to addresses of private networks, at once and for good."""
        settings = RelaySettings(direct=True)
        sender = make_sender(settings, hostname="mail.example.org", reactor=reactor, policies=Keeps([0.0]))
        for place in ("[10.0.0.1]", "[127.0.0.1]", "[IPv6:::1]"):
            (outcome,) = await sender.send(message(), place)
            self.assertEqual((outcome.kind, outcome.enhanced, outcome.peer), ("permanent", "5.4.4", ""))
        sender.close()
        self.assertEqual(
            (limits_for(settings).slow_after, limits_for(RelaySettings(host="h")).slow_after), (10.0, None)
        )

    async def test_sent(self) -> None:
        """A message reaches the server that the DNS names, in clear if nothing better is offered."""
        server = self.server()
        routes = DirectRoutes(
            hostname="mail.example.org",
            asked=Dns({("example.net", dns.MX): mx((1, "mx.example.net")), ("mx.example.net", dns.A): a("127.0.0.1")}),
            policies=NoPolicies(),
            shuffle=_unshuffled,
            may_reach=lambda address: address == "127.0.0.1",
            port=server.port,
        )
        sender = self.sender(*(await routes.find("example.net")))
        self.assertEqual(told(await sender.send(message(), "example.net")), [("accepted", "250 2.0.0 queued")])
