"""TLS of the real daemon, asked by OpenSSL's own client and by curl: versions, resumption, certificates that change."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import Daemon, free_port
from tests.live.testssl import ours, run
from tests.live.tls import Authority

NAME = "tls.example.org"

CONFIG = """
[server.listener.https]
protocol = "http"
bind = "127.0.0.1:{https}"
tls.implicit = true

[server.listener.strict]
protocol = "http"
bind = "127.0.0.1:{strict}"
tls.implicit = true
tls.client-ca = "%{{file:{folder}/clients.pem}}%"
tls.disable-protocols = ["TLSv1.2"]

[certificate.main]
cert = "%{{file:{folder}/live/fullchain.pem}}%"
private-key = "%{{file:{folder}/live/privkey.pem}}%"

[http]
allow-loopback = false

[http.allowed-endpoint]
match = [
  {{ if = "tls_client_subject == 'CN=alice.example'", then = "200" }},
  {{ if = "listener == 'https'", then = "200" }},
]
else = "403"
"""


class TlsTests(SynchronousTestCase):
    """One daemon with a listener for everybody and one for those who have a certificate."""

    def setUp(self) -> None:
        """The daemon, its certificate reached as certbot lays it out, and an authority for clients."""
        folder = tempfile.TemporaryDirectory(prefix="stalwart-tls-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.authority, self.clients = Authority("servers"), Authority("clients")
        self.authority.write(self.folder / "ca.pem")
        self.clients.write(self.folder / "clients.pem")
        self.put_in_place(1)
        self.https, self.strict = free_port(), free_port()
        self.daemon = Daemon.start(
            self.folder / "daemon",
            extra_config=CONFIG.format(https=self.https, strict=self.strict, folder=self.folder),
        )
        self.addCleanup(self.daemon.close)

    def put_in_place(self, number: int) -> None:
        """Issue a certificate into `archive`, and set the links in `live` to it, one after the other."""
        archive, live = self.folder / "archive" / str(number), self.folder / "live"
        archive.mkdir(parents=True)
        live.mkdir(exist_ok=True)
        for link, file in zip(
            ("fullchain.pem", "privkey.pem"), self.authority.issue(archive, NAME, days=60 + number), strict=True
        ):
            (live / "new").symlink_to(file)
            os.replace(live / "new", live / link)

    def openssl(self, *arguments: str, port: int | None = None, asked: str = "") -> str:
        """What `openssl s_client` prints."""
        trusted = ("-CAfile", str(self.folder / "ca.pem"), "-verify_hostname", NAME)
        where = ("-connect", f"127.0.0.1:{port or self.https}", "-servername", NAME)
        done = subprocess.run(
            ["openssl", "s_client", *where, *trusted, *arguments],
            input=asked,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout + done.stderr

    def curl(self, *arguments: str, port: int | None = None) -> str:
        """Status and HTTP version that curl gets, or its error."""
        port = port or self.https
        output = ("-sS", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", "--max-time", "20")
        trusted = ("--resolve", f"{NAME}:{port}:127.0.0.1", "--cacert", str(self.folder / "ca.pem"))
        done = subprocess.run(
            ["curl", *output, *trusted, *arguments, f"https://{NAME}:{port}/healthz/live"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout if done.returncode == 0 else done.stderr

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the daemon does within seconds."""
        deadline = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.1)

    def test_resumption_over_a_swap(self) -> None:
        """TLS 1.2 and 1.3: verified, resumed, also after the certificate's links were set to another one."""
        sessions = {}
        for version in ("-tls1_2", "-tls1_3"):
            session = sessions[version] = str(self.folder / f"session{version}")
            ask = "GET /healthz/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            said = self.openssl(version, "-sess_out", session, "-ign_eof", asked=ask)
            self.assertIn("Verify return code: 0 (ok)", said)
            self.assertIn("200 OK", said)
            self.assertIn("New, ", said)
            self.assertIn("Reused, ", self.openssl(version, "-sess_in", session))
        before = self.daemon.log.count("its files were replaced")
        self.put_in_place(2)
        self.wait_until(lambda: self.daemon.log.count("its files were replaced") > before)
        self.assertEqual(self.daemon.log.count("can't be used"), 0)
        for version, session in sessions.items():
            self.assertIn("Reused, ", self.openssl(version, "-sess_in", session))
        # The new one, by its end: 62 days from now, not 61.
        self.assertIn("Verify return code: 0 (ok)", self.openssl("-tls1_3"))
        served = self.openssl("-tls1_2", "-showcerts")
        leaf = (self.folder / "archive" / "2" / f"{NAME}.pem").read_text()
        self.assertIn(leaf.strip(), served)

    def test_broken_file(self) -> None:
        """A file that is no certificate changes nothing but the log."""
        (self.folder / "live" / "fullchain.pem").unlink()
        (self.folder / "live" / "fullchain.pem").write_text("nonsense")
        self.wait_until(lambda: "can't be used" in self.daemon.log)
        self.assertIn(f"{self.folder}/live/fullchain.pem should have a certificate", self.daemon.log)
        self.assertEqual(self.curl("--http1.1"), "200 1.1")

    def test_client_certificates(self) -> None:
        """Over HTTP/1.1 and HTTP/2 rules see the subject; expired, foreign and absent ones get no connection."""
        use = ExtendedKeyUsageOID.CLIENT_AUTH
        good = self.clients.issue(self.folder, "alice.example", use=use)
        other = self.clients.issue(self.folder, "bob.example", use=use)
        expired = self.clients.issue(self.folder, "late.example", days=-1, use=use)
        foreign = self.authority.issue(self.folder, "eve.example", use=use)

        def with_pair(pair: tuple[Path, Path], *arguments: str) -> str:
            return self.curl("--cert", str(pair[0]), "--key", str(pair[1]), *arguments, port=self.strict)

        self.assertEqual(with_pair(good, "--http1.1"), "200 1.1")
        self.assertEqual(with_pair(good, "--http2"), "200 2")
        self.assertEqual(with_pair(other, "--http1.1"), "403 1.1")
        self.assertEqual(with_pair(other, "--http2"), "403 2")
        for refused in (with_pair(expired), with_pair(foreign), self.curl(port=self.strict)):
            self.assertIn("curl: (", refused)
        self.assertIn(
            'listener "strict" refused the certificate "CN=late.example" of 127.0.0.1: it has expired', self.daemon.log
        )
        self.assertEqual(self.daemon.log.count('listener "strict" refused'), 1)

    def test_versions(self) -> None:
        """What is switched off isn't spoken, TLS 1.1 never, and no client begins the handshake anew."""
        self.assertIn("alert protocol version", self.openssl("-tls1_2", port=self.strict))
        self.assertIn("alert protocol version", self.openssl("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"))
        self.assertIn("no renegotiation", self.openssl("-tls1_2", asked="R\n"))
        for group, shown in (("X25519", "X25519, 253 bits"), ("P-256", "prime256v1"), ("P-384", "secp384r1")):
            self.assertIn(shown, self.openssl("-groups", group))


class TestsslTests(SynchronousTestCase):
    """Debian's testssl.sh, the part of it that is quick; `make testssl` runs all of it."""

    if shutil.which("testssl") is None:
        skip = "testssl.sh is not installed (apt install testssl.sh)"

    def test_nothing_bad(self) -> None:
        """Protocols and headers: nothing of severity MEDIUM or worse that is ours."""
        with tempfile.TemporaryDirectory(prefix="stalwart-testssl-") as folder:
            found = run(Path(folder), "--protocols", "--headers", seconds=120)
        by_id = {one["id"]: one["finding"] for one in found}
        self.assertIn("TLS1_3", by_id)
        self.assertEqual(ours(found), [])
        self.assertEqual(by_id["ALPN_HTTP2"], "h2")
