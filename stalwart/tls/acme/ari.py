"""Which certificate the CA is asked about, and replaced by which order (RFC 9773)."""

from __future__ import annotations

from cryptography import x509
from josepy.b64 import b64encode


def certificate_id(certificate: x509.Certificate) -> str | None:
    """The unique identifier of a certificate (RFC 9773 §4.1); None if it names no key of its issuer."""
    try:
        issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, ValueError):
        return None
    if issuer is None:
        return None
    # The content octets of a DER INTEGER: a leading zero where the highest bit would be read as a sign.
    serial = certificate.serial_number.to_bytes(certificate.serial_number.bit_length() // 8 + 1, "big")
    return f"{b64encode(issuer).decode('ascii')}.{b64encode(serial).decode('ascii')}"
