"""Discovery over HTTP: whose domain is asked about, what strangers learn, and what they can't break."""

from __future__ import annotations

import ipaddress
import json
import plistlib
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import capturedLogs

from stalwart.config.pem import read_chain
from stalwart.discovery import mta_sts, mta_sts_policy, pacc_document
from stalwart.http import Problem, TrustedProxies
from stalwart.store import StoreBusy, create_domain
from stalwart.web.discovery import Discovery
from stalwart.web.local_domains import LocalDomains
from stalwart.web.root import build_root
from tests.config.support import Pair, load_text
from tests.discovery.support import ADDRESS, TEXT, golden
from tests.http.bed import Answer, Bed
from tests.store.bed import StoreTestCase

CLIENT_CONFIG = (
    "/mail/config-v1.1.xml",
    "/.well-known/autoconfig/mail/config-v1.1.xml",
    "/.well-known/mail-v1.xml",
)
V1 = "/autodiscover/autodiscover.xml"
V2 = "/autodiscover/autodiscover.json"
PROFILE = "/mail/apple.mobileconfig"
PACC = "/.well-known/user-agent-configuration.json"
MTA_STS = "/.well-known/mta-sts.txt"


class AtOnce:
    """A pool that does its work at once, and counts it."""

    def __init__(self) -> None:
        self.count = 0

    def run(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Do it."""
        self.count += 1
        return maybeDeferred(function)


class DiscoveryBed(StoreTestCase):
    """A site over a store with the domains example.org and example.net."""

    text = TEXT

    def setUp(self) -> None:
        """Make the site."""
        super().setUp()
        with self.store.write() as s:
            create_domain(s, "example.net")
        self.pool = AtOnce()
        self.serve(Bed(tls=True))

    def serve(self, bed: Bed, text: str | None = None) -> None:
        """Serve from this bed, with these settings."""
        self.bed = bed
        self.settings = load_text(self.text if text is None else text)
        domains = LocalDomains(self.store, self.pool, bed.clock.seconds)
        self.discovery = Discovery(self.settings, domains, wall=lambda: 1_900_000_000.0)
        bed.site.resource = build_root(
            ping=lambda: None,
            pool=self.pool,
            reactor=bed.clock,
            metrics=bed.metrics,
            more=self.discovery.resources(),
        )

    def ask(
        self, path: str, *, host: str = "mail.example.org", method: str = "GET", headers: str = "", body: bytes = b""
    ) -> Answer:
        """Send a request."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}{length}\r\n".encode()
        return self.bed.ask(head + body, method=method)

    def outlook(self, address: str, path: str = V1) -> Answer:
        """Ask as Outlook does."""
        escaped = address.replace("&", "&amp;").replace("<", "&lt;")
        body = f"<Autodiscover><Request><EMailAddress>{escaped}</EMailAddress></Request></Autodiscover>"
        return self.ask(path, method="POST", headers="Content-Type: text/xml\r\n", body=body.encode())


class ClientConfigTests(DiscoveryBed):
    """Thunderbird's document."""

    def test_by_address(self) -> None:
        """The document for an address is the same at each path, whatever host is asked; an aliased name, too."""
        for path in CLIENT_CONFIG:
            for host in ("autoconfig.example.org", "example.org", "autoconfig.mx.example", "192.0.2.1"):
                answer = self.ask(f"{path}?emailaddress={quote(ADDRESS)}", host=host)
                self.assertEqual((answer.status, answer.body), (200, golden("config-v1.1.xml")))
                self.assertEqual(answer.headers["content-type"], "text/xml; charset=utf-8")

    def test_any_address(self) -> None:
        """Nobody learns which accounts there are: for all addresses of a domain it is the same but for the address."""
        known = self.ask(f"{CLIENT_CONFIG[0]}?emailaddress=ada@example.org")
        unknown = self.ask(f"{CLIENT_CONFIG[0]}?emailaddress=nobody@example.org")
        self.assertEqual(known.status, 200)
        self.assertEqual(known.body, unknown.body.replace(b"nobody@", b"ada@"))
        same = ("status", "content-type", "cache-control", "access-control-allow-origin")
        self.assertEqual([known.headers.get(name) for name in same], [unknown.headers.get(name) for name in same])

    def test_without_address(self) -> None:
        """Without an address it is the host's domain, and the placeholder stands for the user."""
        for query in ("", "?emailaddress=", "?emailaddress=%25EMAILADDRESS%25", "?x=1"):
            answer = self.ask(CLIENT_CONFIG[0] + query, host="autoconfig.example.org")
            self.assertEqual(answer.body, golden("config-v1.1-any.xml"))
        answer = self.ask(CLIENT_CONFIG[0], host="autoconfig.example.net")
        self.assertIn(b"<domain>example.net</domain>", answer.body)

    def test_foreign(self) -> None:
        """Other domains are not told of, by address or by host."""
        for query, host in (
            ("?emailaddress=a@foreign.example", "autoconfig.example.org"),
            ("", "autoconfig.foreign.example"),
        ):
            answer = self.ask(CLIENT_CONFIG[0] + query, host=host)
            self.assertEqual(answer.problem()["status"], 404)
            self.assertEqual(answer.headers["cache-control"], "no-store")

    def test_odd_addresses(self) -> None:
        """A plus sign that was not encoded is one; domains are compared as domains; what is no address gets 400."""
        answer = self.ask(f"{CLIENT_CONFIG[0]}?emailaddress=Ada+Tag@EXAMPLE.org.")
        self.assertIn(b"<username>ada+tag@example.org</username>", answer.body)
        for bad in (
            "nobody",
            "@example.org",
            "a@",
            "a%00@example.org",
            "a%3Cb@example.org",
            "a@b@c..d",
            "a%EF%BF%BE@example.org",
        ):
            self.assertEqual(self.ask(f"{CLIENT_CONFIG[0]}?emailaddress={bad}").problem()["status"], 400, bad)
        self.assertEqual(self.ask(f"{CLIENT_CONFIG[0]}?emailaddress=%FF@example.org").status, 400)

    def test_international(self) -> None:
        """A domain is found by its name in letters, and told of in its xn-- form."""
        with self.store.write() as s:
            create_domain(s, "bücher.example")
        for domain in ("b%C3%BCcher.example", "xn--bcher-kva.example"):
            answer = self.ask(f"{CLIENT_CONFIG[0]}?emailaddress=a@{domain}")
            self.assertIn(b"<domain>xn--bcher-kva.example</domain>", answer.body)

    def test_nothing_offered(self) -> None:
        """Where nothing is offered, nothing is found."""
        self.serve(self.bed, "[autoconfig.default]\njmap.enabled = false\n")
        self.assertEqual(self.ask(f"{CLIENT_CONFIG[0]}?emailaddress=a@example.org").problem()["status"], 404)

    def test_proxied_host(self) -> None:
        """The host is the one that a trusted proxy tells, where there is one, else only what was asked."""
        forwarded = "X-Forwarded-Host: autoconfig.example.net\r\n"
        answer = self.ask(CLIENT_CONFIG[0], host="autoconfig.example.org", headers=forwarded)
        self.assertIn(b"<domain>example.org</domain>", answer.body)
        self.serve(Bed(forwarded=TrustedProxies([ipaddress.ip_network("192.0.2.7")])))
        answer = self.ask(
            CLIENT_CONFIG[0], host="127.0.0.1:8080", headers=forwarded + "X-Forwarded-For: 198.51.100.1\r\n"
        )
        self.assertIn(b"<domain>example.net</domain>", answer.body)


class OutlookTests(DiscoveryBed):
    """Autodiscover, both versions."""

    def test_version_1(self) -> None:
        """The settings of an address, at the path in any case."""
        for path in (
            V1,
            "/Autodiscover/Autodiscover.xml",
            "/AutoDiscover/AutoDiscover.XML",
            "/AUTODISCOVER/AUTODISCOVER.XML",
        ):
            answer = self.outlook(ADDRESS, path)
            self.assertEqual((answer.status, answer.body), (200, golden("autodiscover.xml")), path)
            self.assertEqual(answer.headers["content-type"], "text/xml; charset=utf-8")

    def test_refused(self) -> None:
        """Refusals are in Autodiscover's own form; foreign domains, and not single addresses, are unknown."""
        for body, code in ((b"nonsense", b"600"), (b"", b"600")):
            answer = self.ask(V1, method="POST", body=body)
            self.assertEqual(answer.status, 200)
            self.assertIn(b"<ErrorCode>%s</ErrorCode>" % code, answer.body)
        self.assertIn(b"<ErrorCode>500</ErrorCode>", self.outlook("a@foreign.example").body)
        self.assertIn(b"<ErrorCode>600</ErrorCode>", self.outlook("a<b@example.org").body)
        known, unknown = self.outlook("ada@example.org").body, self.outlook("nobody@example.org").body
        self.assertEqual(known, unknown.replace(b"nobody@", b"ada@"))

    def test_bombs(self) -> None:
        """Entities are not read, neither bombs nor files; a large request is not read at all."""
        for declared in (
            b'<!ENTITY a "haha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">',
            b'<!ENTITY c SYSTEM "file:///etc/hostname">',
            b'<!ENTITY % c SYSTEM "http://127.0.0.1:1/">%c;',
        ):
            body = (
                b"<!DOCTYPE x [" + declared + b"]><Autodiscover><Request><EMailAddress>&c;@example.org</EMailAddress>"
            )
            answer = self.ask(V1, method="POST", body=body + b"</Request></Autodiscover>")
            self.assertIn(b"<ErrorCode>600</ErrorCode>", answer.body)
        self.assertEqual(self.ask(V1, method="POST", body=b"<a/>" + b" " * 8188).status, 200)
        self.assertEqual(self.ask(V1, method="POST", body=b"<a/>" + b" " * 8189).problem()["status"], 413)
        deep = b"<a>" * 2700
        self.assertEqual(self.ask(V1, method="POST", body=deep).status, 200)

    def test_how_to(self) -> None:
        """GET says how to ask."""
        answer = self.ask(V1)
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "text/plain; charset=utf-8"))
        self.assertIn(b"<EMailAddress>", answer.body)

    def test_to_https(self) -> None:
        """Where http is sent to https, Outlook's GET gets the 302 that it follows, to a name of the settings."""
        self.serve(Bed(redirect_port=443))
        answer = self.ask("/Autodiscover/Autodiscover.xml", host="autodiscover.example.org")
        self.assertEqual((answer.status, answer.headers["location"]), (302, f"https://mail.example.org{V1}"))
        self.assertEqual(self.ask(V1, host="evil.example").headers["location"], f"https://mail.example.org{V1}")

    def test_version_2(self) -> None:
        """Where version 1 is, for an address in the query or in the path; hosts are not taken from the request."""
        for path in (
            f"{V2}?Email=a@example.org&Protocol=AutodiscoverV1",
            f"{V2}?protocol=autodiscoverv1&email=a%40example.org",
            f"{V2}/v1.0/a@example.org?Protocol=AutodiscoverV1",
            f"/Autodiscover/Autodiscover.json/V1.0/{quote(ADDRESS)}?Protocol=AutodiscoverV1",
        ):
            answer = self.ask(path, host="evil.example")
            self.assertEqual((answer.status, answer.body), (200, golden("autodiscover.json")), path)
            self.assertEqual(answer.headers["content-type"], "application/json")

    def test_version_2_refused(self) -> None:
        """Refusals of version 2 have its form."""
        for path, status, code in (
            (f"{V2}?Email=a@example.org&Protocol=ActiveSync", 400, "InvalidProtocol"),
            (f"{V2}?Email=a@example.org", 400, "InvalidProtocol"),
            (f"{V2}?Protocol=AutodiscoverV1", 400, "InvalidUserId"),
            (f"{V2}?Email=nobody&Protocol=AutodiscoverV1", 400, "InvalidUserId"),
            (f"{V2}?Email=a@foreign.example&Protocol=AutodiscoverV1", 404, "UserNotFound"),
            (f"{V2}/v1.0/a@foreign.example?Protocol=AutodiscoverV1", 404, "UserNotFound"),
        ):
            answer = self.ask(path)
            self.assertEqual((answer.status, json.loads(answer.body)["ErrorCode"]), (status, code), path)
        for path in (
            f"{V2}/v1.0",
            f"{V2}/v2.0/a@example.org",
            f"{V2}/v1.0/a@example.org/x",
            "/autodiscover/x",
            "/autodiscover",
        ):
            self.assertEqual(self.ask(path).problem()["status"], 404)


