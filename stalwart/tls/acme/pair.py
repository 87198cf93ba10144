"""A certificate with its chain and its private key: whether they belong together and to a name."""

from __future__ import annotations

import ipaddress
import re

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from stalwart.tls.acme.policy import Validity
from stalwart.tls.credentials import BadCertificate, load

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----.{1,200000}?-----END \1-----", re.DOTALL)
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class BadPair(ValueError):
    """The certificate can't be used for the name; the text says why, without any of the key."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """What is served for a name: the chain, leaf first, and the key as PKCS #8; `fingerprint` is the leaf's SHA-256."""

    name: str
    chain_pem: bytes
    key_pem: bytes
    validity: Validity
    fingerprint: str

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate itself."""
        return x509.load_pem_x509_certificate(self.chain_pem)


def read_pair(name: str, pem: bytes) -> Pair:
    """The certificate chain and the key in a PEM text, in whichever order. Raises BadPair."""
    blocks = [(match[1], match[0]) for match in _BLOCK.finditer(pem)]
    keys = [block for label, block in blocks if label.endswith(b"PRIVATE KEY")]
    chain = [block for label, block in blocks if label == b"CERTIFICATE"]
    if len(keys) != 1 or not chain:
        raise BadPair(f"{len(chain)} certificates and {len(keys)} private keys; wanted a chain and one key")
    try:
        certificates = [x509.load_pem_x509_certificate(block) for block in chain]
        key = load_pem_private_key(keys[0], password=None)
        leaf = certificates[0]
        public = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        same = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == public
        names = _names(leaf)
    except _UNREADABLE as error:
        raise BadPair(f"the certificate or its key can't be read: {error}") from None
    if not same:
        raise BadPair("the private key does not belong to the first certificate")
    if not _covers(names, name):
        raise BadPair(f"the certificate is for {', '.join(names) or 'no name'}, not for {name}")
    chain_pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        # OpenSSL has demands of its own, such as a key's size: what it refuses must not get among what is served.
        load("the certificate", chain_pem, key_pem, default=False, source="issued")
    except BadCertificate as error:
        raise BadPair(str(error)) from None
    return Pair(
        name=name,
        chain_pem=chain_pem,
        key_pem=key_pem,
        validity=Validity(
            not_before=leaf.not_valid_before_utc.timestamp(), not_after=leaf.not_valid_after_utc.timestamp()
        ),
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
    )


def _names(certificate: x509.Certificate) -> list[str]:
    """The host names and addresses that it is for (RFC 6125 §6.4: the common name counts no more)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    hosts = [host.lower() for host in names.get_values_for_type(x509.DNSName)]
    return hosts + [str(address) for address in names.get_values_for_type(x509.IPAddress)]


def _covers(names: list[str], name: str) -> bool:
    try:
        return str(ipaddress.ip_address(name)) in names
    except ValueError:
        # RFC 6125 §6.4.3: the asterisk stands for the whole leftmost label.
        return name in names or "*." + name.partition(".")[2] in names
