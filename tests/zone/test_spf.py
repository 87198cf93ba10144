"""What an SPF record says of an address (RFC 7208)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from stalwart.zone.spf import SpfCheck
from stalwart.zone.values import Txt, presentation
from tests.zone.bed import Zones

ZONE = """\
a.example. 60 IN A 192.0.2.1
a.example. 60 IN AAAA 2001:db8::1
d.example. 60 IN MX 10 a.example.
nomail.example. 60 IN MX 0 .
soft.example. 60 IN TXT "v=spf1 ~all"
pass.example. 60 IN TXT "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32"
bad.example. 60 IN TXT "v=spf1 what"
loop.example. 60 IN TXT "v=spf1 include:loop.example"
two.example. 60 IN TXT "v=spf1 all"
two.example. 60 IN TXT "v=spf1 -all"
"""
ELEVEN = " ".join(["a:none.example"] * 11)


class SpfTests(SynchronousTestCase):
    """`SpfCheck`."""

    def check(self, record: str, address: str) -> str:
        """What `record` at d.example says; the names of errors in their place."""
        zones = Zones(ZONE + f"d.example. 60 IN TXT {presentation(Txt(record))}\n", failing={"lost.example"})
        done: Deferred[str] = Deferred.fromCoroutine(SpfCheck(zones).result("d.example", address))
        results: list[object] = []
        done.addBoth(results.append)
        [found] = results
        return found if isinstance(found, str) else type(found.value).__name__  # type: ignore[attr-defined]

    def test_results(self) -> None:
        """Mechanisms in order, the first that matches decides; includes count only when they pass."""
        for record, expected in {
            "v=spf1": "neutral",
            "v=spf10 -all": "none",
            "v=spf1 -all": "fail",
            "v=spf1 ~all": "softfail",
            "v=spf1 ?all": "neutral",
            "v=spf1 A:a.example -all": "pass",
            "v=spf1 -a:a.example all": "fail",
            "v=spf1 a:A.Example. -all": "pass",
            "v=spf1 mx -all": "pass",
            "v=spf1 mx:nomail.example -all": "fail",
            "v=spf1 ip4:192.0.2.0/30 -all": "pass",
            "v=spf1 ip4:192.0.2.2/31 -all": "fail",
            "v=spf1 ip6:2001:db8::/32 -all": "fail",
            "v=spf1 include:soft.example ?all": "neutral",
            "v=spf1 include:pass.example -all": "pass",
            "v=spf1 exists:a.example -all": "pass",
            "v=spf1 exists:none.example -all": "fail",
            "v=spf1 redirect=soft.example": "softfail",
            "v=spf1 redirect=soft.example -all": "fail",
            "v=spf1 unknown=what exp=x.example -all": "fail",
            "v=spf1 a:a.example/24 -all": "pass",
            "v=spf1 redirect=none.example": "BadSpf",
            "v=spf1 include:none.example": "BadSpf",
            "v=spf1 include:bad.example": "BadSpf",
            "v=spf1 include:two.example": "BadSpf",
            "v=spf1 include:loop.example": "BadSpf",
            f"v=spf1 {ELEVEN} all": "BadSpf",
            "v=spf1 redirect=a.example redirect=a.example": "BadSpf",
            "v=spf1 ip4:300.0.2.1 all": "BadSpf",
            "v=spf1 ip4:::1 all": "BadSpf",
            "v=spf1 include all": "BadSpf",
            "v=spf1 a: all": "BadSpf",
            "v=spf1 a:a.example/33 all": "BadSpf",
            "v=spf1 include:lost.example all": "Unknown",
            "v=spf1 ptr all": "Unknown",
            "v=spf1 exists:%{i}.example all": "Unknown",
        }.items():
            self.assertEqual(self.check(record, "192.0.2.1"), expected, record)

    def test_six(self) -> None:
        """IPv6 has its own length of prefix."""
        for record, expected in {
            "v=spf1 a:a.example//64 -all": "pass",
            "v=spf1 a:a.example/24 -all": "fail",
            "v=spf1 include:pass.example -all": "pass",
        }.items():
            self.assertEqual(self.check(record, "2001:db8::2"), expected, record)

    @given(st.text(alphabet="v=spf1 aimxcludeptr:/%{}+-~?.0249\x00é", max_size=60))
    @settings(max_examples=150, deadline=None)
    def test_any(self, text: str) -> None:
        """Any record gives a result, is refused, or stays unknown."""
        expected = {"pass", "fail", "softfail", "neutral", "none", "BadSpf", "Unknown"}
        self.assertIn(self.check(f"v=spf1 {text}".encode().decode("ascii", "surrogateescape"), "192.0.2.1"), expected)
