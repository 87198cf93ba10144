"""Mail files of every kind are read whole, in the same order each time."""

from __future__ import annotations

import mailbox
import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.cli import mailfiles
from stalwart.cli.mailfiles import FoundMessage, UnknownFormat, Unreadable, read_mail, total_octets

MBOX = b"""From ada@example.org Mon Mar  2 10:00:00 2026
Status: RO
X-Status: F
Subject: one

Hello
From here on it is not a new message.

>From the quoted line
>>From twice

From bob@example.org Tue Mar  3 11:00:00 2026 +0100
Subject: two

Bye
"""


class MailFilesTests(SynchronousTestCase):
    """`read_mail` over files on disk."""

    def setUp(self) -> None:
        """A folder to write into."""
        self.root = Path(self.mktemp())
        self.root.mkdir(parents=True)

    def found(self, path: Path) -> list[FoundMessage]:
        """What is read from a path, all of it readable."""
        entries = list(read_mail(path))
        for entry in entries:
            self.assertIsInstance(entry, FoundMessage)
        return [entry for entry in entries if isinstance(entry, FoundMessage)]

    def test_mbox(self) -> None:
        """Messages part at "From " lines after a blank one; quoted ones lose one ">"; flags and times are taken."""
        path = self.root / "mail.mbox"
        path.write_bytes(MBOX)
        one, two = self.found(path)
        self.assertEqual(
            one.octets,
            b"Status: RO\r\nX-Status: F\r\nSubject: one\r\n\r\nHello\r\nFrom here on it is not a new message.\r\n"
            b"\r\nFrom the quoted line\r\n>From twice\r\n",
        )
        self.assertEqual(one.keywords, {"$seen", "$flagged"})
        self.assertEqual(one.stored_at, 1772445600.0)
        self.assertEqual(two.octets, b"Subject: two\r\n\r\nBye\r\n")
        self.assertEqual(two.keywords, frozenset())
        self.assertEqual(two.progress, total_octets(path))
        self.assertIn("message 2 (line 12)", two.where)

    def test_maildir(self) -> None:
        """cur and new of a Maildir and of its Maildir++ folders, with flags and delivery times."""
        box = mailbox.Maildir(self.root / "Maildir")
        message = mailbox.MaildirMessage("Subject: seen\n\nHi\n")
        message.set_subdir("cur")
        message.set_flags("SR")
        box.add(message)
        box.add(mailbox.MaildirMessage("Subject: new\n\nHi\n"))
        box.add_folder("Work.Pl&AOQ-ne").add(mailbox.MaildirMessage("Subject: work\n\nHi\n"))
        seen, new, work = self.found(self.root / "Maildir")
        self.assertEqual((seen.octets, seen.keywords), (b"Subject: seen\r\n\r\nHi\r\n", {"$seen", "$answered"}))
        self.assertEqual((new.folder, new.keywords), (None, frozenset()))
        self.assertEqual(work.folder, "Work/Pläne")
        self.assertIsNotNone(work.stored_at)

    def test_folder_of_messages(self) -> None:
        """Every .eml below a folder, sorted by path; what else lies there is left alone; CRLF stays as it is."""
        (self.root / "b").mkdir()
        (self.root / "b" / "2.EML").write_bytes(b"Subject: 2\r\n\r\n\xff\n")
        (self.root / "1.eml").write_bytes(b"Subject: 1\n\n")
        (self.root / "notes.txt").write_bytes(b"no mail")
        one, two = self.found(self.root)
        self.assertEqual((one.octets, one.stored_at), (b"Subject: 1\r\n\r\n", None))
        self.assertEqual(two.octets, b"Subject: 2\r\n\r\n\xff\n")
        self.assertEqual(two.progress, total_octets(self.root))

    def test_single_message(self) -> None:
        """A file that does not start like an mbox is one message."""
        path = self.root / "one"
        path.write_bytes(b"From: ada@example.org\n\nHi\n")
        self.assertEqual(len(self.found(path)), 1)

    def test_single_file_without_mail(self) -> None:
        """A file that begins like nothing known is refused, unless its name says that it is a message."""
        path = self.root / "program"
        path.write_bytes(b"\x7fELF\x00 no mail")
        error = self.assertRaises(UnknownFormat, lambda: list(read_mail(path)))
        self.assertIn("neither an mbox", str(error))
        self.assertEqual(len(self.found(path.rename(self.root / "odd.eml"))), 1)

    def test_folder_without_mail(self) -> None:
        """A folder with nothing to import says what was looked for."""
        error = self.assertRaises(UnknownFormat, lambda: list(read_mail(self.root)))
        self.assertIn("neither a Maildir", str(error))

    def test_unreadable_file_does_not_stop_the_others(self) -> None:
        """A file that can't be read is reported with its reason; the rest is read."""
        (self.root / "1.eml").symlink_to(self.root / "gone")
        (self.root / "2.eml").write_bytes(b"Subject: 2\n\n")
        entries = list(read_mail(self.root))
        self.assertIsInstance(entries[0], Unreadable)
        self.assertIn("No such file", entries[0].reason if isinstance(entries[0], Unreadable) else "")
        self.assertIsInstance(entries[1], FoundMessage)
        self.assertEqual(total_octets(self.root), 12)

    def test_from_lines(self) -> None:
        """What begins a message in an mbox: a weekday, a time and a year, however written; a sentence begins none."""
        march = 1772445600.0
        for line, expected in (
            (b"From ada@example.org Mon Mar  2 10:00:00 2026", march),
            (b"From - Mon Mar 02 10:00:00 2026", march),
            (b"From 1858@xxx Mon Mar 02 12:00:00 +0200 2026", march),
            (b"From ada Mon Mar  2 10:00 2026", march),
            (b"From ada@example.org Mon, 2 Mar 2026 10:00:00 +0000", march),
            (b"From  Mon Mar  2 10:00:00 2026", march),
            (b"From ada@example.org Mon Mar 99 10:00:00 2026", None),
        ):
            for end in (b"\n", b"\r\n"):
                path = self.root / "mail.mbox"
                body = b"Subject: a" + end + end + b"From Monday to 10:30 on 2 May we met." + end + end
                path.write_bytes((line + end + body) * 2)
                found = self.found(path)
                self.assertEqual([each.stored_at for each in found], [expected, expected], line)
                self.assertEqual(found[0].octets, b"Subject: a\r\n\r\nFrom Monday to 10:30 on 2 May we met.\r\n", line)

    def test_line_ends(self) -> None:
        """A message with LF gets CRLF at each line, and no line gets two CRs; one that starts with CRLF is kept."""
        path = self.root / "mixed"
        path.write_bytes(b"Subject: a\n" + b"X: y\n" * 2000 + b"\nold\r\nnew\n")
        self.assertEqual(self.found(path)[0].octets, b"Subject: a\r\n" + b"X: y\r\n" * 2000 + b"\r\nold\r\nnew\r\n")
        path.write_bytes(b"Subject: a\r\n\r\na\nb\r\n")
        self.assertEqual(self.found(path)[0].octets, b"Subject: a\r\n\r\na\nb\r\n")

    def test_mbox_among_messages(self) -> None:
        """A file of a folder that is an mbox, whatever its name, is read as one."""
        (self.root / "1.eml").write_bytes(MBOX)
        (self.root / "2.eml").write_bytes(b"Subject: 2\n\n")
        found = self.found(self.root)
        self.assertEqual(len(found), 3)
        self.assertEqual(found[-1].progress, total_octets(self.root))

    def test_pipes_and_devices(self) -> None:
        """What is no regular file is reported, and nobody waits for it."""
        os.mkfifo(self.root / "1.eml")
        (self.root / "2.eml").symlink_to("/dev/zero")
        (self.root / "3.eml").symlink_to("3.eml")
        (self.root / "4.eml").mkdir()
        for path, expected in (
            (self.root, ["not a regular file", "not a regular file", "Too many levels of symbolic links"]),
            (self.root / "1.eml", ["not a regular file"]),
        ):
            found = list(read_mail(path))
            self.assertEqual([entry.reason for entry in found if isinstance(entry, Unreadable)], expected)
            self.assertEqual(len(found), len(expected))
            total_octets(path)

    def test_large_messages(self) -> None:
        """A message that is too large for the memory is reported, with its place; those around it are read."""
        self.patch(mailfiles, "_LARGEST", 1000)
        self.patch(mailfiles, "_LINE", 100)
        path = self.root / "mail.mbox"
        large = MBOX.replace(b"Hello", b"Hello" * 1000, 1)
        path.write_bytes(large + b"\n" + MBOX)
        entries = list(read_mail(path))
        self.assertIsInstance(entries[0], Unreadable)
        self.assertIn("message 1 (line 1)", entries[0].where)
        self.assertEqual([isinstance(entry, FoundMessage) for entry in entries], [False, True, True, True])
        single = self.root / "single.eml"
        single.write_bytes(b"x" * 1001)
        self.assertIsInstance(next(read_mail(single)), Unreadable)

    def test_long_lines(self) -> None:
        """A line that is read in pieces is whole, and "From " inside of it parts nothing."""
        self.patch(mailfiles, "_LINE", 70)
        path = self.root / "mail.mbox"
        line = b"x" * 70 + b"From ada@example.org Mon Mar  2 10:00:00 2026"
        path.write_bytes(b"From ada@example.org Mon Mar  2 10:00:00 2026\nSubject: a\n\n\n" + line + b"\n\n")
        [message] = self.found(path)
        self.assertEqual(message.octets, b"Subject: a\r\n\r\n\r\n" + line + b"\r\n")

    def test_maildir_in_use(self) -> None:
        """A message that is read or flagged between the listing and the reading is found under its new name."""
        root = self.root / "Maildir"
        box = mailbox.Maildir(root)
        for subject in ("a", "b", "c"):
            box.add(f"Subject: {subject}\n\n")
        names = sorted((root / "new").iterdir())
        entries = read_mail(root)
        next(entries)
        names[1].rename(root / "cur" / f"{names[1].name}:2,S")
        names[2].unlink()
        moved, gone = entries
        self.assertIsInstance(moved, FoundMessage)
        self.assertIsInstance(gone, Unreadable)

    def test_odd_folder_names(self) -> None:
        """Empty levels, octets that are no UTF-8 and half surrogates in a folder's name do no harm."""
        root = self.root / "Maildir"
        mailbox.Maildir(root)
        for name in (b".a..b", b".caf\xe9", b".x&2AA-"):
            folder = os.fsdecode(os.fsencode(root) + b"/" + name)
            mailbox.Maildir(folder).add("Subject: x\n\n")
        self.assertEqual([found.folder for found in self.found(root)], ["a/b", "caf\ufffd", "x&2AA-"])

    def test_any_octets(self) -> None:
        """Any file at all is read as one or more messages, and nothing of an mbox's text is lost."""

        @given(st.binary(max_size=400), st.booleans())
        @settings(max_examples=100, deadline=None)
        def check(octets: bytes, as_mbox: bool) -> None:
            path = self.root / "any.eml"
            path.write_bytes((b"From a@b Mon Mar  2 10:00:00 2026\n" if as_mbox else b"") + octets)
            found = self.found(path)
            self.assertGreaterEqual(len(found), 1)
            self.assertEqual(found[-1].progress, os.path.getsize(path))

        check()
