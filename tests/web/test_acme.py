"""http-01 challenges: who is answered what, whatever stands before the other pages."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth import GuardRules
from stalwart.http import Policy, Problem, TrustedProxies
from stalwart.http.http2 import Http2Channel
from stalwart.http.rules import RulePolicy
from stalwart.web.acme import Challenges, Http01, host_of
from tests.http.bed import Answer, Bed
from tests.http.test_http2 import Client
from tests.http.test_rules import FACTS, rule

PRINTS = {"example.org": "print-of-one", "::1": "print-of-one", "example.net": "print-of-two"}
TOKEN = "DGyRejmCefe7v4NfDGDKfA"
PATH = f"/.well-known/acme-challenge/{TOKEN}"
RULES = {
    "everybody is refused": ("403",),
    "pages that are known": ("starts_with(url_path, '/jmap')", "200", "404"),
    "one listener": ("listener != 'test'", "200", "404"),
    "a rule that fails": ("1 / (remote_port - remote_port) == 1", "200", "404"),
}


class Challenge:
    """A challenge as txacme has it."""

    def encode(self, name: str) -> str:
        """Its token."""
        return TOKEN if name == "token" else ""


class KeyAuthorization:
    """A response as txacme has it."""

    key_authorization = f"{TOKEN}.known"


def acme_bed(acme: Http01 | None = None, **options: Any) -> Bed:
    """A site whose challenges are answered."""
    bed = Bed(**options)
    bed.site.acme_responder = acme or Http01(PRINTS.get)
    bed.mount("/.well-known/acme-challenge", Challenges())
    return bed


def policy_of(*texts: str) -> Policy:
    """A rule, without the exemption of loopback."""
    return RulePolicy(rule(*texts), FACTS, Clock(), loopback_exempt=False)


def ask(bed: Bed, path: str = PATH, host: str = "example.org", method: str = "GET") -> Answer:
    """One request over HTTP/1.1."""
    return bed.ask(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), method=method)


class AnswerTests(SynchronousTestCase):
    """What is answered."""

    def test_stateless(self) -> None:
        """Any well-formed token is answered with the thumbprint of the account that orders for the host."""
        answer = ask(acme_bed())
        self.assertEqual((answer.status, answer.body), (200, f"{TOKEN}.print-of-one".encode()))
        self.assertEqual(answer.headers["content-type"], "application/octet-stream")
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")

    def test_hosts(self) -> None:
        """The host decides which account answers: with a port, in capitals, with a dot at the end, as an address."""
        bed = acme_bed()
        for host, thumbprint in (
            ("example.org:80", "print-of-one"),
            ("EXAMPLE.ORG:5002", "print-of-one"),
            ("example.net.", "print-of-two"),
            ("example.net.:80", "print-of-two"),
            ("[::1]", "print-of-one"),
            ("[::1]:5002", "print-of-one"),
        ):
            self.assertEqual(ask(bed, host=host).body, f"{TOKEN}.{thumbprint}".encode(), host)
        self.assertEqual(ask(bed, host="example.com").status, 404)

    def test_known_first(self) -> None:
        """A token that an order waits for is answered at every host, until the challenge is over."""
        acme = Http01(PRINTS.get)
        bed = acme_bed(acme)
        acme.tokens.start_responding("example.net", Challenge(), KeyAuthorization())
        for host in ("example.org", "elsewhere.example"):
            self.assertEqual(ask(bed, host=host).body, f"{TOKEN}.known".encode())
        acme.tokens.stop_responding("example.net", Challenge(), KeyAuthorization())
        self.assertEqual(ask(bed).body, f"{TOKEN}.print-of-one".encode())
        self.assertEqual(ask(bed, host="elsewhere.example").status, 404)

    def test_nobody(self) -> None:
        """Without an account nothing is answered, and without a responder neither."""
        self.assertEqual(ask(acme_bed(Http01(lambda host: None))).status, 404)
        bed = acme_bed()
        bed.site.acme_responder = None
        self.assertEqual(ask(bed).status, 404)

    def test_not_tokens(self) -> None:
        """What is no token, or goes on after one, is not found."""
        bed = acme_bed()
        for path in (
            PATH + "/",
            PATH + "/x",
            PATH + ".txt",
            PATH + "%20",
            PATH + "=",
            PATH + "%2Fx",
            PATH[:-1],
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge",
            "/.well-known/acme-challenge/" + "a" * 21,
            "/.well-known/acme-challenge/" + "a" * 129,
            "/.well-known/acme-challenge/" + "%C3%A4" * 22,
        ):
            self.assertEqual(ask(bed, path).status, 404, path)
        self.assertEqual(ask(bed, PATH + "%0a").status, 400)
        self.assertEqual(ask(bed, PATH + "?x=1").status, 200)
        self.assertEqual(ask(bed, "/.well-known/acme-challenge/" + "a" * 128).status, 200)

    def test_methods(self) -> None:
        """HEAD tells the length and sends nothing; what is no question is refused."""
        bed = acme_bed()
        head = ask(bed, method="HEAD")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.headers["content-length"], str(len(TOKEN) + 1 + len("print-of-one")))
        self.assertEqual(ask(bed, method="POST").headers["allow"], "GET, HEAD, OPTIONS")

    def test_http2(self) -> None:
        """HTTP/2 streams get the same."""
        bed = acme_bed(Http01({"a": "print"}.get), policy=policy_of("403"))
        client = Client(bed)
        stream, head = client.ask(PATH), client.ask(PATH, method="HEAD")
        self.assertIsInstance(client.channel, Http2Channel)
        self.assertEqual((client.status[stream], client.body[stream]), (200, f"{TOKEN}.print".encode()))
        self.assertEqual((client.status[head], client.body.get(head, b"")), (200, b""))

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=140), st.text(max_size=40))
    def test_anything(self, token: bytes, authority: str) -> None:
        """Only what has a token's letters ever comes back."""
        host_of(authority)
        found = Http01(lambda host: "print").key_authorization(token, authority)
        if found is not None:
            self.assertRegex(found, rb"\A[A-Za-z0-9_-]{22,128}\.print\Z")


