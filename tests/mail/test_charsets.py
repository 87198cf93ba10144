"""Charset labels and text made from octets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.charsets import codec_named, decode, decode_header


class LabelTests(SynchronousTestCase):
    def test_aliases(self) -> None:
        """Names as mail programs write them lead to the codec."""
        for label, codec in {
            "utf8": "utf_8",
            "UTF-8": "utf_8",
            "x-sjis": "cp932",
            "Shift_JIS": "cp932",
            "ks_c_5601-1987": "cp949",
            "cp-850": "cp850",
            "IBM850": "cp850",
            "unicode-1-1-utf-7": "utf_7",
            "iso-8859-8-i": "iso8859_8",
            "ISO_8859-1:1987": "cp1252",
            "latin1": "cp1252",
            "windows-1251": "cp1251",
            "win-1251": "cp1251",
            "GB2312": "gb18030",
            "x-gbk": "gb18030",
            "koi8-r": "koi8_r",
            "macintosh": "mac_roman",
        }.items():
            self.assertEqual(codec_named(label), codec, label)

    def test_refused(self) -> None:
        """Python codecs that are no charsets can't be reached by any spelling."""
        refused = (
            "rot13 rot_13 zlib zip bz2 hex base64 base_64 quopri uu idna punycode unicode_escape unicode-escape "
            "raw_unicode_escape undefined mbcs oem charmap string-escape x-unknown"
        )
        for label in refused.split():
            self.assertIsNone(codec_named(label), label)

    def test_long_label(self) -> None:
        """A label beyond all bounds is unknown."""
        self.assertIsNone(codec_named("utf-8" + " " * 100))


class DecodeTests(SynchronousTestCase):
    def check(self, octets: bytes, label: str | None, text: str, problem: bool = False) -> None:
        decoded = decode(octets, label)
        self.assertEqual((decoded.text, decoded.problem), (text, problem))

    def test_latin_1_is_windows_1252(self) -> None:
        """What is labelled Latin-1 or ASCII is read as windows-1252, each octet of which is a character."""
        self.check(b"\x93caf\xe9\x94 \x80 \x81", "iso-8859-1", "\u201ccafé\u201d \u20ac \x81")

    def test_mislabelled_utf_8(self) -> None:
        """UTF-8 labelled Latin-1 is read as UTF-8, and said to be doubtful."""
        self.check("Grüße".encode(), "iso-8859-1", "Grüße", True)

    def test_utf_8(self) -> None:
        """UTF-8 loses its byte order mark; malformed octets become U+FFFD."""
        self.check(b"\xef\xbb\xbfna\xc3\xafve", "utf-8", "naïve")
        self.check(b"na\xc3\xafve \xe9 caf\xc3\xa9", "utf-8", "naïve \ufffd café", True)

    def test_not_utf_8_at_all(self) -> None:
        """What is labelled UTF-8 and is none of it is guessed."""
        self.check(b"\xc7a va tr\xe8s bien", "utf-8", "Ça va très bien", True)

    def test_missing_label(self) -> None:
        """Without a label ASCII and UTF-8 are no problem; other octets are guessed."""
        self.check(b"plain", None, "plain")
        self.check("größer".encode(), "us-ascii", "größer")
        self.check(
            "Привет, это сообщение на русском языке".encode("koi8-r"),
            None,
            "Привет, это сообщение на русском языке",
            True,
        )
        self.check("これは日本語のメールです。".encode("cp932"), "us-ascii", "これは日本語のメールです。", True)
        self.check(b"\x1b$B%F%9%H\x1b(B ok", None, "テスト ok")

    def test_unknown_label(self) -> None:
        """An unknown label is a problem even where the text is plain."""
        self.check(b"plain", "x-unknown", "plain", True)
        self.check(b"plain", "rot13", "plain", True)

    def test_multibyte(self) -> None:
        """Japanese, Chinese and Korean charsets."""
        self.check("テスト①".encode("cp932"), "shift_jis", "テスト①")
        self.check("한국어".encode("cp949"), "EUC-KR", "한국어")
        self.check("中文".encode("gb18030"), "gb2312", "中文")
        self.check(b"\x1b$B-!\x1b(B", "iso-2022-jp", "①")
        self.check(
            b"\x1b$B%F\xff\xff\x1b(B",
            "iso-2022-jp",
            decode(b"\x1b$B%F\xff\xff\x1b(B", "iso-2022-jp").text,
            True,
        )

    def test_utf_16(self) -> None:
        """With a mark in its order, without one little-endian, as browsers read it."""
        self.check("\ufeffhé".encode("utf-16-be"), "utf-16", "hé")
        self.check("hé".encode("utf-16-le"), "utf-16", "hé")

    def test_utf_7_surrogates(self) -> None:
        """UTF-7 can't bring surrogates into text."""
        decode(b"+2AA-", "utf-7").text.encode("utf-8")

    @settings(deadline=None, max_examples=200)
    @given(
        st.binary(max_size=200),
        st.one_of(
            st.none(),
            st.text(max_size=20),
            st.sampled_from(
                [
                    "utf-8",
                    "utf-7",
                    "iso-2022-jp",
                    "gb18030",
                    "utf-16",
                    "utf-32",
                    "hz",
                    "big5",
                    "cp037",
                    "iso-2022-kr",
                ]
            ),
        ),
    )
    def test_anything(self, octets: bytes, label: str | None) -> None:
        """Any octets under any label give text that can be sent."""
        decode(octets, label, guess=False).text.encode("utf-8")

    @settings(deadline=None, max_examples=50)
    @given(st.binary(max_size=200))
    def test_guess(self, octets: bytes) -> None:
        """So does the guess."""
        decode(octets, None).text.encode("utf-8")


