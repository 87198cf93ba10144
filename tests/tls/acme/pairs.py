"""Certificates with their keys, as a CA would have issued them."""

from __future__ import annotations

import datetime
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.tls.acme.fake_root import Root, new_key, request_for


def make_pair(name: str, *, now: float = 0.0, days: float = 90, root: Root | None = None) -> tuple[bytes, bytes]:
    """Chain and key in PEM, valid from `now` (unix seconds)."""
    key, root = new_key(), root or Root()
    start = datetime.datetime.fromtimestamp(now, datetime.UTC)
    leaf = root.issue(request_for([name], key), datetime.timedelta(days=days), now=start)
    chain = leaf.public_bytes(Encoding.PEM) + root.certificate.public_bytes(Encoding.PEM)
    return chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def odd_pairs(name: str) -> dict[str, bytes]:
    """Certificates with their keys that no server can use, by what is odd with them."""
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    key = new_key()
    twice = _self_signed(name, key).replace(bytes.fromhex("06032a0304"), bytes.fromhex("06032a0303"))
    made: dict[str, tuple[ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, bytes]] = {
        "weak": (weak, _self_signed(name, weak)),
        "twice": (key, twice),
    }
    return {
        odd: ssl.DER_cert_to_PEM_cert(der).encode()
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for odd, (key, der) in made.items()
    }


def _self_signed(name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """In DER, with extensions 1.2.3.3 and 1.2.3.4."""
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    nobody = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(nobody).issuer_name(nobody).serial_number(5)
    builder = builder.public_key(key.public_key()).not_valid_before(start)
    builder = builder.not_valid_after(start + datetime.timedelta(days=90))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
    for last in (3, 4):
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.{last}"), b"\x05\x00")
        builder = builder.add_extension(unknown, False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
