"""The configuration read again by the running daemon: open connections, broken files, lock-outs, certificates."""

from __future__ import annotations

import datetime
import http.client
import os
import signal
import socket
import ssl
import stat
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import h2.config
import h2.connection
import h2.events
from click.testing import Result
from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from stalwart.tls import self_signed
from tests.live.daemon import PASSWORD, Daemon, free_port
from tests.live.test_rules import trusting

CHIEF = "chief@example.net"
OPEN = 'allowed-endpoint = "200"'
CLOSED = 'allowed-endpoint = { match = [{ if = "starts_with(path, \'/healthz\')", then = "403" }], else = "200" }'


class ReloadTests(SynchronousTestCase):
    """`stalwart reload` and SIGHUP against `twistd stalwart`."""

    def start(self, http: str, *, more: str = "") -> Daemon:
        """A daemon with these lines under [http], whose loopback clients are judged like all others."""
        folder = tempfile.TemporaryDirectory(prefix="stalwart-")
        self.addCleanup(folder.cleanup)
        daemon = Daemon.start(Path(folder.name), extra_config=f"{more}\n{self.table(http)}")
        self.addCleanup(daemon.close)
        self.wait_until_ready(daemon, 1)
        return daemon

    def wait_until_ready(self, daemon: Daemon, times: int) -> None:
        """The listeners answer somewhat earlier than the control socket."""
        self.wait_until(lambda: daemon.log.count("is ready") == times)

    def connect(self, daemon: Daemon) -> http.client.HTTPConnection:
        """A connection that is closed in the end."""
        connection = http.client.HTTPConnection("127.0.0.1", daemon.http_port, timeout=30)
        self.addCleanup(connection.close)
        return connection

    def table(self, http: str) -> str:
        """The table [http] as it stands at the end of the file."""
        return f"[http]\nallow-loopback = false\n{http}\n"

    def rewrite(self, daemon: Daemon, http: str, *, before: str = "") -> None:
        """Another table [http] in the file, and lines before everything."""
        text = daemon.config_path.read_text().partition("[http]")[0]
        daemon.config_path.write_text(before + text + self.table(http))

    def reload(self, daemon: Daemon, *arguments: str) -> Result:
        """`stalwart reload`."""
        return daemon.command("reload", *arguments)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the daemon does."""
        deadline = time.monotonic() + 30
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def get(self, connection: http.client.HTTPConnection, path: str, **headers: str) -> tuple[int, str]:
        """Status and X-Frame-Options of a page."""
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("X-Frame-Options", "")

    def test_discovery(self) -> None:
        """What others are told of this server changes with the reload, for open connections too."""
        daemon = self.start(OPEN)
        connection = self.connect(daemon)

        def robots() -> bytes:
            connection.request("GET", "/robots.txt")
            return connection.getresponse().read()

        self.assertEqual(robots(), b"User-agent: *\nDisallow: /\n")
        self.rewrite(daemon, f'{OPEN}\n[well-known]\nrobots = "User-agent: none"')
        done = self.reload(daemon)
        self.assertEqual(done.exit_code, 0, done.stderr)
        self.assertIn("well-known.robots", done.stdout)
        self.assertEqual(robots(), b"User-agent: none\n")

    def test_open_connections(self) -> None:
        """Rules and headers hold for the next request of connections that are open, over HTTP/1.1 and HTTP/2."""
        port = free_port()
        tls = f'[server.listener.tls]\nprotocol = "http"\nbind = "127.0.0.1:{port}"\ntls.implicit = true\n'
        daemon = self.start(OPEN, more=tls)
        one = self.connect(daemon)
        with trusting("h2").wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=30)) as wire:
            two = Http2(wire)
            self.assertEqual(self.get(one, "/healthz/live"), (200, ""))
            self.assertEqual(two.get("/healthz/live"), 200)
            open_socket = one.sock
            self.rewrite(daemon, f'{CLOSED}\nheaders = ["X-Frame-Options: DENY"]')
            os.kill(daemon.pid, signal.SIGHUP)
            self.wait_until(lambda: "now in effect" in daemon.log)
            self.assertEqual(self.get(one, "/healthz/live"), (403, "DENY"))
            self.assertEqual(self.get(one, "/robots.txt"), (200, "DENY"))
            self.assertIs(one.sock, open_socket)
            self.assertEqual(two.get("/healthz/live"), 403)
        self.assertIn("http.allowed-endpoint", daemon.log)
        self.assertIn("http.headers", daemon.log)

    def test_broken_file(self) -> None:
        """Any error refuses the whole; each is in the log as `stalwart check` prints it, and the daemon goes on."""
        daemon = self.start(OPEN)
        self.rewrite(daemon, 'allowed-endpoint = "starts_wth(path)"\nhsts = 7', before='log-level = "loud"\n')
        os.kill(daemon.pid, signal.SIGHUP)
        self.wait_until(lambda: "the reload is refused" in daemon.log)
        done = self.reload(daemon)
        self.assertEqual(done.exit_code, 1)
        for wanted in ("has 3 errors", f"{daemon.config_path}:1: log-level", "starts_wth", "http.hsts", "^^^^"):
            self.assertIn(wanted, daemon.log)
            self.assertIn(wanted, done.stderr)
        connection = self.connect(daemon)
        self.assertEqual(self.get(connection, "/healthz/live")[0], 200)
        self.rewrite(daemon, CLOSED)
        daemon.config_path.write_text(daemon.config_path.read_text().replace('log-level = "loud"\n', ""))
        self.assertIn("now in effect: http.allowed-endpoint", daemon.admin_program("reload"))
        self.assertEqual(self.get(connection, "/healthz/live")[0], 403)
        self.assertNotIn("Traceback", daemon.log)

    def test_what_waits(self) -> None:
        """What changed is told apart: in effect now, or waiting for a restart; log format and level hold at once."""
        daemon = self.start(OPEN)
        text = daemon.config_path.read_text().replace("mail.example.org", "other.example.org")
        listener = f'[server.listener.late]\nprotocol = "http"\nbind = "127.0.0.1:{free_port()}"\n'
        daemon.config_path.write_text(f'log-format = "json"\nworker-pool-size = 17\n{text}{listener}')
        done = self.reload(daemon)
        self.assertEqual(done.exit_code, 0, done.stderr)
        effect, waiting = (line for line in done.stdout.splitlines() if not line.startswith("warning"))
        self.assertTrue(effect.endswith("now in effect: log-format"), effect)
        for key in ("server.hostname", "worker-pool-size", "server.listener.late (new)"):
            self.assertIn(key, waiting)
        self.assertIn(f'"message": "{waiting}"', daemon.log)
        self.assertEqual(self.reload(daemon).stdout.splitlines()[-1], waiting)

    def test_lock_out(self) -> None:
        """A reload that denies what an administrator just did is refused with the particulars, unless it is forced."""
        daemon = self.start(OPEN)
        daemon.create_account(CHIEF, "--admin")
        connection = self.connect(daemon)
        credentials = "Basic " + b64encode(f"{CHIEF}:{PASSWORD}".encode()).decode()
        self.assertEqual(self.get(connection, "/jmap/session", Authorization=credentials)[0], 200)
        self.rewrite(daemon, CLOSED.replace("/healthz", "/jmap"))
        done = self.reload(daemon)
        self.assertEqual(done.exit_code, 1)
        for wanted in ("127.0.0.1", 'listener "http"', "/jmap/session", "403", "stalwart reload --force"):
            self.assertIn(wanted, done.stderr)
            self.assertIn(wanted, daemon.log)
        self.assertEqual(self.get(connection, "/jmap/session", Authorization=credentials)[0], 200)
        self.rewrite(daemon, CLOSED)
        self.assertEqual(self.reload(daemon).exit_code, 0)
        self.rewrite(daemon, CLOSED.replace("/healthz", "/jmap"))
        self.assertEqual(self.reload(daemon, "--force").exit_code, 0)
        self.assertEqual(self.get(connection, "/jmap/session", Authorization=credentials)[0], 403)

    def test_lock_out_by_proxy_header(self) -> None:
        """A reload after which an administrator's connections need a PROXY header is refused as well."""
        daemon = self.start(OPEN)
        daemon.create_account(CHIEF, "--admin")
        credentials = "Basic " + b64encode(f"{CHIEF}:{PASSWORD}".encode()).decode()
        self.assertEqual(self.get(self.connect(daemon), "/jmap/session", Authorization=credentials)[0], 200)
        text = daemon.config_path.read_text()
        daemon.config_path.write_text(text.replace("[server]\n", '[server]\nproxy.trusted-networks = ["127.0.0.1"]\n'))
        done = self.reload(daemon)
        self.assertEqual(done.exit_code, 1)
        self.assertIn("proxy.trusted-networks", done.stderr)
        self.assertEqual(self.reload(daemon, "--force").exit_code, 0)

    def test_lock_out_counts_nothing(self) -> None:
        """A rule that counts requests doesn't count those that a reload asks it about."""
        rule = "allowed-endpoint = \"if_then(counter_incr('visits', remote_ip, 1) > 2, 429, 200)\""
        daemon = self.start(rule, more="[lookup.visits]\n")
        daemon.create_account(CHIEF, "--admin")
        credentials = "Basic " + b64encode(f"{CHIEF}:{PASSWORD}".encode()).decode()
        connection = self.connect(daemon)
        for status in (200, 200, 429):
            self.assertEqual(self.get(connection, "/jmap/session", Authorization=credentials)[0], status)
            self.reload(daemon)

    def test_certificates(self) -> None:
        """New handshakes get the certificates of the files as they are now; open connections keep theirs."""
        port = free_port()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        cert, key = Path(folder.name) / "cert.pem", Path(folder.name) / "key.pem"

        def issue(name: str) -> None:
            chain, private = self_signed([name], now=datetime.datetime.now(datetime.UTC))
            cert.write_text(chain)
            key.write_text(private)

        issue("one.example.org")
        more = (
            f'[server.listener.tls]\nprotocol = "http"\nbind = "127.0.0.1:{port}"\ntls.implicit = true\n'
            f'[certificate.mail]\ncert = "%{{file:{cert}}}%"\nprivate-key = "%{{file:{key}}}%"\n'
        )
        daemon = self.start(OPEN, more=more)
        context = trusting("http/1.1")
        kept = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
        self.addCleanup(kept.close)
        self.assertEqual(self.get(kept, "/healthz/live")[0], 200)
        self.assertEqual(name_at(port), "one.example.org")
        issue("two.example.org")
        done = self.reload(daemon)
        self.assertEqual(done.exit_code, 0, done.stderr)
        # Who looks after the files may have been there first.
        self.assertIn("certificate.mail", done.stdout + daemon.log)
        self.assertEqual(name_at(port), "two.example.org")
        self.assertEqual(self.get(kept, "/healthz/live")[0], 200)
        key.write_text(self_signed(["x"], now=datetime.datetime.now(datetime.UTC))[1])
        self.assertEqual(self.reload(daemon).exit_code, 1)
        self.assertEqual(name_at(port), "two.example.org")

    def test_limits_of_connections(self) -> None:
        """`max-connections` holds for the next connection; those over it that are open stay."""
        daemon = self.start(OPEN)
        open_ones = [self.connect(daemon) for _ in range(3)]
        for connection in open_ones:
            self.assertEqual(self.get(connection, "/healthz/live")[0], 200)
        text = daemon.config_path.read_text()
        daemon.config_path.write_text(text.replace("[server]\n", "[server]\nmax-connections = 2\n"))
        self.assertIn("server.listener.http.max-connections", self.reload(daemon).stdout)
        refused = self.connect(daemon)
        with self.assertRaises((http.client.RemoteDisconnected, ConnectionError)):
            self.get(refused, "/healthz/live")
        for connection in open_ones:
            self.assertEqual(self.get(connection, "/healthz/live")[0], 200)

    def test_control_socket(self) -> None:
        """It is its owner's alone, answers what it doesn't know, and is gone with the daemon."""
        daemon = self.start(OPEN)
        path = Path(f"{daemon.database_path}.control")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        for sent, wanted in (
            (b'{"command": "dance"}\n', b"doesn't know"),
            (b"x" * 5000, b"at most 4096"),
            (b"\xff\n", b"doesn't know"),
        ):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(30)
                sock.connect(str(path))
                sock.sendall(sent)
                self.assertIn(wanted, sock.recv(65_536))
        daemon.stop()
        self.assertFalse(path.exists())
        done = self.reload(daemon)
        self.assertEqual(done.exit_code, 1)
        self.assertIn(f"no control socket at {path}", done.stderr)
        daemon.run()
        self.wait_until_ready(daemon, 2)
        daemon.kill()
        self.assertIn("nobody listens", self.reload(daemon).stderr)
        daemon.run()
        self.wait_until_ready(daemon, 3)
        self.assertEqual(self.reload(daemon).exit_code, 0)


class Http2:
    """A client's connection, one request after the other."""

    def __init__(self, wire: ssl.SSLSocket) -> None:
        self._wire = wire
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._connection.initiate_connection()

    def get(self, path: str) -> int:
        """The status of a page."""
        stream = self._connection.get_next_available_stream_id()
        head = [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "h")]
        self._connection.send_headers(stream, head, end_stream=True)
        self._wire.sendall(self._connection.data_to_send())
        status = 0
        while True:
            for event in self._connection.receive_data(self._wire.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                if isinstance(event, h2.events.StreamEnded):
                    return status
            self._wire.sendall(self._connection.data_to_send())


def name_at(port: int) -> str:
    """The name in the certificate that a new connection gets."""
    with trusting("http/1.1").wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=30)) as wire:
        octets = wire.getpeercert(binary_form=True)
    assert octets is not None
    certificate = x509.load_der_x509_certificate(octets)
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return str(extension.value.get_values_for_type(x509.DNSName)[0])
