"""DANE for SMTP (RFC 7672): whether a server's certificate fits the TLSA records of its name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname

from stalwart.delivery.routes import Target, Tlsa

_DANE_TA, _DANE_EE = 2, 3
_DIGESTS: dict[int, Callable[[bytes], bytes]] = {
    0: bytes,
    1: lambda octets: hashlib.sha256(octets).digest(),
    2: lambda octets: hashlib.sha512(octets).digest(),
}
_LENGTHS = {1: 32, 2: 64}


def read_tlsa(data: bytes) -> Tlsa | None:
    """A record from its octets (RFC 6698 §2.1); None if it can't be used.

    RFC 7672 §3.1.3: PKIX-TA and PKIX-EE mean nothing in SMTP.
    """
    if len(data) < 4:
        return None
    usage, selector, matching = data[:3]
    record = Tlsa(usage=usage, selector=selector, matching=matching, data=data[3:])
    if usage not in (_DANE_TA, _DANE_EE) or selector not in (0, 1) or matching not in _DIGESTS:
        return None
    return record if len(record.data) == _LENGTHS.get(matching, len(record.data)) else None


def tlsa_check(target: Target) -> Callable[[Any], str | None]:
    """A check of a transport after the handshake: None, or what is wrong."""

    def check(transport: Any) -> str | None:
        given = transport.getHandle().get_peer_cert_chain() or ()
        try:
            chain = [certificate.to_cryptography() for certificate in given]
        except ValueError as error:
            return f"TLS failed: the certificate of {target.host} can't be read: {error}"
        if any(fits(record, chain, target.names) for record in target.tlsa):
            return None
        return f"TLS failed: the certificate of {target.host} fits none of its TLSA records"

    return check


def fits(record: Tlsa, chain: Sequence[x509.Certificate], names: Sequence[str]) -> bool:
    """Whether a chain, the server's own certificate first, fits a record."""
    if record.usage == _DANE_EE:
        # RFC 7672 §3.1.1: neither names nor dates count.
        return bool(chain) and _matches(record, chain[0])
    # RFC 7672 §3.1.2: the anchor must be in the chain, and what is below it must be right.
    return any(_matches(record, anchor) and _is_below(chain, anchor, names) for anchor in chain[1:])


def _matches(record: Tlsa, certificate: x509.Certificate) -> bool:
    if record.selector == 0:
        octets = certificate.public_bytes(Encoding.DER)
    else:
        octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _DIGESTS[record.matching](octets) == record.data


def _is_below(chain: Sequence[x509.Certificate], anchor: x509.Certificate, names: Sequence[str]) -> bool:
    store = X509Store()
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)  # the anchor need not be a root
    store.add_cert(X509.from_cryptography(anchor))
    certificates = [X509.from_cryptography(certificate) for certificate in chain]
    try:
        X509StoreContext(store, certificates[0], certificates[1:]).verify_certificate()
    except X509StoreContextError:
        return False
    for name in names:
        try:
            verify_certificate_hostname(chain[0], name)
        except (VerificationError, CertificateError, ValueError):
            continue
        return True
    return False
