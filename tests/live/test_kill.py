"""`kill -9` while mail comes in: what was answered 250 is there after the restart, once and whole.

STALWART_TORTURE_KILLS and STALWART_TORTURE_DELIVERIES say how often and with how many messages.
"""

from __future__ import annotations

import base64
import os
import queue
import random
import re
import smtplib
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from stalwart.store import FsBlobs, Store, find_account, get_emails, list_email_ids, list_mailboxes
from tests.live.daemon import ADDRESS, Daemon
from tests.live.jmap import query_text

KILLS = int(os.environ.get("STALWART_TORTURE_KILLS", "3"))
DELIVERIES = int(os.environ.get("STALWART_TORTURE_DELIVERIES", "60"))
SECOND = "john@example.org"
SENDERS = 4
_TRACE = re.compile(rb"\AReturn-Path: <[^\r]*>\r\nDelivered-To: [^\r]*\r\nReceived: [^\r]*(\r\n\t[^\r]*)+\r\n\Z")
_NUMBER = re.compile(rb"^X-Number: ([0-9]+)\r$", re.MULTILINE)


def message(number: int) -> bytes:
    """The message of this number: always the same octets. Most are small, every seventh has 300 kB."""
    chance = random.Random(number)
    octets = 300_000 if number % 7 == 0 else chance.randrange(200, 20_000)
    body = base64.encodebytes(chance.randbytes(octets)).replace(b"\n", b"\r\n")
    return (
        b"From: sender@example.net\r\nTo: jane@example.org\r\nSubject: torture %d\r\n"
        b"Message-ID: <%d@torture.example>\r\nX-Number: %d\r\n\r\nbody\r\n%s" % (number, number, number, body)
    )


