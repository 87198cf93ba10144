"""A mailing list of a real daemon: in by LMTP, on to its members here and by the relay, reports to the owner."""

from __future__ import annotations

import smtplib

from stalwart.store import find_account, get_emails, list_email_ids
from tests.live.daemon import ADDRESS
from tests.live.test_queue import QueueCase, wait_until

_LIST = "all@example.org"
_BOB = "bob@example.org"
_MESSAGE = f"From: Zoe <zoe@example.net>\r\nTo: {_LIST}\r\nSubject: to all\r\n\r\nhello\r\n".encode()


class ListTests(QueueCase):
    """The list has Jane, somebody elsewhere through another list, and somebody whom the relay refuses; Bob owns it."""

    def setUp(self) -> None:
        """Make the lists beside the daemon."""
        super().setUp()
        self.relay.refused = ("gone",)
        self.daemon.create_account(_BOB)
        for address, *members in (
            ("inner@example.org", "zoe@example.net", "gone@example.net"),
            (_LIST, ADDRESS, "inner@example.org", "zoe@example.net"),
        ):
            self.daemon.admin("list", "create", address, "--owner", _BOB)
            self.daemon.admin("list", "add", address, *members)

    def post(self, message: bytes, sender: str = "zoe@example.net") -> None:
        """Send to the list."""
        with smtplib.LMTP("127.0.0.1", self.daemon.lmtp_port, timeout=20) as client:
            client.sendmail(sender, [_LIST], message)

    def inbox(self, address: str) -> list[bytes]:
        """What an account holds."""
        with self.store.read() as s:
            account = find_account(s, address)
            assert account is not None
            ids = list_email_ids(s, account.id, 100)
            rows = get_emails(s, account.id, ids)
        return [self.store.blobs.get(rows[each].blob_hash) for each in ids]

    def test_posted(self) -> None:
        """Each member has it once, as the author wrote it; the owner has the report, and what comes back is refused."""
        self.post(_MESSAGE)
        wait_until(lambda: not self.waiting() and bool(self.inbox(_BOB)), "the end of the queue")
        self.assertEqual(self.relay.taken, {"zoe@example.net": 1})
        onward = self.relay.messages["zoe@example.net"]
        trace, _, rest = onward.partition(b"From: ")
        self.assertEqual(b"From: " + rest, _MESSAGE)
        self.assertTrue(trace.startswith(b"Delivered-To: all@example.org\r\nReceived: "), trace)
        (stored,) = self.inbox(ADDRESS)
        self.assertTrue(stored.startswith(b"Return-Path: <bob@example.org>\r\nDelivered-To: jane@example.org\r\n"))
        self.assertTrue(stored.endswith(onward))
        (report,) = self.inbox(_BOB)
        self.assertIn(b"Final-Recipient: rfc822; gone@example.net", report)
        with self.assertRaises(smtplib.SMTPDataError) as refused:
            self.post(onward)
        self.assertEqual(refused.exception.smtp_code, 554)

    def test_refused(self) -> None:
        """Who isn't a member of a list for members only gets 550, and nothing is sent."""
        self.daemon.admin("list", "delete", _LIST, "--yes")
        self.daemon.admin("list", "create", _LIST, "--owner", _BOB, "--members-only")
        self.daemon.admin("list", "add", _LIST, ADDRESS)
        with self.assertRaises(smtplib.SMTPDataError) as refused:
            self.post(_MESSAGE)
        self.assertEqual((refused.exception.smtp_code, self.waiting()), (550, 0))
        self.post(_MESSAGE, ADDRESS)
        wait_until(lambda: bool(self.inbox(ADDRESS)), "the members' copy")
