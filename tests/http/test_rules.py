"""Rules over requests: what the variables are, what denies, and what a wrong rule is told."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import RuleClause, RuleFault, RuleNames, RuleText, SourceText
from stalwart.http import ListenerContext
from stalwart.http.lookups import FactAnswers
from stalwart.http.policy import PolicyRequest
from stalwart.http.rules import RuleContext, RulePolicy, RuleUrl, check_rule
from tests.http.bed import Bed

FACTS = FactAnswers({"server.hostname": "mail.example.org", "system.domain": "example.org"})
NAMES = RuleNames(
    lookups={"default": {"hostname": "mail.example.org"}},
    databases={"hr": "/var/hr.sqlite"},
    listeners=("private-http", "public-http"),
)
# Conditions that hold for no request, what is compared, and what is said of it.
NEVER = (
    ("listener == 'privat-http'", "'privat-http'", '"private-http"'),
    ("is_tls || !('lmtp' != listener)", "'lmtp'", "private-http, public-http"),
    ("protocol == 'HTTPS'", "'HTTPS'", "'https'"),
    ("path == 'api'", "'api'", "begins with a slash"),
    ("url_path == ''", "''", "begins with a slash"),
    ("starts_with(url, 'https://')", "'https://'", "begins with a slash"),
    ("starts_with(path, '//api')", "'//api'", "Write '/api'"),
    ("starts_with(path, '/%61pi')", "'/%61pi'", "Write '/api'"),
    ("path == '/x/../api'", "'/x/../api'", "Write '/api'"),
    ("path == '/é'", "'/é'", "percent-encode"),
    ("path == '/%c3%a9'", "'/%c3%a9'", "Write '/%C3%A9'"),
    ("path == '/jmap?x'", "'/jmap?x'", "in url"),
)
# The text with a fault, its `then`, what the carets stand under, and whether it stops the start.
CARETS = (
    ("is_tls && metod == 'GET'", "404", "metod", True),
    ("is_tls || starts_wth(url, '/a')", "404", "starts_wth", True),
    ("!starts_with(url)", "404", "starts_with(url)", True),
    ("is_tls && starts_with(headers, 'a')", "404", "headers", True),
    ("matches('^/(a', url)", "404", "'^/(a'", True),
    ("is_tls || remote_ip == '10.0.0.256'", "404", "'10.0.0.256'", True),
    ("is_ip_in_cidr(remote_ip, '10.0.0.0/33')", "404", "'10.0.0.0/33'", True),
    ("is_tls", "65736", "65736", True),
    ("is_tls", "'ok'", "'ok'", True),
    ("is_tls", "notfound", "notfound", True),
    ("is_tls", "not found", "found", True),
    ("1 == 2", "404", "1 == 2", False),
)
SOMETIMES = (
    "listener == 'public-http'",
    "protocol == 'http'",
    "path == '*'",
    "starts_with(path, '')",
    "starts_with(path, '/')",
    "starts_with(path, '/x/.')",
    "starts_with(path, '/x%')",
    "starts_with(path, '/%C3%A')",
    "starts_with(url, '/jmap?')",
    "url == '/a%2Fb?//x=%61'",
    "path == method",
    "method == 'privat-http'",
)


def source(text: str, key: str = "http.allowed-endpoint") -> SourceText:
    """A text of a rule at line 7 of a file."""
    return SourceText(text=text, file="x.toml", line=7, key=key)


def rule(*texts: str) -> RuleText:
    """A rule of pairs of condition and result, and the last word."""
    pairs = zip(texts[:-1:2], texts[1::2], strict=True)
    clauses = tuple(RuleClause(if_=source(if_), then=source(then)) for if_, then in pairs)
    return RuleText(clauses=clauses, otherwise=source(texts[-1]), key="http.allowed-endpoint")


class Asked:
    """A request as rules see it."""

    listener = ListenerContext(id="public-http", tls=True)
    client_address = "192.0.2.7"
    peer_address = "10.0.0.1"
    peer_is_loopback = False
    scheme = "https"
    authority = "mail.example.org"
    client_port = 4711
    local_address = "198.51.100.1"
    local_port = 443
    tls_client_subject = "CN=alice"
    method = b"GET"
    uri = b"//jmap/%61?x=1&y=/z"
    path = b"/jmap/a"
    header_fields: Any = [(b"host", b"mail.example.org"), (b"x-name", b"J\xfcrgen")]


class RuleTests(SynchronousTestCase):
    """`RulePolicy` and `RuleUrl` on requests that are plain values."""

    def decide(self, *texts: str, exempt: bool = True, request: PolicyRequest | None = None) -> int:
        """What a rule gives for a request."""
        return self.decided(RulePolicy(rule(*texts), FACTS, Clock(), loopback_exempt=exempt).decide(request or Asked()))

    def decided(self, status: int | Coroutine[Any, Any, int]) -> int:
        """The status of a rule that doesn't wait."""
        assert isinstance(status, int)
        return status

    def test_variables(self) -> None:
        """Every variable has the value of the reference, with path and url normalised."""
        context = RuleContext(Asked())
        self.assertEqual((context.listener, context.remote_ip, context.remote_port), ("public-http", "192.0.2.7", 4711))
        self.assertEqual((context.local_ip, context.local_port), ("198.51.100.1", 443))
        self.assertEqual((context.protocol, context.is_tls, context.method), ("https", 1, "GET"))
        self.assertEqual(context.tls_client_subject, "CN=alice")
        self.assertEqual((context.path, context.url_path, context.url), ("/jmap/a", "/jmap/a", "/jmap/a?x=1&y=/z"))
        self.assertEqual(context.headers, ("host: mail.example.org", "x-name: J\xfcrgen"))

    def test_decision(self) -> None:
        """The first clause that holds decides; text and number are the same status."""
        self.assertEqual(self.decide("method == 'POST'", "403", "is_tls", "'404'", "200"), 404)
        self.assertEqual(self.decide("starts_with(url, '/jmap')", "200", "404"), 200)

    def test_facts(self) -> None:
        """`config_get` and `system` are answered from the settings; what isn't there is ''."""
        self.assertEqual(self.decide("config_get('server.hostname') == 'mail.example.org'", "200", "404"), 200)
        self.assertEqual(self.decide("system('domain') == 'example.org'", "200", "404"), 200)
        self.assertEqual(self.decide("config_get('no.such') == ''", "200", "404"), 200)

    def test_loopback(self) -> None:
        """Whoever asks from this machine is let through, unless that is switched off."""

        class Local(Asked):
            peer_is_loopback = True

        self.assertEqual(self.decide("404", request=Local()), 200)
        self.assertEqual(self.decide("404", request=Local(), exempt=False), 404)

    def test_fails_closed(self) -> None:
        """A rule that fails while it runs, or gives no final status, denies with 500."""
        self.assertEqual(self.decide("to_lowercase(method)"), 500)
        for status in ("100", "999"):
            self.assertEqual(self.decide(status), 500)

    def test_url(self) -> None:
        """`http.url` gives the base URL; a result that is none is logged and left aside."""
        for text, expected in (
            ("'https://' + config_get('server.hostname') + '/'", "https://mail.example.org"),
            ("protocol + '://x:' + local_port", "https://x:443"),
            ("'ftp://x'", None),
            ("'https://x\r\ny'", None),
            ("protocol + '://' + config_get('lookup.default.nobody')", None),
        ):
            made = RuleUrl(RuleText(otherwise=source(text, "http.url"), key="http.url"), FACTS, Clock())
            self.assertEqual(self.successResultOf(Deferred.fromCoroutine(made(Asked()))), expected, text)

    def faults(self, *texts: str, wanted: Literal["status", "text"] = "status") -> list[str]:
        """What is said of a rule, errors marked."""
        found = check_rule(rule(*texts), wanted, NAMES)
        return [("error " if each.is_error else "") + each.text for each in found if isinstance(each, RuleFault)]

    def test_check(self) -> None:
        """Every fault is told with text and caret; lookups that nobody answers are errors, odd clauses warnings."""
        self.assertEqual(self.faults("starts_with(url_path, '/api')", "404", "200"), [])
        one, two = self.faults("starts_with(url_pth, '/api')", "404", "nothing")
        self.assertIn("error unknown name", one)
        self.assertIn('"url_path"', one)
        self.assertIn("\n    starts_with(url_pth, '/api')\n                ^^^^^^^", one)
        self.assertIn("\n    nothing\n    ^^^^^^^", two)
        self.assertIn("error there is no metric", self.faults("metric('x') > 1", "404", "200")[0])
        [never] = self.faults("1 == 1", "200", "404")
        self.assertIn("never reached", never)
        self.assertFalse(never.startswith("error"))

    def test_carets(self) -> None:
        """The carets stand under the whole of what is meant, and nothing else."""
        for condition, then, meant, is_error in CARETS:
            [fault] = self.faults(condition, then, "200")
            said, text, carets = fault.splitlines()
            self.assertEqual(said.startswith("error"), is_error, fault)
            at = carets.index("^")
            self.assertEqual(text[at : at + carets.count("^")], meant, fault)
        [unreachable] = self.faults("1 == 1", "200", "is_tls", "404", "200")
        self.assertIn("never reached", unreachable)
        self.assertTrue(unreachable.endswith("\n    is_tls\n    ^^^^^^"), unreachable)

    def test_never_true(self) -> None:
        """What no request has is warned of, with a caret under it; what one may have isn't."""
        for condition, compared, message in NEVER:
            [fault] = self.faults(condition, "404", "200")
            said, text, carets = fault.splitlines()
            self.assertIn(message, said, condition)
            self.assertFalse(said.startswith("error"), said)
            at = carets.index("^")
            self.assertEqual(text[at : at + carets.count("^")], compared)
        for condition in SOMETIMES:
            self.assertEqual(self.faults(condition, "404", "200"), [], condition)
        unknown = check_rule(rule("listener == 'x'", "404", "200"), "status")
        self.assertEqual(list(unknown), [], "where no listeners are known, none is missing")


class GateTests(SynchronousTestCase):
    """The rule in a site: before routing, for every method and spelling."""

    def status(self, bed: Bed, target: str, method: str = "GET") -> int:
        """The status for a request target, spelt exactly so."""
        return bed.ask(f"{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode(), method=method).status

    def test_spellings(self) -> None:
        """No other spelling of a path gets around a rule."""
        refusing = rule("starts_with(url_path, '/healthz') || starts_with(url, '/jmap')", "403", "200")
        bed = Bed(policy=RulePolicy(refusing, FACTS, Clock(), loopback_exempt=False))
        for target in (
            *("/healthz/live", "//healthz/live", "/./healthz/live", "/x/../healthz/live", "/%68ealthz/live"),
            *("/jmap", "//jmap", "/%6amap/session", "/a/..//jmap?x=1", "http://h/jmap", "http://h//jmap"),
        ):
            for method in ("GET", "HEAD", "POST", "OPTIONS", "BREW"):
                self.assertIn(self.status(bed, target, method), (403, 400), (method, target))
        self.assertEqual(self.status(bed, "/other"), 404)
