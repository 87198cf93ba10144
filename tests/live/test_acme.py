"""Certificates ordered by the real daemon from Debian's pebble: issued, renewed, swapped, shared, and out of reach."""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import socket
import ssl
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from click.testing import CliRunner
from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from stalwart.cli.main import stalwart
from stalwart.tls.acme.alpn01 import TlsAlpn01Responder
from tests.live.daemon import ADDRESS, PASSWORD, Daemon, free_port
from tests.live.pebble import Pebble
from tests.tls.acme.issuing_bed import Pool

MAIL = b"From: ada@example.net\r\nTo: jane@example.org\r\nSubject: Hello\r\n\r\nHi.\r\n"
AUTHORIZATION = "Basic " + base64.b64encode(f"{ADDRESS}:{PASSWORD}".encode()).decode()
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
MAC_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


def provider(pebble: Pebble, name: str, domains: Sequence[str], more: str = "") -> str:
    """A table `acme.<name>`."""
    listed = ", ".join(f'"{domain}"' for domain in domains)
    return (
        f'[acme.{name}]\ndirectory = "{pebble.directory_url}"\nca-bundle = "{pebble.ca_bundle_path}"\n'
        f'contact = ["postmaster@example.org"]\nagree-to-terms = true\ndomains = [{listed}]\n{more}\n'
    )


def listeners(tls_port: int, *http_ports: int) -> str:
    """A listener with TLS, and others without."""
    tables = [
        f'[server.listener.tls]\nprotocol = "http"\nbind = "127.0.0.1:{tls_port}"\ntls.implicit = true\n',
        *(f'[server.listener.http{port}]\nprotocol = "http"\nbind = "127.0.0.1:{port}"\n' for port in http_ports),
    ]
    return "".join(tables)


class Front:
    """Where a challenge is set by the one who orders; here nobody does."""

    def set_challenge(self, name: str, chain_pem: bytes, key_pem: bytes) -> None:
        """Only the folder counts."""

    def clear_challenge(self, name: str) -> None:
        """Only the folder counts."""


class Response:
    """As txacme has it."""

    key_authorization = "token.thumbprint"


