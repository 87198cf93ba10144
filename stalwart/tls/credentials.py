"""A certificate with its chain and key, found to be usable, and what is known of it."""

from __future__ import annotations

from typing import Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from stalwart.config import Certificate

Source = Literal["configured", "issued", "self-signed", "challenge"]


class BadCertificate(Exception):
    """A certificate or its key can't be used; the text says which and why."""


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that an authority issued to this daemon.

    `name` is the host name that it was ordered for; `chain_pem` begins with the server's own certificate. `default`:
    it is for clients that ask for no name, or for one that no certificate has.
    """

    name: str
    chain_pem: bytes
    key_pem: bytes
    default: bool


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What is served for a host name. Times are unix seconds; `serial` is the certificate's, in hexadecimal."""

    name: str
    source: Source
    not_before: float
    not_after: float
    serial: str


class Credential(msgspec.Struct, frozen=True, kw_only=True, eq=False, weakref=True):
    """A certificate that OpenSSL takes, with its key. Its identity counts: a new one for the same name is another."""

    where: str
    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes
    names: tuple[str, ...]
    default: bool
    source: Source

    @property
    def not_after(self) -> float:
        """When it expires, in unix seconds."""
        return self.chain[0].not_valid_after_utc.timestamp()

    @property
    def lifetime(self) -> float:
        """From its first second to its last."""
        return self.not_after - self.chain[0].not_valid_before_utc.timestamp()

    def served_for(self, name: str) -> Served:
        """What there is to tell of it where it is served for `name`."""
        leaf = self.chain[0]
        return Served(
            name=name,
            source=self.source,
            not_before=leaf.not_valid_before_utc.timestamp(),
            not_after=self.not_after,
            serial=f"{leaf.serial_number:x}",
        )

    def install(self, context: SSL.Context) -> None:
        """Have `context` show it. Raises SSL.Error, ValueError or TypeError."""
        context.use_certificate(self.chain[0])
        context.use_privatekey(self.key)  # type: ignore[arg-type]  # of a sort that signs, or OpenSSL refuses it
        for certificate in self.chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.check_privatekey()


def configured(certificate: Certificate) -> Credential:
    """A certificate of the configuration. Raises BadCertificate."""
    return load(
        f"certificate.{certificate.id}",
        certificate.cert.encode(),
        certificate.private_key.reveal().encode(),
        default=certificate.default,
        source="configured",
    )


def issued(certificate: Issued) -> Credential:
    """One that was issued; it counts for the name it was ordered for, too. Raises BadCertificate."""
    where = f'the certificate issued for "{certificate.name}"'
    credential = load(where, certificate.chain_pem, certificate.key_pem, default=certificate.default, source="issued")
    names = dict.fromkeys((certificate.name.lower(), *credential.names))
    return msgspec.structs.replace(credential, names=tuple(names))


def load(where: str, chain_pem: bytes, key_pem: bytes, *, default: bool, source: Source) -> Credential:
    """Read PEM. Raises BadCertificate, whose text begins with `where`."""
    try:
        chain = x509.load_pem_x509_certificates(chain_pem)
        # Checking an RSA key takes half a second. One that was issued was checked when it was read, in a thread.
        key = load_pem_private_key(key_pem, password=None, unsafe_skip_rsa_key_validation=source == "issued")
        names = _names(chain[0])
        ours = _public(key) == chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension) as error:
        raise BadCertificate(f"{where} can't be read: {error}") from error
    if not ours:
        raise BadCertificate(f"{where}: the private key does not belong to the certificate")
    credential = Credential(where=where, chain=tuple(chain), key=key, names=names, default=default, source=source)
    try:
        credential.install(SSL.Context(SSL.TLS_METHOD))
    except (SSL.Error, ValueError, TypeError) as error:
        raise BadCertificate(f"{where} can't be used: OpenSSL refuses it ({_reason(error)})") from error
    return credential


def _public(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _reason(error: Exception) -> str:
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return str(error.args[0][-1][-1])  # OpenSSL's queue of (library, function, reason)
    return str(error)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The host names that a certificate is for, in lower case; its common name where it has no others."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        names = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return tuple(name.lower() for name in names)
