"""`stalwart dns check` against a real DNS server, and against https names of the test's own."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.query
from click.testing import CliRunner
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from stalwart.cli.dns_asking import DnsAsking
from stalwart.cli.dns_checking import Examined, examine
from stalwart.cli.dns_fetching import PublicWeb
from stalwart.cli.main import stalwart
from stalwart.delivery.mail_dns import ResolverDns
from stalwart.discovery import mta_sts_policy, pacc_document
from stalwart.zone import Finding, zone_lines
from tests.delivery.smtp_server import Authority
from tests.live.daemon import environment
from tests.live.nsd import Nsd, check_zone
from tests.zone.bed import settings, wanted

reactor: Any = _reactor

DOMAIN = "example.org"

HEAD = """\
example.org. 3600 IN SOA ns.example.org. hostmaster.example.org. 1 3600 600 86400 60
example.org. 3600 IN NS ns.example.org.
ns.example.org. 3600 IN A 127.0.0.1
mail.example.org. 3600 IN A 127.0.0.1
smtp.example.org. 3600 IN A 127.0.0.1
"""

CONFIG = """\
[server]
hostname = "mail.example.org"
[server.listener.http]
protocol = "http"
bind = "127.0.0.1:0"
[storage]
data = "db"
blob = "files"
[store.db]
type = "sqlite"
path = "{root}/mail.sqlite"
[store.files]
type = "fs"
path = "{root}/blobs"
[acme.le]
domains = ["mail.example.org"]
contact = ["postmaster@example.org"]
agree-to-terms = true
[autoconfig.default.imap]
host = "mail.example.org"
"""

WRONG_DATA = {
    "MX": "10 elsewhere.example.org.",
    "TXT": '"v=spf1 -all"',
    "SRV": "0 1 7 ns.example.org.",
    "CNAME": "elsewhere.example.org.",
    "CAA": '0 issue "other.example"',
}
WRONG_TEXTS = {
    "_dmarc": "v=DMARC1; p=none",
    "_mta-sts": "v=STSv1; id=1",
    "_smtp": "v=TLSRPTv1; rua=x",
    "_ua-": "v=UAAC1; d=",
}


class CommandTests(SynchronousTestCase):
    """The command as a program, asking NSD."""

    def setUp(self) -> None:
        """A store with the domain and its keys."""
        self.root = Path(tempfile.mkdtemp(prefix="dns-"))
        self.addCleanup(shutil.rmtree, self.root)
        (self.root / "stalwart.toml").write_text(CONFIG.format(root=self.root))
        for arguments in (["domain", "create", DOMAIN], ["dkim", "create", DOMAIN], ["dns", "records", DOMAIN]):
            done = CliRunner().invoke(stalwart, ["-c", str(self.root / "stalwart.toml"), *arguments])
            self.assertEqual(done.exit_code, 0, done.output)
        self.zone = HEAD + done.stdout

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`stalwart ARGUMENTS`."""
        program = "from stalwart.cli.main import main; main()"
        return subprocess.run(
            [sys.executable, "-c", program, "-c", str(self.root / "stalwart.toml"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=environment(),
        )

    def check(self, port: int) -> tuple[int, dict[str, dict[str, Any]]]:
        """The exit code and the findings by check and name."""
        server = f"127.0.0.1:{port}"
        done = self.run_command("dns", "check", DOMAIN, "--dns-only", "--json", "--server", server)
        self.assertEqual(done.stderr, "")
        report = json.loads(done.stdout)
        self.assertEqual((report["domain"], report["server"]), (DOMAIN, server))
        return done.returncode, {f"{one['check']} {one['name']}": one for one in report["findings"]}

    def served(self, zones: Mapping[str, str]) -> Nsd:
        """NSD with these zones, in a folder of its own."""
        return Nsd(Path(tempfile.mkdtemp(dir=self.root)), zones)

    def test_all_good(self) -> None:
        """The zone that is printed is a zone, and is good once it is served; what is long comes over TCP."""
        zone = self.zone + "".join(f'{DOMAIN}. 60 IN TXT "{number}{"x" * 200}"\n' for number in range(4))
        self.assertIn("is ok", check_zone(self.root, DOMAIN, zone))
        with self.served({DOMAIN: zone}) as nsd:
            answer = dns.query.udp(dns.message.make_query(DOMAIN, "TXT"), "127.0.0.1", timeout=10, port=nsd.port)
            self.assertTrue(answer.flags & dns.flags.TC)
            code, findings = self.check(nsd.port)
            self.assertEqual({one["state"] for one in findings.values()}, {"good"}, findings)
            self.assertEqual(code, 0)
            done = self.run_command("dns", "check", DOMAIN, "--dns-only", "--server", f"127.0.0.1:{nsd.port}")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, rf"^example\.org, as told by 127\.0\.0\.1:{nsd.port}\n\ngood ")
        self.assertRegex(
            done.stdout, r"\nDNSSEC: .* 0 of [0-9]+ answers .*\n[0-9]+ good, 0 wrong, 0 missing, 0 unknown\n$"
        )

    def test_each_missing(self) -> None:
        """With nothing but addresses in the zone, every record is missing; NXDOMAIN is no failure."""
        with self.served({DOMAIN: HEAD}) as nsd:
            code, findings = self.check(nsd.port)
        states = {key: one["state"] for key, one in findings.items() if one["check"] != "address"}
        self.assertEqual(set(states.values()), {"missing"}, states)
        self.assertEqual(code, 1)

    def test_each_wrong(self) -> None:
        """With other data in each record, every record is wrong, and shows what is there."""
        lines = [self.changed(line) for line in self.zone.splitlines() if line not in HEAD.splitlines()]
        zone = HEAD + "elsewhere.example.org. 60 IN A 192.0.2.99\n" + "\n".join(lines) + "\n"
        with self.served({DOMAIN: zone}) as nsd:
            code, findings = self.check(nsd.port)
        for key, one in findings.items():
            if one["check"] != "address":
                self.assertEqual(one["state"], "wrong", key)
                self.assertTrue(one["found"] and one["fix"], key)
        self.assertEqual(code, 1)

    def changed(self, line: str) -> str:
        """A line of the zone with other data."""
        if line.startswith(";"):
            return line
        name, _, _, kind, _ = line.split(" ", 4)
        text = next((text for start, text in WRONG_TEXTS.items() if name.startswith(start)), None)
        if "_domainkey" in name:
            text = "v=DKIM1; p=AAAA"
        data = WRONG_DATA[kind] if text is None else f'"{text}"'
        return f"{name} 60 IN {kind} {data}"

    def test_unknown(self) -> None:
        """SERVFAIL, and REFUSED by a lame server, leave everything unknown: exit code 3."""
        for zones, part in (({DOMAIN: ""}, "SERVFAIL"), ({"example.net": HEAD.replace(".org", ".net")}, "REFUSED")):
            with self.served(zones) as nsd:
                code, findings = self.check(nsd.port)
            self.assertEqual({one["state"] for one in findings.values()}, {"unknown"}, part)
            self.assertTrue(all(part in one["note"] for one in findings.values()), findings)
            self.assertEqual(code, 3)

    def test_timeout(self) -> None:
        """So does a server that never answers, and none is waited for long."""
        with socket.socket(type=socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            start = time.monotonic()
            code, findings = self.check(silent.getsockname()[1])
        self.assertEqual({one["state"] for one in findings.values()}, {"unknown"})
        self.assertTrue(all("no DNS server answered" in one["note"] for one in findings.values()))
        self.assertEqual(code, 3)
        self.assertLess(time.monotonic() - start, 90)

    def test_changes_nothing(self) -> None:
        """The check leaves the configuration and the store as they were."""
        before = self.content()
        with self.served({DOMAIN: HEAD}) as nsd:
            self.check(nsd.port)
        self.assertEqual(self.content(), before)

    def content(self) -> dict[str, object]:
        """The files beside the database, and all that is in that."""
        files: dict[str, object] = {
            str(path): path.read_bytes() for path in self.root.iterdir() if path.is_file() and "sqlite" not in path.name
        }
        with contextlib.closing(sqlite3.connect(self.root / "mail.sqlite")) as database:
            return {**files, "database": list(database.iterdump())}

    def test_domain(self) -> None:
        """A domain that isn't the server's own, and one without keys, are told with the commands that help."""
        with self.served({"example.net": HEAD.replace("example.org", "example.net")}) as nsd:
            done = self.run_command("dns", "check", "example.net", "--dns-only", "--server", f"127.0.0.1:{nsd.port}")
        self.assertEqual(done.returncode, 1)
        self.assertIn("to do:  stalwart domain create example.net\n", done.stdout)
        self.assertIn("to do:  stalwart dkim create example.net\n", done.stdout)


class Page(Resource):
    """Answers by host and path; `served` maps them to a status, a type and a body."""

    isLeaf = True

    def __init__(self, served: Mapping[str, tuple[int, str, bytes]]) -> None:
        super().__init__()
        self.served = served

    def render_GET(self, request: Any) -> bytes:
        """What is served there, or 404."""
        host = request.getRequestHostname().decode("ascii")
        status, media_type, body = self.served.get(host + request.path.decode("ascii"), (404, "text/plain", b""))
        request.setResponseCode(status)
        request.setHeader("Content-Type", media_type)
        return body


class PublicTests(TestCase):
    """What is fetched from public names, which lead to this machine."""

    names = ("mail", "autoconfig", "autodiscover", "mta-sts", "ua-auto-config")

    def setUp(self) -> None:
        """An authority, and what a daemon would serve."""
        self.root = Path(tempfile.mkdtemp(prefix="dns-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.authority = Authority()
        self.port = 0

    def listen(self, *names: str) -> None:
        """Serve a certificate for these names below the domain; first of all, since the settings have the port."""
        site: Any = Site(Page({}))
        self.site = site
        options = self.authority.server(*(f"{name}.{DOMAIN}" for name in names))
        listening = reactor.listenSSL(0, site, options, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        self.port = listening.getHost().port

    @property
    def more(self) -> str:
        """Settings with JMAP at the port."""
        return f"[autoconfig.default.jmap]\nport = {self.port}\n"

    def documents(self) -> dict[str, tuple[int, str, bytes]]:
        """What is served when all is well."""
        policy = mta_sts_policy(settings(self.more), DOMAIN)
        assert policy is not None
        provider = b'<emailProvider id="x"><domain>example.org</domain></emailProvider>'
        config = b'<?xml version="1.0"?><clientConfig version="1.1">' + provider + b"</clientConfig>"
        return {
            f"autoconfig.{DOMAIN}/mail/config-v1.1.xml": (200, "application/xml", config),
            f"mta-sts.{DOMAIN}/.well-known/mta-sts.txt": (200, "text/plain; charset=utf-8", policy[0]),
            f"mail.{DOMAIN}/.well-known/jmap": (401, "application/problem+json", b"{}"),
            f"ua-auto-config.{DOMAIN}/.well-known/user-agent-configuration.json": (
                200,
                "application/json",
                pacc_document(settings(self.more), DOMAIN),
            ),
        }

    async def check(self, served: Mapping[str, tuple[int, str, bytes]], zone: str = "") -> dict[str, Finding]:
        """The findings of what is fetched, by check; of certificates by name."""
        self.site.resource = Page(served)
        found = wanted(self.more)
        text = HEAD + "\n".join(zone_lines(found)) + "\n"
        text = re.sub(r"(?m)^mta-sts\..*$", zone, text) if zone else text
        with Nsd(Path(tempfile.mkdtemp(dir=self.root)), {DOMAIN: text}) as nsd:
            asked = ResolverDns(reactor, "127.0.0.1", nsd.port)
            ask = DnsAsking(asked)
            web = PublicWeb(reactor, ask, trust_root=self.authority.trust_root, seconds=10.0)
            examined = Examined(settings=settings(self.more), wanted=found, is_local=True)
            findings = await Deferred.fromCoroutine(examine(examined, ask, web, now=time.time(), port=self.port))
            asked.close()
            await self.closed()
        return {
            one.name.partition(":")[0] if one.check == "certificate" else one.check: one
            for one in findings
            if one.type == "HTTPS"
        }

    async def closed(self) -> None:
        """Wait until both ends of all connections are gone."""
        while any(isinstance(each, Connection) for each in reactor.getReaders()):
            await deferLater(reactor, 0.01, lambda: None)

    async def test_good(self) -> None:
        """Certificates and documents as they are to be."""
        self.listen(*self.names)
        findings = await self.check(self.documents())
        self.assertEqual({one.state for one in findings.values()}, {"good"}, findings)
        self.assertEqual(len(findings), 9)
        self.assertIn("autoconfig.example.org, ", findings["mail.example.org"].found[0])

    async def test_certificates(self) -> None:
        """A name that the certificate isn't for is wrong, for its documents too; the others are good."""
        self.listen("mail", "autoconfig", "autodiscover", "ua-auto-config")
        findings = await self.check(self.documents())
        wrong = {key for key, one in findings.items() if one.state != "good"}
        self.assertEqual(wrong, {"mta-sts.example.org", "MTA-STS policy"})
        self.assertIn("it is for other names", findings["mta-sts.example.org"].fix)
        self.assertIn("mend the certificate", findings["MTA-STS policy"].fix)

    async def test_untrusted(self) -> None:
        """An authority that nobody knows is wrong everywhere."""
        self.listen(*self.names)
        self.authority = Authority()
        findings = await self.check(self.documents())
        self.assertEqual({one.state for one in findings.values()}, {"wrong"})
        self.assertIn("no authority", findings["mail.example.org"].fix)

    async def test_documents(self) -> None:
        """Other documents, policies that forbid the MX host, and errors are wrong, with a way out."""
        self.listen(*self.names)
        policy = b"version: STSv1\r\nmode: enforce\r\nmax_age: 86400\r\nmx: "
        for place, answer, check, part in (
            ("autoconfig", (404, "text/plain", b""), "autoconfig", "it says 404"),
            ("autoconfig", (200, "text/html", b"<p>hello"), "autoconfig", "no XML"),
            ("autoconfig", (200, "text/xml", b'<?xml version="1.0" encoding="zip"?><a/>'), "autoconfig", "no XML"),
            ("autoconfig", (200, "text/xml", b"<clientConfig/>"), "autoconfig", "isn't for example.org"),
            ("mta-sts", (302, "text/plain", b""), "MTA-STS policy", "it says 302"),
            ("mta-sts", (200, "text/html", b""), "MTA-STS policy", "not text/plain"),
            ("mta-sts", (200, "text/plain", b"hello"), "MTA-STS policy", "is no policy"),
            ("mta-sts", (200, "text/plain", policy + b"a.example\r\n"), "MTA-STS policy", "forbids it"),
            ("mta-sts", (200, "text/plain", policy + b"mail.example.org\r\n"), "MTA-STS policy", "not that of the"),
            ("mail", (403, "text/plain", b""), "JMAP", "http.allowed-endpoint"),
            ("ua-auto-config", (200, "application/json", b"{}"), "PACC document", "not that of the settings"),
        ):
            served = self.documents()
            changed = next(key for key in served if key.startswith(f"{place}."))
            served[changed] = answer
            findings = await self.check(served)
            wrong = {key: one.fix for key, one in findings.items() if one.state != "good"}
            self.assertEqual(list(wrong), [check], wrong)
            self.assertIn(part, wrong[check])

    async def test_not_reached(self) -> None:
        """What can't be reached from here is unknown; a name without address is missing."""
        self.listen(*self.names)
        port, self.port = self.port, 1
        findings = await self.check(self.documents())
        self.assertEqual({one.state for one in findings.values()}, {"unknown"}, findings)
        self.assertIn("can't be reached from here", findings["mail.example.org"].note)
        self.port = port
        findings = await self.check(self.documents(), zone="mta-sts.example.org. 60 IN TXT x")
        lost = {key: one.state for key, one in findings.items() if one.state != "good"}
        self.assertEqual(lost, {"mta-sts.example.org": "missing", "MTA-STS policy": "missing"})