class HeaderTests(SynchronousTestCase):
    def test_header(self) -> None:
        """UTF-8, windows-1252 when it is none, U+FFFD when it is mostly."""
        self.assertEqual(decode_header("Säying".encode()), "Säying")
        self.assertEqual(decode_header(b"S\xe4ying"), "Säying")
        self.assertEqual(decode_header("Säying ".encode() + b"\xff"), "Säying \ufffd")
        self.assertEqual(decode_header(b"\x1b$B%F%9%H\x1b(B"), "テスト")

    def test_charset_of_the_body(self) -> None:
        """8-bit octets that are no UTF-8 are in the charset of the body, if they can be."""
        for charset, text in {
            "koi8-r": "Привет, Мир",
            "Big5": "會議通知",
            "gb2312": "会议",
            "euc-kr": "안녕하세요",
            "shift_jis": "テスト表示",
            "iso-8859-2": "Zażółć gęślą",
        }.items():
            self.assertEqual(decode_header(text.encode(charset), charset), text)
        # Not well-formed there, or a charset in which no header field can be.
        self.assertEqual(decode_header(b"S\xe4y\xff", "big5"), "Säyÿ")
        for charset in ("utf-16", "cp037", "utf-7", "iso-2022-jp", "no-such-charset", "utf-8"):
            self.assertEqual(decode_header(b"S\xe4ying", charset), "Säying")
        # What is UTF-8 is UTF-8 whatever the body says, and with a fault too.
        self.assertEqual(decode_header("Säying".encode(), "koi8-r"), "Säying")
        self.assertEqual(decode_header("Säying ".encode() + b"\xff", "koi8-r"), "Säying \ufffd")

    def test_line_ends(self) -> None:
        """What charset is guessed doesn't depend on how lines end."""
        text = b"x" + b"\n" * 5 + b"sfer-Encoding: base64=?utf-8?q?a=C3?= text/html; charset=\xff^\x91\xc0\n"
        crlf = decode(text.replace(b"\n", b"\r\n"), "us-ascii").text
        self.assertEqual(crlf.replace("\r\n", "\n"), decode(text, "us-ascii").text)
