"""Reading what a client asks for, whole and cut at every place."""

from __future__ import annotations

import contextlib
import ssl

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.tls.client_hello import (
    MOST_OCTETS,
    ClientHello,
    ClientHelloReader,
    HelloTooLong,
    NotClientHello,
    parse_client_hello,
)


def real(*, name: str | None, alpn: list[str]) -> bytes:
    """The first record of Python's own TLS client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(alpn)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def in_records(message: bytes, size: int) -> bytes:
    """A message in records of `size` octets."""
    pieces = (message[at : at + size] for at in range(0, len(message), size))
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2) + piece for piece in pieces)


class Reading(SynchronousTestCase):
    """`ClientHelloReader`."""

    def test_real(self) -> None:
        """Server name and protocols of a real client's message, whatever is cut where."""
        for name, alpn in (("a.example", ["acme-tls/1"]), (None, ["h2", "http/1.1"]), ("b.example", [])):
            octets = real(name=name, alpn=alpn)
            wanted = ClientHello(
                server_name=None if name is None else name.encode(), protocols=tuple(p.encode() for p in alpn)
            )
            self.assertEqual(ClientHelloReader().feed(octets), wanted)
            self.assertEqual(ClientHelloReader().feed(octets + b"more"), wanted)
            for record in (1, 3, 4, 5, 100):
                records = in_records(octets[5:], record)
                self.assertEqual(ClientHelloReader().feed(records), wanted)
                reader = ClientHelloReader()
                found = [reader.feed(records[at : at + 1]) for at in range(len(records))]
                self.assertEqual([hello for hello in found if hello is not None], [wanted])
                self.assertEqual(reader.received, records)
            for cut in range(len(octets)):
                reader = ClientHelloReader()
                self.assertIsNone(reader.feed(octets[:cut]))
                self.assertEqual(reader.feed(octets[cut:]), wanted)

    def test_bounded(self) -> None:
        """What would need more than 16 KiB is given up as soon as that is known."""
        for octets in (
            b"\x16\x03\x01\x40\x00",  # with its header, one record of the longest sort is too much
            b"\x16\x03\x01\x00\x04\x01\x00\x40\x00",
            b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
            in_records(b"\x01\x00\x3f\xfc" + bytes(16_380), 1),
        ):
            self.assertRaises(HelloTooLong, ClientHelloReader().feed, octets)
        reader = ClientHelloReader()
        with self.assertRaises(HelloTooLong):
            for octet in in_records(b"\x01\x00\x3f\xfc" + bytes(16_380), 1):
                reader.feed(bytes((octet,)))
        self.assertLessEqual(len(reader.received), MOST_OCTETS)

    def test_something_else(self) -> None:
        """Other protocols, other messages and empty records are told apart at once."""
        for octets in (
            b"GET / HTTP/1.1\r\n",
            b"\x16\x02\x00\x00\x05\x01",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x00\x01\x02",
            b"\x16\x03\x01\xff\xff\x01",
            b"\x80\x2e\x01\x03\x01",  # SSL 2
        ):
            self.assertRaises(NotClientHello, ClientHelloReader().feed, octets)

    def test_without_extensions(self) -> None:
        """TLS 1.2 may leave them out (RFC 5246 §7.4.1.2)."""
        body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\xc0\x2b" + b"\x01\x00"
        self.assertEqual(parse_client_hello(body), ClientHello(server_name=None, protocols=()))

    def test_lengths_that_lie(self) -> None:
        """A message cut anywhere, its outer length corrected, is refused or read; no other error comes of it."""
        body = real(name="a.example", alpn=["acme-tls/1"])[9:]
        refused = 0
        for end in range(len(body)):
            try:
                parse_client_hello(body[:end])
            except NotClientHello:
                refused += 1
        self.assertEqual(refused, len(body) - 1)  # one end is just before the extensions

    @given(st.binary(max_size=300), st.integers(1, 50))
    @settings(deadline=None, max_examples=100)
    def test_any_octets(self, octets: bytes, cut: int) -> None:
        """Whatever comes is read, waited on or refused, the same whole and in pieces."""

        def outcome(pieces: list[bytes]) -> object:
            reader = ClientHelloReader()
            found: object = None
            try:
                for piece in pieces:
                    found = found or reader.feed(piece)
            except (NotClientHello, HelloTooLong) as error:
                return type(error)
            return found

        for given_octets in (octets, in_records(b"\x01" + len(octets).to_bytes(3) + octets, cut)):
            pieces = [given_octets[at : at + cut] for at in range(0, len(given_octets), cut)]
            self.assertEqual(outcome([given_octets]), outcome(pieces))

    @given(st.integers(0, 10_000), st.integers(0, 255))
    @settings(deadline=None, max_examples=200)
    def test_one_octet_changed(self, at: int, octet: int) -> None:
        """A real message with an octet changed is read or refused."""
        octets = bytearray(_REAL)
        octets[at % len(octets)] = octet
        with contextlib.suppress(NotClientHello, HelloTooLong):
            ClientHelloReader().feed(bytes(octets))


_REAL = real(name="a.example", alpn=["acme-tls/1"])
