"""What holds for every message: any octets are accepted, offsets are in order, time stays linear."""

from __future__ import annotations

import email.message
import email.policy
import os
import time
import unicodedata
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.headerregistry import Address, Group
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stalwart.mail.bodies import body_lists, body_value, decode_part
from stalwart.mail.headers import Form, header_fields, header_form
from stalwart.mail.message import Part, decode_structure, encode_structure, parse, scan
from stalwart.mail.preview import MAX_PREVIEW
from stalwart.mail.summary import encode_summary, summarize

# Pieces that mean something to some part of the parser, to be put together in any order.
_PIECES = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"--b",
        b"--b--",
        b"--c",
        b"\n\n",
        b"\r\n\r\n",
        b"\x00",
        b"\xff",
        b"\xc3\xa9",
    ),
    *(b"Subject:", b"From:", b"To: ", b"Date: ", b"References: ", b"Received: x;", b"Content-Type: ", b"Content-ID: "),
    *(b"multipart/mixed; boundary=b", b"multipart/alternative; boundary=c", b"text/html; charset=", b"message/rfc822"),
    *(b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: quoted-printable", b"utf-8", b"iso-2022-jp"),
    *(b"=?utf-8?q?a=C3?=", b"=?utf-8?b?w7w=?=", b"=?", b"?=", b"=", b"=C3", b"QUJD", b"<a@b>", b"<", b">", b"(", b")"),
    *(
        b'"',
        b"\\",
        b",",
        b";",
        b":",
        b"filename*0*=utf-8''%C3",
        b"name=x",
        b"&amp",
        b"<!--",
        b"<p hidden>",
        b"1 Jan 2024 1:00",
    ),
]
_messages = st.lists(st.one_of(st.sampled_from(_PIECES), st.binary(max_size=6)), max_size=40).map(b"".join)


class AnyOctetsTests(SynchronousTestCase):
    def check_part(self, data: bytes, part: Part, start: int, end: int) -> None:
        """Offsets are inside and in order; what can be asked of a part can be answered."""
        self.assertTrue(start <= part.header_start <= part.body_start <= part.body_end <= end)
        self.assertEqual(part.sub_parts is None, part.part_id is not None)
        self.assertEqual(part.sub_parts is None, not part.type.startswith("multipart/"))
        fields = header_fields(data, part)
        self.assertLessEqual(sum(len(field.name) + 1 + len(field.raw) for field in fields), part.body_start - start)
        for field in fields:
            for form in get_args(Form):
                self.check_text(header_form(field.raw, form))
        if part.sub_parts is None:
            self.assertEqual(len(decode_part(data, part)), part.size)
            raw = data[part.body_start : part.body_end]
            self.check_text(body_value(raw, part).value)
            self.assertLessEqual(len(body_value(raw, part, 7).value.encode()), 7)
            return
        position = part.body_start
        for sub_part in part.sub_parts:
            self.check_part(data, sub_part, position, part.body_end)
            position = sub_part.body_end

    def check_text(self, value: Any) -> None:
        """No lone surrogate, which could not be sent."""
        if isinstance(value, str):
            value.encode("utf-8")
        elif isinstance(value, list):
            for one in value:
                self.check_text(one)
        elif isinstance(value, dict):
            for one in value.values():
                self.check_text(one)

    @settings(deadline=None, max_examples=300)
    @given(st.one_of(_messages, st.binary(max_size=300)))
    def test_any_octets(self, data: bytes) -> None:
        """Any octets are a message, and its stored structure serves like the fresh one."""
        digest = summarize(data)
        root, spans = scan(data)
        self.assertEqual(digest.structure, root)
        # What a later ranged read of the header finds is what was found at first.
        self.assertEqual(
            [(field.name.lower().encode(), field.raw) for field in header_fields(data, root)],
            [(span.name, data[span.value_start : span.value_end]) for span in spans],
        )
        self.assertEqual(decode_structure(encode_structure(root)), root)
        self.check_part(data, root, 0, len(data))
        self.assertLessEqual(len(digest.summary.preview), MAX_PREVIEW)
        encode_summary(digest.summary)
        for text in digest.search.__struct_fields__:
            self.check_text(getattr(digest.search, text))
        lists = body_lists(root)
        for part in (*lists.text, *lists.html, *lists.attachments):
            self.assertIsNone(part.sub_parts)

    @settings(deadline=None, max_examples=150)
    @given(_messages)
    def test_line_endings(self, data: bytes) -> None:
        """A message with LF and the same one with CRLF are the same, save sizes and offsets."""
        with_lf = data.replace(b"\r", b"") + b"\n"
        first, second = summarize(with_lf), summarize(with_lf.replace(b"\n", b"\r\n"))
        self.assertEqual(first.summary, second.summary)
        self.assertEqual(first.search, second.search)
        self.assertEqual(self.kinds(first.structure), self.kinds(second.structure))

    def kinds(self, part: Part) -> Any:
        return (part.type, part.charset, part.name, [self.kinds(one) for one in part.sub_parts or ()])


