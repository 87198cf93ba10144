"""Headers of the PROXY protocol, whole and cut at every octet."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.net.proxy_header import BadHeader, HeaderReader, ProxyHeader, Tcp, Unix

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = ProxyHeader(source=Tcp(host="192.0.2.9", port=4711), destination=Tcp(host="198.51.100.1", port=443))
V6 = ProxyHeader(source=Tcp(host="2001:db8::9", port=1), destination=Tcp(host="2001:db8::1", port=65_535))


def binary(kind: int, block: bytes, command: int = 0x21) -> bytes:
    """A header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, kind, len(block)) + block


def v4_block() -> bytes:
    """The addresses of `V4`."""
    return socket.inet_aton("192.0.2.9") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 4711, 443)


def _v6_block() -> bytes:
    return IPv6Address("2001:db8::9").packed + IPv6Address("2001:db8::1").packed + struct.pack("!HH", 1, 65_535)


_UNIX = b"/run/a".ljust(108, b"\x00") + b"\x00abstract".ljust(108, b"\x00")
_TLVS = b"\x04\x00\x03abc" + b"\x20\x00\x00"
GOOD: tuple[tuple[bytes, ProxyHeader], ...] = (
    (b"PROXY TCP4 192.0.2.9 198.51.100.1 4711 443\r\n", V4),
    (b"PROXY TCP6 2001:db8::9 2001:DB8:0::1 1 65535\r\n", V6),
    (
        b"PROXY TCP6 " + b" ".join([b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] * 2) + b" 65535 65535\r\n",
        ProxyHeader(
            source=Tcp(host="ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", port=65_535),
            destination=Tcp(host="ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", port=65_535),
        ),
    ),
    (b"PROXY UNKNOWN\r\n", ProxyHeader()),
    (b"PROXY UNKNOWN ffff::1 what ever\r\n", ProxyHeader()),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", ProxyHeader()),
    (binary(0x11, v4_block()), V4),
    (binary(0x12, v4_block()), V4),
    (binary(0x21, _v6_block()), V6),
    (binary(0x11, v4_block() + _TLVS), V4),
    (binary(0x21, _v6_block() + b"x" * 4060), V6),
    (binary(0x31, _UNIX), ProxyHeader(source=Unix(path=b"/run/a"), destination=Unix(path=b"\x00abstract"))),
    (binary(0x32, bytes(216)), ProxyHeader(source=Unix(path=b""), destination=Unix(path=b""))),
    (binary(0x00, b""), ProxyHeader()),
    (binary(0x00, _TLVS), ProxyHeader()),
    (binary(0x00, b"", 0x20), ProxyHeader(local=True)),
    (binary(0x11, v4_block(), 0x20), ProxyHeader(local=True)),
    (binary(0x11, b"abc", 0x20), ProxyHeader(local=True)),
    (binary(0xFF, b"abc", 0x20), ProxyHeader(local=True)),
)
BAD: tuple[tuple[bytes, str], ...] = (
    (b"GET / HTTP/1.1\r\n", "starts neither"),
    (b"\x16\x03\x01", "starts neither"),
    (b"PROXy", "starts neither"),
    (b"\r\n\r\n\x00\r\nQUIT\r", "starts neither"),
    (b"PROXY TCP4 192.0.2.9 198.51.100.1 4711 443\n", "CR LF"),
    (b"PROXY TCP4 192.0.2.9 198.51.100.1 4711\r\n", "not UNKNOWN"),
    (b"PROXY TCP4  192.0.2.9 198.51.100.1 4711 443\r\n", "not UNKNOWN"),
    (b"PROXY TCP5 192.0.2.9 198.51.100.1 4711 443\r\n", "not UNKNOWN"),
    (b"PROXY UNKNOWNS\r\n", "not UNKNOWN"),
    (b"PROXY \r\n", "not UNKNOWN"),
    (b"PROXY TCP4 192.0.2.256 198.51.100.1 4711 443\r\n", "no address of TCP4"),
    (b"PROXY TCP4 2001:db8::9 198.51.100.1 4711 443\r\n", "no address of TCP4"),
    (b"PROXY TCP4 abcd 198.51.100.1 4711 443\r\n", "no address of TCP4"),
    (b"PROXY TCP4 \xff 198.51.100.1 4711 443\r\n", "no address of TCP4"),
    (b"PROXY TCP4 192.0.2.09 198.51.100.1 4711 443\r\n", "no address of TCP4"),
    (b"PROXY TCP6 192.0.2.9 198.51.100.1 4711 443\r\n", "no address of TCP6"),
    (b"PROXY TCP6 fe80::1%eth0 ::1 4711 443\r\n", "zone"),
    (b"PROXY TCP4 192.0.2.9 198.51.100.1 65536 443\r\n", "no port"),
    (b"PROXY TCP4 192.0.2.9 198.51.100.1 -1 443\r\n", "no port"),
    (b"PROXY TCP4 192.0.2.9 198.51.100.1 080 443\r\n", "no port"),
    (b"PROXY TCP4 192.0.2.9 198.51.100.1 http 443\r\n", "no port"),
    (b"PROXY TCP4 192.0.2.9 198.51.100.1 4711 443 \r\n", "not UNKNOWN"),
    (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "longer than 107"),
    (b"PROXY UNKNOWN " + b"x" * 93, "longer than 107"),
    (SIGNATURE + b"\x11", "version and command"),
    (SIGNATURE + b"\x22", "version and command"),
    (binary(0x11, v4_block()[:-1]), "its addresses take 12"),
    (binary(0x21, v4_block()), "its addresses take 36"),
    (binary(0x31, _UNIX[:-1]), "its addresses take 216"),
    (binary(0x41, _UNIX), "family and transport"),
    (binary(0x13, v4_block()), "family and transport"),
    (SIGNATURE + b"\x21\x11\x10\x01", "at most 4096"),
    (SIGNATURE + b"\x20\x00\xff\xff", "at most 4096"),
)


