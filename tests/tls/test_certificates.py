"""Which certificate a client gets."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import Certificate, Secret
from stalwart.tls import BadCertificate, Certificates, self_signed

_NOW = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)


def certificate(name: str, *names: str, default: bool = False) -> Certificate:
    """A self-signed certificate for names."""
    cert, key = self_signed(names, now=_NOW)
    return Certificate(id=name, cert=cert, private_key=Secret(key), default=default)


def names_of(context: SSL.Context) -> list[str]:
    """The host names of the certificate that a context offers."""
    connection = SSL.Connection(context)
    connection.set_accept_state()
    client = SSL.Connection(SSL.Context(SSL.TLS_METHOD))
    client.set_connect_state()
    for _ in range(10):
        for one, other in ((client, connection), (connection, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65_536))
    found = client.get_peer_certificate(as_cryptography=True)
    assert found is not None
    extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return list(extension.value.get_values_for_type(x509.DNSName))


class Choice(SynchronousTestCase):
    """The choice by server name."""

    def chosen(self, certificates: Certificates, name: bytes | None) -> str:
        """The first name of the certificate for `name`."""
        return names_of(certificates.context_for(name))[0]

    def test_order(self) -> None:
        """The exact name goes before the wildcard, that before the default."""
        certificates = Certificates(
            [
                certificate("a", "*.example.org"),
                certificate("b", "mail.example.org", "imap.example.org"),
                certificate("c", "example.net", default=True),
            ],
            "host.example.org",
        )
        for name, wanted in (
            (b"mail.example.org", "mail.example.org"),
            (b"MAIL.Example.ORG.", "mail.example.org"),
            (b"imap.example.org", "mail.example.org"),
            (b"www.example.org", "*.example.org"),
            (b"a.www.example.org", "example.net"),
            (b"example.org", "example.net"),
            (b"other", "example.net"),
            (b"", "example.net"),
            (b"\xff", "example.net"),
            (None, "example.net"),
        ):
            self.assertEqual(self.chosen(certificates, name), wanted, name)

    def test_only_one(self) -> None:
        """A single certificate is for everybody."""
        certificates = Certificates([certificate("a", "example.org")], "host")
        self.assertEqual(self.chosen(certificates, b"other"), "example.org")

    def test_stand_in(self) -> None:
        """Where none fits, a self-signed one for this host is made, once."""
        several = [certificate("a", "example.org"), certificate("b", "example.net")]
        for certificates in (Certificates([], "host"), Certificates(several, "host")):
            self.assertEqual(self.chosen(certificates, b"other"), "host")
            self.assertIs(certificates.context_for(b"other"), certificates.context_for(None))

    def test_swap(self) -> None:
        """New certificates count from the next handshake on; bad ones change nothing."""
        certificates = Certificates([certificate("a", "example.org")], "host")
        certificates.replace([certificate("b", "example.net")])
        self.assertEqual(self.chosen(certificates, b"example.org"), "example.net")
        broken = Certificate(id="c", cert="nonsense", private_key=Secret("nonsense"))
        self.assertRaises(BadCertificate, certificates.replace, [broken])
        self.assertEqual(self.chosen(certificates, b"example.org"), "example.net")

    def test_foreign_key(self) -> None:
        """A key that belongs to another certificate is refused by the certificate's name, without the key."""
        one, other = certificate("one", "a"), certificate("other", "b")
        mixed = Certificate(id="mixed", cert=one.cert, private_key=other.private_key)
        error = self.assertRaises(BadCertificate, Certificates, [mixed], "host")
        self.assertEqual(str(error), "certificate.mixed: the private key does not belong to the certificate")

    def test_settings(self) -> None:
        """RFC 8620 §8.1: TLS 1.1 is not spoken, and no cipher without forward secrecy and authentication is offered."""
        context = Certificates([certificate("a", "example.org")], "host").context_for(None)
        client = SSL.Connection(context)
        for name in client.get_cipher_list():
            self.assertTrue(name.startswith(("TLS_", "ECDHE-")), name)
            self.assertTrue("GCM" in name or "CHACHA20" in name, name)


class SelfSigned(SynchronousTestCase):
    """The certificate that stands in."""

    def test_contents(self) -> None:
        """It is for the names and addresses asked for, in date, and has a key of its own."""
        cert, key = self_signed(["mail.example.org", "localhost", "127.0.0.1", "::1"], now=_NOW)
        loaded = x509.load_pem_x509_certificate(cert.encode())
        names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["mail.example.org", "localhost"])
        self.assertEqual(
            names.get_values_for_type(x509.IPAddress),
            [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")],
        )
        self.assertLess(loaded.not_valid_before_utc, _NOW)
        self.assertGreater(loaded.not_valid_after_utc, _NOW + datetime.timedelta(days=300))
        self.assertEqual(load_pem_private_key(key.encode(), None).public_key(), loaded.public_key())

    def test_odd_names(self) -> None:
        """A long name and one in another script don't break it."""
        cert, _ = self_signed(["a." * 40 + "example", "bücher.example"], now=_NOW)
        loaded = x509.load_pem_x509_certificate(cert.encode())
        names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertIn("xn--bcher-kva.example", names.get_values_for_type(x509.DNSName))
