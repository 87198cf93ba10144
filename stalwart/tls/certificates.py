"""The certificates of all TLS listeners and the choice among them by server name (SNI).

`replace` swaps them while the server runs: later handshakes get the new ones, open connections keep theirs.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from typing import cast

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions, TLSVersion
from twisted.logger import Logger

from stalwart.config import Certificate, Secret
from stalwart.tls.selfsigned import self_signed

_log = Logger(namespace="stalwart.tls")

# Forward secrecy and authenticated encryption only, for TLS 1.2; TLS 1.3 has nothing else (RFC 9325 §4.2).
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class BadCertificate(Exception):
    """A certificate or its key can't be used; the text says which and why."""


class _Loaded(msgspec.Struct, frozen=True, kw_only=True):
    context: SSL.Context
    names: tuple[str, ...]
    default: bool


class Certificates:
    """Chooses a certificate per handshake: exact name, wildcard, the default, the only one, a self-signed one."""

    def __init__(
        self, certificates: Sequence[Certificate], hostname: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Raises BadCertificate. `clock` is the wall clock, for the self-signed certificate's dates."""
        self._hostname = hostname
        self._clock = clock
        self._stand_in: SSL.Context | None = None
        self.replace(certificates)

    def replace(self, certificates: Sequence[Certificate]) -> None:
        """Use these from the next handshake on; raises BadCertificate and then changes nothing."""
        loaded = [_load(certificate) for certificate in certificates]
        by_name: dict[str, SSL.Context] = {}
        for entry in loaded:
            for name in entry.names:
                by_name.setdefault(name, entry.context)
        fallback = next((entry.context for entry in loaded if entry.default), None)
        if fallback is None and len(loaded) == 1:
            fallback = loaded[0].context
        self._by_name, self._fallback = by_name, fallback

    def context_for(self, server_name: bytes | None) -> SSL.Context:
        """The context for the name that a client asks for; None if it asks for none."""
        if server_name is not None:
            name = server_name.decode("ascii", "replace").lower().rstrip(".")
            context = self._by_name.get(name)
            if context is None:
                # RFC 6125 §6.4.3: the asterisk stands for the whole leftmost label, and for one label.
                context = self._by_name.get("*." + name.partition(".")[2])
            if context is not None:
                return context
        return self._fallback or self._self_signed()

    def server_options(self) -> IOpenSSLServerConnectionCreator:
        """What a TLS listener makes its connections with."""
        if not self._by_name and self._fallback is None:
            _log.warn(
                "there is no certificate: TLS listeners use a self-signed one, which clients will not trust;"
                " set certificate.<id>.cert and certificate.<id>.private-key"
            )
        # The callback runs in every handshake, also when the client names no server, and always gives a context.
        return cast(IOpenSSLServerConnectionCreator, _options(contextForServerName=self.context_for))

    def _self_signed(self) -> SSL.Context:
        if self._stand_in is None:
            now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
            cert, key = self_signed([self._hostname, "localhost", "127.0.0.1", "::1"], now=now)
            self._stand_in = _load(Certificate(id="self-signed", cert=cert, private_key=Secret(key))).context
        return self._stand_in


def _load(certificate: Certificate) -> _Loaded:
    """Make the TLS context of a certificate with its chain."""
    where = f"certificate.{certificate.id}"
    try:
        chain = x509.load_pem_x509_certificates(certificate.cert.encode("ascii"))
        key = load_pem_private_key(certificate.private_key.reveal().encode("ascii"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadCertificate(f"{where} can't be read: {error}") from error
    # pyOpenSSL takes cryptography's objects and warns about its own; Twisted's annotations name the latter.
    options = _options(
        privateKey=cast(PKey, key),
        certificate=cast(X509, chain[0]),
        extraCertChain=cast(list[X509], chain[1:]),
    )
    try:
        context = options.getContext()
    except (SSL.Error, ValueError, TypeError) as error:
        raise BadCertificate(f"{where}: the private key does not belong to the certificate") from error
    return _Loaded(context=context, names=_names(chain[0]), default=certificate.default)


def _options(
    *,
    privateKey: PKey | None = None,
    certificate: X509 | None = None,
    extraCertChain: list[X509] | None = None,
    contextForServerName: Callable[[bytes | None], SSL.Context | None] | None = None,
) -> CertificateOptions:
    return CertificateOptions(
        privateKey=privateKey,
        certificate=certificate,
        extraCertChain=extraCertChain,
        raiseMinimumTo=TLSVersion.TLSv1_2,  # RFC 8620 §8.1
        acceptableCiphers=AcceptableCiphers.fromOpenSSLCipherString(_CIPHERS),
        contextForServerName=contextForServerName,
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The host names that a certificate is for, in lower case; its common name where it has no others."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        names = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return tuple(name.lower() for name in names)
