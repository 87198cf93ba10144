"""A root certificate that signs what it is asked to, and the requests for it."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def new_key() -> ec.EllipticCurvePrivateKey:
    """A private key on P-256, as accounts and certificates have."""
    return ec.generate_private_key(ec.SECP256R1())


def request_for(names: Sequence[str], key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    """A request for a certificate for host names (A-labels) and IP addresses."""
    extension = x509.SubjectAlternativeName([_general_name(name) for name in names])
    return (
        x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(extension, True).sign(key, hashes.SHA256())
    )


def names_in(request: x509.CertificateSigningRequest) -> set[str]:
    """The names that a request is for."""
    extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in extension.value}


class Root:
    """A root certificate with its key, valid from yesterday."""

    def __init__(self) -> None:
        self._key = new_key()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fake root")])
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        builder = self._builder(self._name, self._key.public_key(), now - day, now + 3650 * day)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        self.certificate = builder.sign(self._key, hashes.SHA256())

    def issue(
        self,
        request: x509.CertificateSigningRequest,
        lifetime: datetime.timedelta,
        *,
        now: datetime.datetime | None = None,
    ) -> x509.Certificate:
        """A certificate for the names and the key of a request."""
        key = request.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        now = now or datetime.datetime.now(datetime.UTC)
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            self._builder(x509.Name([]), key, now, now + lifetime)
            .add_extension(names.value, True)
            .add_extension(issuer, False)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime.datetime, end: datetime.datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
