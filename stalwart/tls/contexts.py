"""OpenSSL's contexts for a listener's settings: versions, ciphers, groups, resumption and client certificates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509

from stalwart.config import TlsOptions
from stalwart.config.tls_settings import PROTOCOLS
from stalwart.tls.credentials import BadCertificate

ACME_PROTOCOL = b"acme-tls/1"  # RFC 8737 §6.2

SESSION_SECONDS = 7_200
"""For how long a session can be resumed; a client certificate isn't looked at again within it."""

_VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}

# RFC 9325 §4.2.1 and RFC 8446 §9.1; the hybrid of draft-ietf-tls-ecdhe-mlkem where OpenSSL (3.5 and later) has it.
_GROUPS = b"?X25519MLKEM768:X25519:P-256:P-384"

# RFC 8446 §4.1.1: no compression; §4.1.2: no renegotiation, which TLS 1.2 still had.
_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_RENEGOTIATION

_OPENSSL_NAMES = {
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS13_AES_256_GCM_SHA384": "TLS_AES_256_GCM_SHA384",
    "TLS13_CHACHA20_POLY1305_SHA256": "TLS_CHACHA20_POLY1305_SHA256",
    "TLS13_AES_128_GCM_SHA256": "TLS_AES_128_GCM_SHA256",
}

Verify = Callable[[SSL.Connection, X509, int, int, int], bool]
SelectProtocol = Callable[[SSL.Connection, Sequence[bytes]], object]


class ContextMaker:
    """Makes the contexts of one listener, which differ in nothing but the certificate."""

    def __init__(self, listener: str, options: TlsOptions, *, verify: Verify, select: SelectProtocol) -> None:
        """`verify` is told of every certificate of a client's chain, `select` chooses among the ALPN protocols.

        Raises BadCertificate for a `client-ca` that can't be read.
        """
        self._verify = verify
        self._select = select
        self._versions = [_VERSIONS[name] for name in PROTOCOLS if name not in options.disable_protocols]
        self._ciphers, self._suites = (
            ":".join(_OPENSSL_NAMES[suite] for suite in suites if suite not in options.disable_ciphers).encode()
            for suites in PROTOCOLS.values()
        )
        self.authorities = _authorities(listener, options.client_ca)
        self._mode = SSL.VERIFY_NONE
        if self.authorities:
            self._mode = SSL.VERIFY_PEER
            if options.client_auth == "required":
                self._mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        # RFC 8446 §4.6.1: what was found out about a client holds only where the same was asked of it. The same for
        # every certificate of the listener, so that sessions outlive a swap.
        asked = f"{listener}\0{options.client_auth}\0{options.client_ca or ''}"
        self._session_context = hashlib.sha256(asked.encode()).digest()

    def make(self) -> SSL.Context:
        """A context without a certificate. The first of a connection has its ticket keys and its session cache."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_options(_OPTIONS)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        # RFC 8620 §8.1: TLS 1.2 or later
        context.set_min_proto_version(self._versions[0])
        context.set_max_proto_version(self._versions[-1])
        context.set_tls13_ciphersuites(self._suites)
        if self._ciphers:
            context.set_cipher_list(self._ciphers)
        _set_groups(context)
        context.set_session_id(self._session_context)
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        context.set_timeout(SESSION_SECONDS)
        context.set_alpn_select_callback(self._select)  # type: ignore[arg-type]
        self._ask_for_certificate(context)
        return context

    def _ask_for_certificate(self, context: SSL.Context) -> None:
        if not self.authorities:
            return
        store = context.get_cert_store()
        assert store is not None
        for authority in self.authorities:
            store.add_cert(X509.from_cryptography(authority))
            context.add_client_ca(authority)
        context.set_verify(self._mode, self._verify)


def challenge_context(select: SelectProtocol) -> SSL.Context:
    """A context for an authority that looks at a challenge: no resumption, no client certificate."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_options(_OPTIONS | SSL.OP_NO_TICKET)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    _set_groups(context)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_alpn_select_callback(select)  # type: ignore[arg-type]
    return context


def _set_groups(context: SSL.Context) -> None:
    # pyOpenSSL has a call for one group only (set_tmp_ecdh); cryptography binds the one for several.
    lib = SSL._lib  # type: ignore[attr-defined]
    if lib.SSL_CTX_set1_curves_list(context._context, _GROUPS) != 1:
        lib.ERR_clear_error()
        lib.SSL_CTX_set1_curves_list(context._context, _GROUPS.partition(b":")[2])


def _authorities(listener: str, pem: str | None) -> tuple[x509.Certificate, ...]:
    if pem is None:
        return ()
    try:
        return tuple(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError as error:
        raise BadCertificate(f'the client-ca of listener "{listener}" can\'t be read: {error}') from error
