"""TLS of one listener: its settings, and the certificates that all listeners share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory, IReactorTime
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from stalwart.config import TlsOptions
from stalwart.tls.certificates import Certificates
from stalwart.tls.connection import TlsConnection, subject_text
from stalwart.tls.contexts import ACME_PROTOCOL, ContextMaker, challenge_context
from stalwart.tls.credentials import Credential
from stalwart.tls.refusals import Refusals, lacks_certificate, reason_of

TICKET_KEY_SECONDS = 43_200.0
"""For how long the keys of session tickets are used; RFC 8446 §C.4 and RFC 5077 §5.5 want them not to last."""


@implementer(IOpenSSLServerConnectionCreator)
class ListenerTls:
    """Makes the TLS connections of a listener."""

    def __init__(
        self,
        listener: str,
        options: TlsOptions,
        certificates: Certificates,
        *,
        protocols: Sequence[bytes] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`protocols` are offered by ALPN, the best first; with any, challenges are answered.

        Raises BadCertificate for a `client-ca` that can't be read.
        """
        self.certificates = certificates
        self.answers_challenges = bool(protocols)
        self._listener = listener
        self._protocols = tuple(protocols)
        self._monotonic = monotonic
        self._refusals = Refusals(listener, monotonic)
        self._options = options
        self._start_over()

    def configure(self, options: TlsOptions) -> None:
        """Go by these from the next handshake on; sessions end where they change. Raises BadCertificate."""
        if options != self._options:
            before, self._options = self._options, options
            try:
                self._start_over()
            except Exception:
                self._options = before
                raise

    def _start_over(self) -> None:
        self._maker = ContextMaker(self._listener, self._options, verify=self._verify, select=self._select)
        self._contexts: WeakKeyDictionary[Credential, SSL.Context] = WeakKeyDictionary()
        self._make_first()

    def _make_first(self) -> None:
        """Make the context that connections begin with, whose ticket keys and session cache are the listener's.

        OpenSSL makes new keys with it, and pyOpenSSL has no call to give it others.
        """
        self._first = self._maker.make()
        self._first.set_tlsext_servername_callback(self._choose)
        self._first_made = self._monotonic()

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """A connection for a client that has just come."""
        if self._monotonic() - self._first_made >= TICKET_KEY_SECONDS:
            self._make_first()
        return SSL.Connection(self._first)

    def _choose(self, connection: SSL.Connection) -> None:
        """OpenSSL calls this in every handshake, also when the client names no server."""
        protocol: TlsConnection = connection.get_app_data()
        if protocol.challenge is not None:
            context = challenge_context(_select_acme)
            protocol.challenge.install(context)
            connection.set_verify(SSL.VERIFY_NONE)
        else:
            context = self._context(self.certificates.credential_for(connection.get_servername()))
        connection.set_context(context)

    def _context(self, credential: Credential) -> SSL.Context:
        context = self._contexts.get(credential)
        if context is None:
            context = self._maker.make()
            credential.install(context)
            self._contexts[credential] = context
        return context

    def _select(self, connection: SSL.Connection, offered: Sequence[bytes]) -> object:
        """RFC 7301 §3.2: the server's order counts."""
        for protocol in self._protocols:
            if protocol in offered:
                return protocol
        return SSL.NO_OVERLAPPING_PROTOCOLS

    def _verify(self, connection: SSL.Connection, certificate: X509, code: int, depth: int, ok: int) -> bool:
        try:
            subject, reason = subject_text(certificate.to_cryptography()), reason_of(code)
        except Exception as error:  # noqa: BLE001 - pyOpenSSL would keep it, and with it the connection, for ever
            subject, ok, reason = "?", 0, f"it can't be read ({error})"
        if not ok:
            protocol: TlsConnection = connection.get_app_data()
            self._refusals.certificate(protocol.client_name, subject, reason)
        return bool(ok)

    def handshake_failed(self, connection: TlsConnection, error: BaseException) -> None:
        """A handshake came to nothing."""
        if lacks_certificate(error):
            self._refusals.without_certificate(connection.client_name)


def _select_acme(connection: SSL.Connection, offered: Sequence[bytes]) -> object:
    return ACME_PROTOCOL


class TlsFactory(TLSMemoryBIOFactory):
    """Puts a listener's TLS around the connections that `inside` makes."""

    def __init__(self, tls: ListenerTls, inside: IProtocolFactory, reactor: IReactorTime) -> None:
        super().__init__(tls, False, inside, reactor)
        self.tls = tls
        self.protocol = TlsConnection
