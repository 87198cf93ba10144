"""Header fields written: each form reads back as what was put in, here and with Python's own reader."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header, make_header
from email.parser import BytesParser
from email.policy import default
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.addresses import Address, AddressGroup
from stalwart.mail.build_fields import (
    InvalidValue,
    address_field,
    date_field,
    encoded_words,
    message_id_field,
    raw_field,
    text_field,
    url_field,
)
from stalwart.mail.headers import HeaderField, header_form, parse_fields
from stalwart.mail.words import nfc

_CASES = settings(deadline=None, max_examples=60)
_SPACES = re.compile(" +")
_NOT_CONTROL = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
_TEXT = st.text(_NOT_CONTROL, max_size=200) | st.text(' \tab=?_é日\U0001f600<>"\\,;:', max_size=300)
_LOCAL = st.from_regex(r"\A[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,12}(\.[a-z0-9]{1,12}){0,2}\Z") | st.from_regex(
    r'\A"([ !#-\[\]-~]|\\["\\]){1,20}"\Z'
)
_EMAIL = st.builds(
    "{}@{}".format, _LOCAL, st.sampled_from(["example.org", "bücher.example", "[192.0.2.1]", "localhost"])
)
_ADDRESS = st.builds(Address, st.none() | _TEXT, _EMAIL)
_ID = st.from_regex(r"\A[a-z0-9.$_+-]{1,120}@[a-z0-9.-]{1,40}\Z")


def line_lengths(field: HeaderField) -> list[int]:
    """Octets of each line of the field as it is written."""
    return [len(line) for line in (field.name.encode() + b":" + field.raw).split(b"\r\n")]


def reread(field: HeaderField) -> bytes:
    """The value as it is found in a header; nothing but this field may be there."""
    fields = parse_fields(b"A: b\r\n" + field.name.encode() + b":" + field.raw + b"\r\nZ: y\r\n\r\n")
    names = [one.name for one in fields]
    assert names == ["A", field.name, "Z"], names
    return fields[1].raw


def name_of(name: str | None) -> str | None:
    """A display-name as it comes back."""
    return nfc(name.replace("\t", " ")).strip() or None if name else None


class TextTests(SynchronousTestCase):
    """The Text form."""

    @_CASES
    @given(_TEXT)
    @example("\u00e9 a ")
    @example("\u00e9  a  ")
    @example("\u00e9 a b ")
    @example("a?= b ")
    def test_comes_back(self, text: str) -> None:
        """RFC 8621 §4.1.2.2: any text without controls comes back in NFC, in lines of at most 78 characters."""
        field = text_field("Subject", text)
        self.assertEqual(header_form(reread(field), "text"), nfc(text.replace("\t", " ")))
        self.assertLessEqual(max(line_lengths(field)), 78)
        self.assertTrue(field.raw.isascii())

    @_CASES
    @given(st.text(_NOT_CONTROL, max_size=200))
    def test_others_read_it(self, text: str) -> None:
        """Python's reader sees the same text."""
        text = " ".join(text.split())
        octets = b"Subject:" + text_field("Subject", text).raw + b"\r\n\r\n"
        value = BytesParser().parsebytes(octets)["Subject"].replace("\r\n", "").replace("\n", "")
        self.assertEqual(str(make_header(decode_header(value))), text)

    def test_plain_stays_plain(self) -> None:
        """ASCII is not encoded, and folded at its spaces only."""
        text = "word " * 40 + "end"
        field = text_field("Subject", text)
        self.assertNotIn(b"=?", field.raw)
        self.assertEqual(field.raw.replace(b"\r\n", b""), b" " + text.encode())

    def test_looks_like_an_encoded_word(self) -> None:
        """Text that only looks like an encoded word comes back as it was written."""
        for text in ("=?utf-8?q?x?=", "a =?utf-8?q?x?= b", "x" * 2000):
            self.assertEqual(header_form(reread(text_field("Subject", text)), "text"), text)

    def test_no_injection(self) -> None:
        """Line breaks and other controls are refused in every form."""
        for bad in ("a\r\nBcc: x@y", "a\nb", "a\rb", "a\0b", "\u2028", "\x85", "a\x1bb"):
            for make in (
                lambda bad: text_field("Subject", bad),
                lambda bad: raw_field("Subject", bad),
                lambda bad: address_field("To", [AddressGroup(None, (Address(bad, "a@b.example"),))]),
                lambda bad: address_field("To", [AddressGroup(None, (Address(None, bad + "@b.example"),))]),
                lambda bad: address_field("To", [AddressGroup(bad, (Address(None, "a@b.example"),))]),
                lambda bad: message_id_field("Message-ID", [bad]),
                lambda bad: url_field("List-Help", ["https://" + bad]),
            ):
                self.assertRaises(InvalidValue, make, bad)
        for name in ("", "Sub ject", "Sub:ject", "Sub\r\nject", "Sübject", "x" * 300):
            self.assertRaises(InvalidValue, text_field, name, "x")

    def test_encoded_words(self) -> None:
        """RFC 2047 §2 and §5: no word is longer than 75 characters, and none cuts a character in two."""
        for text in ("é" * 200, "日本語" * 50, "\U0001f600" * 40, "a" * 500):
            words = encoded_words(text)
            self.assertLessEqual(max(map(len, words)), 75)
            for word in words:
                self.assertTrue(set(str(make_header(decode_header(word)))) <= set(text), word)


