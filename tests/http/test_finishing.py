"""Fields that every answer gets: the operator's own, HSTS, CORS; preflights, and the redirect to https."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request as TwistedRequest

from stalwart import config
from stalwart.http import (
    BadField,
    Cors,
    Endpoint,
    PolicyRequest,
    Problem,
    Request,
    Response,
    ResponseHeaders,
    TrustedProxies,
)
from stalwart.http.finishing import check_field, check_origin
from stalwart.http.lookups import FactAnswers
from stalwart.http.settings import site_settings
from tests.http.bed import Answer, Bed
from tests.http.test_http2 import Client

_PERMISSIVE = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "Authorization, Content-Type, Accept, X-Requested-With",
    "access-control-allow-methods": "POST, GET, PATCH, PUT, DELETE, HEAD, OPTIONS",
    "access-control-expose-headers": "Allow, Content-Disposition, ETag, Link, Location, RateLimit, RateLimit-Policy,"
    " Retry-After, WWW-Authenticate, X-Request-Id",
    "access-control-max-age": "3600",
}
_MAIL = "https://mail.example.org"
_PREFLIGHT = f"Origin: {_MAIL}\r\nAccess-Control-Request-Method: POST\r\n"


class Static(Resource):
    """A page of plain twisted.web."""

    isLeaf = True

    def render_GET(self, request: TwistedRequest) -> bytes:
        """The page."""
        request.setHeader(b"content-type", b"text/plain")
        return b"static"


class Hsts(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings say."""

    max_age: int = 31_536_000
    include_subdomains: bool = True


class Stream(Endpoint):
    """Answers in blocks."""

    async def get(self, request: Request) -> Response:
        """Two of them."""

        def blocks() -> Iterator[bytes]:
            yield b"a"
            yield b"b"

        return Response(stream=blocks())


class Own(Endpoint):
    """Has fields of its own, and wants a sign-in."""

    async def admit(self, request: Request) -> None:
        """Refuse strangers."""
        if request.header(b"authorization") is None:
            raise Problem(401)

    async def get(self, request: Request) -> Response:
        """Fields that settings may replace."""
        return Response(headers=(("X-Own", "1"), ("Cache-Control", "no-cache"), ("Access-Control-Allow-Origin", "b")))

    post = get


class DenyAll:
    """A policy that lets nothing through."""

    def decide(self, request: PolicyRequest) -> int:
        """404, always."""
        return 404


def _bed(finishing: ResponseHeaders | None, **more: object) -> Bed:
    bed = Bed(finishing=finishing, **more)  # type: ignore[arg-type]
    bed.mount("/stream", Stream())
    bed.mount("/own", Own())
    bed.mount("/healthz/live", Stream())
    bed.mount("/.well-known/acme-challenge/token", Stream())
    folder = Resource()
    folder.putChild(b"file", Static())
    bed.mount("/files", folder)
    return bed