class Senders:
    """Threads that deliver each message at most once, and write down what they were answered."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(DELIVERIES):
            self._waiting.put(number)
        self._lock = threading.Lock()
        # By (number, recipient).
        self.answered: set[tuple[int, str]] = set()
        self.unanswered: set[tuple[int, str]] = set()
        self.errors: list[str] = []
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(SENDERS)]
        for thread in self.threads:
            thread.start()

    def wait_for(self, answered: int) -> None:
        """Wait until so many answers came, or all messages are sent."""
        while len(self.answered) < answered and any(thread.is_alive() for thread in self.threads):
            time.sleep(0.002)

    def join(self) -> None:
        """Wait until all messages are sent."""
        for thread in self.threads:
            thread.join(120)
            assert not thread.is_alive(), "a sender still waits for the daemon"

    def _work(self) -> None:
        try:
            self._deliver_all()
        except Exception as error:  # noqa: BLE001 - a sender that ends early must not look like one that is done
            self.errors.append(repr(error))

    def _deliver_all(self) -> None:
        client: smtplib.LMTP | None = None
        while True:
            try:
                number = self._waiting.get_nowait()
            except queue.Empty:
                break
            while client is None:
                client = self._connect()
            if not self._deliver(client, number):
                client.close()
                client = None
        if client is not None:
            client.close()

    def _connect(self) -> smtplib.LMTP | None:
        try:
            client = smtplib.LMTP("127.0.0.1", self._daemon.lmtp_port, timeout=60)
            client.ehlo_or_helo_if_needed()
        except (OSError, smtplib.SMTPException):
            time.sleep(0.02)  # it was killed; it is coming back
            return None
        return client

    def _deliver(self, client: smtplib.LMTP, number: int) -> bool:
        """Deliver one message; False if the connection is gone."""
        recipients = [ADDRESS, SECOND] if number % 5 == 0 else [ADDRESS]
        sent: list[str] = []
        try:
            self._expect(client.mail("sender@example.net"), number)
            for recipient in recipients:
                self._expect(client.rcpt(recipient), number)
            sent = list(recipients)
            answer = client.data(message(number))
            for recipient in recipients:
                if recipient != recipients[0]:
                    answer = client.getreply()
                self._expect(answer, number)
                with self._lock:
                    self.answered.add((number, recipient))
                sent.remove(recipient)
        except smtplib.SMTPDataError as error:
            self.errors.append(f"message {number}: {error.smtp_code} to DATA")
            return False
        except OSError:  # as SMTPServerDisconnected is, too
            with self._lock:
                self.unanswered.update((number, recipient) for recipient in sent)
            return False
        return True

    def _expect(self, answer: tuple[int, bytes], number: int) -> None:
        if answer[0] == -1:
            raise smtplib.SMTPServerDisconnected
        if answer[0] != 250:  # nor may anything be put off: the disk isn't full, and nobody is over quota
            self.errors.append(f"message {number}: {answer[0]} {answer[1].decode()}")


class KillTests(SynchronousTestCase):
    """The daemon is killed at random moments."""

    def test_nothing_is_lost_or_half_there(self) -> None:
        """Every message that was answered 250 is there once and whole; the others are whole or not there."""
        daemon = Daemon.start(accounts=[ADDRESS, SECOND])
        self.addCleanup(daemon.close)
        senders = Senders(daemon)
        for kill in range(1, KILLS + 1):
            senders.wait_for(random.randrange(1, max(2, DELIVERIES // (KILLS + 1))) + len(senders.answered))
            time.sleep(random.uniform(0, 0.02))
            daemon.kill()
            daemon.run()
            self.assertEqual(senders.errors, [], f"after kill {kill}")
        senders.join()
        self.assertEqual(senders.errors, [])
        # A kill takes the answer from one message of each sender at most; all others were taken.
        taken = {number for number, _ in senders.answered}
        self.assertGreaterEqual(len(taken), DELIVERIES - KILLS * SENDERS)
        daemon.kill()
        daemon.run()
        self.check_database(daemon.database_path)
        for address in (ADDRESS, SECOND):
            answered = {number for number, recipient in senders.answered if recipient == address}
            unanswered = {number for number, recipient in senders.unanswered if recipient == address}
            there = self.check_account(daemon, address)
            self.assertEqual(answered - there, set(), f"{address}: answered 250, and lost")
            self.assertEqual(there - answered - unanswered, set(), f"{address}: nobody sent these")
        self.assertEqual(daemon.stop(), 0)

    def check_database(self, path: Path) -> None:
        """The database file is sound."""
        connection = sqlite3.connect(path)
        self.addCleanup(connection.close)
        self.assertEqual(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        self.assertEqual(connection.execute("PRAGMA foreign_key_check").fetchall(), [])

    def check_account(self, daemon: Daemon, address: str) -> set[int]:
        """What the account holds is whole, there once, counted right and served; the numbers of the messages."""
        store = Store.open(str(daemon.database_path), FsBlobs(str(daemon.blobs_path)), clock=time.time, exclusive=False)
        try:
            with store.read() as session:
                account = find_account(session, address)
                assert account is not None
                ids = list_email_ids(session, account.id, 10_000)
                emails = get_emails(session, account.id, ids)
                inbox = next(box for box in list_mailboxes(session, account.id) if box.role == "inbox")
            numbers: Counter[int] = Counter()
            for email in emails.values():
                octets = store.blobs.get(email.blob_hash)
                self.assertEqual(len(octets), email.size)
                found = _NUMBER.search(octets)
                assert found is not None, octets[:500]
                number = int(found[1])
                sent = message(number)
                self.assertTrue(octets.endswith(sent), f"message {number} is not whole")
                self.assertRegex(octets[: -len(sent)], _TRACE)
                numbers[number] += 1
        finally:
            store.close()
        self.assertEqual([number for number, times in numbers.items() if times > 1], [], "there more than once")
        self.assertEqual((inbox.total_emails, account.message_count), (len(ids), len(ids)))
        self.assertEqual(account.used, sum(email.size for email in emails.values()))
        self.assertEqual(query_text(daemon, address, "torture"), len(ids))
        return set(numbers)