class BeforeTests(SynchronousTestCase):
    """What stands before other pages, and not before challenges."""

    def test_rules(self) -> None:
        """A rule that doesn't name challenges doesn't judge them, and judges everything else as before."""
        for name, texts in RULES.items():
            bed = acme_bed(policy=policy_of(*texts))
            self.assertEqual(ask(bed).status, 200, name)
            self.assertEqual(ask(bed, method="HEAD").status, 200, name)
            for path in ("/hello", "/.well-known/acme-challenge", "/.well-known/acme-challenge/../hello"):
                self.assertIn(ask(bed, path).status, (403, 404, 500), (name, path))
            self.assertNotEqual(ask(bed, "/hello").status, 200, name)

    def test_rule_that_names_them(self) -> None:
        """A rule that names them in a condition, in whatever case, judges them."""
        for texts, status in (
            (("starts_with(url_path, '/.well-known/acme-challenge')", "403", "200"), 403),
            (("starts_with(url_path, '/.well-known/acme-challenge/')", "200", "403"), 200),
            (("contains(['Acme-Challenge'], 'x')", "200", "404"), 404),
            (("matches('^/.well-known/acme-challenge/', url_path) && remote_ip == '192.0.2.7'", "200", "404"), 200),
        ):
            self.assertEqual(ask(acme_bed(policy=policy_of(*texts))).status, status, texts)

    def test_redirect(self) -> None:
        """They are answered over plain http where everything else is sent to https."""
        bed = acme_bed(redirect_port=443)
        self.assertEqual(ask(bed).status, 200)
        self.assertEqual(ask(bed, "/hello").status, 308)

    def test_forwarded_host(self) -> None:
        """Behind a trusted proxy the host that the authority asked for counts."""
        bed = acme_bed(forwarded=TrustedProxies([ip_network("192.0.2.0/24")]))
        wire = bed.connect()
        wire.send(f"GET {PATH} HTTP/1.1\r\nHost: inner\r\nForwarded: host=example.net;for=203.0.113.1\r\n\r\n".encode())
        (answer,) = wire.answers()
        self.assertEqual(answer.body, f"{TOKEN}.print-of-two".encode())

    def test_sign_in(self) -> None:
        """Wrong credentials beside the question change nothing: none are looked at."""
        bed = acme_bed(rules=GuardRules())
        answer = bed.ask(f"GET {PATH} HTTP/1.1\r\nHost: example.org\r\nAuthorization: Basic eDp5\r\n\r\n".encode())
        self.assertEqual(answer.status, 200)

    def test_refusal(self) -> None:
        """A policy of another kind than rules is asked as for every request."""

        class Refuse:
            def decide(self, request: object) -> int:
                raise Problem(403)

        self.assertEqual(ask(acme_bed(policy=Refuse())).status, 403)
