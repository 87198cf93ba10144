"""Debian's Postfix delivers to the real daemon, with the settings that `docs/postfix.md` shows."""

from __future__ import annotations

import re
import smtplib
import time

from twisted.trial.unittest import SynchronousTestCase

from stalwart.store import FsBlobs, Store, find_account, get_emails, list_email_ids
from tests.live.daemon import ADDRESS, ROOT, Daemon
from tests.live.jmap import query_text
from tests.live.postfix import Postfix

SECOND = "jürgen@example.org"
PAGE = ROOT / "docs" / "postfix.md"


def settings(lmtp_port: int) -> str:
    """The lines for main.cf that the page shows, for this port."""
    shown = re.search(r"```ini\n# /etc/postfix/main\.cf\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert shown is not None, f"{PAGE} shows no main.cf"
    assert "127.0.0.1:8024" in shown[1]
    return shown[1].replace("127.0.0.1:8024", f"127.0.0.1:{lmtp_port}")


class PostfixTests(SynchronousTestCase):
    """Postfix in front, the daemon behind it."""

    def setUp(self) -> None:
        """Start both."""
        self.daemon = Daemon.start(accounts=[ADDRESS, SECOND])
        self.addCleanup(self.daemon.close)
        self.postfix = Postfix(settings(self.daemon.lmtp_port))
        self.addCleanup(self.postfix.close)

    def stored(self, address: str) -> list[bytes]:
        """The messages of an account, oldest first."""
        blobs = FsBlobs(str(self.daemon.blobs_path))
        store = Store.open(str(self.daemon.database_path), blobs, clock=time.time, exclusive=False)
        try:
            with store.read() as session:
                account = find_account(session, address)
                assert account is not None
                ids = list_email_ids(session, account.id, 100)
                rows = get_emails(session, account.id, ids)
            return [blobs.get(rows[number].blob_hash) for number in ids]
        finally:
            store.close()

    def test_mail_comes_in(self) -> None:
        """By sendmail and by SMTP, with tags, UTF-8 addresses, 8-bit text, long lines and dots; then JMAP finds it."""
        long_line = b"x" * 5000
        self.postfix.sendmail(b"Subject: by sendmail\n\n.hello\n" + long_line + b"\n", ADDRESS, SECOND)
        self.postfix.wait_until_delivered(2)
        self.assertEqual(query_text(self.daemon, ADDRESS, "sendmail"), 1)
        for address in (ADDRESS, SECOND):
            (message,) = self.stored(address)
            head, _, body = message.partition(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"Return-Path: <sender@example.net>\r\nDelivered-To: " + address.encode()))
            self.assertIn(b"LMTP id ", head)
            self.assertEqual(body, b".hello\r\n" + long_line + b"\r\n")

        with smtplib.SMTP("127.0.0.1", self.postfix.port, timeout=60) as client:
            client.ehlo()
            client.command_encoding = "utf-8"
            self.assertEqual(client.mail("sender@example.net", ["SMTPUTF8", "BODY=8BITMIME"])[0], 250)
            self.assertEqual(client.rcpt("jane+lists@example.org")[0], 250)
            self.assertEqual(client.rcpt(SECOND)[0], 250)
            code, text = client.rcpt("nobody@example.org")
            self.assertEqual((code, text[:5]), (550, b"5.1.1"))
            self.assertEqual(client.data("Subject: by SMTP, grüße\r\n\r\n.\r\nüber\r\n".encode())[0], 250)
        self.postfix.wait_until_delivered(4)
        self.assertEqual(query_text(self.daemon, ADDRESS, "grüße"), 1)
        message = self.stored(ADDRESS)[1]
        self.assertIn(b"\r\nDelivered-To: jane+lists@example.org\r\n", message)
        self.assertIn(b" with UTF8LMTP id ", message)
        self.assertTrue(message.endswith("\r\n\r\n.\r\nüber\r\n".encode()))

    def test_daemon_away(self) -> None:
        """While the daemon is away Postfix keeps the mail, and delivers it when the daemon is back."""
        self.assertEqual(self.daemon.stop(), 0)
        self.postfix.sendmail(b"Subject: patience\n\nhello\n", ADDRESS)
        self.postfix.wait_for_log("status=deferred")
        self.assertEqual(self.stored(ADDRESS), [])
        self.daemon.run()
        self.postfix.flush()
        self.postfix.wait_until_delivered(1)
        self.assertEqual(len(self.stored(ADDRESS)), 1)
