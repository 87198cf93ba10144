"""Handshakes in memory: resumption, versions and ciphers, client certificates, challenges."""

from __future__ import annotations

import datetime
import ssl
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import DNSName, SubjectAlternativeName
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import TlsOptions
from stalwart.tls import Certificates, self_signed
from stalwart.tls.listening import TICKET_KEY_SECONDS
from tests.tls.bed import Authority, Bed, Client, certificate

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = (V12, V13)
ACME = (b"acme-tls/1",)


def names(client: Client) -> list[str]:
    """The names in the certificate that a client was shown."""
    extension = client.served.extensions.get_extension_for_class(SubjectAlternativeName)
    return list(extension.value.get_values_for_type(DNSName))


def cipher(client: Client) -> str:
    """The cipher suite of a client's connection."""
    found = client.tls.cipher()
    assert found is not None
    return str(found[0])


class Profile(SynchronousTestCase):
    """Versions, ciphers, groups."""

    def test_speaks(self) -> None:
        """RFC 8620 §8.1, RFC 9325 §4.2: TLS 1.2 and 1.3, with forward secrecy and authenticated encryption."""
        for version, name in ((V12, "TLSv1.2"), (V13, "TLSv1.3")):
            client = Client(version=version)
            Bed().connect(client)
            self.assertEqual((client.alert, client.tls.version()), ("", name))
            self.assertIn("AES_256_GCM" if version == V13 else "ECDHE-ECDSA-AES256-GCM", str(cipher(client)))

    def test_talks(self) -> None:
        """After the handshake octets go both ways."""
        client, bed = Client(), Bed()
        protocol, transport = bed.accept()
        bed.go_on(client, protocol, transport)
        client.tls.write(b"hello")
        bed.go_on(client, protocol, transport)
        self.assertEqual(client.received, b"hello")

    def test_server_prefers(self) -> None:
        """In TLS 1.2 the server's order of ciphers counts."""
        client = Client(version=V12, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305")
        Bed().connect(client)
        self.assertEqual(cipher(client), "ECDHE-ECDSA-CHACHA20-POLY1305")

    def test_weak_is_refused(self) -> None:
        """Ciphers without forward secrecy or authenticated encryption find nobody."""
        for ciphers in ("ECDHE-ECDSA-AES256-SHA384", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-SHA"):
            client = Client(version=V12, ciphers=ciphers)
            Bed().connect(client)
            self.assertIn("HANDSHAKE_FAILURE", client.alert)

    def test_disabled(self) -> None:
        """A version or a cipher that is switched off is not spoken; the others are."""
        for off, version, other in (("TLSv1.2", V12, V13), ("TLSv1.3", V13, V12)):
            bed = Bed(TlsOptions(disable_protocols=(off,)))  # type: ignore[arg-type]
            refused, taken = Client(version=version), Client(version=other)
            bed.connect(refused)
            bed.connect(taken)
            self.assertIn("PROTOCOL_VERSION", refused.alert)
            self.assertEqual(taken.alert, "")
        options = TlsOptions(disable_ciphers=("TLS13_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"))
        for version, wanted in ((V12, "ECDHE-ECDSA-CHACHA20-POLY1305"), (V13, "TLS_CHACHA20_POLY1305_SHA256")):
            client = Client(version=version)
            Bed(options).connect(client)
            self.assertEqual(cipher(client), wanted)

    def test_alpn(self) -> None:
        """RFC 7301 §3.2: the server's order counts; acme-tls/1 beside others isn't chosen."""
        for offered, chosen in (
            ((b"http/1.1", b"h2"), "h2"),
            ((b"http/1.1",), "http/1.1"),
            ((b"acme-tls/1", b"http/1.1"), "http/1.1"),
            ((b"imap",), None),
            ((), None),
        ):
            client = Client(alpn=offered)
            Bed().connect(client)
            self.assertEqual((client.alert, client.tls.selected_alpn_protocol()), ("", chosen))


class Resumption(SynchronousTestCase):
    """Sessions are continued, also over a swap of certificates."""

    def again(self, bed: Bed, first: Client) -> Client:
        """A client that continues the session of another."""
        client = Client(after=first)
        bed.connect(client)
        return client

    def test_over_a_swap(self) -> None:
        """TLS 1.2 and 1.3: a session goes on after `replace`, with the new certificate for whoever begins anew."""
        for version in VERSIONS:
            bed, first = Bed(), Client(version=version)
            bed.connect(first)
            self.assertFalse(first.tls.session_reused)
            bed.certificates.replace([certificate("b", "a.example", "b.example")])
            self.assertTrue(self.again(bed, first).tls.session_reused)
            fresh = Client(version=version)
            bed.connect(fresh)
            self.assertFalse(fresh.tls.session_reused)
            self.assertEqual(names(fresh), ["a.example", "b.example"])

    def test_without_tickets(self) -> None:
        """RFC 5246 §7.3: a client of TLS 1.2 that knows no tickets resumes by session id."""
        bed, first = Bed(), Client(version=V12, options=ssl.Options.OP_NO_TICKET)
        bed.connect(first)
        bed.certificates.replace([certificate("b", "a.example")])
        assert first.tls.session is not None
        self.assertFalse(first.tls.session.has_ticket)
        self.assertTrue(self.again(bed, first).tls.session_reused)

    def test_keys_end(self) -> None:
        """The keys of tickets are made anew after half a day, and older tickets are worth a full handshake."""
        for version in VERSIONS:
            bed, first = Bed(), Client(version=version)
            bed.connect(first)
            bed.clock.advance(TICKET_KEY_SECONDS)
            second = self.again(bed, first)
            self.assertEqual((second.alert, second.tls.session_reused), ("", False))
            self.assertTrue(self.again(bed, second).tls.session_reused)

    def test_other_listener(self) -> None:
        """What one listener found out about a client is nothing to another one."""
        certificates = Certificates([certificate("a", "a.example")], "host")
        for version in VERSIONS:
            first = Client(version=version)
            Bed(certificates=certificates).connect(first)
            other = self.again(Bed(certificates=certificates), first)
            self.assertEqual((other.alert, other.tls.session_reused), ("", False))


class Patched:
    """A certificate with some of its octets changed; its signature is wrong, therefore."""

    def __init__(self, certificate: x509.Certificate, old: bytes, new: bytes) -> None:
        self._octets = certificate.public_bytes(Encoding.DER).replace(old, new, 1)

    def public_bytes(self, encoding: Encoding) -> bytes:
        """In PEM."""
        return ssl.DER_cert_to_PEM_cert(self._octets).encode()


class ClientCertificates(SynchronousTestCase):
    """`client-ca` and `client-auth`."""

    def setUp(self) -> None:
        """An authority that the listener trusts."""
        self.authority = Authority()
        self.required = TlsOptions(client_ca=self.authority.pem)

    def test_subject(self) -> None:
        """The subject of a good certificate is known by RFC 4514, also of one that resumes; others have none."""
        shown = self.authority.issue("alice, admin")
        for version in VERSIONS:
            bed, first = Bed(self.required), Client(version=version, shown=shown)
            self.assertEqual(bed.connect(first).client_subject, r"CN=alice\, admin,O=Example")
            second = Client(after=first)
            self.assertEqual(bed.connect(second).client_subject, r"CN=alice\, admin,O=Example")
            self.assertTrue(second.tls.session_reused)
            self.assertEqual(Bed().connect(Client(version=version, shown=shown)).client_subject, "")

    def test_none(self) -> None:
        """A client without a certificate is refused where one is required, and let in where it is optional."""
        for version in VERSIONS:
            client, bed = Client(version=version), Bed(self.required)
            with capturedLogs() as lines:
                bed.connect(client)
            self.assertTrue(client.alert, version)
            self.assertIn("has no client certificate", lines[0]["log_format"])
            optional = Client(version=version)
            protocol = Bed(TlsOptions(client_ca=self.authority.pem, client_auth="optional")).connect(optional)
            self.assertEqual((optional.alert, protocol.client_subject), ("", ""))

    def test_bad(self) -> None:
        """An expired or foreign certificate is refused in the handshake, where it is optional too, and told why."""
        expired, foreign = self.authority.issue("bob", days=-1), Authority("Others").issue("eve")
        for auth in ("required", "optional"):
            for shown, alert, reason in (
                (expired, "CERTIFICATE_EXPIRED", "it has expired"),
                (foreign, "UNKNOWN_CA", "it comes from an authority that is not in client-ca"),
            ):
                for version in VERSIONS:
                    client = Client(version=version, shown=shown)
                    with capturedLogs() as lines:
                        Bed(TlsOptions(client_ca=self.authority.pem, client_auth=auth)).connect(client)
                    self.assertIn(alert, client.alert)
                    [line] = lines
                    self.assertEqual((line["listener"], line["reason"]), ("https", reason))
                    self.assertTrue(line["subject"].endswith(",O=Example"), line["subject"])

    def test_unreadable(self) -> None:
        """A certificate that OpenSSL takes and nobody else can read is refused and told; nothing of it is kept."""
        good, key = self.authority.issue("bob")
        # RFC 5280 §4.1.2.1: a version that there isn't.
        shown = cast(x509.Certificate, Patched(good, bytes.fromhex("a003020102"), bytes.fromhex("a003020105")))
        for version in VERSIONS:
            client, bed = Client(version=version, shown=(shown, key)), Bed(self.required)
            with capturedLogs() as lines:
                protocol = bed.connect(client)
            [line] = lines
            self.assertTrue(line["reason"].startswith("it can't be read"), line["reason"])
            self.assertEqual(protocol.client_subject, "")
            self.assertTrue(protocol.transport.disconnecting)  # type: ignore[union-attr]
            kept: Any = bed.tls._first
            self.assertEqual(kept._verify_helper._problems, [])

    def test_long_subject(self) -> None:
        """What a stranger puts into a certificate doesn't fill the log."""
        shown = Authority("Others").issue("x" * 64, unit="u" * 64, units=100)
        client = Client(shown=shown)
        with capturedLogs() as lines:
            Bed(self.required).connect(client)
        self.assertEqual(len(lines[0]["subject"]), 257)

    def test_lines_are_bounded(self) -> None:
        """One line a minute, with how many it left out."""
        bed, shown = Bed(self.required), self.authority.issue("bob", days=-1)
        with capturedLogs() as lines:
            for _ in range(5):
                bed.connect(Client(shown=shown))
            bed.clock.advance(60)
            bed.connect(Client(shown=shown))
        self.assertEqual(
            [line["more"] for line in lines], ["", "; 4 more clients were refused since the last such line"]
        )

    def test_resumption_asks_the_same(self) -> None:
        """No session goes on where another authority, or a certificate at all, is wanted by now."""
        shown, other = self.authority.issue("alice"), Authority("Others")
        for version in VERSIONS:
            for before, after, alert in (
                (TlsOptions(), self.required, False),
                (self.required, TlsOptions(client_ca=other.pem), True),
                (TlsOptions(client_ca=self.authority.pem, client_auth="optional"), self.required, False),
            ):
                bed, first = Bed(before), Client(version=version, shown=shown)
                bed.connect(first)
                self.assertEqual(first.alert, "")
                bed.tls.configure(after)
                second = Client(after=first)
                bed.connect(second)
                self.assertEqual((second.tls.session_reused, bool(second.alert)), (False, alert))

    def test_not_for_clients(self) -> None:
        """A server's certificate of the same authority is none for a client (RFC 5280 §4.2.1.12)."""
        shown = self.authority.issue("server.example", use=ExtendedKeyUsageOID.SERVER_AUTH)
        client = Client(shown=shown)
        with capturedLogs() as lines:
            Bed(self.required).connect(client)
        self.assertTrue(client.alert)
        self.assertIn("not for clients", lines[0]["reason"])


class TlsAlpn(SynchronousTestCase):
    """TLS-ALPN-01 (RFC 8737)."""

    def setUp(self) -> None:
        """A listener with a certificate for the name, and a challenge pending for it."""
        self.bed = Bed()
        cert, key = self_signed(["a.example", "challenge.invalid"], now=datetime.datetime.now(datetime.UTC))
        self.pair = cert.encode(), key.encode()

    def test_answered(self) -> None:
        """Who offers only acme-tls/1 gets the challenge's certificate and is closed; others get the ordinary one."""
        self.bed.certificates.challenges.set_challenge("a.example", *self.pair)
        for version in VERSIONS:
            for cut in (65_536, 1):
                client = Client(version=version, alpn=ACME)
                protocol = self.bed.connect(client, cut=cut)
                self.assertEqual(client.alert, "")
                self.assertEqual(client.tls.selected_alpn_protocol(), "acme-tls/1")
                self.assertEqual(names(client), ["a.example", "challenge.invalid"])
                self.assertTrue(protocol.disconnecting)
                ordinary = Client(version=version, alpn=(b"h2", b"acme-tls/1"))
                self.bed.connect(ordinary, cut=cut)
                self.assertEqual((names(ordinary), ordinary.tls.selected_alpn_protocol()), (["a.example"], "h2"))

    def test_nothing_pending(self) -> None:
        """RFC 8737 §3: without a challenge for the name the handshake fails, and so it does without a name."""
        self.bed.certificates.challenges.set_challenge("b.example", *self.pair)
        for version in VERSIONS:
            for name in ("a.example", None):
                client = Client(version=version, alpn=ACME, name=name)
                self.bed.connect(client)
                self.assertIn("no application protocol", client.alert)

    def test_of_another_process(self) -> None:
        """A challenge in a shared store is answered as well."""
        self.bed.certificates.challenges.find_challenge = {"a.example": self.pair}.get
        client = Client(alpn=ACME)
        self.bed.connect(client)
        self.assertEqual(names(client), ["a.example", "challenge.invalid"])

    def test_client_certificate_is_not_asked_for(self) -> None:
        """The authority has none to show."""
        bed = Bed(TlsOptions(client_ca=Authority().pem))
        bed.certificates.challenges.set_challenge("a.example", *self.pair)
        for version in VERSIONS:
            client = Client(version=version, alpn=ACME)
            bed.connect(client)
            self.assertEqual((client.alert, names(client)), ("", ["a.example", "challenge.invalid"]))

    def test_too_long(self) -> None:
        """A ClientHello without end is cut off with an alert, and not more than 16 KiB of it are kept."""
        protocol, transport = self.bed.accept()
        protocol.dataReceived(b"\x16\x03\x01\x40\x00\x01\x00\xff\xff")
        self.assertTrue(transport.disconnecting)
        self.assertEqual(transport.value(), b"\x15\x03\x03\x00\x02\x02\x32")
        protocol.dataReceived(b"more")
        self.assertEqual(transport.value(), b"\x15\x03\x03\x00\x02\x02\x32")

    def test_no_tls_at_all(self) -> None:
        """Octets that are no handshake get OpenSSL's alert at once."""
        for octets in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"):
            protocol, transport = self.bed.accept()
            protocol.dataReceived(octets)
            self.assertTrue(transport.disconnecting)

    def test_deadline(self) -> None:
        """A client that doesn't finish its ClientHello is cut off in time."""
        protocol, transport = self.bed.accept()
        protocol.dataReceived(b"\x16\x03\x01")
        self.bed.clock.advance(29)
        self.assertFalse(transport.disconnecting)
        self.bed.clock.advance(1)
        self.assertTrue(transport.disconnecting)
