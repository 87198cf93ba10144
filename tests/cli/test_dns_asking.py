"""What the checks are told of answers as they come from DNS servers."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from stalwart.cli.dns_asking import DnsAsking
from stalwart.delivery.mail_dns import DnsAnswer, DnsFailed
from stalwart.zone import Answer, Unknown
from stalwart.zone.values import Caa, Mx, Raw, RecordType, Srv, Tlsa, Txt, as_text


class Told:
    """A `MailDns` that knows these answers by name."""

    def __init__(self, answers: Mapping[str, DnsAnswer]) -> None:
        self.answers = answers

    async def ask(self, name: str, kind: int) -> DnsAnswer:
        """See `MailDns`."""
        if name not in self.answers:
            raise DnsFailed(f"no DNS server answered for {name}")
        return self.answers[name]


def one(payload: object, *, secure: bool = False) -> DnsAnswer:
    """An answer with one record."""
    return DnsAnswer(payloads=(payload,), claims_secure=secure)


class AskingTests(SynchronousTestCase):
    """`DnsAsking`."""

    def ask(self, answers: Mapping[str, DnsAnswer], name: str, kind: RecordType) -> Answer:
        """The answer for a name."""
        return self.successResultOf(Deferred.fromCoroutine(DnsAsking(Told(answers))(name, kind)))

    def unknown(self, answers: Mapping[str, DnsAnswer], name: str) -> str:
        """Why it can't be told."""
        failure = self.failureResultOf(Deferred.fromCoroutine(DnsAsking(Told(answers))(name, "A")), Unknown)
        return str(failure.value)

    def test_values(self) -> None:
        """Each type as a value, TLSA and CAA from their octets; names in lower case, the root as nothing."""
        cases: tuple[tuple[RecordType, object, object], ...] = (
            ("MX", dns.Record_MX(5, "MX.Example."), Mx(5, "mx.example")),
            ("MX", dns.Record_MX(0, ""), Mx(0, "")),
            ("SRV", dns.Record_SRV(1, 2, 443, "A.example"), Srv(1, 2, 443, "a.example")),
            ("TXT", dns.Record_TXT(b"v=", b"\xff"), Txt("v=\udcff")),
            ("TLSA", dns.UnknownRecord(b"\x03\x01\x01\xab"), Tlsa(3, 1, 1, b"\xab")),
            ("TLSA", dns.UnknownRecord(b"\x03"), Raw(b"\x03")),
            ("CAA", dns.UnknownRecord(b"\x80\x05issueca.example"), Caa(128, "issue", "ca.example")),
            ("CAA", dns.UnknownRecord(b"\x00\x09issue"), Raw(b"\x00\x09issue")),
            ("CAA", dns.UnknownRecord(b"\x00"), Raw(b"\x00")),
        )
        for kind, payload, expected in cases:
            self.assertEqual(self.ask({"a.example": one(payload)}, "a.example", kind).values, (expected,), payload)
        for payload, text in (
            (dns.Record_A("192.0.2.1"), "192.0.2.1"),
            (dns.Record_AAAA("2001:db8::1"), "2001:db8::1"),
        ):
            self.assertEqual(as_text(self.ask({"a.example": one(payload)}, "a.example", "A").values[0]), text)

    def test_aliases(self) -> None:
        """An alias that a server tells alone is followed; the answer is authentic if each part of it is."""
        for secure in (False, True):
            answers = {
                "a.example": DnsAnswer(aliases=("b.example", "c.example"), claims_secure=True),
                "c.example": one(dns.Record_A("192.0.2.1"), secure=secure),
            }
            answer = self.ask(answers, "a.example", "A")
            self.assertEqual((answer.aliases, answer.secure), (("b.example", "c.example"), secure))
            self.assertEqual(len(answer.values), 1)

    def test_nowhere(self) -> None:
        """An alias of a name that doesn't exist is no failure."""
        answers = {"a.example": DnsAnswer(aliases=("b.example",), exists=False)}
        answer = self.ask(answers, "a.example", "A")
        self.assertEqual((answer.values, answer.exists, answer.aliases), ((), False, ("b.example",)))

    def test_unknown(self) -> None:
        """No answer, aliases without end and names that can't be asked for are unknown, each with its reason."""
        self.assertEqual(self.unknown({}, "a.example"), "no DNS server answered for a.example")
        self.assertIn(
            "more than 8 aliases", self.unknown({"a.example": DnsAnswer(aliases=("a.example",))}, "a.example")
        )
        for name in ("", "a..example", "x" * 64, "a." * 127 + "example", "\udcff.example"):
            self.assertIn("no name that can be asked for", self.unknown({}, name))