class OtherClientTests(DiscoveryBed):
    """Apple's profile and PACC."""

    def test_profile(self) -> None:
        """A profile for an address, of Apple's type and with a name to save it under."""
        answer = self.ask(f"{PROFILE}?emailaddress={quote(ADDRESS)}")
        self.assertEqual((answer.status, answer.body), (200, golden("apple.mobileconfig")))
        self.assertEqual(answer.headers["content-type"], "application/x-apple-aspen-config")
        self.assertEqual(answer.headers["content-disposition"], 'attachment; filename="example.org.mobileconfig"')
        self.assertIn("private", answer.headers["cache-control"])
        known, unknown = (
            plistlib.loads(self.ask(f"{PROFILE}?emailaddress={name}@example.org").body) for name in ("ada", "nobody")
        )
        self.assertEqual(known["PayloadContent"][0].keys(), unknown["PayloadContent"][0].keys())

    def test_no_profile(self) -> None:
        """Without an address, for foreign domains, and where Apple's Mail finds nothing, there is none."""
        self.assertEqual(self.ask(PROFILE).problem()["status"], 400)
        self.assertEqual(self.ask(f"{PROFILE}?emailaddress=a@foreign.example").problem()["status"], 404)
        self.serve(self.bed, "")
        self.assertEqual(self.ask(f"{PROFILE}?emailaddress=a@example.org").problem()["status"], 404)

    def test_pacc(self) -> None:
        """The octets are those that `stalwart dns` makes the digest of, however the host is written."""
        for host in ("example.org", "ua-auto-config.example.org", "EXAMPLE.ORG:443", "ua-auto-config.example.org:8443"):
            answer = self.ask(PACC, host=host)
            self.assertEqual(answer.body, pacc_document(self.settings, "example.org"))
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(self.ask(PACC, host="example.net").body, pacc_document(self.settings, "example.net"))
        self.assertEqual(self.ask(PACC, host="ua-auto-config.foreign.example").problem()["status"], 404)


