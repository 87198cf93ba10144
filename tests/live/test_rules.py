"""The published rules against the real daemon: listener by path by method by address, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import http.client
import socket
import ssl
import tempfile
from pathlib import Path

import h2.config
import h2.connection
import h2.events
from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import Daemon, free_port

LOOPBACK, LAN, PUBLIC = "127.0.0.1", "192.168.1.20", "203.0.113.9"

# As TOML; the conditions are those that Stalwart's documentation publishes.
RULES = {
    "no api but from loopback": (
        """{match = [{if = "starts_with(url_path, '/api') && remote_ip != '127.0.0.1'", then = "404"}], else = "200"}"""
    ),
    "lan or public paths": (
        """{match = [{if = "starts_with(remote_ip, '192.168.1.') || contains(['robots.txt', '.well-known'], """
        """split(url_path, '/')[1])", then = "200"}], else = "400"}"""
    ),
    "private listener or public paths": (
        """{match = [{if = "listener == 'private-http' || contains(['jmap', 'robots.txt', '.well-known'], """
        """split(url_path, '/')[1])", then = "200"}], else = "404"}"""
    ),
    "no jmap but preflights": (
        """{match = [{if = "!starts_with(url, '/jmap') || method == 'OPTIONS'", then = "200"}], else = "400"}"""
    ),
}

# (rule, listener, address, method, path) -> denied with; None: let through to whatever is there
TABLE = (
    ("no api but from loopback", "public-http", PUBLIC, "GET", "/api/principal", 404),
    ("no api but from loopback", "public-http", PUBLIC, "OPTIONS", "//api", 404),
    ("no api but from loopback", "public-http", LAN, "GET", "/healthz/live", None),
    ("no api but from loopback", "private-http", PUBLIC, "GET", "/robots.txt", None),
    ("lan or public paths", "public-http", LAN, "GET", "/healthz/live", None),
    ("lan or public paths", "public-http", PUBLIC, "GET", "/healthz/live", 400),
    ("lan or public paths", "private-http", PUBLIC, "GET", "/x/../healthz/live", 400),
    ("lan or public paths", "public-http", PUBLIC, "GET", "/robots.txt", None),
    ("lan or public paths", "public-http", PUBLIC, "GET", "/.well-known/jmap", None),
    ("lan or public paths", "public-http", PUBLIC, "HEAD", "/metrics/prometheus", 400),
    ("private listener or public paths", "private-http", PUBLIC, "GET", "/healthz/live", None),
    ("private listener or public paths", "public-http", PUBLIC, "GET", "/healthz/live", 404),
    ("private listener or public paths", "public-http", PUBLIC, "GET", "/jmap/session", None),
    ("private listener or public paths", "public-http", LAN, "POST", "/%68ealthz/live", 404),
    ("no jmap but preflights", "public-http", PUBLIC, "POST", "/jmap", 400),
    ("no jmap but preflights", "public-http", PUBLIC, "GET", "//jmap/session", 400),
    ("no jmap but preflights", "public-http", PUBLIC, "GET", "/%6Amap/session", 400),
    ("no jmap but preflights", "private-http", PUBLIC, "OPTIONS", "/jmap/session", None),
    ("no jmap but preflights", "public-http", PUBLIC, "GET", "/.well-known/jmap", None),
)

# Spellings of a path that a rule denies. None may get to another answer than the plain one does.
SPELLINGS = (
    ("no api but from loopback", "/api", "//api /%61pi /x/../api /./api /%2e/api /api/ /api?x /x/%2E%2e/api"),
    ("no jmap but preflights", "/jmap", "//jmap /%6aMAP/../%6Amap /x/../jmap ///jmap /jmap/ /jmap?x /.//jmap"),
    (
        "private listener or public paths",
        "/healthz/live",
        "/jmap/../healthz/live /jmap/%2e%2e/healthz/live //healthz//live /robots.txt/../healthz/live",
    ),
    (
        "lan or public paths",
        "/healthz/live",
        "/.well-known/../healthz/live /robots.txt/..//healthz/live /%68ealthz/live",
    ),
)
# Other names, which nothing serves: a rule needn't deny them.
NOTHING_THERE = ("/API", "/%6aMAP", "/JMAP", "/Healthz/live", "/api%2Fx/../Jmap", "/%2fjmap", "/x%2f..%2fjmap")
BAD_PATHS = ("/../jmap", "/%2e%2e/jmap", "/jmap%00", "/%zz", "/jmap%ff")


class RulesTests(SynchronousTestCase):
    """One daemon for each rule, with two listeners; the addresses come from a proxy on loopback that is trusted."""

    def test_table(self) -> None:
        """Each row is judged alike over HTTP/1.1 and HTTP/2, and a refusal is a problem document."""
        for name, rule in RULES.items():
            ports = {"public-http": free_port(), "private-http": free_port()}
            listeners = "".join(
                f'[server.listener.{listener}]\nprotocol = "http"\nbind = "127.0.0.1:{port}"\ntls.implicit = true\n'
                for listener, port in ports.items()
            )
            # Some of the paths are those of scanners.
            settings = (
                "[server.auto-ban]\nscan.paths = []\n[http]\nuse-x-forwarded = true\n"
                f'trusted-proxies = ["127.0.0.0/8"]\nallowed-endpoint = {rule}\n'
            )
            with (
                tempfile.TemporaryDirectory() as home,
                Daemon.start(Path(home), extra_config=listeners + settings) as daemon,
            ):
                for row in (row for row in TABLE if row[0] == name):
                    _, listener, address, method, path, denied = row
                    for speak in (over_http1, over_http2):
                        status, kind = speak(ports[listener], method, path, address)
                        if denied is None:
                            self.assertNotIn(status, (400, 404, 500), (speak.__name__, row, daemon.log))
                        else:
                            self.assertEqual(
                                (status, kind), (denied, "application/problem+json"), (speak.__name__, row)
                            )
                self.check_spellings(name, ports["public-http"])

    def check_spellings(self, name: str, port: int) -> None:
        """A path is denied in every spelling; another name is served nowhere, and what has no one form is 400."""
        for speak in (over_http1, over_http2):
            for rule, plain, spellings in SPELLINGS:
                if rule == name:
                    denied = speak(port, "GET", plain, PUBLIC)
                    self.assertIn(denied[0], (400, 404))
                    for path in spellings.split():
                        self.assertEqual(speak(port, "GET", path, PUBLIC), denied, (speak.__name__, rule, path))
            for path in NOTHING_THERE:
                self.assertIn(speak(port, "GET", path, PUBLIC)[0], (400, 404), (speak.__name__, name, path))
            for path in BAD_PATHS:
                self.assertEqual(speak(port, "GET", path, LAN)[0], 400, (speak.__name__, name, path))


def trusting(protocol: str) -> ssl.SSLContext:
    """TLS that takes the self-signed certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context


def over_http1(port: int, method: str, path: str, address: str) -> tuple[int, str]:
    """Status and content type of a request as a proxy would pass it on; the path is sent as it stands."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=trusting("http/1.1"))
    connection.request(method, path, headers={"X-Forwarded-For": address})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers.get("Content-Type", "")


def over_http2(port: int, method: str, path: str, address: str) -> tuple[int, str]:
    """The same on a stream of HTTP/2."""
    with trusting("h2").wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=30)) as wire:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        connection.initiate_connection()
        head = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "h")]
        connection.send_headers(1, [*head, ("x-forwarded-for", address)], end_stream=True)
        wire.sendall(connection.data_to_send())
        while True:
            for event in connection.receive_data(wire.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    fields = {bytes(name): bytes(value).decode() for name, value in event.headers}
                    return int(fields[b":status"]), fields.get(b"content-type", "")
