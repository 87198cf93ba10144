"""An SMTP server for tests, on real sockets: it records what it is sent, and answers as its script says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import trustme
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from twisted.internet import reactor as _reactor
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

reactor: Any = _reactor

HANG = b"hang"
"""No answer at all."""
CLOSE = b"close"
"""The connection is closed instead of an answer."""

_PLAIN = {
    "GREETING": b"220 mx.example.net ESMTP\r\n",
    "EHLO": b"250-mx.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n",
    "STARTTLS": b"220 go\r\n",
    "AUTH": b"235 2.7.0 ok\r\n",
    "MAIL": b"250 2.1.0 ok\r\n",
    "RCPT": b"250 2.1.5 ok\r\n",
    "DATA": b"354 go\r\n",
    "DOT": b"250 2.0.0 queued\r\n",
    "RSET": b"250 ok\r\n",
    "QUIT": b"221 bye\r\n",
}

Script = Mapping[str, bytes | Sequence[bytes]]


class Recorded:
    """One message as the server got it."""

    def __init__(self, sender: str, *, secure: bool, connection: int) -> None:
        self.sender = sender
        self.recipients: list[str] = []
        self.octets = b""
        self.secure = secure
        self.connection = connection


class SmtpServer(Factory["_Session"]):
    """Listens on 127.0.0.1. `script` has answers by command; of several, each is used once and the last one again."""

    noisy = False

    def __init__(self, script: Script | None = None, *, tls: CertificateOptions | None = None, implicit: bool = False):
        self.script = {name: [answer] for name, answer in _PLAIN.items()}
        for name, answers in (script or {}).items():
            self.script[name] = [answers] if isinstance(answers, bytes) else list(answers)
        self.tls = tls
        self.messages: list[Recorded] = []
        self.lines: list[str] = []
        self.connections = 0
        self._sessions: set[_Session] = set()
        if implicit:
            assert tls is not None
            self._port = reactor.listenSSL(0, self, tls, interface="127.0.0.1")
        else:
            self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.port: int = self._port.getHost().port

    def buildProtocol(self, addr: object) -> _Session:
        """A session."""
        self.connections += 1
        return _Session(self, self.connections)

    def answer(self, name: str) -> bytes:
        """The next answer to a command."""
        answers = self.script[name]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def close(self) -> None:
        """Stop listening, and close what is open."""
        if self._port.connected:
            await self._port.stopListening()
        for session in tuple(self._sessions):
            session.transport.abortConnection()

    def drop(self) -> None:
        """Close what is open, as servers do after a while."""
        for session in tuple(self._sessions):
            session.transport.loseConnection()


class _Session(LineReceiver):
    MAX_LENGTH = 100_000
    transport: Any

    def __init__(self, server: SmtpServer, number: int) -> None:
        self._server = server
        self._number = number
        self._secure = False
        self._message: Recorded | None = None
        self._in_data = False
        self._data: list[bytes] = []

    def connectionMade(self) -> None:
        self._server._sessions.add(self)
        self._say("GREETING")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._server._sessions.discard(self)

    def lineReceived(self, line: bytes) -> None:
        if self._in_data:
            if line != b".":
                self._data.append(line.removeprefix(b"."))
                return
            self._in_data = False
            if self._message is not None:
                self._message.octets = b"".join(each + b"\r\n" for each in self._data)
                self._server.messages.append(self._message)
                self._message = None
            self._say("DOT")
            return
        self._server.lines.append(line.decode("utf-8", "replace"))
        verb = line.split(b" ")[0].upper().decode("utf-8", "replace")
        if verb == "MAIL":
            secure = ISSLTransport.providedBy(self.transport)
            self._message = Recorded(line.decode("utf-8", "replace"), secure=secure, connection=self._number)
        answer = self._say("EHLO" if verb == "HELO" and "HELO" not in self._server.script else verb)
        if verb == "RCPT" and self._message is not None and answer.startswith(b"25"):
            self._message.recipients.append(line.decode("utf-8", "replace"))
        if verb == "DATA" and answer.startswith(b"354"):
            self._in_data = True
            self._data = []
        if verb == "STARTTLS" and answer.startswith(b"220") and self._server.tls is not None:
            self.transport.startTLS(self._server.tls)
        if verb == "QUIT":
            self.transport.loseConnection()

    def _say(self, name: str) -> bytes:
        answer = self._server.answer(name) if name in self._server.script else b"500 what\r\n"
        if answer == CLOSE:
            self.transport.abortConnection()
        elif answer != HANG:
            self.transport.write(answer)
        return answer


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self.trust_root = trustRootFromCertificates([Certificate.loadPEM(self._authority.cert_pem.bytes())])

    def server(self, *names: str) -> CertificateOptions:
        """What a server with a certificate for these names uses."""
        issued = self._authority.issue_cert(*names)
        # pyOpenSSL takes cryptography's objects and warns about its own; Twisted's annotations name the latter.
        key: Any = load_pem_private_key(issued.private_key_pem.bytes(), None)
        chain: Any = [load_pem_x509_certificate(pem.bytes()) for pem in issued.cert_chain_pems]
        # The authority is sent as well, which DANE-TA needs (RFC 7672 §3.1.2).
        chain.append(load_pem_x509_certificate(self._authority.cert_pem.bytes()))
        return CertificateOptions(privateKey=key, certificate=chain[0], extraCertChain=chain[1:])
