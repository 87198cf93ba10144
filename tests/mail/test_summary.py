"""What is worked out once, when a message comes in."""

from __future__ import annotations

import json
import time
from hashlib import blake2b

from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.message import encode_structure
from stalwart.mail.summary import MAX_SEARCH_TEXT, Digest, encode_summary, summarize


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


INVITATION = crlf(
    """Received: from a by b; Tue, 3 Sep 2024 10:22:31 +0200
Received: from c by d; Tue, 3 Sep 2024 08:00:00 +0000
From: =?utf-8?q?J=C3=BCrgen?= <juergen@example.com>, second@example.com
Sender: office@example.com
Reply-To: answers@example.com
To: "Doe, Jane" <jane@example.org>, Team: bob@example.net;
Cc: carol@example.net
Bcc: dave@example.net
Subject: Re: [club] =?utf-8?q?Gr=C3=BC=C3=9Fe?=
Date: Tue, 3 Sep 2024 10:22:30 +0200
Message-ID: <m3@example.com>
In-Reply-To: <m2@example.org>
References: <m1@example.com> <m2@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=mixed

--mixed
Content-Type: multipart/alternative; boundary=alternative

--alternative
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Hallo  Jane,

> altes Zeug
bis bald
--alternative
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable

<p>Hallo <b>Jane</b>, <img src=3D"cid:logo@x" alt=3D"Wappen"></p>
--alternative--
--mixed
Content-Type: application/pdf; name="=?utf-8?q?=C3=9Cbersicht=2Epdf?="
Content-Disposition: attachment
Content-Transfer-Encoding: base64

SGVsbG8=
--mixed--
"""
)


def with_parts(*parts: str, kind: str = "mixed") -> Digest:
    """A message of these parts, each given with its header."""
    text = f"Content-Type: multipart/{kind}; boundary=b\n\n"
    return summarize(crlf(text + "".join(f"--b\n{part}\n" for part in parts) + "--b--\n"))


