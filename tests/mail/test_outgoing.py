"""Messages as they go out over SMTP."""

from __future__ import annotations

import re
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.bodies import walk
from stalwart.mail.envelope import is_mailbox, same_mailbox
from stalwart.mail.headers import header_fields, header_form
from stalwart.mail.message import Part, parse
from stalwart.mail.outgoing import NotSendable, Outgoing, prepare, read
from stalwart.mail.transfer import decode

_HEAD = (
    b"From: ada@example.org\r\nTo: bob@example.net\r\nDate: Thu, 30 Oct 2014 14:12:00 +0800\r\nMessage-ID: <a@b>\r\n"
)
_WORDS = (
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"Bcc: x@y", b"From: a@b", b"Subject:", b"--b", b"--b--", b"\0"),
    *(b"Content-Type: multipart/mixed; boundary=b", b"Content-Type: message/rfc822", b"x" * 700, b"\xff"),
    *(b"Content-Type: multipart/signed; boundary=c", b"--c", b"\xc3\xbc", b"text", b":", b"="),
    *(b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: quoted-printable"),
)
_DATE = "Fri, 31 Oct 2014 10:00:00 +0000"


def made(data: bytes) -> Outgoing:
    """What goes out for a message as it is kept."""
    return prepare(read(data), message_id="made@example.org", date=_DATE)


def refusal(data: bytes) -> tuple[str, ...]:
    """The properties for which a message is refused."""
    try:
        made(data)
    except NotSendable as error:
        return error.properties
    return ()


def leaves(octets: bytes) -> list[tuple[str, bytes]]:
    """Type and decoded octets of each leaf."""
    message = parse(octets)
    return [
        (part.type, decode(octets[part.body_start : part.body_end], part.encoding))
        for part in walk(message.structure)
        if part.sub_parts is None
    ]


def is_legal(octets: bytes) -> bool:
    """RFC 5321: CRLF alone ends lines, they have at most 998 octets, no NUL."""
    return re.search(rb"\r(?!\n)|(?<!\r)\n|\0", octets) is None and all(
        len(line) <= 998 for line in octets.split(b"\r\n")
    )


