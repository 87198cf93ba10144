"""TLS towards mail servers: whose certificate is asked for, and what counts as the right one."""

from __future__ import annotations

from typing import Any

from OpenSSL.SSL import Connection
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS, platformTrust
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from stalwart.delivery.routes import Target
from stalwart.ops.networks import plain_address


@implementer(IOpenSSLClientConnectionCreator)
class _AnyCertificate:
    """Encrypts, whoever the peer is: better than clear text, where no more can be known (RFC 7435)."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._options = CertificateOptions()

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> Connection:
        """See IOpenSSLClientConnectionCreator."""
        connection = self._options.clientConnectionForTLS(tlsProtocol)
        if plain_address(self._host) is None:  # RFC 6066 §3: no addresses
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection


def tls_options(target: Target, trust_root: Any = None) -> Any:
    """What the connection's TLS is made with. Raises ValueError for a host that no certificate can be for.

    `trust_root` stands for the system's authorities (OpenSSL's defaults, which SSL_CERT_FILE replaces).
    """
    if target.names and not target.tlsa:
        return optionsForClientTLS(target.names[0], trustRoot=trust_root or platformTrust())
    # RFC 7672 §8.1: the server is told the name at which its TLSA records are
    return _AnyCertificate(target.names[0] if target.tlsa else target.host)
