"""Header fields and their forms (RFC 8621 §4.1.2)."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.fields import begins_like_mail
from stalwart.mail.headers import (
    ALL_FORMS,
    allowed_forms,
    header_fields,
    header_form,
    parse_fields,
)
from stalwart.mail.message import parse, scan


class FieldTests(SynchronousTestCase):
    def fields(self, data: bytes) -> list[tuple[str, bytes]]:
        fields = header_fields(data, parse(data).structure)
        self.assertEqual(fields, parse_fields(data[: parse(data).structure.body_start]))
        return [(field.name, field.raw) for field in fields]

    def test_order_and_case(self) -> None:
        """Fields come in their order with their names as written; values keep blanks and folding."""
        self.assertEqual(
            self.fields(b"SUBJECT: a\r\nTo:\tb,\r\n c\r\nsubject:d\r\n\r\nX: y\r\n"),
            [("SUBJECT", b" a"), ("To", b"\tb,\r\n c"), ("subject", b"d")],
        )

    def test_line_feed(self) -> None:
        """Lines that end in LF alone, or in CR CR LF, are lines."""
        self.assertEqual(self.fields(b"A: b\nC: d\r\r\nE: f\n\nbody"), [("A", b" b"), ("C", b" d"), ("E", b" f")])

    def test_carriage_returns_alone(self) -> None:
        """CR ends lines where there is no LF at all, as on an old Mac."""
        self.assertEqual(self.fields(b"A: b\r c\rD: e\r\rbody"), [("A", b" b\r c"), ("D", b" e")])

    def test_no_smuggled_field(self) -> None:
        """A bare CR in a message of ordinary lines is part of the value: no other relay sees a field there."""
        self.assertEqual(self.fields(b"Subject: a\rFrom: b@c\r\n\r\n"), [("Subject", b" a\rFrom: b@c")])

    def test_blank_before_colon(self) -> None:
        """RFC 5322 §4.5: obsolete blanks before the colon."""
        self.assertEqual(self.fields(b"From  : a\r\nTo\t: b\r\n\r\n"), [("From", b" a"), ("To", b" b")])

    def test_line_without_colon(self) -> None:
        """A line between fields that is no field is passed over."""
        self.assertEqual(self.fields(b"A: b\r\nnonsense\r\nC: d\r\n\r\nbody"), [("A", b" b"), ("C", b" d")])

    def test_missing_empty_line(self) -> None:
        """Lines that are no fields after the last field are the body."""
        data = b"A: b\r\nHello there\r\nhow are you\r\n"
        self.assertEqual(self.fields(data), [("A", b" b")])
        self.assertEqual(data[parse(data).structure.body_start :], b"Hello there\r\nhow are you\r\n")

    def test_no_header(self) -> None:
        """Text without any field is all body."""
        data = b"Hello there\nhow are you\n"
        self.assertEqual(self.fields(data), [])
        self.assertEqual(parse(data).structure.body_start, 0)

    def test_envelope_line(self) -> None:
        """The "From " line of an mbox is no field, and "From :" is no such line."""
        self.assertEqual(self.fields(b"From a@b Mon Jan  1 10:00:00 2024\nTo: c\n\n"), [("To", b" c")])
        self.assertEqual(self.fields(b"From : a\nTo: c\n\n"), [("From", b" a"), ("To", b" c")])

    def test_leading_empty_lines(self) -> None:
        """Empty lines before the first field don't end the header, before other text they do."""
        self.assertEqual(self.fields(b"\r\n\r\nTo: c\r\n\r\nbody"), [("To", b" c")])
        self.assertEqual(parse(b"\r\nbody").structure.body_start, 2)

    def test_blank_line_with_space(self) -> None:
        """A line of blanks continues a field, it doesn't end the header."""
        self.assertEqual(self.fields(b"A: b\r\n \r\nC: d\r\n\r\n"), [("A", b" b\r\n "), ("C", b" d")])