def _cors(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control")}


class Headers(SynchronousTestCase):
    """`headers`."""

    def test_exact(self) -> None:
        """They stand behind the answer's own fields, as written."""
        bed = _bed(ResponseHeaders([("X-Frame-Options", "DENY"), ("Server", "ä, b:  c")]))
        wire = bed.connect()
        wire.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(
            wire.raw(),
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Frame-Options: DENY\r\nServer: \xc3\xa4, b:  c\r\n"
            b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nX-Request-Id: ab-1\r\nContent-Length: 6\r\n\r\nhello\n",
        )

    def test_everywhere(self) -> None:
        """On pages, streams, static files, HEAD, OPTIONS, and on every kind of refusal, the channel's own included."""
        get = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
        for octets, status in (
            (get % b"/hello", 200),
            (get % b"/stream", 200),
            (get % b"/files/file", 200),
            (get % b"/nothing", 404),
            (get % b"/own", 401),
            (get % b"/%zz", 400),
            (b"DELETE /hello HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            (b"OPTIONS /hello HTTP/1.1\r\nHost: a\r\n\r\n", 204),
            (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 204),
            (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n", 413),
            (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/3.0\r\n\r\n", 505),
            (b"\x16\x03\x01", 400),
            (b"GET /" + b"x" * 20_000, 414),
        ):
            answer = _bed(ResponseHeaders([("X-Mine", "yes")])).ask(octets)
            self.assertEqual((answer.status, answer.headers.get("x-mine")), (status, "yes"), octets[:60])
        bed = _bed(ResponseHeaders([("X-Mine", "yes")]))
        self.assertEqual(bed.get("/hello", method="HEAD").headers["x-mine"], "yes")
        bed.site.settings = msgspec.structs.replace(bed.site.settings, policy=DenyAll())
        self.assertEqual(bed.get("/hello").headers["x-mine"], "yes")

    def test_late(self) -> None:
        """A head that took too long is refused with them, too."""
        bed = _bed(ResponseHeaders([("X-Mine", "yes")]))
        wire = bed.connect()
        wire.send(b"GET")
        wire.seconds_until_closed(60)
        (answer,) = wire.answers()
        self.assertEqual((answer.status, answer.headers["x-mine"]), (408, "yes"))

    def test_http2(self) -> None:
        """On streams, too, their names in lower case; refusals included."""
        client = Client(_bed(ResponseHeaders([("X-Mine", "yes")], hsts=Hsts()), tls=True))
        streams = (
            client.ask("/hello"),
            client.ask("/nothing"),
            client.ask("/stream"),
            client.ask("/hello", fields=[(f"x-{number}", "") for number in range(500)]),
        )
        for stream, status in zip(streams, (200, 404, 200, 431), strict=True):
            headers = client.headers[stream]
            self.assertEqual((client.status[stream], headers["x-mine"]), (status, "yes"))
            self.assertEqual(headers["strict-transport-security"], "max-age=31536000; includeSubDomains")

    def test_replace(self) -> None:
        """They replace fields of the same name, whatever its case; two of one name are both sent."""
        finishing = ResponseHeaders([("x-oWN", "2"), ("Content-Type", "x/y"), ("Link", "a"), ("Link", "b")])
        wire = _bed(finishing).connect()
        wire.send(b"GET /own HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\n\r\n")
        head = wire.raw()
        self.assertNotIn(b"X-Own: 1", head)
        for line in (b"x-oWN: 2", b"Content-Type: x/y", b"Link: a", b"Link: b", b"Cache-Control: no-cache"):
            self.assertEqual(head.count(b"\r\n" + line + b"\r\n"), 1, line)

    def test_nothing(self) -> None:
        """Nothing configured costs nothing."""
        self.assertFalse(ResponseHeaders())
        self.assertIsNone(site_settings(config.load(None, {}), FactAnswers({}), Clock()).finishing)

    def test_bad(self) -> None:
        """What can't be sent, or would break the message, is refused."""
        for name, value in (
            ("", "x"),
            ("a b", "x"),
            ("ä", "x"),
            ("a:", "x"),
            ("X", "a\r\nSet-Cookie: b"),
            ("X", "a\x00"),
            ("X", "\udc80"),
            ("Content-Length", "3"),
            ("transfer-ENCODING", "chunked"),
            (" Connection ", "close"),
            ("Keep-Alive", "1"),
            ("Upgrade", "h2c"),
        ):
            with self.assertRaises(BadField, msg=(name, value)):
                ResponseHeaders([(name, value)])
        self.assertEqual(check_field(" X-A ", " b "), (b"X-A", b"b"))

    @settings(deadline=None, max_examples=200)
    @given(st.text(max_size=20), st.text(max_size=20))
    def test_anything(self, name: str, value: str) -> None:
        """Any texts are refused, or make one line that is a field."""
        try:
            octets, content = check_field(name, value)
        except BadField:
            return
        self.assertNotRegex(octets + content, rb"[\r\n\x00]")
        self.assertTrue(octets)


class StrictTransport(SynchronousTestCase):
    """`hsts`."""

    def test_on_tls_only(self) -> None:
        """RFC 6797 §7.2: sent where the client came by https, not on plain HTTP."""
        field = "strict-transport-security"
        finishing = ResponseHeaders(hsts=Hsts(max_age=60, include_subdomains=False))
        self.assertNotIn(field, _bed(finishing).get("/hello").headers)
        self.assertEqual(_bed(finishing, tls=True).get("/hello").headers[field], "max-age=60")
        proxied = _bed(finishing, forwarded=TrustedProxies([ip_network("192.0.2.7/32")]))
        self.assertEqual(proxied.get("/hello", headers="X-Forwarded-Proto: https\r\n").headers[field], "max-age=60")
        self.assertNotIn(field, proxied.get("/hello").headers)
        self.assertNotIn(field, _bed(finishing).get("/hello", headers="X-Forwarded-Proto: https\r\n").headers)

    def test_wins(self) -> None:
        """The setting wins over a configured header of the same name."""
        finishing = ResponseHeaders([("Strict-Transport-Security", "max-age=1"), ("A", "b")], hsts=Hsts())
        answer = _bed(finishing, tls=True).get("/hello")
        self.assertEqual(answer.headers["strict-transport-security"], "max-age=31536000; includeSubDomains")
        self.assertEqual(answer.headers["a"], "b")


class CrossOrigin(SynchronousTestCase):
    """`permissive-cors` and `cors.allowed-origins`."""

    def test_permissive(self) -> None:
        """Every answer lets every origin in, as the reference does; refusals too."""
        bed = _bed(ResponseHeaders([("access-control-allow-origin", "c")], cors=Cors()))
        for path, status in (("/hello", 200), ("/nothing", 404), ("/own", 401), ("/stream", 200)):
            answer = bed.get(path)
            self.assertEqual((answer.status, _cors(answer)), (status, _PERMISSIVE), path)
            self.assertNotIn("vary", answer.headers)
        self.assertEqual(_cors(bed.get("/own", headers="Authorization: x\r\n")), _PERMISSIVE)

    def test_listed(self) -> None:
        """Listed origins are let in by their name, others not; caches are told that it depends."""
        bed = _bed(ResponseHeaders(cors=Cors(origins=("HTTPS://Mail.example.org:443", "http://localhost:5173"))))
        for origin in (_MAIL, "http://localhost:5173"):
            answer = bed.get("/hello", headers=f"Origin: {origin}\r\n")
            self.assertEqual(_cors(answer), _PERMISSIVE | {"access-control-allow-origin": origin})
            self.assertEqual(answer.headers["vary"], "Origin")
        for fields in ("", "Origin: https://evil.example.org\r\n", "Origin: null\r\n", "Origin: *\r\n", "Origin: \r\n"):
            answer = bed.get("/hello", headers=fields)
            self.assertEqual((_cors(answer), answer.headers["vary"]), ({}, "Origin"), fields)

    def test_nobody(self) -> None:
        """An empty list lets nobody in."""
        bed = _bed(ResponseHeaders(cors=Cors(origins=())))
        self.assertEqual(_cors(bed.get("/hello", headers=_PREFLIGHT, method="OPTIONS")), {})

    def test_preflight(self) -> None:
        """A preflight is answered 204 without a sign-in, wherever it asks, also where there is nothing."""
        for cors in (Cors(), Cors(origins=(_MAIL,))):
            bed = _bed(ResponseHeaders(cors=cors))
            for path in ("/own", "/hello", "/nothing/at/all", "/files/file"):
                answer = bed.get(path, method="OPTIONS", headers=_PREFLIGHT)
                self.assertEqual((answer.status, answer.body), (204, b""), path)
                origin = "*" if cors.origins is None else _MAIL
                self.assertEqual(_cors(answer), _PERMISSIVE | {"access-control-allow-origin": origin})
                self.assertNotIn("content-length", answer.headers)
            self.assertEqual(bed.count("cors", "OPTIONS", 204), 4)

    def test_no_preflight(self) -> None:
        """Other OPTIONS requests, and those of strangers, get what they get without CORS."""
        bed = _bed(ResponseHeaders(cors=Cors(origins=(_MAIL,))))
        answer = bed.get("/hello", method="OPTIONS", headers=_PREFLIGHT.replace("mail", "evil"))
        self.assertEqual((answer.status, answer.headers["allow"]), (204, "GET, HEAD, OPTIONS"))
        self.assertEqual(_cors(answer), {})
        self.assertEqual(bed.get("/nothing", method="OPTIONS", headers=f"Origin: {_MAIL}\r\n").status, 404)
        self.assertEqual(_bed(None).get("/nothing", method="OPTIONS", headers=_PREFLIGHT).status, 404)

    def test_policy_first(self) -> None:
        """The policy judges preflights too, and its refusal can be read by the script."""
        answer = _bed(ResponseHeaders(cors=Cors()), policy=DenyAll()).get("/own", method="OPTIONS", headers=_PREFLIGHT)
        self.assertEqual((answer.status, _cors(answer)), (404, _PERMISSIVE))

    def test_http2(self) -> None:
        """Preflights on streams."""
        client = Client(_bed(ResponseHeaders(cors=Cors()), tls=True))
        stream = client.ask(
            "/own", method="OPTIONS", fields=[("origin", _MAIL), ("access-control-request-method", "POST")]
        )
        self.assertEqual(client.status[stream], 204)
        self.assertEqual(client.headers[stream]["access-control-allow-origin"], "*")

    def test_origins(self) -> None:
        """Origins are written without a path; their default port is left out as browsers do."""
        for text, origin in (
            ("https://a.example:443", "https://a.example"),
            ("http://a:80", "http://a"),
            ("http://a:443", "http://a:443"),
            ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
            ("moz-extension://ab-cd", "moz-extension://ab-cd"),
        ):
            self.assertEqual(check_origin(text), origin)
        for text in (
            "",
            "*",
            "null",
            "a.example",
            "https://a/",
            "https://a/b",
            "https://a b",
            "https:",
        ):
            with self.assertRaises(BadField, msg=text):
                check_origin(text)


class ToHttps(SynchronousTestCase):
    """The redirect."""

    def test_redirect(self) -> None:
        """Plain requests are sent to the same URL by https, with method and body; the port is left out or replaced."""
        for host, port, path, url in (
            ("Mail.example.org", 443, "/hello?a=b%20c", "https://mail.example.org/hello?a=b%20c"),
            ("mail.example.org:8080", 443, "/x/../hello", "https://mail.example.org/hello"),
            ("mail.example.org:8080", 8443, "/hello", "https://mail.example.org:8443/hello"),
            ("[2001:db8::1]:8080", 443, "/", "https://[2001:db8::1]/"),
            ("[2001:db8::1]", 8443, "/%E2%82%AC", "https://[2001:db8::1]:8443/%E2%82%AC"),
            ("a", 443, "//evil.example/x", "https://a/evil.example/x"),
        ):
            bed = _bed(None, redirect_port=port)
            for method in ("GET", "POST", "OPTIONS"):
                answer = bed.ask(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                self.assertEqual((answer.status, answer.headers["location"]), (308, url))

    def test_not_these(self) -> None:
        """ACME, health and what mail clients ask for by http is served, and https; the policy's refusal stands."""
        bed = _bed(None, redirect_port=443)
        for path in ("/.well-known/acme-challenge/token", "/healthz/live"):
            self.assertEqual(bed.get(path).status, 200, path)
        for path in ("/.well-known/acme-challenge/../jmap", "/healthz/../hello", "/.well-known/acme-challenge"):
            self.assertEqual(bed.get(path).status, 308, path)
        autoconfig = ("/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml")
        for path in (*autoconfig, "/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml"):
            self.assertEqual(bed.get(path).status, 404, path)  # as there is nothing here
            self.assertEqual(bed.get(path + "/").status, 308, path)
        self.assertEqual(_bed(None, redirect_port=443, tls=True).get("/hello").status, 200)
        self.assertEqual(_bed(None, redirect_port=443, policy=DenyAll()).get("/hello").status, 404)
        proxied = _bed(None, redirect_port=443, forwarded=TrustedProxies([ip_network("192.0.2.0/24")]))
        self.assertEqual(proxied.get("/hello", headers="Forwarded: proto=https\r\n").status, 200)
        answer = proxied.get("/hello", headers="Forwarded: proto=http;host=outer\r\n")
        self.assertEqual((answer.status, answer.headers["location"]), (308, "https://outer/hello"))

    def test_no_host(self) -> None:
        """Who names no host can't be told where to go."""
        self.assertEqual(_bed(None, redirect_port=443).ask(b"GET /hello HTTP/1.0\r\n\r\n").status, 400)

    def test_no_injection(self) -> None:
        """What comes in the path or query can't leave the URL's line."""
        answer = _bed(None, redirect_port=443).get("/a%0d%0aX:%20y?b%0d%0a")
        self.assertEqual(answer.status, 400)
        answer = _bed(None, redirect_port=443).get("/a?b%0d%0aX:%20y")
        self.assertEqual(answer.headers["location"], "https://a/a?b%0d%0aX:%20y")