class AcmeTests(SynchronousTestCase):
    """Daemons and a CA."""

    def start(self, config: str, home: Path | None = None) -> Daemon:
        """A daemon with more configuration."""
        daemon = Daemon.start(home or self.folder(), extra_config=config)
        self.addCleanup(daemon.close)
        return daemon

    def folder(self) -> Path:
        """A temporary folder."""
        made = tempfile.TemporaryDirectory(prefix="stalwart-acme-")
        self.addCleanup(made.cleanup)
        return Path(made.name)

    def pebble(self, **settings: object) -> Pebble:
        """A CA."""
        pebble = Pebble(**settings)  # type: ignore[arg-type]
        self.addCleanup(pebble.close)
        return pebble

    def wait_until(self, done: Callable[[], object], what: Daemon, seconds: float = 30) -> None:
        """Wait, or fail with the daemon's log."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                self.fail(f"it didn't happen in {seconds} s\n{what.log}")
            time.sleep(0.05)

    def context(
        self, pebble: Pebble | None, version: ssl.TLSVersion | None = None, *, alpn: Sequence[str] = ()
    ) -> ssl.SSLContext:
        """A client that trusts what the CA issues; without one it takes everything."""
        context = ssl.create_default_context(cadata=pebble.root() if pebble is not None else None)
        if pebble is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def serial(self, port: int, name: str, context: ssl.SSLContext) -> int:
        """The serial number of what is served for a name. Raises OSError if the client doesn't take it."""
        return self.leaf(port, name, context)[0].serial_number

    def leaf(self, port: int, name: str, context: ssl.SSLContext) -> tuple[x509.Certificate, str | None]:
        """The certificate that is served, and the protocol that was agreed on."""
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as raw,
            context.wrap_socket(raw, server_hostname=name) as wrapped,
        ):
            octets = wrapped.getpeercert(binary_form=True)
            assert octets is not None
            return x509.load_der_x509_certificate(octets), wrapped.selected_alpn_protocol()

    def is_served(self, port: int, pebble: Pebble, names: Sequence[str]) -> bool:
        """Whether a certificate of the CA is served for each of the names, to clients of both versions of TLS."""
        try:
            for name in names:
                for version in VERSIONS:
                    self.serial(port, name, self.context(pebble, version))
        except OSError:
            return False
        return True

    def is_same(self, name: str, ports: Sequence[int]) -> bool:
        """Whether the same certificate is served at all ports."""
        return len({self.serial(port, name, self.context(None)) for port in ports}) == 1

    def admin(self, daemon: Daemon, *arguments: str, code: int = 0) -> str:
        """`stalwart ARGUMENTS`, in this process; what it printed."""
        result = CliRunner().invoke(stalwart, ["-c", str(daemon.config_path), *arguments])
        self.assertEqual(result.exit_code, code, f"{result.output}\n{daemon.log}")
        return result.output

    def renew(self, daemon: Daemon, name: str) -> None:
        """`stalwart cert renew`, after the order that the daemon may be at by itself."""
        answers: list[str] = []

        def is_done() -> bool:
            answers.append(CliRunner().invoke(stalwart, ["-c", str(daemon.config_path), "cert", "renew", name]).output)
            return "is being ordered already" not in answers[-1]

        self.wait_until(is_done, daemon)
        self.assertIn("is there and served", answers[-1], daemon.log)

    def test_issue_and_renew(self) -> None:
        """Several names by both challenges, though one nonce in five is refused; 60-second certificates are renewed.

        New handshakes get the new certificate; a kept connection and an event stream, opened before, go on.
        """
        pebble = self.pebble(validity_seconds=60, bad_nonce_percent=20)
        pages, doors = ["a.example.org", "b.example.org"], ["c.example.org"]
        daemon = self.start(
            listeners(pebble.tls_port, pebble.http_port)
            + "[http]\nredirect-https = true\nallow-loopback = false\n"
            + 'allowed-endpoint = { match = [{ if = "starts_with(url_path, \'/jmap\')", then = "200" }, '
            + '{ if = "starts_with(url_path, \'/healthz\')", then = "200" }], else = "403" }\n'
            + provider(pebble, "pages", pages, "renew-before = 0.75\ndefault = true")
            + provider(pebble, "doors", doors, 'challenge = "tls-alpn-01"\nrenew-before = 0.75')
        )
        port = pebble.tls_port
        self.wait_until(lambda: self.is_served(port, pebble, pages + doors), daemon)
        context = self.context(pebble)
        first = {name: self.serial(port, name, context) for name in pages + doors}
        self.assertEqual(len(set(first.values())), 3)
        kept = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=self.context(None))
        self.addCleanup(kept.close)
        stream = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=self.context(None))
        self.addCleanup(stream.close)
        stream.request(
            "GET", "/jmap/eventsource/?types=*&closeafter=no&ping=0", headers={"Authorization": AUTHORIZATION}
        )
        events = stream.getresponse()
        self.assertEqual((events.status, self.get(kept, "/healthz/live")), (200, 200))
        listed = self.admin(daemon, "cert", "list")
        self.assertRegex(listed, r"a\.example\.org +issued +acme\.pages +20.*Pebble.*ECDSA P-256")
        self.assertNotIn("failed", listed)
        self.wait_until(
            lambda: all(self.serial(port, name, context) != serial for name, serial in first.items()), daemon, 40
        )
        self.assertEqual(self.get(kept, "/healthz/live"), 200)
        daemon.deliver(MAIL)
        self.assertTrue(any(b"event: state" in events.readline() for _ in range(20)))
        metrics = http.client.HTTPConnection("127.0.0.1", daemon.http_port, timeout=30)
        self.addCleanup(metrics.close)
        self.assertEqual(self.get(metrics, "/metrics/prometheus"), 403)
        self.assertNotIn("Traceback", daemon.log)

    def get(self, connection: http.client.HTTPConnection, path: str) -> int:
        """The status of an answer on a kept connection."""
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def test_external_account(self) -> None:
        """With an account that exists at the CA; where authorizations are used again nothing is looked at twice.

        A challenge of tls-alpn-01 in the folder is answered to both versions of TLS, and only to those who ask for it.
        A reload adds a name, and SIGTERM ends the daemon in good order.
        """
        pebble = self.pebble(external_accounts={"kid-1": MAC_KEY}, reused_percent=100)
        daemon = self.start(
            listeners(pebble.tls_port, pebble.http_port)
            + provider(pebble, "ca", ["a.example.org"], f'eab.kid = "kid-1"\neab.hmac-key = "{MAC_KEY}"')
            + provider(pebble, "doors", [], 'challenge = "tls-alpn-01"')
        )
        port = pebble.tls_port
        self.wait_until(lambda: self.is_served(port, pebble, ["a.example.org"]), daemon)
        first = self.serial(port, "a.example.org", self.context(pebble))
        looked = pebble.validations
        self.renew(daemon, "a.example.org")
        self.assertNotEqual(self.serial(port, "a.example.org", self.context(pebble)), first)
        self.assertEqual(pebble.validations, looked)
        self.assertIn("a.example.org", self.admin(daemon, "cert", "show", "a.example.org"))
        self.check_doors(daemon, port, pebble)
        metrics = urllib.request.urlopen(f"{daemon.base_url}/metrics/prometheus", timeout=30)
        with contextlib.closing(metrics):
            figures = metrics.read().decode()
        self.assertIn('stalwart_acme_orders_total{outcome="issued"} 2.0', figures)
        self.assertIn('stalwart_certificate_not_after_seconds{name="a.example.org"}', figures)
        text = daemon.config_path.read_text()
        daemon.config_path.write_text(text.replace('["a.example.org"]', '["later.example.org", "a.example.org"]'))
        self.assertIn("acme.ca", self.admin(daemon, "reload"))
        self.wait_until(lambda: self.is_served(port, pebble, ["later.example.org", "a.example.org"]), daemon)
        self.assertEqual(daemon.stop(), 0)
        self.assertNotIn("Traceback", daemon.log)

    def answers(self, port: int, name: str, asking: ssl.SSLContext) -> bool:
        """Whether a handshake comes about."""
        try:
            self.leaf(port, name, asking)
        except OSError:
            return False
        return True

    def check_doors(self, daemon: Daemon, port: int, pebble: Pebble) -> None:
        """Answer a challenge that another process has put into the shared folder."""
        name = "a.example.org"
        responder = TlsAlpn01Responder(Front(), daemon.home / "data" / "acme" / "doors", pool=Pool(), clock=time.time)
        for version in VERSIONS:
            asking = self.context(None, version, alpn=["acme-tls/1"])
            self.wait_until(lambda asking=asking: not self.answers(port, name, asking), daemon)  # type: ignore[misc]
            responder.start_responding(name, object(), Response())
            self.wait_until(lambda asking=asking: self.answers(port, name, asking), daemon)  # type: ignore[misc]
            certificate, protocol = self.leaf(port, name, asking)
            self.assertEqual(protocol, "acme-tls/1")
            self.assertTrue(certificate.extensions.get_extension_for_oid(ACME_IDENTIFIER).critical)
            self.serial(port, name, self.context(pebble, version, alpn=["http/1.1"]))
            responder.stop_responding(name, object(), Response())

    def test_wildcard(self) -> None:
        """A wildcard is refused before anything starts, with the reason."""
        daemon = Daemon(
            self.folder(),
            extra_config='[acme.ca]\ncontact = ["a@example.org"]\nagree-to-terms = true\ndomains = ["*.example.org"]\n',
        )
        self.assertIn("without a wildcard", self.admin(daemon, "check", code=1))

    def test_killed_in_the_middle(self) -> None:
        """The CA dies in the middle of an order, and comes back without any memory: the next try gets a certificate.

        Meanwhile the listeners serve, readiness is as it was, and the list says what failed.
        """
        pebble = self.pebble()
        http_port = free_port()
        middle = Middle(pebble, http_port)
        self.addCleanup(middle.close)
        daemon = self.start(listeners(pebble.tls_port, http_port) + provider(pebble, "ca", ["a.example.org"]))
        self.wait_until(middle.killed.is_set, daemon)
        plain = http.client.HTTPConnection("127.0.0.1", daemon.http_port, timeout=30)
        self.addCleanup(plain.close)
        self.assertEqual(self.get(plain, "/healthz/ready"), 200)
        self.leaf(pebble.tls_port, "a.example.org", self.context(None))
        pebble.run()
        self.wait_until(lambda: "no certificate for a.example.org" in daemon.log, daemon)
        self.assertIn("a.example.org: ordering failed once", self.admin(daemon, "cert", "list"))
        self.renew(daemon, "a.example.org")
        self.assertTrue(self.is_served(pebble.tls_port, pebble, ["a.example.org"]))
        self.assertNotIn("ordering failed", self.admin(daemon, "cert", "list"))
        self.assertNotIn("Traceback", daemon.log)

    def test_two_daemons(self) -> None:
        """Two daemons share a folder, and the CA is down when they start. One orders, the other answers; both serve."""
        pebble = self.pebble()
        pebble.kill()
        shared = self.folder()
        config = provider(pebble, "pages", ["a.example.org"], f'cache = "{shared}/pages"') + provider(
            pebble, "doors", ["b.example.org"], f'challenge = "tls-alpn-01"\ncache = "{shared}/doors"'
        )
        own_port = free_port()
        ordering = self.start(listeners(own_port) + config)
        self.wait_until(lambda: ordering.log.count("no certificate for") == 2, ordering)
        # Every challenge of the CA reaches the other one.
        other = self.start(listeners(pebble.tls_port, pebble.http_port) + config)
        pebble.run()
        names = ["a.example.org", "b.example.org"]
        for name in names:
            self.assertIn("does not order", self.admin(other, "cert", "renew", name, code=1))
            self.renew(ordering, name)
        self.assertTrue(self.is_served(own_port, pebble, names))
        self.wait_until(lambda: self.is_served(pebble.tls_port, pebble, names), other)
        self.wait_until(lambda: all(self.is_same(name, (own_port, pebble.tls_port)) for name in names), other)
        self.assertNotIn("Traceback", ordering.log + other.log)


class Middle:
    """Stands where the CA looks for challenges: kills it at the first, and hands all later ones to a daemon."""

    def __init__(self, pebble: Pebble, http_port: int) -> None:
        killed = self.killed = threading.Event()
        one_at_a_time = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            """Takes questions about tokens."""

            def do_GET(self) -> None:
                """Kill, or ask the daemon."""
                with one_at_a_time:
                    if not killed.is_set():
                        pebble.kill()
                        killed.set()
                        return
                asking = http.client.HTTPConnection("127.0.0.1", http_port, timeout=20)
                with contextlib.closing(asking):
                    asking.request("GET", self.path, headers={"Host": self.headers["Host"]})
                    answer = asking.getresponse()
                    body = answer.read()
                with contextlib.suppress(ConnectionError):  # of those who asked before the CA was killed
                    self.send_response(answer.status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                """Print nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", pebble.http_port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