class RawTests(SynchronousTestCase):
    """The Raw form."""

    def test_kept(self) -> None:
        """What is legal is kept octet for octet, its folding and missing space too; LF alone becomes CRLF."""
        for value in ("x", " x", " a\r\n b\r\n\tc", "", " Grüße", " a (comment)"):
            self.assertEqual(header_form(reread(raw_field("X-One", value)), "raw"), value)
        self.assertEqual(raw_field("X-One", " a\n b").raw, b" a\r\n b")

    def test_refused(self) -> None:
        """What would end the field, or leave a line of white space alone, is refused."""
        for value in ("a\r\nb", "a\r\n", "a\n\n b", "a\r\n \r\n b", "\r\n", "a\n ", "a\r b"):
            self.assertRaises(InvalidValue, raw_field, "X-One", value)

    def test_long_lines(self) -> None:
        """RFC 5322 §2.1.1: a longer line is folded where it can be, and else refused."""
        field = raw_field("References", " <a@b.example>" * 100)
        self.assertLessEqual(max(line_lengths(field)), 78)
        self.assertEqual(field.raw.replace(b"\r\n", b""), b" <a@b.example>" * 100)
        self.assertRaises(InvalidValue, raw_field, "X-One", "x" * 998)


class AddressTests(SynchronousTestCase):
    """The Addresses and GroupedAddresses forms."""

    @_CASES
    @given(st.lists(_ADDRESS, min_size=1, max_size=8))
    def test_come_back(self, addresses: list[Address]) -> None:
        """RFC 8621 §4.1.2.3: names and emails come back, whatever characters the names are of."""
        field = address_field("To", [AddressGroup(None, tuple(addresses))])
        expected = [{"name": name_of(one.name), "email": one.email} for one in addresses]
        self.assertEqual(header_form(reread(field), "addresses"), expected)
        self.assertLessEqual(max(line_lengths(field)), 100)

    @_CASES
    @given(st.lists(st.builds(AddressGroup, _TEXT, st.lists(_ADDRESS, max_size=3).map(tuple)), max_size=4))
    def test_groups_come_back(self, groups: list[AddressGroup]) -> None:
        """RFC 8621 §4.1.2.4: named groups come back, empty ones too, among addresses that are in none."""
        loose = AddressGroup(None, (Address("Ada", "ada@example.org"),))
        mixed = [loose, *groups, loose] if groups else [loose]
        expected = [
            {
                "name": name_of(group.name),
                "addresses": [{"name": name_of(one.name), "email": one.email} for one in group.addresses],
            }
            for group in mixed
        ]
        self.assertEqual(header_form(reread(address_field("To", mixed)), "grouped-addresses"), expected)

    @_CASES
    @given(
        st.lists(st.builds(Address, st.none() | st.text("abé日 .,\"\\()<>@:;=?_'", max_size=90), _EMAIL), min_size=1)
    )
    def test_others_read_them(self, addresses: list[Address]) -> None:
        """Python's reader, which follows RFC 5322 strictly, sees the same addresses."""
        plain = [one for one in addresses if one.email.isascii() and '"' not in one.email] or [
            Address(None, "a@b.example")
        ]
        field = address_field("To", [AddressGroup(None, tuple(plain))])
        header = BytesParser(policy=default).parsebytes(b"To:" + field.raw + b"\r\n\r\n")["To"]
        # It makes one space of several, also of those in an encoded word.
        self.assertEqual(
            [(_SPACES.sub(" ", one.display_name).strip(), one.addr_spec) for one in header.addresses],
            [(_SPACES.sub(" ", one.name or "").strip(), one.email) for one in plain],
        )

    def test_encoded_words_never_in_quotes(self) -> None:
        """RFC 2047 §5, rule 74: an encoded word is never within a quoted-string, nor part of an address."""
        field = address_field("To", [AddressGroup(None, (Address('Jörg "J." Müller', "jörg@bücher.example"),))])
        self.assertNotIn(b'"', field.raw)
        self.assertTrue(field.raw.endswith("<jörg@bücher.example>".encode()))

    def test_unfinished(self) -> None:
        """RFC 8621 §4.6: a draft may have addresses that are none; what could break the list is quoted."""
        for email, back in (
            ("jo", "jo"),
            ("jo smith", "jo smith"),
            ("jo@", "jo@"),
            ("a b@c.example", '"a b"@c.example'),
            ("a,b@c.example", '"a,b"@c.example'),
            ("x<y>@c.example", '"x<y>"@c.example'),
            ('a"b@c.example', '"a\\"b"@c.example'),
        ):
            field = address_field("To", [AddressGroup(None, (Address("N", email), Address(None, email)))])
            named = f'"{back}"' if back == "jo smith" else back
            self.assertEqual(
                header_form(reread(field), "addresses"),
                [{"name": "N", "email": named}, {"name": None, "email": back}],
            )
        for email in ("", "a@b c", "a@b>c", "x" * 1000):
            self.assertRaises(InvalidValue, address_field, "To", [AddressGroup(None, (Address(None, email),))])


