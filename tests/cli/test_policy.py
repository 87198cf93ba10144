"""`stalwart policy`: the published rules explained, a log judged again, and the table of endpoints."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stalwart import config
from stalwart.cli.access_lines import Past, Unreadable, read_line, read_lines
from stalwart.cli.main import stalwart
from stalwart.cli.policy_asking import context_of, ends_from
from stalwart.cli.policy_explain import judge
from stalwart.cli.policy_replay import pattern_of
from stalwart.cli.policy_table import endpoints
from stalwart.cli.policy_tree import clause_lines
from stalwart.config import RuleClause, RuleText, SourceText
from stalwart.http import Branch, Endpoint, Request, Response
from stalwart.http.asked import Visit
from stalwart.ops.log import AccessLog, Format, LogOutput
from stalwart.web.acme import Challenges

API = """{match = [{if = "starts_with(url_path, '/api') && remote_ip != '127.0.0.1'", then = "404"}], else = "200"}"""
LAN = (
    """{match = [{if = "starts_with(remote_ip, '192.168.1.') || contains(['robots.txt', '.well-known'], """
    """split(url_path, '/')[1])", then = "200"}], else = "400"}"""
)
PRIVATE = (
    """{match = [{if = "listener == 'private-http' || contains(['jmap', 'robots.txt', '.well-known'], """
    """split(url_path, '/')[1])", then = "200"}], else = "404"}"""
)
JMAP = """{match = [{if = "!starts_with(url, '/jmap') || method == 'OPTIONS'", then = "200"}], else = "400"}"""

LISTENERS = """\
[server]
hostname = "mail.example.org"
[server.listener.public-http]
protocol = "http"
bind = "192.0.2.1:80"
[server.listener.private-http]
protocol = "http"
bind = "127.0.0.1:8081"
[server.listener.lmtp]
protocol = "lmtp"
bind = "127.0.0.1:8024"
"""

EXPLAINED = {
    (API, "public-http", "203.0.113.9", "GET", "//%61pi/principal"): """\
deny 404
GET /api/principal on listener "public-http" (http) from 203.0.113.9
decided by clause 1 (x.toml:13) of http.allowed-endpoint

clause 1  <- decides
  if starts_with(url_path, '/api') && remote_ip != '127.0.0.1' = 1
    starts_with(url_path, '/api') = 1
      url_path = '/api/principal'
    remote_ip != '127.0.0.1' = 1
      remote_ip = '203.0.113.9'
  then 404
else
  200  (not asked)
""",
    (LAN, "public-http", "192.168.1.20", "GET", "http://mail.example.org/healthz/live"): """\
allow 200
GET /healthz/live on listener "public-http" (http) from 192.168.1.20
decided by clause 1 (x.toml:13) of http.allowed-endpoint

clause 1  <- decides
  if starts_with(remote_ip, '192.168.1.') || contains(['robots.txt', '.well-known'], split(url_path, '/')[1]) = 1
    starts_with(remote_ip, '192.168.1.') = 1
      remote_ip = '192.168.1.20'
    contains(['robots.txt', '.well-known'], split(url_path, '/')[1])  (not asked)
  then 200
else
  400  (not asked)
""",
    (PRIVATE, "public-http", "203.0.113.9", "POST", "/healthz/live"): """\
deny 404
POST /healthz/live on listener "public-http" (http) from 203.0.113.9
decided by else (x.toml:13) of http.allowed-endpoint

clause 1
  if listener == 'private-http' || contains(['jmap', 'robots.txt', '.well-known'], split(url_path, '/')[1]) = 0
    listener == 'private-http' = 0
      listener = 'public-http'
    contains(['jmap', 'robots.txt', '.well-known'], split(url_path, '/')[1]) = 0
      split(url_path, '/')[1] = 'healthz'
        split(url_path, '/') = ['', 'healthz', 'live']
          url_path = '/healthz/live'
  then 200  (not asked)
else  <- decides
  404
""",
    (JMAP, "private-http", "203.0.113.9", "OPTIONS", "/jmap?a=b"): """\
allow 200
OPTIONS /jmap on listener "private-http" (http) from 203.0.113.9
decided by clause 1 (x.toml:13) of http.allowed-endpoint

clause 1  <- decides
  if !starts_with(url, '/jmap') || method == 'OPTIONS' = 1
    !starts_with(url, '/jmap') = 0
      starts_with(url, '/jmap') = 1
        url = '/jmap?a=b'
    method == 'OPTIONS' = 1
      method = 'OPTIONS'
  then 200
else
  400  (not asked)
""",
}


class Base(SynchronousTestCase):
    """`stalwart policy …` in a folder of its own."""

    def setUp(self) -> None:
        """A folder."""
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir(parents=True)

    def write(self, rule: str, *, more: str = "", name: str = "x.toml") -> Path:
        """A configuration with this rule, in line 13."""
        path = self.root / name
        path.write_text(f"{LISTENERS}[http]\nallowed-endpoint = {rule}\n{more}")
        return path

    def run_command(self, path: Path, *arguments: str, stdin: bytes | None = None) -> Result:
        """Run the command; its own exceptions are the test's."""
        result = CliRunner().invoke(stalwart, ["--config", str(path), "policy", *arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result


class ExplainTests(Base):
    """`stalwart policy explain`."""

    def explain(self, path: Path, listener: str, address: str, *arguments: str) -> Result:
        """Explain a request."""
        return self.run_command(path, "explain", "--listener", listener, "--ip", address, *arguments)

    def test_published_rules(self) -> None:
        """The verdict first, then the clause with its place, then every part with its value."""
        for (rule, listener, address, method, url), wanted in EXPLAINED.items():
            path = self.write(rule)
            result = self.explain(path, listener, address, method, url)
            self.assertEqual(result.output.replace(str(path), "x.toml"), wanted)
            self.assertEqual(result.exit_code, 0 if wanted.startswith("allow") else 1)

    def test_loopback(self) -> None:
        """The exemption of loopback is told, and what the rule would have said; a forwarded field ends it."""
        path = self.write(PRIVATE)
        result = self.explain(path, "public-http", "127.0.0.1", "GET", "/healthz/live")
        self.assertTrue(result.output.startswith("allow 200\n"))
        self.assertIn("http.allow-loopback", result.output)
        self.assertIn("the rule by itself: deny 404", result.output)
        passed_on = self.explain(path, "public-http", "::1", "--header", "Via: 1.1 x", "GET", "/healthz/live")
        self.assertTrue(passed_on.output.startswith("deny 404\n"))

    def test_acme(self) -> None:
        """A challenge of ACME is let in by a rule that doesn't name it, and that is told."""
        asked = ("public-http", "203.0.113.9", "GET", "/.well-known/acme-challenge/" + "t" * 43)
        result = self.explain(self.write('"403"'), *asked)
        self.assertTrue(result.output.startswith("allow 200\n"))
        self.assertIn("challenge of ACME", result.output)
        self.assertIn("the rule by itself: deny 403", result.output)
        self.assertNotIn("allow-loopback", result.output)
        named = (
            """{match = [{if = "starts_with(url_path, '/.well-known/acme-challenge')", then = "404"}], else = "200"}"""
        )
        self.assertTrue(self.explain(self.write(named), *asked).output.startswith("deny 404\n"))

    def test_forwarded(self) -> None:
        """The address that counts is told: the client's from a trusted proxy, else the proxy's, and why."""
        path = self.write(LAN, more='use-x-forwarded = true\ntrusted-proxies = ["10.0.0.1"]\n')
        field = ("--header", "X-Forwarded-For: 192.168.1.7", "GET", "/healthz/live")
        believed = self.explain(path, "public-http", "10.0.0.1", *field).output
        self.assertTrue(believed.startswith("allow 200\n"))
        self.assertIn("from 192.168.1.7 by the proxy 10.0.0.1", believed)
        stranger = self.explain(path, "public-http", "203.0.113.9", *field).output
        self.assertTrue(stranger.startswith("deny 400\n"))
        self.assertIn("203.0.113.9 is not in http.trusted-proxies", stranger)
        off = self.explain(self.write(LAN), "public-http", "10.0.0.1", *field).output
        self.assertIn("http.use-x-forwarded is off", off)

    def test_refused_before(self) -> None:
        """Where the server answers 400 before it asks the rule, that and its reason are told."""
        path = self.write('"200"')
        for url, reason in (
            ("/%zz", "percent sign"),
            ("/../x", "above its root"),
            ("/ü", "visible ASCII"),
            ("/a#b", "visible ASCII"),
            ("jmap", "starts with a slash"),
        ):
            result = self.explain(path, "public-http", "203.0.113.9", "GET", url)
            self.assertEqual((result.output.splitlines()[0], result.exit_code), ("deny 400", 1), url)
            self.assertIn(reason, result.output)

    def test_usage(self) -> None:
        """What can't be meant ends with 2: unknown listeners with the names there are, addresses, fields, files."""
        path = self.write('"200"')
        for listener, address, more, wanted in (
            ("public", "203.0.113.9", (), "public-http, private-http"),
            ("lmtp", "203.0.113.9", (), "public-http, private-http"),
            ("public-http", "203.0.113", (), "no IP address"),
            ("public-http", "203.0.113.9", ("--header", "x"), "no header field"),
            ("public-http", "203.0.113.9", ("--header", "a b: x"), "no header field"),
            ("public-http", "203.0.113.9", ("--lookup", "x"), "key_get"),
            ("public-http", "203.0.113.9", ("--header", "Host: a", "--header", "host: b"), "there twice"),
            ("public-http", "203.0.113.9", ("G T",), "no method"),
        ):
            method = () if more == ("G T",) else ("GET",)
            result = self.explain(path, listener, address, *more, *method, "/")
            self.assertEqual(result.exit_code, 2)
            self.assertIn(wanted, result.output)
        broken = self.write('"starts_wth(path)"')
        self.assertEqual(self.explain(broken, "public-http", "203.0.113.9", "GET", "/").exit_code, 2)

    def test_client_certificate(self) -> None:
        """Without a subject a note says that it was taken as none; with one the rule sees it."""
        path = self.write(
            '{ match = [{ if = "tls_client_subject == \'CN=alice,O=Example\'", then = "200" }], else = "403" }'
        )
        without = self.explain(path, "public-http", "203.0.113.9", "GET", "/")
        self.assertTrue(without.output.startswith("deny 403"))
        self.assertIn("the rule asks for tls_client_subject: the subject of the client's certificate", without.output)
        option = ("--tls-client-subject", "CN=alice,O=Example")
        shown = self.explain(path, "public-http", "203.0.113.9", *option, "GET", "/")
        self.assertTrue(shown.output.startswith("allow 200"))
        self.assertNotIn("note:", shown.output)

    def test_blocked(self) -> None:
        """Whom the configuration keeps out is denied whatever the rule says; the allow-list wins."""
        path = self.write('"200"', more='[server.blocked-ip]\n"203.0.113.0/24" = ""\n')
        result = self.explain(path, "public-http", "203.0.113.9", "GET", "/")
        self.assertEqual((result.output.splitlines()[0], result.exit_code), ("deny 403", 1))
        self.assertIn("server.blocked-ip", result.output)
        self.assertTrue(self.explain(path, "public-http", "198.51.100.4", "GET", "/").output.startswith("allow 200"))
        table = self.run_command(path, "table").output
        self.assertIn("server.blocked-ip keeps it out", table)
        self.assertNotIn(" allow", table)
        path.write_text(path.read_text() + '[server.allowed-ip]\n"203.0.113.9" = ""\n')
        self.assertTrue(self.explain(path, "public-http", "203.0.113.9", "GET", "/").output.startswith("allow 200"))

    def test_lookup_gives_a_number(self) -> None:
        """What the daemon would get as a number is one: 0 is false, while the text '0' of a key is true."""
        path = self.write("\"if_then(is_local_domain('', 'a.example'), 200, 403)\"")
        for value, verdict in (("0", "deny 403"), ("false", "deny 403"), ("1", "allow 200")):
            lookup = ("--lookup", f"is_local_domain(,a.example)={value}")
            output = self.explain(path, "public-http", "203.0.113.9", *lookup, "GET", "/").output
            self.assertEqual(output.splitlines()[0], verdict, value)
        path = self.write("\"if_then(key_get('default', 'a'), 200, 403)\"")
        output = self.explain(path, "public-http", "203.0.113.9", "--lookup", "key_get(default,a)=0", "GET", "/").output
        self.assertEqual(output.splitlines()[0], "allow 200")

    def test_failing_rule(self) -> None:
        """A rule that fails denies with 500, and says where it failed."""
        path = self.write('"to_lowercase(method)"')
        output = self.explain(path, "public-http", "203.0.113.9", "GET", "/").output
        self.assertTrue(output.startswith("deny 500\n"))
        self.assertIn("no HTTP status", output)

    def test_notes(self) -> None:
        """What only a real connection has, and the redirect to https, are told."""
        path = self.write('"if_then(remote_port > 1, 200, 200)"', more="redirect-https = true\n")
        output = self.explain(path, "public-http", "203.0.113.9", "GET", "/").output
        self.assertIn("remote_port: the client's port, taken as 0", output)
        self.assertIn("http.redirect-https", output)

    def test_lookups(self) -> None:
        """What a rule would look up is shown; its answer is the one that was given, else '' with a word about it."""
        loaded = config.load(str(self.write('"200"')), {})
        condition = "key_get('default', remote_ip) == 'banned'"
        rule = RuleText(
            clauses=(RuleClause(if_=SourceText(text=condition, key="k"), then=SourceText(text="403", key="k")),),
            otherwise=SourceText(text="200", key="k"),
            key="http.allowed-endpoint",
        )
        changed = msgspec.structs.replace(loaded, http=msgspec.structs.replace(loaded.http, allowed_endpoint=rule))
        listener = loaded.listeners[0]
        ends = ends_from("203.0.113.9", listener)
        for answers, status, notes in (
            ({"key_get(default,203.0.113.9)": "banned"}, 403, 0),
            ({}, 200, 1),
        ):
            visit = Visit(listener=context_of(listener), ends=ends, method=b"GET", uri=b"/")
            found = judge(changed, listener, visit, answers)
            self.assertEqual((found.status, len(found.notes)), (status, notes))
            tree = "\n".join(clause_lines("clause 1", found.clauses[0], decides=True))
            self.assertIn("asked: key_get(default,203.0.113.9)", tree)
            self.assertEqual("not known, taken as ''" in tree, bool(notes))

    def test_json(self) -> None:
        """The same as one object."""
        result = self.explain(self.write(API), "public-http", "203.0.113.9", "--json", "GET", "/api")
        found = json.loads(result.output)
        self.assertEqual((found["verdict"], found["status"], found["ruleStatus"]), ("deny", 404, 404))
        self.assertEqual((found["decided"]["number"], found["decided"]["line"]), (1, 13))
        condition = found["clauses"][0]["condition"]
        self.assertEqual([part["value"] for part in condition["parts"]], [1, 1])
        self.assertEqual(found["clauses"][1]["then"], {"text": "200", "asked": False})


class LogLines:
    """Lines as the daemon writes them."""

    def __init__(self, form: Format = "text") -> None:
        self._stream = io.StringIO()
        self._now = 1_800_000_000.0
        self._output = LogOutput(self._stream, form, "info", lambda: self._now)
        self._log = AccessLog(self._output, Clock())

    def add(self, path: str, status: int = 200, *, listener: str = "public-http", **more: Any) -> None:
        """One request, a second after the one before."""
        self._now += 1
        fields = {"client": "203.0.113.9", "method": "GET", "peer": None, "user": None, "agent": "x y", **more}
        self._log.request(
            request_id="ab-1",
            listener=listener,
            path=path,
            protocol="HTTP/1.1",
            status=status,
            octets=3,
            seconds=0.001,
            **fields,
        )

    def note(self, text: str) -> None:
        """A line as it stands."""
        self._output.write(text)

    def bytes(self) -> bytes:
        """All of it."""
        self._output.flush()
        return self._stream.getvalue().encode()


def sample(form: Format = "text") -> bytes:
    """Five requests, four that the stricter rule denies, with other lines between."""
    lines = LogLines(form)
    lines.add("/healthz/live")
    lines.add("/healthz/live", client="198.51.100.4", peer="10.0.0.1")
    lines.add("/healthz/live")
    lines.add("/jmap/session", 401)
    lines.add("/metrics/prometheus", listener="private-http")
    lines.add("-", 400, method="-")
    if form == "text":
        lines.note("2027-01-15T08:00:09.000Z INFO  stalwart: ready\n    Traceback, first line")
    else:
        lines.note('{"time": "x", "level": "info", "logger": "stalwart", "message": "ready"}')
    lines.note("what is this")
    return lines.bytes()


class ReplayTests(Base):
    """`stalwart policy replay`."""

    def replay(self, *arguments: str, stdin: bytes | None = None, rule: str = '"200"') -> Result:
        """Replay under a present rule that lets everything in."""
        return self.run_command(self.write(rule), "replay", *arguments, stdin=stdin)

    def test_groups(self) -> None:
        """Groups by listener, method, path and statuses, the most frequent first, in every form of the log."""
        new = str(self.write(PRIVATE, name="new.toml"))
        packed = self.root / "log.gz"
        packed.write_bytes(gzip.compress(sample()))
        plain = self.root / "log"
        plain.write_bytes(sample("json"))
        for arguments, stdin in (
            (("--log", str(packed)), None),
            (("--log", str(plain)), None),
            (("--log", "-"), sample()),
            (("--log", "-"), gzip.compress(sample("json"))),
        ):
            result = self.replay(*arguments, "--rules", new, "--json", stdin=stdin)
            found = json.loads(result.output)
            self.assertEqual(result.exit_code, 1)
            self.assertEqual((found["judged"], found["differing"], found["not_judged"]), (5, 3, 1))
            self.assertEqual((found["unreadable"], found["example"]), (1, "what is this"))
            self.assertEqual(
                found["changes"],
                [
                    {
                        "listener": "public-http",
                        "method": "GET",
                        "path": "/healthz/live",
                        "old": 200,
                        "new": 404,
                        "count": 3,
                        "addresses": 2,
                        "first": "2027-01-15T08:00:01.000Z",
                        "last": "2027-01-15T08:00:03.000Z",
                    }
                ],
            )

    def test_text(self) -> None:
        """What a person reads: the groups, the counts, and an example of what could not be read."""
        new = str(self.write(PRIVATE, name="new.toml"))
        output = self.replay("--log", "-", "--rules", new, stdin=sample()).output
        self.assertIn("3 of 5 requests would be judged differently", output)
        self.assertIn("       3  200 -> 404  public-http GET /healthz/live\n", output)
        self.assertIn("2 addresses, 2027-01-15T08:00:01.000Z to 2027-01-15T08:00:03.000Z", output)
        self.assertIn("unreadable, for example: what is this", output)

    def test_nothing(self) -> None:
        """Nothing different: exit code 0."""
        new = str(self.write('"200"', name="new.toml"))
        result = self.replay("--log", "-", "--rules", new, stdin=sample())
        self.assertEqual(result.exit_code, 0)
        self.assertIn("Nothing would be judged differently.", result.output)

    def test_no_requests(self) -> None:
        """A log without a request is no consent: exit code 2, so that a script stops."""
        new = str(self.write('"404"', name="new.toml"))
        for lines in (b"", b"what is this\n", sample().splitlines(keepends=True)[0][:30] + b"\n"):
            result = self.replay("--log", "-", "--rules", new, stdin=lines)
            self.assertEqual(result.exit_code, 2, lines)
            self.assertIn("no request in the log", result.output)
            self.assertNotIn("Nothing would be", result.output)

    def test_without_new_rules(self) -> None:
        """The present rule against what was answered well, and so let in."""
        result = self.replay("--log", "-", "--json", stdin=sample(), rule=JMAP.replace("/jmap", "/"))
        found = json.loads(result.output)
        self.assertEqual((found["judged"], found["not_judged"], found["differing"]), (4, 2, 4))

    def test_denied_with_success(self) -> None:
        """A rule that denies with a status of success is not held against the requests that it denied."""
        lines = LogLines()
        lines.add("/x", 204)
        lines.add("/y", 200)
        found = json.loads(self.replay("--log", "-", "--json", stdin=lines.bytes(), rule="204").output)
        self.assertEqual((found["judged"], found["not_judged"], found["differing"]), (1, 1, 1))

    def test_what_the_log_lacks(self) -> None:
        """A rule that asks for what isn't in the log is told so."""
        rule = "\"if_then(contains(headers, 'a: b') || url == '/x' || is_tls, 200, 403)\""
        new = str(self.write(rule, name="new.toml"))
        lines = LogLines()
        lines.add("/x", client="127.0.0.1")
        output = self.replay("--log", "-", "--rules", new, stdin=lines.bytes()).output
        for wanted in ("asks for headers", "leaves out queries", "the scheme", "1 requests came over loopback"):
            self.assertIn(wanted, output)

    def test_bad_files(self) -> None:
        """A log that is missing or damaged, and rules with errors, end with 2 and say why."""
        self.assertEqual(self.replay("--log", str(self.root / "none")).exit_code, 2)
        damaged = self.root / "log.gz"
        damaged.write_bytes(gzip.compress(sample())[:-20])
        self.assertEqual(self.replay("--log", str(damaged)).exit_code, 2)
        broken = str(self.write('"starts_wth(path)"', name="new.toml"))
        result = self.replay("--log", "-", "--rules", broken, stdin=sample())
        self.assertEqual(result.exit_code, 2)
        self.assertIn("starts_wth", result.output)

    def test_quoted(self) -> None:
        """What looks like a request inside another line is none: clients choose texts that other loggers quote."""
        lines = LogLines()
        lines.add("/x")
        request = lines.bytes().decode().rstrip()
        other = "2027-01-15T08:00:09.000Z ERROR stalwart.http: http.allowed-endpoint failed and denies: "
        self.assertIsInstance(read_line(request), Past)
        self.assertIsInstance(read_line(f"Jan 15 08:00:01 host stalwart[7]: {request}"), Past)
        self.assertIsNone(read_line(other + request))

    def test_patterns(self) -> None:
        """Ids and what lies deep are not told apart."""
        for path, pattern in (
            ("/", "/"),
            ("/jmap/session", "/jmap/session"),
            ("/jmap/download/c17/G0a9/x.pdf", "/jmap/download/*/…"),
            ("/.well-known/acme-challenge/Zm9vYmFyYmF6cXV4Zm9vYmFy", "/.well-known/acme-challenge/*"),
        ):
            self.assertEqual(pattern_of(path), pattern)

    def test_bounded(self) -> None:
        """A line without an end is skipped as a whole, and counted once."""
        log = io.BytesIO(b"x" * 300_000 + b"\n" + sample())
        found = list(read_lines(log))
        self.assertEqual(sum(isinstance(line, Unreadable) for line in found), 2)
        self.assertEqual(sum(isinstance(line, Past) for line in found), 6)

    @hypothesis_settings(deadline=None, max_examples=100)
    @given(
        st.sampled_from(["text", "json"]),
        st.sampled_from([None, "ada@example.org", "a b@example.org"]),
        st.text(max_size=40),
        st.sampled_from(["a b", "public-http", "x INFO y"]),
    )
    def test_round_trip(self, form: Format, user: str | None, agent: str, listener: str) -> None:
        """What the daemon writes is read back, whatever clients send in the other fields."""
        lines = LogLines(form)
        lines.add("/p/q", 404, listener=listener, user=user, agent=agent + " peer=1 agent=", peer="10.0.0.1")
        line = lines.bytes().decode().rstrip("\n")
        for text in (line, f"Nov 20 16:00:00 host stalwart[1]: {line}" if form == "text" else line):
            self.assertEqual(
                read_line(text),
                Past("2027-01-15T08:00:01.000Z", listener, "203.0.113.9", "10.0.0.1", "GET", "/p/q", 404),
            )

    @hypothesis_settings(deadline=None, max_examples=100)
    @given(st.text(max_size=60), st.booleans())
    def test_any_line(self, text: str, cut: bool) -> None:
        """Any line is a request, something else, or unreadable; so is a line that was cut."""
        line = sample().decode().splitlines()[0]
        read_line(line[: len(text)] + text if cut else text)


class Dynamic(Endpoint):
    """A page below names that come and go."""

    async def post(self, request: Request) -> Response:
        """Nothing."""
        return Response()


class TableTests(Base):
    """`stalwart policy table`."""

    def test_matrix(self) -> None:
        """Each endpoint that is served, by listener, in 100 columns."""
        result = self.run_command(self.write(PRIVATE), "table")
        self.assertEqual(result.exit_code, 0)
        lines = result.output.splitlines()
        self.assertTrue(all(len(line) <= 100 for line in lines[2:]))
        rows = {line.split()[0]: line for line in lines[3:]}
        self.assertRegex(rows["/healthz/live"], r"GET HEAD OPTIONS +404 +allow$")
        self.assertRegex(rows["/jmap"], r"OPTIONS POST +allow +allow$")
        self.assertRegex(rows["/.well-known/acme-challenge/*"], r"GET HEAD OPTIONS +allow +allow$")

    def test_mixed(self) -> None:
        """Where methods differ, those that are let in stand before the status of the others; `--json` has each."""
        path = self.write(JMAP)
        self.assertIn("OPTIONS, else 400", self.run_command(path, "table").output)
        rows = json.loads(self.run_command(path, "table", "--json").output)
        [jmap] = [row for row in rows if row["path"] == "/jmap"]
        self.assertEqual(jmap["listeners"]["public-http"], {"OPTIONS": 200, "POST": 400})

    def test_address(self) -> None:
        """Another address may reach more; loopback is told apart."""
        path = self.write(LAN)
        self.assertIn("404", self.run_command(self.write(PRIVATE), "table").output)
        self.assertNotIn("400", self.run_command(path, "table", "--ip", "192.168.1.20").output)
        local = self.run_command(path, "table", "--ip", "127.0.0.1").output
        self.assertIn("http.allow-loopback", local)
        self.assertEqual(self.run_command(path, "table", "--ip", "x").exit_code, 2)

    def test_many_listeners(self) -> None:
        """Listeners that find no room stand in a table below."""
        many = "".join(
            f'[server.listener.a-listener-{number}]\nprotocol = "http"\nbind = "127.0.0.1:{number}"\n'
            for number in range(1, 9)
        )
        path = self.root / "many.toml"
        path.write_text(f'{many}[http]\nallowed-endpoint = "200"\n')
        output = self.run_command(path, "table").output
        self.assertTrue(all(len(line) <= 100 for line in output.splitlines()[2:]))
        for number in range(1, 9):
            self.assertIn(f"a-listener-{number}", output)

    def test_tree(self) -> None:
        """Leaves take what lies below them, and pages that are made by name are shown with the names left open."""
        root = Branch()
        leaf = Dynamic()
        leaf.isLeaf = True
        root.putChild(b"leaf", leaf)
        root.putChild(b"acme", Challenges())
        found = {one.path: one.methods for one in endpoints(root)}
        self.assertEqual(
            found,
            {
                "/leaf": ("OPTIONS", "POST"),
                "/leaf/*": ("OPTIONS", "POST"),
                "/acme/*": ("GET", "HEAD", "OPTIONS"),
            },
        )
