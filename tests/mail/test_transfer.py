"""Transfer encodings undone, well-formed and broken."""

from __future__ import annotations

import base64
import mmap
import quopri
import tempfile
import tracemalloc
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail import transfer
from stalwart.mail.transfer import (
    Encoding,
    decode,
    decode_base64,
    decode_quoted_printable,
    decoded_size,
    encoding_named,
    pieces,
)


class NameTests(SynchronousTestCase):
    def test_names(self) -> None:
        """The five names are known in any case; an unknown one is no encoding, and is said to be unknown."""
        self.assertEqual(encoding_named(" BASE64 "), ("base64", True))
        self.assertEqual(encoding_named("Quoted-Printable"), ("quoted-printable", True))
        for name in ("7bit", "8BIT", "binary", "7-bit", ""):
            self.assertEqual(encoding_named(name), ("identity", True))
        for name in ("x-uuencode", "text/html", "plain"):
            self.assertEqual(encoding_named(name), ("identity", False))

    def test_semicolon(self) -> None:
        """A parameter after the name, which the standard doesn't have, is passed over."""
        self.assertEqual(encoding_named("quoted-printable;"), ("quoted-printable", True))


class Base64Tests(SynchronousTestCase):
    def test_lines(self) -> None:
        """Line breaks of any kind don't count."""
        self.assertEqual(decode_base64(b"SGVs\r\nbG8s\nIHdv\rcmxk"), b"Hello, world")

    def test_foreign_characters(self) -> None:
        """RFC 2045 §6.8: characters outside the alphabet are ignored."""
        self.assertEqual(decode_base64(b"SG*Vs\x00bG8\xff="), b"Hello")

    def test_missing_padding(self) -> None:
        """Padding may be missing; a single character left over is no octet."""
        self.assertEqual(decode_base64(b"SGVsbG8"), b"Hello")
        self.assertEqual(decode_base64(b"SGVsbA"), b"Hell")
        self.assertEqual(decode_base64(b"SGVsbG8hA"), b"Hello!")

    def test_joined(self) -> None:
        """Two encoded texts put together are both decoded."""
        self.assertEqual(decode_base64(b"SGk=\r\nSGVsbA==\r\n"), b"HiHell")

    def test_footer(self) -> None:
        """What a mailing list appended after the padding is not taken for data."""
        self.assertEqual(decode_base64(b"SGk=\r\n\r\n____\r\nlist mailing list\r\nlist@example.com\r\n"), b"Hi")

    def test_only_padding(self) -> None:
        """Padding alone is nothing."""
        self.assertEqual(decode_base64(b"===="), b"")

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=300))
    def test_round_trip(self, octets: bytes) -> None:
        """What was encoded comes back."""
        self.assertEqual(decode_base64(base64.encodebytes(octets)), octets)


class QuotedPrintableTests(SynchronousTestCase):
    def test_soft_breaks(self) -> None:
        """Soft line breaks vanish, with CRLF, LF and CR, and with blanks that were added after the sign."""
        self.assertEqual(decode_quoted_printable(b"a=\r\nb=\nc=\rd= \t\r\ne"), b"abcde")

    def test_escapes(self) -> None:
        """Digits in either case; what is no escape stays as it stands."""
        self.assertEqual(decode_quoted_printable(b"=C3=a9 =ZZ =4 100% a=b"), b"\xc3\xa9 =ZZ =4 100% a=b")

    def test_trailing_blanks(self) -> None:
        """RFC 2045 §6.7 rule 3: blanks at the end of a line go, encoded ones stay."""
        self.assertEqual(decode_quoted_printable(b"a \t\r\nb=20\r\nc \n d  "), b"a\r\nb \r\nc\n d")

    def test_ends_in_sign(self) -> None:
        """A body that was cut after the sign ends there."""
        self.assertEqual(decode_quoted_printable(b"abc="), b"abc")
        self.assertEqual(decode_quoted_printable(b"abc=C"), b"abc=C")

    def test_large(self) -> None:
        """Chunks of a large body are cut at line breaks, so that none changes the outcome."""
        line = b"x" * 70 + b" \t\r\n"
        self.assertEqual(decode_quoted_printable(line * 40_000), (b"x" * 70 + b"\r\n") * 40_000)

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=300).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b"\r\n")))
    def test_round_trip(self, octets: bytes) -> None:
        """What was encoded comes back."""
        encoded = quopri.encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
        self.assertEqual(decode_quoted_printable(encoded), octets)

    def test_mapped(self) -> None:
        """A file that is mapped into memory decodes as the same octets do, piece by piece, and from any place."""
        encoded = base64.encodebytes(bytes(range(256)) * 20_000) + b"=\n" + base64.encodebytes(b"more" * 9)
        with tempfile.TemporaryFile() as file:
            file.write(b"head" + encoded + b"tail")
            file.flush()
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                for encoding in get_args(Encoding):
                    found = list(pieces(mapped, 4, 4 + len(encoded), encoding))
                    self.assertEqual(b"".join(found), decode(encoded, encoding), encoding)
                    self.assertGreater(len(found), 3)
                    self.assertLessEqual(max(map(len, found)), 2**20 + 100)

    @settings(deadline=None, max_examples=200)
    @given(st.binary(max_size=300), st.sampled_from(["identity", "base64", "quoted-printable"]))
    def test_any_octets(self, octets: bytes, encoding: str) -> None:
        """Any octets are accepted, and never become more."""
        decoded = decode(octets, encoding)  # type: ignore[arg-type]
        self.assertLessEqual(len(decoded), len(octets))


_ENCODED: tuple[Encoding, ...] = ("base64", "quoted-printable")
_PIECES = [b"=", b"AAAA", b"QQ==", b"\r\n", b"\n", b"\r", b" ", b"\t", b"x", b"=C3", b"=\r\n", b"%", b"=\r"]


class ChunkTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=300)
    @given(st.lists(st.sampled_from(_PIECES), max_size=30).map(b"".join), st.integers(1, 9))
    def test_chunks(self, encoded: bytes, chunk: int) -> None:
        """Where the chunks end changes nothing, and the size is that of what is decoded, whatever lies around it."""
        for encoding in _ENCODED:
            whole = decode(encoded, encoding)
            self.assertEqual(decoded_size(b"QQ" + encoded + b"==\r\nQUJD", 2, 2 + len(encoded), encoding), len(whole))
            self.patch(transfer, "_CHUNK", chunk)
            self.assertEqual(decode(encoded, encoding), whole)
            self.patch(transfer, "_CHUNK", 1 << 20)

    def test_memory_of_sizes(self) -> None:
        """The size of a large part is found in a few megabytes of memory."""
        for encoding, line in zip(_ENCODED, (b"QUJD" * 19 + b"\r\n", b"=C3=A9 abc =\r\n"), strict=True):
            octets = line * (16_000_000 // len(line))
            tracemalloc.start()
            try:
                self.assertGreater(decoded_size(octets, 0, len(octets), encoding), 6_000_000)
                self.assertLess(tracemalloc.get_traced_memory()[1], 6_000_000, encoding)
            finally:
                tracemalloc.stop()
