"""TLS handshakes in memory: a client of OpenSSL's against a listener, octets handed over by hand."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from stalwart.config import Certificate, Secret, TlsOptions
from stalwart.net.gate import HandshakeFactory
from stalwart.tls import Certificates, ListenerTls, TlsFactory, self_signed
from stalwart.tls.connection import TlsConnection

DAY = datetime.timedelta(days=1)
H2 = (b"h2", b"http/1.1")


def certificate(name: str, *names: str, default: bool = False) -> Certificate:
    """A self-signed certificate for names, of today."""
    cert, key = self_signed(names, now=datetime.datetime.now(datetime.UTC))
    return Certificate(id=name, cert=cert, private_key=Secret(key), default=default)


class Authority:
    """Issues certificates for clients."""

    def __init__(self, name: str = "Clients' CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None), 365)
        self.pem = self.certificate.public_bytes(Encoding.PEM).decode()

    def issue(
        self,
        name: str,
        *,
        days: int = 30,
        use: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        unit: str = "",
        units: int = 0,
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A certificate and its key; one of negative `days` has expired so long ago. `unit` is in it `units` times."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
                *[x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)] * units,
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        return self._sign(subject, key, x509.ExtendedKeyUsage([use]), days), key

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType, days: int
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 400 * DAY)
            .not_valid_after(now + days * DAY)
            .add_extension(extension, True)
            .sign(self._key, hashes.SHA256())
        )


def pem_of(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    """Both in PEM."""
    return certificate.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Echo(Protocol):
    """Answers with what it gets."""

    def dataReceived(self, data: bytes) -> None:
        """Octets, decrypted."""
        assert self.transport is not None
        self.transport.write(data)


class Client:
    """A client's side: Python's own TLS, whose OpenSSL isn't the server's."""

    def __init__(
        self,
        *,
        name: str | None = "a.example",
        version: ssl.TLSVersion | None = None,
        alpn: Sequence[bytes] = (),
        shown: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
        ciphers: str | None = None,
        options: ssl.Options | None = None,
        after: Client | None = None,
    ) -> None:
        """`after` is the client whose session is to be continued; its settings count."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if after is None else after.context
        self.context: ssl.SSLContext = context
        if after is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            if version is not None:
                context.minimum_version = context.maximum_version = version
            if ciphers is not None:
                context.set_ciphers(ciphers)
            if options is not None:
                context.options |= options
            if alpn:
                context.set_alpn_protocols([protocol.decode() for protocol in alpn])
            if shown is not None:
                with tempfile.NamedTemporaryFile() as file:
                    file.write(b"".join(pem_of(*shown)))
                    file.flush()
                    context.load_cert_chain(file.name)
        self._from_server, self._to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls: ssl.SSLObject = self.context.wrap_bio(
            self._from_server,
            self._to_server,
            server_hostname=name,
            session=None if after is None else after.tls.session,
        )
        self.received = b""
        self.alert = ""
        """What the server, or this side, says of the handshake's failure; '' if it was done."""

    def give(self, octets: bytes) -> None:
        """Octets from the server."""
        if octets:
            self._from_server.write(octets)

    def go_on(self) -> bytes:
        """Work with what has come; the octets to be sent."""
        try:
            self.tls.do_handshake()
            while data := self.tls.read(65_536):
                self.received += data
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        except ssl.SSLError as error:
            self.alert = self.alert or error.reason or str(error)
        return self._to_server.read()

    @property
    def served(self) -> x509.Certificate:
        """The server's certificate."""
        found = self.tls.getpeercert(binary_form=True)
        assert found is not None
        return x509.load_der_x509_certificate(found)


class Bed:
    """A listener with TLS, in memory."""

    def __init__(
        self,
        options: TlsOptions = TlsOptions(),  # noqa: B008 - a frozen value
        certificates: Certificates | None = None,
        *,
        protocols: Sequence[bytes] = H2,
    ) -> None:
        self.clock = Clock()
        self.certificates = certificates or Certificates([certificate("a", "a.example")], "host")
        self.tls = ListenerTls("https", options, self.certificates, protocols=protocols, monotonic=self.clock.seconds)
        inside = HandshakeFactory(Factory.forProtocol(Echo), self.clock, options.timeout)
        self.factory = TlsFactory(self.tls, inside, self.clock)

    def accept(self) -> tuple[TlsConnection, StringTransport]:
        """A connection, and its transport."""
        protocol = self.factory.buildProtocol(StringTransport().getPeer())
        assert isinstance(protocol, TlsConnection)
        transport = StringTransport()
        transport.abortConnection = transport.loseConnection  # type: ignore[method-assign]
        protocol.makeConnection(transport)
        return protocol, transport

    def connect(self, client: Client, *, cut: int = 65_536) -> TlsConnection:
        """A handshake as far as it goes, with the client's octets in pieces of `cut`; the server's side of it."""
        protocol, transport = self.accept()
        self.go_on(client, protocol, transport, cut=cut)
        return protocol

    def go_on(self, client: Client, protocol: TlsConnection, transport: StringTransport, *, cut: int = 65_536) -> None:
        """Hand octets over until neither side has more to say."""
        for _ in range(8):
            octets = client.go_on()
            for at in range(0, len(octets), cut):
                if not transport.disconnecting:
                    protocol.dataReceived(octets[at : at + cut])
            client.give(transport.value())
            transport.clear()