class OutgoingTests(SynchronousTestCase):
    """`read` and `prepare`."""

    def test_as_it_is(self) -> None:
        """A message that is legal goes out octet for octet."""
        data = _HEAD + b"X-A:  b\r\n\tc\r\nMIME-Version: 1.0\r\n\r\n.dot\r\n\r\ntext"
        self.assertEqual(made(data), Outgoing(octets=data, message_id="a@b", is_8bit=False, needs_smtputf8=False))

    def test_memory(self) -> None:
        """A large message is held twice: as it is kept, and as it goes out."""
        data = _HEAD + b"\r\n" + (b"x" * 76 + b"\r\n") * 100_000
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.assertEqual(len(made(data).octets), len(data))
        self.assertLess(tracemalloc.get_traced_memory()[1], 1.1 * len(data))

    def test_bcc(self) -> None:
        """Rule 81: Bcc and Return-Path go, folded and wherever they stand; a part's field of that name stays."""
        data = (
            _HEAD + b"BCC : x@example.net,\r\n y@example.net\r\nReturn-Path: <>\r\nbcc: z@example.net\r\n\r\nBcc: text"
        )
        self.assertEqual(made(data).octets, _HEAD + b"\r\nBcc: text")

    def test_completed(self) -> None:
        """A Date and a Message-ID are made where there is none."""
        out = made(b"From: ada@example.org\r\n\r\nx").octets
        self.assertEqual(
            out, b"Date: %s\r\nMessage-ID: <made@example.org>\r\nFrom: ada@example.org\r\n\r\nx" % _DATE.encode()
        )

    def test_line_ends(self) -> None:
        """LF and CR alone become CRLF where they end lines; a CR in a field becomes a space and begins no line."""
        self.assertEqual(made(_HEAD.replace(b"\r\n", b"\n") + b"\na\nb\r\r\n").octets, _HEAD + b"\r\na\r\nb\r\n")
        self.assertEqual(made(_HEAD.replace(b"\r\n", b"\r") + b"\ra\rb").octets, _HEAD + b"\r\na\r\nb")
        self.assertEqual(
            made(_HEAD + b"Subject: a\rBcc: x@example.net\r\n\r\n").octets,
            _HEAD + b"Subject: a Bcc: x@example.net\r\n\r\n",
        )

    def test_no_fields(self) -> None:
        """Lines between the fields that are none are left out, and so are lines of white space alone."""
        self.assertEqual(
            made(b">From x\r\n" + _HEAD + b"junk\r\nSubject: a\r\n \r\n b\r\n\r\nx").octets,
            _HEAD + b"Subject: a\r\n b\r\n\r\nx",
        )

    def test_long_fields(self) -> None:
        """A long field is folded where white space is; without any it is refused by name."""
        words = b" ".join([b"word"] * 500)
        out = made(_HEAD + b"Subject: " + words + b"\r\n\r\n").octets
        self.assertTrue(is_legal(out))
        fields = header_fields(out, parse(out).structure)
        self.assertEqual(header_form(fields[-1].raw, "text"), words.decode())
        self.assertEqual(refusal(_HEAD + b"Subject: " + b"x" * 1000 + b"\r\n\r\n"), ("subject",))
        self.assertEqual(refusal(_HEAD + b"X-Long: a " + b"x" * 1000 + b"\r\n\r\n"), ("header:X-Long",))

    def test_wrong_fields(self) -> None:
        """RFC 5322 §3.6: From is there once and has an address; NUL and what is no UTF-8 is in no field."""
        self.assertEqual(refusal(b"To: bob@example.net\r\n\r\n"), ("from",))
        self.assertEqual(refusal(b"From: \r\n\r\n"), ("from",))
        self.assertEqual(refusal(_HEAD + b"from: eve@example.org\r\nTo: x@y\r\n\r\n"), ("from", "to"))
        self.assertEqual(refusal(_HEAD + b"Subject: a\0b\r\n\r\n"), ("subject",))
        self.assertEqual(refusal(_HEAD + b"X-A: \xff\r\n\r\n"), ("header:X-A",))
        self.assertEqual(refusal(b"From: a@b\r\nTo: " + b"x@y, " * 120_000 + b"\r\n\r\n"), ("to",))

    def test_long_body(self) -> None:
        """A body with long lines, CR alone or NUL is sent as base64, and reads as before."""
        for body in (b"x" * 2000 + b"\r\n", b"a\rb", b"a\0b"):
            out = made(_HEAD + b"Content-Transfer-Encoding: 8bit\r\n\r\n" + body).octets
            self.assertTrue(is_legal(out))
            self.assertEqual(out.count(b"Content-Transfer-Encoding"), 1)
            self.assertIn(b"MIME-Version: 1.0\r\n", out)
            self.assertEqual(leaves(out), [("text/plain", body)])

    def test_long_part(self) -> None:
        """Only the parts that need it are encoded anew, in attached messages too; signed ones are refused."""
        long = b"x" * 2000
        inner = b"From: eve@example.org\r\n\r\n" + long
        data = (
            _HEAD + b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npre\0amble\r\n"
            b"--b\r\n\r\nplain\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n"
            + long
            + b"\r\n--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
            + long
            + b"\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
            + inner
            + b"\r\n--b--\r\n"
        )
        out = made(data).octets
        self.assertTrue(is_legal(out))
        found = leaves(out)
        self.assertEqual(found[:3], [("text/plain", b"plain"), ("image/png", long), ("text/html", long)])
        self.assertEqual(leaves(found[3][1]), [("text/plain", long)])
        self.assertIn(b"--b\r\n\r\nplain\r\n--b\r\n", out)
        signed = data.replace(b"multipart/mixed", b"multipart/signed")
        self.assertEqual(refusal(signed), ("bodyStructure",))

    def test_type_with_a_break(self) -> None:
        """A Content-Type that other readers would take for another is refused."""
        for name in (b"Content-Type: message/rfc822\rX: y", b"Content-Type: text/pla\0in"):
            self.assertTrue(refusal(_HEAD + name + b"\r\n\r\nbody"))

    def test_flags(self) -> None:
        """8BITMIME is for octets beyond ASCII, SMTPUTF8 for those in a header, that of a part too."""
        eight = made(_HEAD + b"\r\n" + "ü".encode())
        self.assertEqual((eight.is_8bit, eight.needs_smtputf8), (True, False))
        header = made(_HEAD + "Subject: ü\r\n\r\n".encode())
        self.assertEqual((header.is_8bit, header.needs_smtputf8), (True, True))
        part = made(
            _HEAD
            + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Description: "
            + "ü\r\n\r\nx\r\n--b--".encode()
        )
        self.assertTrue(part.needs_smtputf8)

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(
            st.sampled_from(_WORDS),
            max_size=60,
        )
    )
    def test_anything(self, words: list[bytes]) -> None:
        """Whatever a message is, it is refused or goes out legal, with one From, without Bcc, its parts unchanged."""
        data = b"From: a@b\r\nMessage-ID: <a@b>\r\n" + b"".join(words)
        try:
            out = made(data)
        except NotSendable as error:
            self.assertTrue(error.properties)
            return
        self.assertTrue(is_legal(out.octets), out.octets)
        message = parse(out.octets)
        names = [field.name.lower() for field in header_fields(out.octets, message.structure)]
        self.assertEqual((names.count("from"), names.count("bcc"), names.count("date")), (1, 0, 1))

        def shape(part: Part) -> object:
            return part.type, part.sub_parts and [shape(child) for child in part.sub_parts]

        self.assertEqual(shape(message.structure), shape(parse(read(data).octets).structure))


class MailboxTests(SynchronousTestCase):
    """`is_mailbox` and `same_mailbox`."""

    def test_mailboxes(self) -> None:
        """Rule 85: top-level domains and other scripts are addresses, too; what could end a command is none."""
        for text in (
            "bob@example.net",
            "bob@com",
            "bob@pvt.k12.ma.us",
            "jörg@bücher.example",
            "用户@例子.广告",
            '"a b"@example.net',
            "a+b@[192.0.2.1]",
            "a@[IPv6:2001:db8::1]",
            "a@xn--bcher-kva.example",
        ):
            self.assertTrue(is_mailbox(text), text)
        for text in (
            "",
            "bob",
            "@example.net",
            "bob@",
            "a b@example.net",
            "bob@example.net>\r\nRCPT TO:<eve@example.net",
            "bob@example.net\n",
            '"a\r\nb"@example.net',
            "a..b@example.net",
            "bob@-x.example",
            "bob@exa mple",
            "bob@[1.2.3]",
            "a@[IPv6:fe80::1%eth0]",
            "x" * 65 + "@example.net",
            "a@" + "x." * 130 + "net",
            "\ud800@example.net",
        ):
            self.assertFalse(is_mailbox(text), text)

    def test_same(self) -> None:
        """Only the domain is without case."""
        self.assertEqual(same_mailbox("Bob@Example.NET"), same_mailbox("Bob@example.net"))
        self.assertNotEqual(same_mailbox("Bob@example.net"), same_mailbox("bob@example.net"))
