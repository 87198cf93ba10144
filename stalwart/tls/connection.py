"""TLS of one connection: OpenSSL's, behind a look at the ClientHello where challenges are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography import x509
from twisted.internet.interfaces import ITransport
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from stalwart.tls.client_hello import ClientHello, ClientHelloReader, HelloTooLong, NotClientHello
from stalwart.tls.contexts import ACME_PROTOCOL
from stalwart.tls.credentials import Credential

if TYPE_CHECKING:
    from stalwart.tls.listening import TlsFactory

_DECODE_ERROR = 50  # RFC 8446 §6.2
_NO_APPLICATION_PROTOCOL = 120  # RFC 7301 §3.2


class TlsConnection(TLSMemoryBIOProtocol):
    """Closes when it has said that it closes: it doesn't wait for the peer to say so too (RFC 8446 §6.1)."""

    factory: TlsFactory
    challenge: Credential | None = None
    """What answers the authority that this connection is from; None for all other clients."""

    _hello: ClientHelloReader | None = None
    _refused = False

    def makeConnection(self, transport: ITransport) -> None:
        """The connection is there."""
        if self.factory.tls.answers_challenges:
            self._hello = ClientHelloReader()
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """Octets from the client, still encrypted."""
        reader = self._hello
        if reader is None:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
            return
        if self._refused:
            return
        try:
            hello = reader.feed(data)
            if hello is None:
                return
        except NotClientHello:
            hello = None
        except HelloTooLong:
            self._refuse(_DECODE_ERROR)
            return
        # RFC 8737 §3: the authority offers this protocol and no other.
        if hello is not None and hello.protocols == (ACME_PROTOCOL,):
            self.challenge = self._challenge_for(hello)
            if self.challenge is None:
                self._refuse(_NO_APPLICATION_PROTOCOL)
                return
        self._hello = None
        super().dataReceived(bytes(reader.received))  # type: ignore[no-untyped-call]

    def _challenge_for(self, hello: ClientHello) -> Credential | None:
        name = (hello.server_name or b"").decode("ascii", "replace").lower()
        return self.factory.tls.certificates.challenges.credential_for(name)

    def _refuse(self, alert: int) -> None:
        """End the connection with a fatal alert (RFC 8446 §6.2). OpenSSL has seen nothing of it."""
        self._refused = self._lostTLSConnection = True
        transport: Any = self.transport
        transport.write(bytes((21, 3, 3, 0, 2, 2, alert)))
        transport.loseConnection()

    @property
    def client_name(self) -> str:
        """The client's address, for the log."""
        peer: Any = self.transport.getPeer()  # type: ignore[union-attr]
        return str(getattr(peer, "host", None) or "a Unix socket's peer")

    @property
    def client_subject(self) -> str:
        """The subject of the client's certificate, which was verified, by RFC 4514; '' for none."""
        certificate = self._tlsConnection.get_peer_certificate(as_cryptography=True)
        return "" if certificate is None else subject_text(certificate)

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        if reason is not None and reason.value is not None and not self._handshakeDone:
            self.factory.tls.handshake_failed(self, reason.value)
        super()._tlsShutdownFinished(reason)  # type: ignore[no-untyped-call]

    def _shutdownTLS(self) -> None:
        super()._shutdownTLS()  # type: ignore[no-untyped-call]
        transport: Any = self.transport
        transport.loseConnection()


def subject_text(certificate: x509.Certificate) -> str:
    """The subject by RFC 4514. Raises ValueError for one that can't be read."""
    return certificate.subject.rfc4514_string()
