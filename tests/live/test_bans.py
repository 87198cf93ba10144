"""Bans and rate limits with the real daemon, over real sockets; 127.0.0.2 and the next ones are other machines."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import ADDRESS, PASSWORD, Daemon, free_port
from tests.live.test_rules import trusting

STRANGER = "127.0.0.2"
TAKEN_OVER_SECONDS = 15.0

SETTINGS = """\
[server.listener.tls]
protocol = "http"
bind = "127.0.0.1:{tls}"
tls.implicit = true

[server.listener.balanced]
protocol = "http"
bind = "127.0.0.1:{balanced}"
proxy.trusted-networks = "127.0.0.3"

[server.listener.balanced-lmtp]
protocol = "lmtp"
bind = "127.0.0.1:{balanced_lmtp}"
proxy.trusted-networks = "127.0.0.3"

[server.blocked-ip]
"198.51.100.0/24" = ""
"127.0.0.6" = ""

[server.auto-ban]
auth.rate = "5/1d"

[http]
use-x-forwarded = true
trusted-proxies = ["127.0.0.4", "127.0.0.6"]
rate-limit.anonymous = "8/1m"
rate-limit.account = "6/1m"
"""


class Cut(Exception):
    """The server closed the connection without an answer."""


def exchange(port: int, octets: bytes, source: str) -> bytes:
    """Send octets from an address of this machine, and read until the server closes. Raises Cut for nothing at all."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0)) as wire:
            wire.sendall(octets)
            answer = b""
            while block := wire.recv(65_536):
                answer += block
    except ConnectionError as error:
        raise Cut from error
    if not answer:
        raise Cut
    return answer