class SummaryTests(SynchronousTestCase):
    def test_header_names(self) -> None:
        """RFC 8621 §4.4.1: the names of all header fields can be found, each once, in lower case; a bound holds."""
        names = summarize(b"X-One: a\r\nx-ONE: b\r\nSubject: c\r\n\r\nbody: d\r\n").search.header_names
        self.assertEqual(sorted(names), ["subject", "x-one"])
        many = summarize(b"".join(b"X-%d: a\r\n" % number for number in range(5000)) + b"\r\n")
        self.assertEqual(len(many.search.header_names), 2000)

    def test_all_properties(self) -> None:
        """The summary is JSON with exactly the property names of JMAP."""
        self.assertEqual(
            json.loads(encode_summary(summarize(INVITATION).summary)),
            {
                "messageId": ["m3@example.com"],
                "inReplyTo": ["m2@example.org"],
                "references": ["m1@example.com", "m2@example.org"],
                "sender": [{"name": None, "email": "office@example.com"}],
                "from": [
                    {"name": "Jürgen", "email": "juergen@example.com"},
                    {"name": None, "email": "second@example.com"},
                ],
                "to": [
                    {"name": "Doe, Jane", "email": "jane@example.org"},
                    {"name": None, "email": "bob@example.net"},
                ],
                "cc": [{"name": None, "email": "carol@example.net"}],
                "bcc": [{"name": None, "email": "dave@example.net"}],
                "replyTo": [{"name": None, "email": "answers@example.com"}],
                "subject": "Re: [club] Grüße",
                "sentAt": "2024-09-03T10:22:30+02:00",
                "hasAttachment": True,
                "preview": "Hallo Jane, bis bald",
            },
        )

    def test_digest(self) -> None:
        """Sort keys are folded; the newest Received field counts."""
        digest = summarize(INVITATION)
        self.assertEqual(digest.base_subject, "grüsse")
        self.assertEqual((digest.sort_from, digest.sort_to), ("jürgen", "doe, jane"))
        self.assertEqual(digest.received, 1725351751)

    def test_empty(self) -> None:
        """Of no octets everything is null or empty, and the preview is a string."""
        digest = summarize(b"")
        self.assertEqual(
            json.loads(encode_summary(digest.summary)),
            dict.fromkeys(("messageId", "inReplyTo", "references", "sender", "from", "to", "cc", "bcc", "replyTo"))
            | {"subject": None, "sentAt": None, "hasAttachment": False, "preview": ""},
        )
        self.assertEqual((digest.base_subject, digest.sort_from, digest.sort_to), ("", "", ""))
        self.assertEqual((digest.received, digest.thread_keys), (None, ()))

    def test_present_but_empty(self) -> None:
        """Fields that are there without content are empty, not null, save ids and dates."""
        summary = summarize(b"Subject:\r\nTo: \r\nIn-Reply-To:\r\nDate:\r\n\r\n").summary
        self.assertEqual((summary.subject, summary.to, summary.in_reply_to, summary.sent_at), ("", (), None, None))

    def test_last_instance(self) -> None:
        """RFC 8621 §4.1.3: of several fields of one name the last one is the property."""
        self.assertEqual(summarize(b"Subject: a\r\nsubject: b\r\n\r\n").summary.subject, "b")

    def test_monstrous_header(self) -> None:
        """However large its header is, the summary of a message and what is kept of its parts stay small."""
        names = (b"Subject", b"From", b"To", b"Cc", b"Bcc", b"Reply-To", b"Sender", b"References", b"Message-ID")
        header = b"".join(b"%s: %s <a@example.org>\r\n" % (name, b"\x01\xff," * 200_000) for name in names)
        parts = b"".join(
            b"--b\r\nContent-Type: image/png; name=%s\r\nContent-ID: <%s>\r\nContent-Language: %s\r\n\r\nx\r\n"
            % (b"n" * 20_000, b"i" * 20_000, b"de, " * 5_000)
            for _ in range(200)
        )
        digest = summarize(header + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n")
        self.assertLess(len(encode_summary(digest.summary)), 2_000_000)
        self.assertLess(len(encode_structure(digest.structure)), 200 * 2_000)

    def test_many_recipients(self) -> None:
        """Two thousand recipients are all kept."""
        to = b",\r\n ".join(b"Person %d <person%d@example.org>" % (number, number) for number in range(2_000))
        kept = summarize(b"Subject: all\r\nTo: " + to + b"\r\n\r\n").summary
        self.assertEqual((kept.subject, len(kept.to or ())), ("all", 2_000))

    def test_sort_by_email(self) -> None:
        """RFC 8621 §4.4.2: without a name the email of the first address."""
        self.assertEqual(summarize(b"From: Bob@Example.com, A <a@b>\r\n\r\n").sort_from, "bob@example.com")

    def test_bad_received(self) -> None:
        """A Received field without a date is passed over."""
        self.assertEqual(summarize(b"Received: x\r\nReceived: by y; 1 Jan 1970 00:01:00 +0000\r\n\r\n").received, 60)

    def test_received_out_of_time(self) -> None:
        """RFC 8620 §1.4: a moment that no UTCDate can say, for its offset leads out of the years, is no date."""
        for date in ("31 Dec 9999 23:59:59 -0100", "1 Jan 0001 00:00:00 +0100"):
            data = f"Received: by x; {date}\r\nReceived: by y; 1 Jan 1970 00:01:00 +0000\r\n\r\n".encode()
            self.assertEqual(summarize(data).received, 60, date)


class ThreadTests(SynchronousTestCase):
    def keys(self, header: str) -> tuple[bytes, ...]:
        return summarize(crlf(header + "\n")).thread_keys

    def test_keys(self) -> None:
        """One key for each distinct id, its own first, made from the id and the subject."""
        keys = self.keys("Subject: Re: A b\nMessage-ID: <3>\nIn-Reply-To: <2>\nReferences: <1> <2>\n")
        expected = [blake2b(one + b"\0ab", digest_size=16).digest() for one in (b"3", b"2", b"1")]
        self.assertEqual(list(keys), expected)

    def test_reply_shares(self) -> None:
        """A reply shares a key with what it answers, in another language too; a new subject doesn't."""
        first = set(self.keys("Subject: Hello\nMessage-ID: <1>\n"))
        self.assertTrue(first & set(self.keys("Subject: AW: hello\nMessage-ID: <2>\nReferences: <1>\n")))
        self.assertFalse(first & set(self.keys("Subject: New\nMessage-ID: <2>\nReferences: <1>\n")))

    def test_without_subject(self) -> None:
        """Messages without subject have threads too."""
        self.assertTrue(set(self.keys("Message-ID: <1>\n")) & set(self.keys("Subject: Re:\nIn-Reply-To: <1>\n")))

    def test_bound(self) -> None:
        """Of very many references the first and the last count."""
        ids = " ".join(f"<{number}@x>" for number in range(1000))
        keys = self.keys(f"Message-ID: <own>\nReferences: {ids}\n")
        self.assertEqual(len(keys), 100)
        for one in (b"own", b"0@x", b"999@x"):
            self.assertIn(blake2b(one + b"\0", digest_size=16).digest(), keys)


class AttachmentTests(SynchronousTestCase):
    def test_file(self) -> None:
        """A part to download is an attachment, also one without a disposition."""
        self.assertTrue(with_parts("\ntext", "Content-Type: application/pdf\n\nx").summary.has_attachment)

    def test_inline(self) -> None:
        """An image that is shown is none; a document with a name is one, though it is called inline."""
        html = "Content-Type: text/html\n\n<img src='cid:i'>"
        image = "Content-Type: image/png\nContent-ID: <i>\n"
        self.assertFalse(
            with_parts(html, image + "Content-Disposition: inline\n\nx", kind="related").summary.has_attachment
        )
        self.assertFalse(with_parts(html, image + "\nx", kind="related").summary.has_attachment)
        other = "Content-Type: image/png\nContent-ID: <other>\n\nx"
        self.assertTrue(with_parts(html, other, kind="related").summary.has_attachment)
        document = "Content-Type: application/pdf; name=x.pdf\nContent-Disposition: inline\n\nx"
        self.assertTrue(with_parts("\ntext", document).summary.has_attachment)

    def test_shown_under_other_spellings(self) -> None:
        """RFC 2392 §2: the id may be percent-encoded in the HTML; it may stand in a style too."""
        image = "Content-Type: image/png\nContent-ID: <a%b@x>\n\nx"
        for reference in (
            "<img src=cid:a%25b@x>",
            "<img src='CID:a%25b%40x'>",
            "<p style='background:url(cid:a%25b@x)'>",
        ):
            html = f"Content-Type: text/html\n\n{reference}"
            self.assertFalse(with_parts(html, image, kind="related").summary.has_attachment, reference)
        longer = "Content-Type: text/html\n\n<img src='cid:a%25b@x.png'>"
        self.assertTrue(with_parts(longer, image, kind="related").summary.has_attachment)

    def test_many_shown(self) -> None:
        """Each text is searched once, however many images it shows."""
        html = "Content-Type: text/html\n\n" + "cid:a " * 650_000 + " ".join(f"cid:{n}@x" for n in range(900))
        images = [f"Content-Type: image/png\nContent-ID: <{n}@x>\n\nx" for n in range(900)]
        start = time.process_time()
        self.assertFalse(with_parts(html, *images, kind="related").summary.has_attachment)
        self.assertLess(time.process_time() - start, 1.5)  # twice that when it is searched for each image

    def test_signature(self) -> None:
        """A signature is none."""
        signature = "Content-Type: application/pgp-signature; name=signature.asc\n\nx"
        self.assertFalse(with_parts("\ntext", signature, kind="signed").summary.has_attachment)


class SearchTests(SynchronousTestCase):
    def test_fields(self) -> None:
        """Names and emails, subject, both bodies with what images say, and file names."""
        search = summarize(INVITATION).search
        self.assertEqual(search.subject, "Re: [club] Grüße")
        self.assertEqual(search.from_, "Jürgen juergen@example.com\nsecond@example.com")
        self.assertEqual(search.to, "Doe, Jane jane@example.org\nbob@example.net")
        self.assertEqual((search.cc, search.bcc), ("carol@example.net", "dave@example.net"))
        self.assertEqual(search.body, "Hallo  Jane,\n\n> altes Zeug\nbis bald\nHallo Jane, Wappen")
        self.assertEqual(search.attachments, "Übersicht.pdf")

    def test_attached_message(self) -> None:
        """Attached messages are found by their subject, addresses, text and files."""
        inner = INVITATION.decode().replace("\r\n", "\n")
        search = with_parts("\nouter text", f"Content-Type: message/rfc822; name=mail.eml\n\n{inner}").search
        for words in ("outer text", "[club] Grüße", "jane@example.org", "bis bald"):
            self.assertIn(words, search.body)
        self.assertEqual(search.attachments, "mail.eml\nÜbersicht.pdf")

    def test_many_octets(self) -> None:
        """Of very long texts the first are read, though there is little to be found in them."""
        words = [f"word{number:02}" for number in range(11)]
        texts = [word + " " * ((1 << 20) - 6) for word in words]
        attached = [f"Content-Type: message/rfc822\n\n\n{text}" for text in texts[4:]]
        search = with_parts(*(f"\n{text}" for text in texts[:4]), *attached).search
        self.assertEqual(search.body.split(), words[:8])

    def test_many_attached_messages(self) -> None:
        """Of very many attached messages the first are read for search, however they are nested."""
        inner = "Content-Type: multipart/digest; boundary=c\n\n" + "".join(
            f"--c\n\nSubject: inner{number}x\n\n\n" for number in range(900)
        )
        digests = [f"Content-Type: message/rfc822\n\nSubject: outer{number}x\n{inner}" for number in range(40)]
        start = time.process_time()
        body = with_parts(*digests).search.body
        self.assertLess(time.process_time() - start, 1)  # several times that when all are read
        self.assertEqual(body.split(), ["outer0x", *(f"inner{number}x" for number in range(99))])

    def test_attached_texts(self) -> None:
        """Attached texts and delivery reports are found, other files aren't read."""
        search = with_parts(
            "\nx",
            "Content-Disposition: attachment\n\nnotes",
            "Content-Type: message/delivery-status\n\nAction: failed",
            "Content-Type: application/octet-stream\n\nbinary",
        ).search
        self.assertEqual(search.body, "x\nnotes\nAction: failed")

    def test_bound(self) -> None:
        """The text is no longer than the bound."""
        self.assertLessEqual(len(summarize(b"\r\n" + b"word " * 400_000).search.body), MAX_SEARCH_TEXT)

    def test_many_texts(self) -> None:
        """Of very many parts only so many are read."""
        self.assertLess(len(with_parts(*["\nword"] * 900).search.body), 1000)


class PreviewTests(SynchronousTestCase):
    def test_first_with_text(self) -> None:
        """A first part without text leaves the preview to the next."""
        self.assertEqual(with_parts("\n \n", "\nsecond").summary.preview, "second")

    def test_html_where_plain_is_empty(self) -> None:
        """An empty plain alternative leaves it to the HTML."""
        digest = with_parts("\n\n", "Content-Type: text/html\n\n<p>shown", kind="alternative")
        self.assertEqual(digest.summary.preview, "shown")

    def test_attachment_only(self) -> None:
        """Without a body the preview is empty."""
        self.assertEqual(with_parts("Content-Type: application/pdf\n\nx").summary.preview, "")
