"""What operators are told when there is no certificate."""

from __future__ import annotations

import errno
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from stalwart.ops.metrics import Metrics
from stalwart.tls.acme.errors import AcmeError, Subproblem
from stalwart.tls.acme.failures import Explained, explain
from stalwart.tls.acme.pair import BadPair
from tests.tls.acme.issuing_bed import provider

PAGE = (Path(__file__).parents[3] / "docs" / "acme.md").read_text()

# RFC 8555 §6.7 and what this client finds by itself, with a word of what to do.
KNOWN = {
    "unreachable": ("unreachable", "DNS"),
    "timeout": ("unreachable", "overloaded"),
    "badAnswer": ("bad-answer", ""),
    "badName": ("refused-name", "acme.le.domains"),
    "badExternalAccount": ("account", "acme.le.eab.hmac-key"),
    "termsNotAgreed": ("terms", "acme.le.agree-to-terms"),
    "noChallenge": ("refused", "acme.le.challenge"),
    "rateLimited": ("rate-limited", "waiting"),
    "rejectedIdentifier": ("refused-name", "acme.le.domains"),
    "externalAccountRequired": ("account", "acme.le.eab.kid"),
    "unauthorized": ("not-verified", "port 80"),
    "connection": ("not-verified", "firewall"),
    "dns": ("not-verified", "AAAA"),
    "tls": ("not-verified", "TLS listener"),
    "caa": ("not-verified", "CAA"),
    "userActionRequired": ("terms", "https://ca.example/dir"),
    "invalidProfile": ("profile", "acme.le.profile"),
    "serverInternal": ("bad-answer", ""),
    "badCSR": ("refused", ""),
}


def told(error: BaseException, challenge: str = "http-01") -> Explained:
    """What is told of an exception."""
    return explain(error, provider("a.example", challenge=challenge), "/data/acme/le")


class ExplainTests(SynchronousTestCase):
    """One line each."""

    def test_known(self) -> None:
        """What CAs say has its reason, the CA's words and what to do."""
        for kind, (reason, todo) in KNOWN.items():
            explained = told(AcmeError(kind, "the title", "the detail"))
            self.assertEqual(explained.reason, reason, kind)
            for words in ("the title", "the detail", todo):
                self.assertIn(words, explained.text)

    def test_closed_account(self) -> None:
        """An account that the CA has closed isn't taken for a name that leads elsewhere."""
        explained = told(AcmeError("unauthorized", "https://ca.example/new-order", "account deactivated", status=403))
        self.assertEqual(explained.reason, "account")
        self.assertIn("account.key", explained.text)
        self.assertNotIn("port 80", explained.text)

    def test_port(self) -> None:
        """The port is that of the challenge."""
        self.assertIn("port 443", told(AcmeError("connection"), "tls-alpn-01").text)

    def test_local(self) -> None:
        """Where the CA saw nothing of an order, the next try may come soon."""
        local = (AcmeError("unreachable"), OSError(errno.ENOSPC, "No space left on device"))
        others = (AcmeError("timeout"), AcmeError("dns"), BadPair("x"), CancelledError(), KeyError("x"))
        self.assertEqual([told(error).local for error in (*local, *others)], [True] * 2 + [False] * 5)

    def test_limits(self) -> None:
        """429 is a limit whatever its type is; the CA's wish is passed on."""
        explained = told(AcmeError("whatever", status=429, retry_after=60.0))
        self.assertEqual((explained.reason, explained.retry_after), ("rate-limited", 60.0))

    def test_disk(self) -> None:
        """A full disk and a wrong owner are told apart, with the folder."""
        self.assertIn("make room", told(OSError(errno.ENOSPC, "No space left on device")).text)
        explained = told(PermissionError(errno.EACCES, "Permission denied"))
        self.assertIn("the daemon's user", explained.text)
        self.assertIn("/data/acme/le", explained.text)

    def test_all_reasons_are_documented(self) -> None:
        """docs/acme.md has a row for each reason, and the metric names them."""
        reasons = {reason for reason, _ in KNOWN.values()} | {"disk", "interrupted", "internal"}
        for reason in reasons:
            self.assertIn(f"| `{reason}` |", PAGE)
        help_text = Metrics("").render().decode()
        for reason in reasons - {"interrupted"}:  # which is no end of an order
            self.assertIn(reason, help_text)

    @settings(max_examples=100, deadline=None)
    @given(
        st.one_of(st.sampled_from(sorted(KNOWN)), st.text(max_size=30)),
        st.text(max_size=50),
        st.integers(0, 599),
        st.lists(st.text(max_size=20), max_size=3),
    )
    def test_one_line(self, kind: str, words: str, status: int, details: list[str]) -> None:
        """Whatever a CA says, or an exception, it is one line that can't steer a terminal."""
        subproblems = [Subproblem(type="dns", detail=detail, identifier=detail) for detail in details]
        for error in (
            AcmeError(kind, words, words, status=status, subproblems=subproblems),
            BadPair(words),
            ValueError(words),
            OSError(5, words),
        ):
            self.assertTrue(told(error).text.isprintable())
