"""tls-alpn-01: the challenge's certificate, and the folder by which other processes answer."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from txacme.interfaces import IResponder
from zope.interface.verify import verifyObject

from stalwart.tls.acme.alpn01 import (
    CHALLENGE_SECONDS,
    SHARING_SECONDS,
    SharedChallenges,
    TlsAlpn01Responder,
    asked_for,
    challenge_certificate,
)
from stalwart.tls.acme.provider import LOOK_SECONDS
from tests.tls.acme.issuing_bed import Pool

NOW = datetime.datetime(2026, 11, 20, 19, 0, tzinfo=datetime.UTC)


class Front:
    """The TLS front."""

    def __init__(self) -> None:
        self.served: dict[str, tuple[bytes, bytes]] = {}

    def set_challenge(self, name: str, chain_pem: bytes, key_pem: bytes) -> None:
        """Serve it."""
        self.served[name] = (chain_pem, key_pem)

    def clear_challenge(self, name: str) -> None:
        """Serve it no longer."""
        self.served.pop(name, None)


class Response:
    """As txacme has it."""

    key_authorization = "token.thumbprint"


class CertificateTests(SynchronousTestCase):
    """RFC 8737 §3."""

    def test_name(self) -> None:
        """The one name, and the digest of the key authorization in a critical extension."""
        made = challenge_certificate("mail.example.org", "token.thumbprint", now=NOW)
        certificate = x509.load_pem_x509_certificate(made.chain_pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(list(names), [x509.DNSName("mail.example.org")])
        extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
        self.assertTrue(extension.critical)
        assert isinstance(extension.value, x509.UnrecognizedExtension)
        self.assertEqual(extension.value.value, b"\x04\x20" + hashlib.sha256(b"token.thumbprint").digest())
        self.assertTrue(certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc)
        certificate.verify_directly_issued_by(certificate)

    def test_key(self) -> None:
        """The key is the certificate's, and another one each time."""
        made = [challenge_certificate("a.example", "t.p", now=NOW) for _ in range(2)]
        for one in made:
            key = load_pem_private_key(one.key_pem, None)
            self.assertEqual(
                key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
                x509.load_pem_x509_certificate(one.chain_pem)
                .public_key()
                .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            )
        self.assertNotEqual(made[0].key_pem, made[1].key_pem)

    def test_address(self) -> None:
        """An IP address stands as one, and is asked for by its name in the reverse zone (RFC 8738 §6)."""
        made = challenge_certificate("192.0.2.7", "t.p", now=NOW)
        names = x509.load_pem_x509_certificate(made.chain_pem).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        self.assertEqual(list(names.value), [x509.IPAddress(ipaddress.ip_address("192.0.2.7"))])
        self.assertEqual(asked_for("192.0.2.7"), "7.2.0.192.in-addr.arpa")
        self.assertTrue(asked_for("2001:db8::1").endswith(".8.b.d.0.1.0.0.2.ip6.arpa"))
        self.assertEqual(asked_for("Mail.Example.ORG"), "mail.example.org")