class WellKnownTests(DiscoveryBed):
    """MTA-STS, security.txt and the rest."""

    def test_mta_sts(self) -> None:
        """Each domain has its own policy; any other host gets that of the default domain."""
        text = (
            '[session.mta-sts]\nmx = "mx.example.org"\n[session.mta-sts.domain."example.net"]\nmx = "mx.example.net"\n'
        )
        self.serve(self.bed, f'[server]\nhostname = "mail.example.org"\n{text}')
        for host, domain in (
            ("mta-sts.example.org", "example.org"),
            ("MTA-STS.example.net:443", "example.net"),
            ("192.0.2.1", "example.org"),
            ("something.example", "example.org"),
        ):
            answer = self.ask(MTA_STS, host=host)
            policy = mta_sts_policy(self.settings, domain)
            assert policy is not None
            self.assertEqual((answer.status, answer.body), (200, policy[0]))
            self.assertEqual(answer.headers["content-type"], "text/plain")
        self.assertEqual(self.ask(MTA_STS, host="mta-sts.foreign.example").problem()["status"], 404)
        self.serve(self.bed, '[session.mta-sts]\nmode = "disable"\n')
        self.assertEqual(self.ask(MTA_STS, host="mta-sts.example.org").problem()["status"], 404)

    def test_security_txt(self) -> None:
        """The file, in the type that RFC 9116 §3 asks for; none where nobody is named."""
        answer = self.ask("/.well-known/security.txt")
        self.assertEqual(
            (answer.body, answer.headers["content-type"]), (golden("security.txt"), "text/plain; charset=utf-8")
        )
        self.serve(self.bed, "")
        self.assertEqual(self.ask("/.well-known/security.txt").problem()["status"], 404)

    def test_robots(self) -> None:
        """Crawlers are asked to stay away, unless the settings say something else."""
        answer = self.ask("/robots.txt")
        self.assertEqual(answer.body, b"User-agent: *\nDisallow: /\n")
        self.assertEqual(answer.headers["content-type"], "text/plain; charset=utf-8")
        self.serve(self.bed, '[well-known]\nrobots = "# Bücher\\nUser-agent: *\\nAllow: /"\n')
        self.assertEqual(self.ask("/robots.txt").body, "# Bücher\nUser-agent: *\nAllow: /\n".encode())

    def test_change_password(self) -> None:
        """It leads to the page that is set, else to the server's own."""
        path = "/.well-known/change-password"
        self.assertEqual((self.ask(path).status, self.ask(path).headers["location"]), (302, "/account"))
        for page in ("https://example.org/password?a=1&b='", "/account"):
            self.serve(self.bed, f'[well-known]\nchange-password = "{page}"\n')
            answer = self.ask(path, host="evil.example")
            self.assertEqual((answer.status, answer.headers["location"]), (302, page))

    def test_dav(self) -> None:
        """Every method is sent to the other server, where there is one."""
        for method in ("GET", "PROPFIND", "OPTIONS", "REPORT"):
            answer = self.ask(
                "/.well-known/caldav", method=method, body=b"<propfind/>" if method == "PROPFIND" else b""
            )
            self.assertEqual(
                (answer.status, answer.headers["location"]), (307, "https://dav.example.org:8443/it's?a=1&b=2")
            )
        self.assertEqual(self.ask("/.well-known/carddav").headers["location"], "https://dav.example.org/")
        self.serve(self.bed, '[autoconfig."example.net"]\ncarddav.url = "https://n.example/"\n')
        self.assertEqual(self.ask("/.well-known/carddav", host="example.net").headers["location"], "https://n.example/")
        self.assertEqual(self.ask("/.well-known/carddav", host="example.org").problem()["status"], 404)
        self.assertEqual(self.ask("/.well-known/caldav", method="PROPFIND").problem()["status"], 404)


