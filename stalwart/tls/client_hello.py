"""What a client asks for in the first message of a handshake (RFC 8446 §4.1.2), read before OpenSSL sees it.

OpenSSL shows the ALPN protocols only when it has chosen the certificate, and TLS-ALPN-01 chooses by them.
"""

from __future__ import annotations

import msgspec

MOST_OCTETS = 16_384
"""What is buffered of a connection at most, record headers included."""

_HANDSHAKE = 22  # RFC 8446 §5.1: ContentType
_CLIENT_HELLO = 1  # RFC 8446 §4: HandshakeType
_RECORD_HEADER = 5
_MESSAGE_HEADER = 4
_LONGEST_RECORD = 16_384  # RFC 8446 §5.1
_SERVER_NAME = 0  # RFC 6066 §3
_HOST_NAME = 0
_ALPN = 16  # RFC 7301 §3.1


class NotClientHello(Exception):
    """The octets are none that OpenSSL would go on with: it says so to the client."""


class HelloTooLong(Exception):
    """There is no end of it within `MOST_OCTETS`."""


class ClientHello(msgspec.Struct, frozen=True, kw_only=True):
    """The server's name as it was sent, and the ALPN protocols; None and () where the client sent none."""

    server_name: bytes | None
    protocols: tuple[bytes, ...]


class ClientHelloReader:
    """Collects the octets of a connection until its ClientHello is complete."""

    def __init__(self) -> None:
        self.received = bytearray()
        """All octets so far, to be given on."""
        self._next_record = 0
        self._message = bytearray()

    def feed(self, data: bytes) -> ClientHello | None:
        """Take in the next octets; the ClientHello when it is complete. Raises NotClientHello or HelloTooLong."""
        received = self.received
        received += data
        while len(received) - self._next_record >= _RECORD_HEADER:
            start = self._next_record + _RECORD_HEADER
            content_type, major = received[self._next_record], received[self._next_record + 1]
            length = int.from_bytes(received[start - 2 : start])
            # RFC 8446 §5.1: a handshake message may go over several records, none of them empty.
            if content_type != _HANDSHAKE or major != 3 or not 0 < length <= _LONGEST_RECORD:
                raise NotClientHello
            if start + length > MOST_OCTETS:
                raise HelloTooLong
            if len(received) < start + length:
                return None
            self._message += received[start : start + length]
            self._next_record = start + length
            hello = self._complete()
            if hello is not None:
                return hello
        if self._next_record + _RECORD_HEADER >= MOST_OCTETS:
            raise HelloTooLong
        return None

    def _complete(self) -> ClientHello | None:
        message = self._message
        if message[0] != _CLIENT_HELLO:
            raise NotClientHello
        if len(message) < _MESSAGE_HEADER:
            return None
        end = _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER])
        if end > MOST_OCTETS:
            raise HelloTooLong
        return parse_client_hello(bytes(message[_MESSAGE_HEADER:end])) if len(message) >= end else None


class _Octets:
    """Reads vectors (RFC 8446 §3.4). Raises NotClientHello where one ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        """The next octets, exactly so many."""
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise NotClientHello
        self._at += count
        return taken

    def vector(self, length_octets: int) -> bytes:
        """The next vector, whose length stands before it."""
        return self.take(int.from_bytes(self.take(length_octets)))


def parse_client_hello(body: bytes) -> ClientHello:
    """Read a ClientHello without the header of its message. Raises NotClientHello."""
    octets = _Octets(body)
    octets.take(2 + 32)  # legacy_version, random
    octets.vector(1)  # legacy_session_id
    octets.vector(2)  # cipher_suites
    octets.vector(1)  # legacy_compression_methods
    server_name: bytes | None = None
    protocols: tuple[bytes, ...] = ()
    if octets:  # RFC 8446 §4.1.2: TLS 1.2 may leave the extensions out
        extensions = _Octets(octets.vector(2))
        while extensions:
            extension, content = int.from_bytes(extensions.take(2)), _Octets(extensions.vector(2))
            if extension == _SERVER_NAME:
                server_name = _host_name(content)
            elif extension == _ALPN:
                protocols = _protocols(content)
    return ClientHello(server_name=server_name, protocols=protocols)


def _host_name(content: _Octets) -> bytes | None:
    names = _Octets(content.vector(2))
    while names:
        name_type, name = names.take(1)[0], names.vector(2)
        if name_type == _HOST_NAME:
            return name
    return None


def _protocols(content: _Octets) -> tuple[bytes, ...]:
    names = _Octets(content.vector(2))
    found = []
    while names:
        found.append(names.vector(1))
    return tuple(found)