class ResponderTests(SynchronousTestCase):
    """txacme's responder and the shared folder."""

    def setUp(self) -> None:
        """A folder of a store, on a clock of its own."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir(mode=0o700)
        self.clock = Clock()
        self.clock.advance(datetime.datetime.now(datetime.UTC).timestamp())
        self.front = Front()
        self.responder = TlsAlpn01Responder(self.front, self.folder, pool=Pool(), clock=self.clock.seconds)
        self.shared = SharedChallenges([Path(self.mktemp()), self.folder])

    def start(self, name: str = "mail.example.org") -> None:
        """A challenge for a name."""
        self.successResultOf(self.responder.start_responding(name, object(), Response()))
        self.shared.look()

    def stop(self, name: str = "mail.example.org") -> None:
        """Its end."""
        self.successResultOf(self.responder.stop_responding(name, object(), Response()))
        self.shared.look()

    def test_interface(self) -> None:
        """It is what txacme's service takes."""
        self.assertTrue(verifyObject(IResponder, self.responder))
        self.assertEqual(self.responder.challenge_type, "tls-alpn-01")

    def test_both_answer(self) -> None:
        """While it runs, this process and those that read the folder have the same certificate; then neither has."""
        self.start()
        self.assertEqual(self.shared.find("mail.example.org"), self.front.served["mail.example.org"])
        self.assertEqual(self.shared.find("MAIL.example.org."), self.front.served["mail.example.org"])
        self.stop()
        self.assertEqual((self.shared.find("mail.example.org"), self.front.served), (None, {}))
        self.stop()

    def test_address(self) -> None:
        """An IP address is answered for under the name that is asked for."""
        self.start("192.0.2.7")
        self.assertEqual(list(self.front.served), ["7.2.0.192.in-addr.arpa"])
        self.assertIsNotNone(self.shared.find("7.2.0.192.in-addr.arpa"))

    def test_private(self) -> None:
        """Keys are for their owner only, and nothing half written is left."""
        self.start()
        [folder] = self.folder.iterdir()
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        self.assertEqual(
            [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()],
            [("mail.example.org.pem", 0o600)],
        )

    def test_old(self) -> None:
        """What a process left that ended in the middle is removed by the next challenge, when it is an hour old."""
        self.start("one.example")
        self.clock.advance(CHALLENGE_SECONDS - 10)
        self.start("two.example")
        self.assertIsNotNone(self.shared.find("one.example"))
        self.clock.advance(20)
        self.start("three.example")
        self.assertIsNone(self.shared.find("one.example"))

    def test_other_clock(self) -> None:
        """A machine whose clock is years away answers nevertheless."""
        self.start()
        [path] = (self.folder / "challenges").iterdir()
        os.utime(path, (0, 0))
        self.shared.look()
        self.assertIsNotNone(self.shared.find("mail.example.org"))

    def test_slow_folder(self) -> None:
        """The folder is written in a thread; the front answers before, and the challenge is begun after."""
        begun: list[Callable[[], None]] = []
        done: Deferred[Any] = Deferred()

        class Slow(Pool):
            def run(self, function: Any) -> Deferred[Any]:
                begun.append(function)
                return done

        responder = TlsAlpn01Responder(self.front, self.folder, pool=Slow(), clock=self.clock.seconds)
        starting = responder.start_responding("mail.example.org", object(), Response())
        self.assertIn("mail.example.org", self.front.served)
        self.assertNoResult(starting)
        begun[0]()
        done.callback(None)
        self.successResultOf(starting)
        self.shared.look()
        self.assertIsNotNone(self.shared.find("mail.example.org"))

    def test_only_memory(self) -> None:
        """A handshake waits for no disk: what was seen last is given, until the next look."""
        self.start()
        (self.folder / "challenges" / "mail.example.org.pem").unlink()
        self.assertIsNotNone(self.shared.find("mail.example.org"))
        self.shared.look()
        self.assertIsNone(self.shared.find("mail.example.org"))

    def test_others_have_time(self) -> None:
        """Where others share the folder, the authority is called only when they have looked."""
        responder = TlsAlpn01Responder(
            self.front, self.folder, pool=Pool(), clock=self.clock.seconds, shared_by=self.clock
        )
        starting = responder.start_responding("mail.example.org", object(), Response())
        self.clock.advance(SHARING_SECONDS - 0.1)
        self.assertNoResult(starting)
        self.assertGreaterEqual(SHARING_SECONDS, 2 * LOOK_SECONDS)
        self.clock.advance(0.1)
        self.successResultOf(starting)

    def test_no_room(self) -> None:
        """Where the folder can't be written, this process answers all the same, and says what that means."""
        (self.folder / "challenges").write_text("in the way")
        with capturedLogs() as events:
            self.start()
        self.assertIn("mail.example.org", self.front.served)
        self.assertIn("only this process answers", str([event["log_format"] for event in events]))
        self.stop()

    def test_no_names(self) -> None:
        """A client's server name never leads out of the folder."""
        self.start()
        secret = self.folder / "account.pem"
        secret.write_bytes(b"x-----BEGIN PRIVATE KEY-----")
        (self.folder / "challenges" / ".new-x.pem").write_bytes(b"x-----BEGIN PRIVATE KEY-----")
        self.shared.look()
        for name in ("../account", "..", ".", "", "a/b", "a..b", "\x00", "a\n", ".new-x", "a" * 300, "ä.example"):
            self.assertIsNone(self.shared.find(name), name)
        cut = self.folder / "challenges" / "cut.example.pem"
        cut.write_bytes(b"-----BEGIN CERTIFICATE-----")
        self.shared.look()
        self.assertIsNone(self.shared.find("cut.example"))

    @settings(deadline=None, max_examples=100)
    @given(st.text(max_size=300))
    def test_any_name(self, name: str) -> None:
        """Any name that a client sends is found or not, and raises nothing."""
        self.assertIsNone(self.shared.find(name))
        self.assertFalse(os.path.exists(self.folder / "x"))