class BanTests(SynchronousTestCase):
    """One daemon, with a TLS listener and two behind a balancer."""

    def setUp(self) -> None:
        """Start it."""
        self.ports = {"tls": free_port(), "balanced": free_port(), "balanced_lmtp": free_port()}
        self.daemon = Daemon.start(extra_config=SETTINGS.format(**self.ports))
        self.addCleanup(self.daemon.close)

    def status(self, path: str, source: str, *, fields: str = "", before: bytes = b"", port: int = 0) -> int:
        """The status of a GET."""
        head = f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n"
        answer = exchange(port or self.daemon.http_port, before + head.encode(), source)
        return int(answer.split(b" ", 2)[1])

    def until(self, wanted: Callable[[], bool]) -> None:
        """Wait for what the command changed to hold."""
        deadline = time.monotonic() + TAKEN_OVER_SECONDS
        while not wanted():
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.1)

    def is_cut(self, source: str, port: int = 0) -> bool:
        """Whether connections from there are closed at once."""
        try:
            self.status("/robots.txt", source, port=port)
        except Cut:
            return True
        return False

    def test_scanner(self) -> None:
        """One request for a banned path: 404, then closed doors, LMTP's too, over a restart, until it is lifted."""
        self.assertEqual(self.status("/wp-login.php", "127.0.0.1"), 404)
        self.assertEqual(self.status("/robots.txt", "127.0.0.1"), 200)
        self.assertEqual(self.status("/wp-login.php", STRANGER), 404)
        self.assertTrue(self.is_cut(STRANGER))
        self.assertRaises(Cut, exchange, self.daemon.lmtp_port, b"QUIT\r\n", STRANGER)
        self.assertIn(b"220", exchange(self.daemon.lmtp_port, b"QUIT\r\n", "127.0.0.1"))
        self.assertIn("stalwart ban remove 127.0.0.2", self.daemon.log)
        self.until(lambda: self.daemon.admin("ban", "list", "--json").strip() != "[]")
        (row,) = json.loads(self.daemon.admin("ban", "list", "--json"))
        self.assertEqual(
            (row["network"], row["reason"], row["until"] - row["since"]), (STRANGER, "banned-path", 86_400)
        )
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon.run()
        self.assertTrue(self.is_cut(STRANGER))
        metrics = exchange(
            self.daemon.http_port,
            b"GET /metrics/prometheus HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "127.0.0.1",
        )
        self.assertIn(b"stalwart_bans 1.0", metrics)
        self.assertIn(b'stalwart_ban_refusals_total{what="connection"}', metrics)
        self.daemon.admin("ban", "remove", STRANGER)
        self.until(lambda: not self.is_cut(STRANGER))

    def test_open_connection(self) -> None:
        """A ban that the command makes reaches connections that are open: 403, over HTTP/1.1 and HTTP/2."""
        plain = http.client.HTTPConnection("127.0.0.1", self.daemon.http_port, timeout=30, source_address=(STRANGER, 0))
        streams = Streams(self.ports["tls"], STRANGER)
        self.addCleanup(plain.close)
        self.addCleanup(streams.close)

        def both() -> list[int]:
            plain.request("GET", "/.well-known/jmap")
            answer = plain.getresponse()
            answer.read()
            return [answer.status, streams.status("/.well-known/jmap")[0]]

        self.assertEqual(both(), [307, 307])
        self.daemon.admin("ban", "add", "127.0.0.2/31", "--for", "1h", "--reason", "test")
        self.until(lambda: both() == [403, 403])
        self.daemon.admin("ban", "remove", "--all")
        self.until(lambda: both() == [307, 307])

    def test_behind_proxies(self) -> None:
        """By the address that a proxy names, in a field or in a PROXY header; the proxy itself goes on."""
        banned, free = "198.51.100.9", "203.0.113.9"
        ask = "/.well-known/jmap"
        self.assertEqual(self.status(ask, "127.0.0.4", fields=f"X-Forwarded-For: {banned}\r\n"), 403)
        self.assertEqual(self.status(ask, "127.0.0.4", fields=f"X-Forwarded-For: {free}\r\n"), 307)
        header = "PROXY TCP4 {} 192.0.2.1 4711 80\r\n"
        balanced, lmtp = self.ports["balanced"], self.ports["balanced_lmtp"]
        told = header.format(free).encode()
        self.assertEqual(self.status("/wp-login.php", "127.0.0.3", before=told, port=balanced), 404)
        for client in (banned, free):
            before = header.format(client).encode()
            self.assertRaises(Cut, self.status, ask, "127.0.0.3", before=before, port=balanced)
            self.assertRaises(Cut, exchange, lmtp, before + b"QUIT\r\n", "127.0.0.3")
        other = header.format("203.0.113.10").encode()
        self.assertEqual(self.status(ask, "127.0.0.3", before=other, port=balanced), 307)
        self.assertIn(b"220", exchange(lmtp, other + b"QUIT\r\n", "127.0.0.3"))
        # What LMTP's clients come from is no proxy's business: nobody names another there.
        self.assertRaises(Cut, exchange, self.daemon.lmtp_port, b"QUIT\r\n", "127.0.0.6")
        self.assertEqual(self.status(ask, "127.0.0.6"), 403)
        self.assertEqual(self.status(ask, "127.0.0.6", fields="X-Forwarded-For: 203.0.113.10\r\n"), 307)
        for _ in range(40):  # garbage from a proxy isn't its own
            exchange(self.daemon.http_port, b"nonsense\r\n\r\n", "127.0.0.4")
        self.assertEqual(self.status(ask, "127.0.0.4", fields=f"X-Forwarded-For: {free[:-1]}8\r\n"), 307)

    def test_rates(self) -> None:
        """Clients and accounts are limited, by the address that a proxy names, over HTTP/1.1 and HTTP/2 together."""
        fields = "X-Forwarded-For: 2001:db8::{}\r\n"
        statuses = [self.status("/robots.txt", "127.0.0.4", fields=fields.format(n)) for n in range(4)]
        streams = Streams(self.ports["tls"], "127.0.0.4")
        self.addCleanup(streams.close)
        answers = [streams.status("/robots.txt", ("x-forwarded-for", "2001:db8::9")) for _ in range(5)]
        self.assertEqual((statuses, [status for status, _ in answers]), ([200] * 4, [200] * 4 + [429]))
        refused = answers[-1][1]
        self.assertEqual(refused["ratelimit-policy"], '"requests";q=8;w=60')
        self.assertTrue(refused["ratelimit"].startswith('"requests";r=0;t='), refused)
        self.assertTrue(0 < int(refused["retry-after"]) <= 8, refused)
        self.assertEqual({self.status("/healthz/live", "127.0.0.1") for _ in range(30)}, {200})
        basic = base64.b64encode(f"{ADDRESS}:{PASSWORD}".encode()).decode()
        signed = f"Authorization: Basic {basic}\r\n"
        statuses = [
            self.status("/jmap/session", "127.0.0.4", fields=signed + f"X-Forwarded-For: 203.0.113.{n}\r\n")
            for n in range(7)
        ]
        self.assertEqual(statuses, [200] * 6 + [429])

    def test_passwords(self) -> None:
        """Who tries passwords is banned; the address where the account's owner works isn't, though it fails, too."""

        def sign_in(password: str, client: str) -> int:
            basic = base64.b64encode(f"{ADDRESS}:{password}".encode()).decode()
            fields = f"Authorization: Basic {basic}\r\nX-Forwarded-For: {client}\r\n"
            return self.status("/jmap/session", "127.0.0.4", fields=fields)

        owner, attacker = "203.0.113.1", "203.0.113.2"
        self.assertEqual(sign_in(PASSWORD, owner), 200)
        self.assertEqual([sign_in("old", owner) for _ in range(3)], [401] * 3)
        self.assertEqual([sign_in(f"guess{n}", attacker) for n in range(6)], [401] * 6)
        self.assertEqual(sign_in("guess", attacker), 403)
        self.assertEqual(sign_in(PASSWORD, attacker), 403)
        self.assertEqual(sign_in(PASSWORD, owner), 200)
        self.until(lambda: attacker in self.daemon.admin("ban", "list"))
        self.assertNotIn(owner + " ", self.daemon.admin("ban", "list"))


class Streams:
    """A connection of HTTP/2."""

    def __init__(self, port: int, source: str) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
        self._wire: ssl.SSLSocket = trusting("h2").wrap_socket(plain)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.initiate_connection()

    def status(self, path: str, *fields: tuple[str, str]) -> tuple[int, dict[str, str]]:
        """Status and fields of the answer to a GET."""
        stream = self._h2.get_next_available_stream_id()
        head = [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "h"), *fields]
        self._h2.send_headers(stream, head, end_stream=True)
        found: dict[str, str] = {}
        while True:
            self._wire.sendall(self._h2.data_to_send())
            for event in self._h2.receive_data(self._wire.recv(65_536)):
                if isinstance(event, h2.events.ResponseReceived):
                    found = {str(name): str(value) for name, value in event.headers or ()}
                elif isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                    return int(found[":status"]), found

    def close(self) -> None:
        """Hang up."""
        self._wire.close()