class SharedTests(DiscoveryBed):
    """What all documents have in common."""

    paths = (
        CLIENT_CONFIG[0],
        CLIENT_CONFIG[1],
        CLIENT_CONFIG[2],
        f"{PROFILE}?emailaddress=a@example.org",
        f"{V2}?Email=a@example.org&Protocol=AutodiscoverV1",
        V1,
        PACC,
        MTA_STS,
        "/.well-known/security.txt",
        "/robots.txt",
    )

    def test_scripts(self) -> None:
        """Scripts of any origin may read them, also that there is none; a preflight says so."""
        for path in self.paths:
            self.assertEqual(self.ask(path).headers["access-control-allow-origin"], "*", path)
            preflight = self.ask(
                path, method="OPTIONS", headers="Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n"
            )
            self.assertEqual((preflight.status, preflight.headers["access-control-allow-origin"]), (204, "*"))
            self.assertIn("GET", preflight.headers["access-control-allow-methods"])
        missing = self.ask(f"{CLIENT_CONFIG[0]}?emailaddress=a@foreign.example")
        self.assertEqual(missing.headers["access-control-allow-origin"], "*")

    def test_head_and_cache(self) -> None:
        """HEAD works wherever GET does; who has a document already gets 304, until it changes."""
        for path in self.paths:
            whole = self.ask(path)
            head = self.ask(path, method="HEAD")
            self.assertEqual((head.status, head.headers["content-length"]), (200, str(len(whole.body))), path)
            self.assertRegex(whole.headers["cache-control"], r"\A(public|private), max-age=300\Z")
            etag = whole.headers["etag"]
            again = self.ask(path, headers=f"If-None-Match: {etag}\r\n")
            self.assertEqual((again.status, again.headers["etag"]), (304, etag))
            self.assertEqual(self.ask(path, headers='If-None-Match: "other"\r\n').status, 200)

    def test_methods(self) -> None:
        """Other methods are refused, nothing lies below."""
        for path in self.paths:
            plain = path.partition("?")[0]
            self.assertEqual(self.ask(plain, method="DELETE").status, 405)
            self.assertEqual(self.ask(f"{plain}/x").status, 404)

    def test_reload(self) -> None:
        """New settings hold at once."""
        self.discovery.configure(load_text('[well-known]\nrobots = "User-agent: x"\n'))
        self.assertEqual(self.ask("/robots.txt").body, b"User-agent: x\n")
        self.assertEqual(self.ask("/.well-known/security.txt").status, 404)

    @given(
        st.sampled_from((*CLIENT_CONFIG, PROFILE, V2)),
        st.sampled_from(("emailaddress", "Email", "Protocol")),
        st.text(),
    )
    @settings(max_examples=150, deadline=None)
    def test_any_query(self, path: str, name: str, value: str) -> None:
        """No value of a parameter is a fault of the server."""
        answer = self.ask(f"{path}?{name}={quote(value.encode('utf-8', 'surrogatepass'))}")
        self.assertLess(answer.status, 500)

    @given(st.binary(max_size=60).filter(lambda local: b"@" not in local))
    @settings(max_examples=150, deadline=None)
    def test_any_local_part(self, local: bytes) -> None:
        """What is taken as an address comes back as it was, in documents that can be read."""
        answer = self.ask(f"{CLIENT_CONFIG[0]}?emailaddress={quote(local)}@example.org")
        self.assertIn(answer.status, (200, 400))
        again = self.ask(f"{V2}/v1.0/{quote(local, safe='')}@example.org?Protocol=AutodiscoverV1")
        self.assertIn(again.status, (200, 400))

    @given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
    @settings(max_examples=150, deadline=None)
    def test_any_host(self, host: str) -> None:
        """No Host is a fault of the server, and none stands in an answer's URLs."""
        for path in (CLIENT_CONFIG[0], PACC, MTA_STS):
            answer = self.ask(path, host=host)
            self.assertLess(answer.status, 500)
            for url in re.findall(rb"https://([^/:\"<]+)", answer.body):
                self.assertTrue(url.endswith((b"example.org", b"example.net")), url)

    @given(st.binary(max_size=200))
    @settings(max_examples=100, deadline=None)
    def test_any_body(self, body: bytes) -> None:
        """No request of Autodiscover is a fault of the server."""
        self.assertEqual(self.ask(V1, method="POST", body=body).status, 200)