def _read(octets: bytes, cuts: list[int]) -> tuple[ProxyHeader | str | None, bytes]:
    """The verdict on octets that come in pieces, and what is behind the header."""
    reader = HeaderReader()
    for start, end in pairwise([0, *sorted(cuts), len(octets)]):
        try:
            header = reader.feed(octets[start:end])
        except BadHeader as error:
            return str(error), b""
        if header is not None:
            return header, reader.rest + octets[end:]
    return None, b""


class Reading(SynchronousTestCase):
    """`HeaderReader`."""

    def test_good(self) -> None:
        """Every form is read, cut in two anywhere or octet by octet, and what follows is left alone."""
        for octets, header in GOOD:
            whole = octets + b"PROXY more\r\n"
            for cut in range(len(octets) + 1):
                self.assertEqual(_read(whole, [cut]), (header, b"PROXY more\r\n"), (octets[:60], cut))
            self.assertEqual(_read(whole, list(range(len(whole)))), (header, b"PROXY more\r\n"), octets[:60])

    def test_waits(self) -> None:
        """No header is whole before its last octet, and none of its beginnings is refused."""
        for octets, _ in GOOD:
            for end in range(len(octets)):
                self.assertIsNone(HeaderReader().feed(octets[:end]), octets[:60])

    def test_bad(self) -> None:
        """What is none is refused for its reason, however it is cut."""
        for octets, reason in BAD:
            for cuts in ([], list(range(len(octets))), [len(octets) // 2]):
                verdict, _ = _read(octets, cuts)
                assert isinstance(verdict, str), (octets, verdict)
                self.assertIn(reason, verdict, octets)

    def test_at_once(self) -> None:
        """What can't become a header is refused at its first wrong octet, not when the time is over."""
        for octets, wrong in ((b"GET", 0), (b"PRI * HTTP", 2), (b"\r\n\r\nG", 4), (b"220 x", 0)):
            reader = HeaderReader()
            for at in range(wrong):
                self.assertIsNone(reader.feed(octets[at : at + 1]))
            with self.assertRaises(BadHeader):
                reader.feed(octets[wrong : wrong + 1])

    @settings(deadline=None, max_examples=300)
    @given(
        st.one_of(
            st.binary(max_size=40),
            st.binary(max_size=40).map(b"PROXY ".__add__),
            st.binary(max_size=60).map(SIGNATURE.__add__),
            st.text("PROXYTCP46UNKN .:0129af\r\n", max_size=120).map(str.encode).map(b"PROXY TCP".__add__),
            st.tuples(st.sampled_from(GOOD), st.binary(max_size=5), st.integers(0, 60)).map(
                lambda parts: parts[0][0][: parts[2]] + parts[1] + parts[0][0][parts[2] + 1 :]
            ),
        ),
        st.lists(st.integers(0, 40), max_size=4),
    )
    def test_anything(self, octets: bytes, cuts: list[int]) -> None:
        """Any octets give a header, BadHeader or a wait, the same however they are cut, and little is kept."""
        cuts = [min(cut, len(octets)) for cut in cuts]
        self.assertEqual(_read(octets, cuts), _read(octets, []))

    @settings(deadline=None, max_examples=100)
    @given(
        st.ip_addresses(v=4).map(str),
        st.ip_addresses(v=6).filter(lambda address: not str(address).startswith("::ffff:")),
        st.integers(0, 65_535),
    )
    def test_addresses(self, v4: str, v6: IPv6Address, port: int) -> None:
        """Both versions read the same address from their own ways to write it."""
        for word, host, packed, kind in (("4", v4, socket.inet_aton(v4), 0x11), ("6", str(v6), v6.packed, 0x21)):
            line = f"PROXY TCP{word} {host} {host} {port} {port}\r\n".encode()
            block = packed * 2 + struct.pack("!HH", port, port)
            end = Tcp(host=host, port=port)
            for octets in (line, binary(kind, block)):
                self.assertEqual(HeaderReader().feed(octets), ProxyHeader(source=end, destination=end))
