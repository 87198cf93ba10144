"""The admin command over a real store: what it does, what it prints, and how it fails."""

from __future__ import annotations

import errno
import json
import mailbox
import os
import time
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from stalwart import config
from stalwart.auth import Passwords
from stalwart.cli import importing, opening
from stalwart.cli.main import stalwart
from stalwart.mail.summary import Digest, summarize
from stalwart.store import (
    InvalidName,
    MailboxRow,
    Store,
    StoreError,
    find_account,
    get_emails,
    list_email_ids,
    list_mailboxes,
    open_blobs,
)

ADDRESS = "ada@example.org"


class CommandTests(SynchronousTestCase):
    """`stalwart …` with a configuration of its own."""

    def setUp(self) -> None:
        """A configuration and a domain."""
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir(parents=True)
        self.config = self.root / "stalwart.toml"
        self.config.write_text(
            '[storage]\ndata = "db"\nblob = "files"\nfts = "db"\n'
            f'[store.db]\ntype = "sqlite"\npath = "{self.root}/data/mail.sqlite"\n'
            f'[store.files]\ntype = "fs"\npath = "{self.root}/data/blobs"\n'
        )
        self.run_fine("domain", "create", "example.org")

    def test_program_that_the_owner_cannot_read(self) -> None:
        """Root, become the owner of the data, says why the program can't go on, and what to install."""
        folder = self.root / "data"
        self.patch(os, "geteuid", lambda: 0)
        for name in ("setgroups", "setgid", "setuid"):
            self.patch(os, name, lambda _: None)
        self.patch(os, "access", lambda path, mode: False)
        status = os.stat_result((0o40700, 1, 1, 1, 1000, 1000, 0, 0, 0, 0))
        self.patch(Path, "stat", lambda path, **_: status)
        error = self.assertRaises(StoreError, opening._become_owner, folder)
        self.assertIn("/usr/bin/python3", str(error))

    def run_command(self, *arguments: str, stdin: str | None = None) -> Result:
        """Run the command; errors of the store count as its own."""
        result = CliRunner().invoke(stalwart, ["--config", str(self.config), *arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit | StoreError):
            raise result.exception
        return result

    def run_fine(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command that has to succeed; what it prints."""
        result = self.run_command(*arguments, stdin=stdin)
        self.assertEqual(result.exit_code, 0, result.output + repr(result.exception))
        return result.stdout

    def open(self) -> Store:
        """The store that the command used."""
        settings = config.load(str(self.config), {}, hostname="test")
        store = Store.open(settings.data.path, open_blobs(settings.blob), clock=time.time, exclusive=False)
        self.addCleanup(store.close)
        return store

    def mailboxes(self) -> dict[str, MailboxRow]:
        """The mailboxes of the account by their names."""
        with self.open().read() as session:
            account = find_account(session, ADDRESS)
            assert account is not None
            return {box.name: box for box in list_mailboxes(session, account.id)}

    def test_account_life(self) -> None:
        """An account is made with a password that fits, listed, shown, given aliases, and deleted."""
        made = self.run_fine("account", "create", "Ada@Example.ORG", "--name", "Ada L.", "--admin")
        password = made.split("password: ")[1].strip()
        with self.open().read() as session:
            account = find_account(session, ADDRESS)
            assert account is not None
            self.assertTrue(Passwords().verify(account.password_hash, password))
        self.run_fine("account", "alias", "add", ADDRESS, "countess@example.org")
        [listed] = json.loads(self.run_fine("account", "list", "--json"))
        self.assertEqual((listed["name"], listed["admin"], listed["messages"]), ("Ada L.", True, 0))
        shown = json.loads(self.run_fine("account", "show", ADDRESS, "--json"))
        self.assertEqual(shown["aliases"], ["countess@example.org"])
        self.assertEqual(
            {box["role"] for box in shown["mailboxes"]}, {"inbox", "drafts", "sent", "trash", "junk", "archive"}
        )
        self.assertIn("Inbox", self.run_fine("account", "show", ADDRESS))
        self.run_fine("account", "alias", "remove", ADDRESS, "countess@example.org")
        self.assertEqual(self.run_command("account", "delete", ADDRESS, stdin="n\n").exit_code, 1)
        self.run_fine("account", "delete", ADDRESS, stdin="y\n")
        self.assertEqual(json.loads(self.run_fine("account", "list", "--json")), [])

    def test_sharing(self) -> None:
        """An account is shared, with more rights, shown as shared, and taken back; what is wrong is said."""
        for address in (ADDRESS, "bob@example.org"):
            self.run_fine("account", "create", address)
        self.assertIn("may now read", self.run_fine("account", "share", ADDRESS, "bob@example.org"))
        shown = json.loads(self.run_fine("account", "show", ADDRESS, "--json"))
        self.assertEqual(shown["shared"], {"bob@example.org": "read"})
        self.run_fine("account", "share", ADDRESS, "bob@example.org", "--rights", "write")
        self.assertIn("shared:   bob@example.org (write)", self.run_fine("account", "show", ADDRESS))
        self.assertIn("bob@example.org (write)", self.run_fine("account", "list"))
        self.run_fine("account", "unshare", ADDRESS, "bob@example.org")
        self.assertIn("shared:   -", self.run_fine("account", "show", ADDRESS))
        again = self.run_command("account", "unshare", ADDRESS, "bob@example.org")
        self.assertIn("not shared", str(again.exception))
        self.assertIn("with itself", self.run_command("account", "share", ADDRESS, ADDRESS).output)
        nobody = self.run_command("account", "share", ADDRESS, "nobody@example.org")
        self.assertIn("account list", str(nobody.exception))

    def test_quota(self) -> None:
        """A quota is changed after the account was made, in units, and taken away."""
        self.run_fine("account", "create", ADDRESS)
        for size, octets in (("1000", 1000), ("500M", 500 * 2**20), ("2GiB", 2**31), ("none", None)):
            self.run_fine("account", "quota", ADDRESS, size)
            [listed] = json.loads(self.run_fine("account", "list", "--json"))
            self.assertEqual(listed["quota"], octets)
        for size in ("", "0", "-5", "5X", "many", "9999999999999T"):
            self.assertIn("is no size", self.run_command("account", "quota", "--", ADDRESS, size).output)
            made = self.run_command("account", "create", f"--quota={size}", "other@example.org")
            self.assertEqual(made.exit_code, 2)
            self.assertIn("is no size", made.output)
        self.run_fine("account", "create", "--quota", "2G", "other@example.org")
        listed = json.loads(self.run_fine("account", "show", "other@example.org", "--json"))
        self.assertEqual(listed["quota"], 2 * 1024**3)

    def test_password_from_standard_input(self) -> None:
        """--password-stdin takes the first line, prints no password, and refuses an empty one."""
        made = self.run_fine("account", "create", ADDRESS, "--password-stdin", stdin="s3cret\nmore\n")
        self.assertNotIn("s3cret", made)
        self.run_fine("account", "passwd", ADDRESS, "--password-stdin", stdin="changed\n")
        with self.open().read() as session:
            account = find_account(session, ADDRESS)
            assert account is not None
            self.assertTrue(Passwords().verify(account.password_hash, "changed"))
        latin = CliRunner().invoke(
            stalwart, ["--config", str(self.config), "account", "passwd", ADDRESS, "--password-stdin"], input=b"\xfc\n"
        )
        self.assertEqual((latin.exit_code, "must be UTF-8" in latin.output), (2, True))
        refused = self.run_command("account", "passwd", ADDRESS, "--password-stdin", stdin="\n")
        self.assertEqual(refused.exit_code, 2)
        self.assertIn("no password on its first line", refused.output)

    def test_errors_say_what_to_do(self) -> None:
        """An unknown domain, account or address form, and a thing made twice, are refused in one sentence."""
        self.run_fine("account", "create", ADDRESS)
        for command, expected in (
            (("account", "create", "ada@example.com"), "example.com"),
            (("account", "create", ADDRESS), ADDRESS),
            (("account", "create", "no address"), "no address"),
            (("account", "show", "bob@example.org"), "bob@example.org"),
            (("domain", "create", "example.org"), "example.org"),
            (("domain", "create", "exa mple"), "exa mple"),
            (("domain", "delete", "example.org"), ADDRESS),
            (("domain", "delete", "example.net"), "example.net"),
            (("import", "bob@example.org", str(self.config)), "bob@example.org"),
        ):
            result = self.run_command(*command)
            self.assertEqual(result.exit_code, 1, command)
            self.assertIsInstance(result.exception, StoreError, command)
            self.assertIn(expected, str(result.exception))

    def test_without_rights(self) -> None:
        """Who may not read the data is told so, and what to do."""

        def refuse(*_: object, **__: object) -> Store:
            raise StoreError("/data: Permission denied") from PermissionError(errno.EACCES, "Permission denied")

        self.patch(Store, "open", refuse)
        result = self.run_command("account", "list")
        self.assertIn("/data: Permission denied; run this as root", str(result.exception))

    def test_bad_configuration(self) -> None:
        """Every command tells all errors of the configuration and leaves with 1."""
        self.config.write_text('log-level = "loud"\nservre = 1\n')
        for command in (("account", "list"), ("check",), ("config", "show")):
            result = self.run_command(*command)
            self.assertEqual(result.exit_code, 1, command)
            self.assertIn("loud", result.output)
            self.assertIn("servre", result.output)

    def test_version(self) -> None:
        """--version names the program and its version."""
        self.assertRegex(self.run_fine("--version"), r"^stalwart \d+\.\d+\.\d+\n$")

    def write_mail(self, folder: Path, *subjects: str) -> Path:
        """A folder with a message for each subject."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, subject in enumerate(subjects):
            (folder / f"{number}.eml").write_text(
                f"Received: from a by b; Mon, 2 Mar 2026 10:00:0{number} +0000\n"
                f"Message-ID: <{subject}@example.org>\nSubject: {subject}\n\nHello {subject}\n"
            )
        return folder

    def test_import_is_resumable(self) -> None:
        """Running an import again takes what is new and skips the rest; receivedAt comes from Received."""
        self.run_fine("account", "create", ADDRESS)
        mail = self.write_mail(self.root / "mail", "one", "two")
        self.assertIn("2 imported, 0 already there", self.run_fine("import", ADDRESS, str(mail)))
        self.write_mail(mail, "one", "two", "three")
        self.assertIn("1 imported, 2 already there", self.run_fine("import", ADDRESS, str(mail)))
        self.assertEqual(self.mailboxes()["Inbox"].total_emails, 3)
        with self.open().read() as session:
            account = find_account(session, ADDRESS)
            assert account is not None
            rows = get_emails(session, account.id, list_email_ids(session, account.id, 10))
        self.assertEqual(sorted(row.received_at for row in rows.values()), [1772445600, 1772445601, 1772445602])

    def test_import_into_mailboxes(self) -> None:
        """--mailbox finds a mailbox by name or role, or makes it with its parents."""
        self.run_fine("account", "create", ADDRESS)
        self.run_fine("import", ADDRESS, str(self.write_mail(self.root / "a", "a")), "--mailbox", "Spam")
        self.run_fine(
            "import", ADDRESS, str(self.write_mail(self.root / "b", "b")), "--mailbox", "Work/Plans", "--seen"
        )
        self.run_fine("import", ADDRESS, str(self.write_mail(self.root / "c", "c")), "--mailbox", "work/plans")
        boxes = self.mailboxes()
        self.assertEqual({box.role: box.total_emails for box in boxes.values() if box.role}["junk"], 1)
        self.assertEqual((boxes["Plans"].total_emails, boxes["Plans"].unread_emails), (2, 1))
        self.assertEqual(boxes["Plans"].parent_id, boxes["Work"].id)

    def test_import_goes_on_past_an_unreadable_file(self) -> None:
        """What can't be read is named at the end, with exit code 1; the rest is in."""
        self.run_fine("account", "create", ADDRESS)
        mail = self.write_mail(self.root / "mail", "one")
        (mail / "0broken.eml").symlink_to(mail / "gone")
        result = self.run_command("import", ADDRESS, str(mail))
        self.assertEqual(result.exit_code, 1)
        self.assertIn("1 imported, 0 already there, 1 failed", result.output)
        self.assertIn("0broken.eml: No such file", result.output)

    def test_import_over_quota(self) -> None:
        """An import stops at the message that would go over the quota, says so, and keeps what was in before."""
        self.run_fine("account", "create", ADDRESS, "--quota", "400")
        mail = self.write_mail(self.root / "mail", "one", "two", "a long subject" * 30, "four")
        result = self.run_command("import", ADDRESS, str(mail))
        self.assertEqual(result.exit_code, 1)
        self.assertIn("exceed the quota of 400", str(result.exception))
        self.assertIn("2 imported, 0 already there", result.output)
        self.assertIn("run again", result.output)
        self.assertEqual(self.mailboxes()["Inbox"].total_emails, 2)

    def test_import_mailbox_made_by_an_undone_message(self) -> None:
        """A mailbox is made again if the message that it was made for could not be stored."""
        self.run_fine("account", "create", ADDRESS, "--quota", "200")
        mail = self.write_mail(self.root / "mail", "a long subject" * 30, "two")
        self.assertEqual(self.run_command("import", ADDRESS, str(mail), "--mailbox", "New").exit_code, 1)
        self.assertNotIn("New", self.mailboxes())
        (mail / "0.eml").unlink()
        self.run_fine("import", ADDRESS, str(mail), "--mailbox", "New")
        self.assertEqual(self.mailboxes()["New"].total_emails, 1)

    def test_import_of_what_can_not_be_stored(self) -> None:
        """A message whose mailbox can't be made is named with the reason; the others are in."""
        self.run_fine("account", "create", ADDRESS)
        root = self.root / "Maildir"
        box = mailbox.Maildir(root)
        box.add("Subject: fine\n\n")
        box.add_folder("x" * 200 + ".y\x01").add("Subject: odd\n\n")
        result = self.run_command("import", ADDRESS, str(root))
        self.assertEqual(result.exit_code, 1)
        self.assertIn("1 imported, 0 already there, 1 failed", result.output)
        self.assertNotIn("\x01", result.output)

    def test_import_into_an_impossible_mailbox(self) -> None:
        """A name that no mailbox can have is refused once, not for each message."""
        self.run_fine("account", "create", ADDRESS)
        mail = self.write_mail(self.root / "mail", "one", "two")
        result = self.run_command("import", ADDRESS, str(mail), "--mailbox", "Work//Plans")
        self.assertIsInstance(result.exception, InvalidName)
        self.assertIn("0 imported, 0 already there, 0 failed", result.output)
        self.assertNotIn("Work", self.mailboxes())

    def test_json(self) -> None:
        """What programs read from --json keeps its names and kinds."""
        self.run_fine("account", "create", ADDRESS, "--quota", "1000")
        self.assertEqual(json.loads(self.run_fine("domain", "list", "--json")), ["example.org"])
        [listed] = json.loads(self.run_fine("account", "list", "--json"))
        self.assertRegex(listed.pop("created"), r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
        expected = {
            "address": ADDRESS,
            "name": "",
            "admin": False,
            "enabled": True,
            "aliases": [],
            "quota": 1000,
            "used": 0,
            "messages": 0,
            "shared": {},
        }
        self.assertEqual(listed, expected)
        shown = json.loads(self.run_fine("account", "show", ADDRESS, "--json"))
        self.assertEqual({key: shown[key] for key in expected}, expected)
        self.assertEqual(shown["mailboxes"][0], {"name": "Inbox", "role": "inbox", "messages": 0, "unread": 0})

    def test_import_keeps_dates_that_jmap_can_name(self) -> None:
        """A Date from after the year 9999, as UTC counts, becomes the last second of that year."""
        self.run_fine("account", "create", ADDRESS)
        path = self.root / "late.eml"
        path.write_bytes(b"Date: Fri, 31 Dec 9999 23:59:59 -1200\nSubject: late\n\n")
        self.run_fine("import", ADDRESS, str(path))
        with self.open().read() as session:
            account = find_account(session, ADDRESS)
            assert account is not None
            [row] = get_emails(session, account.id, list_email_ids(session, account.id, 10)).values()
        self.assertEqual(row.received_at, 253_402_300_799)

    def test_import_interrupted(self) -> None:
        """Ctrl-C tells what is in, and the same command goes on from there."""
        self.run_fine("account", "create", ADDRESS)
        mail = self.write_mail(self.root / "mail", *(f"s{number}" for number in range(10)))
        self.patch(importing, "_BATCH", 3)
        summarized = 0

        def interrupted(octets: bytes) -> Digest:
            nonlocal summarized
            summarized += 1
            if summarized == 5:
                raise KeyboardInterrupt
            return summarize(octets)

        self.patch(importing, "summarize", interrupted)
        result = self.run_command("import", ADDRESS, str(mail))
        self.assertEqual(result.exit_code, 1)
        self.assertIn("3 imported, 0 already there", result.output)
        self.assertIn("7 imported, 3 already there", self.run_fine("import", ADDRESS, str(mail)))