class BeginningTests(SynchronousTestCase):
    """Whether octets are meant as mail."""

    def test_begins_like_mail(self) -> None:
        """A header field comes first, after empty lines or mbox's line at most."""
        for octets in (
            b"A:",
            b"Subject: x",
            b"\r\n\nA: b\r\n",
            b"From x Mon Jan 1 2024\nA: b",
            b"A : b\r\n",
            b"A: b\rC: d",
        ):
            self.assertTrue(begins_like_mail(octets), octets)
        for octets in (b"", b"\r\n", b"words\r\nA: b\r\n", b" A: b", b"\x89PNG\r\n", b":x", b"\xff\xfeA: b", b"From x"):
            self.assertFalse(begins_like_mail(octets), octets)

    @settings(deadline=None, max_examples=60)
    @given(st.binary(max_size=60) | st.text("A: \r\nFrom", max_size=40).map(str.encode))
    def test_any_octets(self, octets: bytes) -> None:
        """What begins like mail has a field when it is read."""
        if begins_like_mail(octets):
            self.assertTrue(scan(octets)[1])


class RawTests(SynchronousTestCase):
    def test_raw(self) -> None:
        """Blanks and folding stay, NUL is dropped, what is no UTF-8 becomes U+FFFD."""
        self.assertEqual(header_form(b" a\x00\xff b\r\n c", "raw"), " a\ufffd b\r\n c")


class TextTests(SynchronousTestCase):
    def check(self, raw: bytes, text: str) -> None:
        self.assertEqual(header_form(raw, "text"), text)

    def test_unfolding(self) -> None:
        """Only the line break of a fold goes; blanks at the beginning go, those at the end stay."""
        self.check(b"  a\r\n\tb\n c ", "a\tb c ")

    def test_encoded_words(self) -> None:
        """Both encodings, in upper and lower case, with a language (RFC 2231 §5)."""
        self.check(b" =?iso-8859-1?q?a_=e9?= =?UTF-8*de?B?w7w=?= x", "a éü x")

    def test_adjacent(self) -> None:
        """Blanks between encoded words go, those around other text stay (RFC 2047 §6.2)."""
        self.check(b" =?utf-8?q?a?=\r\n =?utf-8?q?b?= c  =?utf-8?q?d?=", "ab c  d")

    def test_cut_character(self) -> None:
        """A character cut in two by adjacent words is put together."""
        self.check(b" =?utf-8?q?caf=C3?= =?utf-8?q?=A9?=", "café")

    def test_placement(self) -> None:
        """What isn't set off by blanks must not be decoded."""
        for raw in (b"a=?utf-8?q?b?=", b"=?utf-8?q?b?=c", b'"=?utf-8?q?b?="', b"=?utf-8?q?a?==?utf-8?q?b?="):
            self.check(raw, raw.decode())

    def test_space_inside(self) -> None:
        """A word with a blank inside is none."""
        self.check(b"=?utf-8?q?a b?=", "=?utf-8?q?a b?=")

    def test_unknown_charset(self) -> None:
        """A word in an unknown charset, or under the name of another codec, stays as it is."""
        self.check(b"=?NONE?B?VEVTVA=?=", "=?NONE?B?VEVTVA=?=")
        self.check(b"=?rot13?q?uryyb?=", "=?rot13?q?uryyb?=")

    def test_controls(self) -> None:
        """NUL and controls that were encoded are dropped; a raw NUL too."""
        self.check(b"=?utf-8?q?a=00=0D=0Ab=C2=85?= c\x00d", "ab cd")

    def test_broken_base64(self) -> None:
        """A word whose base64 is cut gives what is left of it."""
        self.check(b"=?utf-8?b?w7zDvA?= =?utf-8?b?w?=", "üü")

    def test_nfc(self) -> None:
        """The text is in Normalization Form C."""
        self.check("cafe\u0301".encode(), "café")
        self.check(b"=?utf-8?q?cafe=CC=81?=", "café")

    def test_raw_eight_bit(self) -> None:
        """UTF-8 as RFC 6532 has it; Latin-1 that was sent raw."""
        self.check("Säying Hello".encode(), "Säying Hello")
        self.check(b"Forma\xe7\xe3o", "Formação")