class OnceTests(DiscoveryBed):
    """What documents cost."""

    def test_once(self) -> None:
        """A domain's policy and PACC's document are made once; a reload has them made anew."""
        made: list[str] = []

        def read(text: str) -> object:
            made.append(text)
            return read_chain(text)

        self.patch(mta_sts, "read_chain", read)
        pair = Pair("mx.example.org")
        text = '[server]\nhostname = "mail.example.org"\n[certificate.a]\ndefault = true\n'
        text += 'cert = "%{file:/c}%"\nprivate-key = "%{file:/k}%"\n'
        settings = load_text(text, files={"/c": pair.cert, "/k": pair.key})
        for count in (1, 2):
            self.discovery.configure(settings)
            made.clear()
            for _ in range(3):
                answer = self.ask(MTA_STS, host="mta-sts.example.org")
                self.assertIn(b"mx: mx.example.org", answer.body, count)
            self.assertEqual(len(made), 1)
            self.ask(MTA_STS, host="mta-sts.example.net")
            self.assertEqual(len(made), 2)


class LocalDomainTests(DiscoveryBed):
    """How often the store is asked for its domains."""

    def test_remembered(self) -> None:
        """Many requests ask the store once in some seconds; a new domain is known soon."""
        asked = self.pool.count
        for _ in range(5):
            self.assertEqual(self.ask(f"{CLIENT_CONFIG[0]}?emailaddress=a@new.example").status, 404)
        self.assertEqual(self.pool.count - asked, 1)
        with self.store.write() as s:
            create_domain(s, "new.example")
        self.bed.clock.advance(5.0)
        self.assertEqual(self.ask(f"{CLIENT_CONFIG[0]}?emailaddress=a@new.example").status, 200)

    def test_store_fails(self) -> None:
        """A store that can't answer is told as 503, and asked again by the next."""
        real = self.store.read
        self.patch(self.store, "read", self.fail_to_read)
        answer = self.ask(PACC)
        self.assertEqual((answer.problem()["status"], answer.headers["retry-after"]), (503, "5"))
        self.patch(self.store, "read", real)
        self.assertEqual(self.ask(PACC).status, 200)

    def test_store_fails_for_many(self) -> None:
        """Many who wait together for a store that can't answer make one line in the log."""
        asked: Deferred[object] = Deferred()
        self.patch(self.pool, "run", lambda call: asked)
        domains = LocalDomains(self.store, self.pool, self.bed.clock.seconds)
        waiting = [Deferred.fromCoroutine(domains.names()) for _ in range(3)]
        with capturedLogs() as events:
            asked.errback(StoreBusy("busy"))
        for each in waiting:
            self.assertEqual(self.failureResultOf(each, Problem).value.status, 503)
        self.assertEqual([event["reason"] for event in events if "reason" in event], ["busy"])

    def fail_to_read(self) -> None:
        """A store that is busy."""
        raise StoreBusy("busy")