class OtherFormTests(SynchronousTestCase):
    """MessageIds, URLs and dates."""

    @_CASES
    @given(st.lists(_ID, min_size=1, max_size=30))
    def test_message_ids(self, ids: list[str]) -> None:
        """RFC 8621 §4.1.2.5: ids come back in their order."""
        field = message_id_field("References", ids)
        self.assertEqual(header_form(reread(field), "message-ids"), ids)
        self.assertLess(max(line_lengths(field)), 998)

    def test_urls(self) -> None:
        """RFC 8621 §4.1.2.7: URLs come back, commas and parentheses in them too."""
        urls = ["https://example.org/a,(b)?c=d;e", "mailto:list@example.org?subject=help", "x:" + "y" * 200]
        self.assertEqual(header_form(reread(url_field("List-Help", urls)), "urls"), urls)
        for url in ("example.org", "https://a b", "https://<x>", "x:" + "y" * 1000):
            self.assertRaises(InvalidValue, url_field, "List-Help", [url])

    @_CASES
    @given(
        st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001
        st.integers(-23 * 60, 23 * 60),
    )
    def test_dates(self, moment: datetime, minutes: int) -> None:
        """RFC 8621 §4.1.2.6: a date comes back with its offset, to the second."""
        moment = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)), microsecond=0)
        found: Any = header_form(reread(date_field("Date", moment)), "date")
        self.assertEqual(datetime.fromisoformat(found), moment)
        self.assertEqual(datetime.fromisoformat(found).utcoffset(), moment.utcoffset())

    def test_date_as_written(self) -> None:
        """RFC 5322 §3.3: English names, a numeric zone."""
        zone = timezone(timedelta(hours=-3, minutes=-30))
        self.assertEqual(
            date_field("Date", datetime(2018, 7, 10, 11, 3, 11, tzinfo=zone)).raw, b" Tue, 10 Jul 2018 11:03:11 -0330"
        )
        self.assertEqual(date_field("Date", datetime(2018, 7, 1, tzinfo=UTC)).raw, b" Sun, 1 Jul 2018 00:00:00 +0000")