class OtherFormTests(SynchronousTestCase):
    def test_message_ids(self) -> None:
        """Brackets, comments and folding go."""
        self.assertEqual(header_form(b" (c <x@y>) <a@b>\r\n <c @ d>", "message-ids"), ["a@b", "c@d"])
        self.assertEqual(
            header_form(b" <1234   @   local(blah)  .machine .example>", "message-ids"),
            ["1234@local.machine.example"],
        )

    def test_message_ids_with_phrase(self) -> None:
        """RFC 5322 §4.5.4: words between ids are passed over."""
        self.assertEqual(header_form(b" Your message of Monday <a@b>", "message-ids"), ["a@b"])

    def test_message_ids_without_brackets(self) -> None:
        """Ids without brackets are taken when there are no others; without any the value is null."""
        self.assertEqual(header_form(b"a@b c@d", "message-ids"), ["a@b", "c@d"])
        for raw in (b"", b" <>", b"hello"):
            self.assertIsNone(header_form(raw, "message-ids"))

    def test_urls(self) -> None:
        """RFC 2369: what stands in angle brackets, without comments and blanks."""
        self.assertEqual(
            header_form(b" <mailto:list@host.com?subject=help> (List\r\n <not:this>), <ftp://h/x\r\n y>", "urls"),
            ["mailto:list@host.com?subject=help", "ftp://h/xy"],
        )
        self.assertIsNone(header_form(b" NO (posting not allowed on this list)", "urls"))

    def test_date(self) -> None:
        """A date keeps its offset; UTC is "Z" (RFC 8620 §1.4)."""
        for raw, date in {
            b" Thu, 30 Oct 2014 14:12:00 +0800": "2014-10-30T14:12:00+08:00",
            b"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600": "1997-11-21T09:55:06-06:00",
            b"Thu,\r\n 13\r\n Feb\r\n 1969\r\n 23:32\r\n -0330 (Newfoundland Time)": "1969-02-13T23:32:00-03:30",
            b"21 Nov 97 09:55:06 GMT": "1997-11-21T09:55:06Z",
            b"1 Jan 49 00:00 EST": "2049-01-01T00:00:00-05:00",
            b"1 Jan 101 00:00:00 A": "2001-01-01T00:00:00Z",
            b"Sat, 31 Dec 2016 23:59:60 +0000": "2016-12-31T23:59:59Z",
            b"Tue, 04 Dec 2001 17:11:25 -0459": "2001-12-04T17:11:25-04:59",
            b"Tue May 30 10:20:30 2005": "2005-05-30T10:20:30Z",
            b"Tue, 3 September 2024 10:22:30 +0200": "2024-09-03T10:22:30+02:00",
            b"Tue, 3 Sep 2024 10:22:30 +9959": "2024-09-03T10:22:30Z",
        }.items():
            self.assertEqual(header_form(raw, "date"), date)

    def test_no_date(self) -> None:
        """What names no moment is null."""
        for raw in (
            b"",
            b" ",
            b"yesterday",
            b"30 Feb 2024 10:00:00 +0000",
            b"Wed, 15 Dec 2010    59:10 -0500",
            b"1 Foo 2024 10:00:00 Z",
            b"1 Jan 2024 25:00:00 Z",
        ):
            self.assertIsNone(header_form(raw, "date"), raw)


class AllowedTests(SynchronousTestCase):
    def test_table(self) -> None:
        """RFC 8621 §4.1.2: which field may have which form; names in any case."""
        expected: dict[str, Any] = {
            "Subject": {"raw", "text"},
            "FROM": {"raw", "addresses", "grouped-addresses"},
            "resent-sender": {"raw", "addresses", "grouped-addresses"},
            "In-Reply-To": {"raw", "message-ids"},
            "Resent-Message-ID": {"raw", "message-ids"},
            "Date": {"raw", "date"},
            "List-Unsubscribe": {"raw", "urls"},
            "Received": {"raw"},
            "Return-Path": {"raw"},
        }
        for name, forms in expected.items():
            self.assertEqual(allowed_forms(name), forms, name)

    def test_other_fields(self) -> None:
        """Fields of neither RFC 5322 nor RFC 2369 may have every form; List-Id is one of them."""
        for name in ("List-Id", "X-Anything", "Delivered-To"):
            self.assertEqual(allowed_forms(name), ALL_FORMS)
        self.assertEqual(len(ALL_FORMS), 7)
