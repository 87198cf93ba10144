"""Whether a certificate and a private key, both PEM text, can be read, belong together and are in date."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from stalwart.config.secret import Secret

# What `cryptography` raises for text that is no certificate or key, or one of a sort that it does not know.
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)


class BadPem(ValueError):
    """The message says what was wanted instead."""


def read_chain(cert: str) -> list[x509.Certificate]:
    """The certificates of a PEM text. Raises `BadPem`."""
    if "-----BEGIN CERTIFICATE-----" not in cert and "PRIVATE KEY-----" in cert:
        raise BadPem("a certificate; this is a private key (are the two exchanged?)")
    try:
        return x509.load_pem_x509_certificates(cert.encode())
    except _UNREADABLE:
        raise BadPem("a certificate in PEM that can be read") from None


def read_key(private_key: Secret) -> PrivateKeyTypes:
    """The private key of a PEM text. Raises `BadPem`, without any of the text."""
    text = private_key.reveal()
    if "PRIVATE KEY-----" not in text:
        raise BadPem("a private key; this is something else (are certificate and key exchanged?)")
    try:
        return load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise BadPem("a private key without a passphrase (`openssl pkey` takes it off)") from None
    except _UNREADABLE:
        raise BadPem("a private key in PEM that can be read") from None


def check_pair(chain: list[x509.Certificate], key: PrivateKeyTypes) -> None:
    """Raise `BadPem` unless the key belongs to the first certificate."""
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    matching = [_public_key(certificate) == public for certificate in chain]
    if matching[0]:
        return
    if any(matching):
        raise BadPem("the key's own certificate first in cert, the others of the chain after it")
    raise BadPem("the private key that belongs to the certificate")


def _public_key(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except _UNREADABLE:
        return None


def date_fault(chain: list[x509.Certificate], now: datetime.datetime) -> str | None:
    """What is wrong with the dates of the first certificate at `now` (aware), None if nothing."""
    first = chain[0]
    if now > first.not_valid_after_utc:
        return f"the certificate expired on {first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; clients will refuse it"
    if now < first.not_valid_before_utc:
        return f"the certificate is not valid before {first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    return None
