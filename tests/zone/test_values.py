"""How records are written in a zone file, as another program reads them."""

from __future__ import annotations

import dns.rdata
import dns.rdataclass
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.zone.tags import read_tags
from stalwart.zone.values import Caa, Mx, Raw, Srv, Tlsa, Txt, as_text, base64_octets, presentation


def wire(kind: str, text: str) -> bytes:
    """The octets of a record's data, as dnspython reads them from a zone file."""
    octets = dns.rdata.from_text(dns.rdataclass.IN, kind, text).to_wire()
    assert octets is not None
    return octets


class PresentationTests(SynchronousTestCase):
    """`presentation` and `as_text`."""

    @given(st.binary(max_size=700))
    @settings(max_examples=60, deadline=None)
    def test_txt(self, octets: bytes) -> None:
        """RFC 1035 §3.3: any octets, in strings of at most 255; together they are the text."""
        written = wire("TXT", presentation(Txt(octets.decode("ascii", "surrogateescape"))))
        together = b""
        while written:
            length = written[0]
            together += written[1 : 1 + length]
            written = written[1 + length :]
        self.assertEqual(together, octets)

    @given(st.binary(max_size=100))
    @settings(max_examples=40, deadline=None)
    def test_caa(self, octets: bytes) -> None:
        """The value of a CAA record may be any octets."""
        value = Caa(0, "issue", octets.decode("ascii", "surrogateescape"))
        self.assertEqual(wire("CAA", presentation(value)), b"\0\x05issue" + octets)

    def test_others(self) -> None:
        """Names end with a dot; the root is one alone; unreadable data is in the form of RFC 3597."""
        self.assertEqual(presentation(Mx(0, "")), "0 .")
        self.assertEqual(presentation(Srv(0, 1, 443, "a.example")), "0 1 443 a.example.")
        self.assertEqual(presentation(Tlsa(3, 1, 1, b"\xab\xcd")), "3 1 1 abcd")
        self.assertEqual((presentation(Raw(b"\x01\x02")), presentation(Raw(b""))), (r"\# 2 0102", r"\# 0"))
        self.assertEqual(wire("MX", presentation(Mx(5, "a.example"))), b"\0\x05\x01a\x07example\0")

    def test_as_text(self) -> None:
        """A TXT record is one text for people, with its UTF-8; other octets are told apart from it."""
        octets = "grün".encode() + b"\xff"
        self.assertEqual(as_text(Txt(octets.decode("ascii", "surrogateescape"))), "grün\\xff")


class TagsTests(SynchronousTestCase):
    """`read_tags` and `base64_octets`."""

    def test_read(self) -> None:
        """RFC 6376 §3.2: white space around names and values doesn't count, a tag stands once."""
        self.assertEqual(read_tags(" V = DKIM1 ;p= a b=; "), {"v": "DKIM1", "p": "a b="})
        for text in ("v", "v=1;;p=2", "v=1; V=2", "=1", "v=1; p 1=2"):
            self.assertIsNone(read_tags(text), text)
        self.assertEqual((base64_octets("QUJD RA=="), base64_octets("QUJ")), (b"ABCD", None))

    @given(st.text(max_size=80))
    @settings(max_examples=80, deadline=None)
    def test_any(self, text: str) -> None:
        """Any text is a list of tags or none; base64 too."""
        tags = read_tags(text)
        self.assertTrue(tags is None or all(name == name.lower() for name in tags))
        octets = base64_octets(text)
        self.assertTrue(octets is None or isinstance(octets, bytes))
