"""Which certificate a client gets."""

from __future__ import annotations

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import Certificate, Secret
from stalwart.ops.metrics import Metrics
from stalwart.tls import BadCertificate, Certificates, Issued, self_signed
from stalwart.tls.credentials import Credential

_NOW = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)


def certificate(name: str, *names: str, default: bool = False) -> Certificate:
    """A self-signed certificate for names."""
    cert, key = self_signed(names, now=_NOW)
    return Certificate(id=name, cert=cert, private_key=Secret(key), default=default)


def names_of(credential: Credential) -> list[str]:
    """The host names of a certificate."""
    extension = credential.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return list(extension.value.get_values_for_type(x509.DNSName))


def issued(name: str, *, default: bool = False) -> Issued:
    """A certificate as an authority gives it."""
    cert, key = self_signed([name], now=_NOW)
    return Issued(name=name, chain_pem=cert.encode(), key_pem=key.encode(), default=default)


class Choice(SynchronousTestCase):
    """The choice by server name."""

    def chosen(self, certificates: Certificates, name: bytes | None) -> str:
        """The first name of the certificate for `name`."""
        return names_of(certificates.credential_for(name))[0]

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
            self.assertIs(certificates.credential_for(b"other"), certificates.credential_for(None))

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

    def test_issued(self) -> None:
        """What an authority issued is served beside the configured ones, which count for a name that both have."""
        metrics = Metrics("0")
        certificates = Certificates([certificate("a", "example.org")], "host", metrics=metrics)
        certificates.set_issued([issued("example.org"), issued("example.net", default=True)])
        names = certificates.names()
        self.assertEqual(
            {name: (served.source, served.not_after > served.not_before) for name, served in names.items()},
            {"example.org": ("configured", True), "example.net": ("issued", True)},
        )
        self.assertEqual(self.chosen(certificates, b"elsewhere"), "example.net")
        certificates.replace([])
        self.assertEqual(certificates.names()["example.org"].source, "issued")
        told = [line for line in metrics.render().decode().splitlines() if line.startswith("stalwart_certificate_not")]
        self.assertEqual(
            [(line.split()[0], float(line.split()[1])) for line in told],
            [
                (f'stalwart_certificate_not_after_seconds{{name="{name}"}}', served.not_after)
                for name, served in certificates.names().items()
            ],
        )
        bad = Issued(name="x", chain_pem=b"nonsense", key_pem=b"", default=False)
        error = self.assertRaises(BadCertificate, certificates.set_issued, [bad])
        self.assertTrue(str(error).startswith('the certificate issued for "x" can\'t be read'), error)
        self.assertEqual(list(certificates.names()), ["example.org", "example.net"])

    def test_kept(self) -> None:
        """A certificate that is set again is not loaded again: hundreds may stand beside the one that is new."""
        first, second = certificate("a", "example.org"), certificate("b", "example.net")
        certificates = Certificates([first, second], "host")
        given = issued("example.com")
        certificates.set_issued([given])
        before = {name: certificates.credential_for(name.encode()) for name in certificates.names()}
        renewed = certificate("b", "example.net")
        certificates.replace([first, renewed])
        certificates.set_issued([given, issued("example.info")])
        after = {name: certificates.credential_for(name.encode()) for name in certificates.names()}
        kept = [name for name, credential in after.items() if credential is before.get(name)]
        self.assertEqual(kept, ["example.org", "example.com"])
        prepared = certificates.prepare([second])
        certificates.replace([first, second], prepared)
        self.assertIs(certificates.credential_for(b"example.net"), prepared[second])

    def test_renewed_alone(self) -> None:
        """One that is renewed leaves the others as they are: with many names nothing is read or made anew."""
        certificates = Certificates([], "host")
        kept = issued("example.net")
        certificates.set_issued([issued("example.org"), kept])
        before = certificates.credential_for(b"example.net"), certificates.credential_for(b"example.org")
        certificates.set_issued([issued("example.org"), kept])
        self.assertIs(certificates.credential_for(b"example.net"), before[0])
        self.assertIsNot(certificates.credential_for(b"example.org"), before[1])

    def test_replace_is_all_or_nothing(self) -> None:
        """One bad certificate among several leaves all as they were."""
        certificates = Certificates([certificate("a", "example.org")], "host")
        broken = Certificate(id="c", cert="nonsense", private_key=Secret("nonsense"))
        self.assertRaises(BadCertificate, certificates.replace, [certificate("b", "example.net"), broken])
        self.assertEqual(list(certificates.names()), ["example.org"])


class Pending(SynchronousTestCase):
    """Challenges (RFC 8737)."""

    def test_set_and_cleared(self) -> None:
        """A challenge is there from when it is set until it is cleared, whatever the case of its name."""
        challenges = Certificates([], "host").challenges
        given = issued("example.org")
        challenges.set_challenge("Example.ORG", given.chain_pem, given.key_pem)
        self.assertIsNotNone(challenges.credential_for("example.org"))
        self.assertIsNone(challenges.credential_for("example.net"))
        challenges.clear_challenge("example.org")
        challenges.clear_challenge("example.org")
        self.assertIsNone(challenges.credential_for("example.org"))

    def test_of_another_process(self) -> None:
        """Names that nothing was set for are asked of the shared store; one that fails is told, and no answer."""
        challenges = Certificates([], "host").challenges
        given = issued("example.org")

        def find(name: str) -> tuple[bytes, bytes] | None:
            if name == "broken":
                return b"", b""
            return (given.chain_pem, given.key_pem) if name == "example.org" else None

        challenges.find_challenge = find
        self.assertIsNotNone(challenges.credential_for("example.org"))
        self.assertIsNone(challenges.credential_for("example.net"))
        with capturedLogs() as lines:
            self.assertIsNone(challenges.credential_for("broken"))
        self.assertEqual([line["name"] for line in lines], ["broken"])


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
