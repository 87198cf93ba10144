"""The mailbox that `make run` imports: it must stay a good sample, so its files are read with the standard library."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.headerregistry import DateHeader
from email.message import EmailMessage, Message
from email.policy import default
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

MAIL = Path(__file__).resolve().parents[2] / "etc" / "demo" / "mail"
FOLDERS = {"Archive", "Drafts", "Inbox", "Junk", "Sent", "Trash"}
CHARSETS = {
    "big5",
    "euc-kr",
    "gb18030",
    "gb2312",
    "iso-2022-jp",
    "iso-8859-1",
    "iso-8859-15",
    "koi8-r",
    "us-ascii",
    "utf-8",
    "windows-1251",
    "windows-1252",
}
ENCODINGS = {"7bit", "8bit", "base64", "quoted-printable"}

# What is wrong with a file is its point.
BROKEN = "Junk/2026-11-09-ihr-abo-laeuft-ab-broken.eml"  # no closing boundary, unknown charset, raw 8-bit subject
UTF8_HEADERS = "Inbox/2026-10-25-shelves-and-dumplings.eml"  # RFC 6532
ENCODED_WORD_IN_PARAMETER = {  # RFC 2047 §5 forbids it; mail programs do it
    "Archive/2026-03-12-quotation-for-the-roof.eml",
    "Inbox/2026-03-13-fwd-quotation-for-the-roof.eml",
}
NO_DATE = "Inbox/2026-10-04-heronbox-status.eml"
NO_SUBJECT = "Inbox/2026-10-18-no-subject.eml"
NOT_RECEIVED = "Drafts/2026-11-18-minutes-of-the-launch.eml"
JOINED_LATE = "Archive/2026-01-25-re-workshop-the-kettle.eml"  # answers mail from before Ada was on the list


def sample() -> dict[str, bytes]:
    """Every file, by its path below the mailbox folder."""
    return {str(path.relative_to(MAIL)): path.read_bytes() for path in sorted(MAIL.glob("*/*.eml"))}


def parse(data: bytes) -> EmailMessage:
    """The message as the standard library sees it."""
    return message_from_bytes(data, policy=default)


def message_ids(message: Message, name: str) -> list[str]:
    """The ids in a field, in order."""
    return re.findall(r"<[^<>\s]+>", str(message.get(name, "")))


def defects(message: EmailMessage) -> list[str]:
    """What the standard library complains about, in any part or field."""
    found = []
    for part in message.walk():
        found += [type(defect).__name__ for defect in part.defects]
        for _, value in part.items():
            found += [type(defect).__name__ for defect in getattr(value, "defects", ())]
    return found


class SampleMail(SynchronousTestCase):
    """The sample mailbox in etc/demo/mail."""

    def setUp(self) -> None:
        """Read the mailbox."""
        self.files = sample()
        self.messages = {name: parse(data) for name, data in self.files.items()}

    def test_size(self) -> None:
        """There are forty messages or more, in the folders of a new account, and they stay small."""
        self.assertGreaterEqual(len(self.files), 40)
        self.assertEqual({path.name for path in MAIL.iterdir()}, FOLDERS)
        self.assertEqual({name.split("/")[0] for name in self.files}, FOLDERS)
        self.assertLess(sum(map(len, self.files.values())), 400_000)

    def test_lines(self) -> None:
        """Lines end with CRLF everywhere, and none is longer than 998 octets (RFC 5322 §2.1.1)."""
        for name, data in self.files.items():
            rest = data.replace(b"\r\n", b"")
            self.assertFalse({b"\r"[0], b"\n"[0], 0} & set(rest), name)
            self.assertTrue(data.endswith(b"\r\n"), name)
            self.assertLessEqual(max(map(len, data.split(b"\r\n"))), 998, name)

    def test_well_formed(self) -> None:
        """Only the files whose point it is have a defect."""
        with_defects = {name for name, message in self.messages.items() if defects(message)}
        self.assertEqual(with_defects, {BROKEN, UTF8_HEADERS, *ENCODED_WORD_IN_PARAMETER})
        self.assertEqual(defects(self.messages[BROKEN]), ["CloseBoundaryNotFoundDefect"])
        for name in ENCODED_WORD_IN_PARAMETER:
            self.assertEqual(set(defects(self.messages[name])), {"InvalidHeaderDefect"})

    def test_charsets(self) -> None:
        """Every charset and encoding that the sample is to show is there, and each text is valid in its own."""
        charsets, encodings = set(), set()
        for name, message in self.messages.items():
            for part in message.walk():
                encodings.add(str(part.get("Content-Transfer-Encoding", "7bit")))
                if name == BROKEN or part.get_content_maintype() != "text":
                    continue
                charset = part.get_content_charset("us-ascii")
                charsets.add(charset)
                body = part.get_payload(decode=True)
                assert isinstance(body, bytes)
                try:
                    body.decode(charset)
                except UnicodeDecodeError as error:
                    self.fail(f"{name}: {error}")
        self.assertEqual(charsets, CHARSETS)
        self.assertEqual(encodings, ENCODINGS)

    def test_dates(self) -> None:
        """Every message but one has a Date that can be read, in 2026 and with an offset."""
        for name, message in self.messages.items():
            date = message["Date"]
            if name == NO_DATE:
                self.assertIsNone(date)
                continue
            assert isinstance(date, DateHeader), name
            assert date.datetime is not None, name
            self.assertEqual(date.datetime.year, 2026, name)
            self.assertTrue(date.datetime.tzinfo is not None, name)

    def test_received(self) -> None:
        """Every message but the draft says when it was received, and that is spread over the year."""
        months = set()
        for name, message in self.messages.items():
            fields = message.get_all("Received", [])
            self.assertEqual(not fields, name == NOT_RECEIVED, name)
            if fields:
                stamp = parse(b"Date: " + str(fields[0]).rsplit(";", 1)[1].strip().encode() + b"\r\n\r\n")["Date"]
                assert isinstance(stamp, DateHeader), name
                assert stamp.datetime is not None, name
                months.add(stamp.datetime.month)
        self.assertGreaterEqual(len(months), 8)

    def test_subjects(self) -> None:
        """One message has no subject."""
        self.assertEqual([name for name, message in self.messages.items() if message["Subject"] is None], [NO_SUBJECT])

    def test_message_ids(self) -> None:
        """Each message has one Message-ID of its own."""
        seen = [message_ids(message, "Message-ID") for message in self.messages.values()]
        self.assertEqual({len(ids) for ids in seen}, {1})
        self.assertEqual(len({ids[0] for ids in seen}), len(self.messages))

    def test_replies(self) -> None:
        """What a message answers is in the mailbox; References are a parent's and then its id (RFC 5322 §3.6.4)."""
        by_id = {message_ids(message, "Message-ID")[0]: message for message in self.messages.values()}
        replies = 0
        for name, message in self.messages.items():
            parents = message_ids(message, "In-Reply-To")
            if not parents or name == JOINED_LATE:
                continue
            replies += 1
            self.assertLessEqual(set(parents), set(by_id), name)
            lines = [[*message_ids(by_id[parent], "References"), parent] for parent in parents]
            self.assertIn(message_ids(message, "References"), lines, name)
        self.assertGreaterEqual(replies, 20)
        self.assertGreaterEqual(len(message_ids(self.messages[JOINED_LATE], "References")), 20)

    def test_long_thread(self) -> None:
        """One thread has eight messages or more under one subject, from five people or more."""
        root = message_ids(self.messages["Inbox/2026-10-05-the-new-four-needs-a-name.eml"], "Message-ID")[0]
        thread = [
            message
            for message in self.messages.values()
            if root in message_ids(message, "References") + message_ids(message, "Message-ID")
            and str(message["Subject"]).removeprefix("Re: ") == "The new four needs a name by Friday"
        ]
        self.assertGreaterEqual(len(thread), 8)
        self.assertGreaterEqual(len({str(message["From"]) for message in thread}), 5)

    def test_kinds(self) -> None:
        """The kinds of part and of attachment that a reader of mail has to show are all there."""
        parts = [part for message in self.messages.values() for part in message.walk()]
        self.assertLessEqual(
            {
                "application/pdf",
                "application/pkcs7-signature",
                "image/png",
                "message/delivery-status",
                "message/rfc822",
                "multipart/alternative",
                "multipart/digest",
                "multipart/mixed",
                "multipart/related",
                "multipart/report",
                "multipart/signed",
                "text/calendar",
                "text/csv",
                "text/html",
            },
            {part.get_content_type() for part in parts},
        )
        self.assertIn("flowed", {part.get_param("format") for part in parts})
        self.assertLessEqual(
            {"Größtmöglicher Käsekuchen \u2013 Rezept.txt", "Quotation 2026-017 \u2013 naïve estimate.pdf"},
            {part.get_filename() for part in parts},
        )

    def test_binary_attachments(self) -> None:
        """Pictures and PDFs are what they say, from their first octets to their last."""
        ends = {
            "image/png": (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"),
            "application/pdf": (b"%PDF-1.4\n", b"%%EOF\n"),
        }
        for name, message in self.messages.items():
            for part in message.walk():
                if part.get_content_type() in ends:
                    first, last = ends[part.get_content_type()]
                    body = part.get_payload(decode=True)
                    assert isinstance(body, bytes)
                    self.assertTrue(body.startswith(first) and body.endswith(last), name)

    def test_inline_images(self) -> None:
        """Each `cid:` in an HTML body names a part of the same message."""
        used = 0
        for name, message in self.messages.items():
            named = {str(part["Content-ID"]).strip("<>") for part in message.walk() if part["Content-ID"]}
            for part in message.walk():
                if part.get_content_type() == "text/html" and name != BROKEN:
                    links = set(re.findall(r'src="cid:([^"]+)"', part.get_content()))
                    self.assertLessEqual(links, named, name)
                    used += len(links)
        self.assertGreaterEqual(used, 3)

    def test_reserved_names(self) -> None:
        """Only names kept for examples appear in addresses and links (RFC 2606 §3)."""
        allowed = re.compile(r"(?:[\w.-]+\.)?example\.(?:org|com|net)")
        for name, data in self.files.items():
            for text in (data.decode("utf-8", "replace"), *self._texts(name)):
                for domain in re.findall(r"(?:@|https?://)([\w-]+(?:\.[\w-]+)+)", text):
                    self.assertTrue(allowed.fullmatch(domain), f"{name}: {domain}")

    def _texts(self, name: str) -> list[str]:
        if name == BROKEN:
            return []
        parts = self.messages[name].walk()
        return [str(part.get_content()) for part in parts if part.get_content_maintype() == "text"]