_words = st.text(alphabet=st.characters(max_codepoint=0x24F, exclude_categories=["Cc", "Cs"]), max_size=60)
_names = _words.map(lambda text: " ".join(text.replace("=?", "").split()))
_locals = st.text(alphabet="abcXYZ019._-+", min_size=1, max_size=12).filter(
    lambda text: not text.startswith(".") and not text.endswith(".") and ".." not in text
)
_addresses = st.builds(
    lambda name, user, host: Address(name, user, f"{host}.example"),
    _names,
    _locals,
    st.text(alphabet="abc-9", min_size=1, max_size=8),
)


class StandardLibraryTests(SynchronousTestCase):
    """Ordinary messages written by the standard library mean to us what they mean to it."""

    def raw(self, message: email.message.EmailMessage, name: str) -> bytes:
        data = message.as_bytes(policy=email.policy.SMTP)
        return next(field.raw for field in header_fields(data, parse(data).structure) if field.name == name)

    @settings(deadline=None, max_examples=150)
    @given(_names)
    def test_subject(self, subject: str) -> None:
        """Subjects come back in NFC, folded and encoded as they may be."""
        message = email.message.EmailMessage(policy=email.policy.SMTP)
        message["Subject"] = subject
        self.assertEqual(header_form(self.raw(message, "Subject"), "text"), unicodedata.normalize("NFC", subject))

    @settings(deadline=None, max_examples=150)
    @given(st.lists(_addresses, min_size=1, max_size=5))
    def test_addresses(self, addresses: list[Address]) -> None:
        """So do addresses with their names (unfolded: the library's folding encodes commas at times)."""
        message = email.message.EmailMessage(policy=email.policy.SMTP.clone(max_line_length=0))
        message["To"] = addresses
        data = message.as_bytes()
        (field,) = header_fields(data, parse(data).structure)
        self.assertEqual(
            header_form(field.raw, "addresses"),
            [
                {"name": unicodedata.normalize("NFC", one.display_name) or None, "email": one.addr_spec}
                for one in addresses
            ],
        )

    @settings(deadline=None, max_examples=50)
    @given(st.text(alphabet="abc XYZ", min_size=1, max_size=20).filter(str.strip), st.lists(_addresses, max_size=3))
    def test_groups(self, name: str, addresses: list[Address]) -> None:
        """So do groups."""
        name = " ".join(name.split())
        message = email.message.EmailMessage(policy=email.policy.SMTP)
        message["To"] = Group(name, tuple(addresses))
        value = header_form(self.raw(message, "To"), "grouped-addresses")
        assert isinstance(value, list)
        self.assertEqual([group["name"] for group in value if isinstance(group, dict)], [name])

    @settings(deadline=None, max_examples=50)
    @given(
        st.integers(min_value=-2_000_000_000, max_value=30_000_000_000),
        st.integers(min_value=-14 * 60, max_value=14 * 60),
    )
    def test_dates(self, seconds: int, offset: int) -> None:
        """So do dates with their offsets."""
        moment = datetime.fromtimestamp(seconds, timezone(timedelta(minutes=offset)))
        message = email.message.EmailMessage(policy=email.policy.SMTP)
        message["Date"] = moment
        date = header_form(self.raw(message, "Date"), "date")
        assert isinstance(date, str)
        self.assertEqual(datetime.fromisoformat(date), moment)
        self.assertEqual(datetime.fromisoformat(date).utcoffset(), moment.utcoffset())

    @settings(deadline=None, max_examples=50)
    @given(_words, _words, st.binary(max_size=200), _names.filter(lambda name: name and "/" not in name))
    def test_bodies(self, plain: str, html: str, attachment: bytes, name: str) -> None:
        """So do bodies and attachments."""
        message = email.message.EmailMessage(policy=email.policy.SMTP)
        message.set_content(plain)
        message.add_alternative(f"<p>{html}", subtype="html")
        message.add_attachment(attachment, maintype="application", subtype="x-y", filename=name)
        data = message.as_bytes()
        lists = body_lists(parse(data).structure)
        (text,), (markup,), (file,) = lists.text, lists.html, lists.attachments
        self.assertEqual(body_value(data[text.body_start : text.body_end], text).value.rstrip("\n"), plain)
        self.assertEqual(body_value(data[markup.body_start : markup.body_end], markup).value.rstrip("\n"), f"<p>{html}")
        self.assertEqual(decode_part(data, file), attachment)
        self.assertEqual(file.name, name)


def _filled(start: bytes, unit: bytes, end: bytes = b"") -> Callable[[int], bytes]:
    return lambda length: start + unit * (length // len(unit)) + end


_MIXED = b"Content-Type: multipart/mixed; boundary=b\n\n"
_HTML = b"Content-Type: text/html\n\n"
_HOSTILE = {
    "many fields": _filled(b"", b"a: b\n"),
    "many recipients fields": _filled(b"", b"To: a@b\n"),
    "no colon": _filled(b"a: b\n", b"abc\n"),
    "one line": _filled(b"", b"x"),
    "folds": _filled(b"Subject: a\n", b" \n"),
    "carriage returns": _filled(b"", b"\r", b"\n"),
    "near delimiters": _filled(_MIXED, b"--bx\n"),
    "parts without end": _filled(_MIXED, b"--b\n"),
    "headers without end": _filled(_MIXED, b"--b\nContent-Type: multipart/mixed; boundary=b\n"),
    "giant boundary": _filled(b'Content-Type: multipart/mixed; boundary="', b"x", b'"\n\n'),
    "parameters": _filled(b"Content-Type: text/plain", b";a*1*=x'y'%41", b"\n\n"),
    "comments": _filled(b"From: ", b"(", b"\n\n"),
    "quoted pairs": _filled(b"From: ", b'"\\', b"\n\n"),
    "open quotes in angles": _filled(b"From: ", b'<"a', b"\n\n"),
    "at signs": _filled(b"From: ", b"a @ ", b"\n\n"),
    "groups": _filled(b"From: ", b"a:;", b"\n\n"),
    "half words": _filled(b"Subject: ", b"=?a?q?", b"\n\n"),
    "half words in a name": _filled(b"Content-Type: a/b; name=", b"=?a?q?x", b"\n\n"),
    "half words of a known charset in a name": _filled(b"Content-Type: a/b; name=", b"=?u?q?a", b"\n\n"),
    "carriage returns in a value": _filled(b"Subject: ", b"\r", b"x\n\n"),
    "open angles, one closed": _filled(b"From: ", b"<", b">\n\n"),
    "replies": _filled(b"Subject: ", b"Re:", b"\n\n"),
    "blobs": _filled(b"Subject: ", b"[a]", b"\n\n"),
    "ids": _filled(b"References: ", b"a", b"\n\n"),
    "open angles": _filled(b"References: ", b"<a(", b"\n\n"),
    "tags": _filled(_HTML, b"<b x='>'>y"),
    "open comments": _filled(_HTML, b"<!-- > "),
    "open attributes": _filled(_HTML, b'<a x="'),
    "references": _filled(_HTML, b"&#9"),
    "soft breaks": _filled(b"Content-Transfer-Encoding: quoted-printable\n\n", b"= \t\n"),
    "blanks": _filled(b"Content-Transfer-Encoding: quoted-printable\n\n", b" ", b"x \n"),
    "padding": _filled(b"Content-Transfer-Encoding: base64\n\n", b"QQ==\n"),
    "quotes": _filled(b"\n", b" \n>\n"),
    "escapes": _filled(b"Content-Type: text/plain; charset=iso-2022-jp\n\n", b"\x1b$B!!\xff"),
}


class BoundedTests(SynchronousTestCase):
    def spent(self, data: bytes) -> float:
        """Seconds of CPU for all that ingest and a reading client ask for; the better of two runs."""
        best = float("inf")
        for _ in range(2):
            start = time.process_time()
            root = summarize(data).structure
            for field in header_fields(data, root)[:3]:
                for form in get_args(Form):
                    header_form(field.raw, form)
            for part in body_lists(root).text[:3]:
                body_value(data[part.body_start : part.body_end], part, 50_000)
            best = min(best, time.process_time() - start)
        return best

    def test_linear(self) -> None:
        """Eight times the hostile input takes nowhere near the sixty-four times of quadratic work."""
        for name, build in _HOSTILE.items():
            small, large = self.spent(build(25_000)), self.spent(build(200_000))
            self.assertLess(large, 30 * small + 1.0, name)

    def test_hundred_thousand_fields(self) -> None:
        """So many fields are all read."""
        data = b"".join(b"X-%d: y\r\n" % number for number in range(99_990)) + b"Subject: last\r\n\r\nbody\r\n"
        digest = summarize(data)
        self.assertEqual((digest.summary.subject, digest.summary.preview), ("last", "body"))
        self.assertEqual(len(header_fields(data, digest.structure)), 99_991)


class CorpusTests(SynchronousTestCase):
    def test_corpus(self) -> None:
        """Every message of the corpus in STALWART_CORPUS is read, with decent text and no part lost."""
        corpus = os.environ.get("STALWART_CORPUS")
        if not corpus:
            raise SkipTest("STALWART_CORPUS names no folder of messages")
        count = 0
        for folder, _, names in os.walk(corpus):
            for name in sorted(names):
                if not name.endswith(".eml"):
                    continue
                count += 1
                with open(os.path.join(folder, name), "rb") as file:
                    data = file.read()
                AnyOctetsTests.check_part(AnyOctetsTests("check_part"), data, parse(data).structure, 0, len(data))
                digest = summarize(data)
                self.assertIsInstance(digest.summary.preview, str)
                self.assertNotIn("\n", digest.summary.preview)
                self.assertNotIn("  ", digest.summary.preview)
                lists = body_lists(digest.structure)
                self.assertTrue(lists.text or lists.html or lists.attachments, name)
        self.assertGreater(count, 0, f"no .eml file under {corpus}")
