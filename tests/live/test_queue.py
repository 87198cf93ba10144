"""The queue of a real daemon: mail leaves through a relay, and a daemon that is killed loses and doubles nothing.

STALWART_TORTURE_KILLS and STALWART_TORTURE_QUEUED say how often it is killed, and with how many messages.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import smtplib
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail import dsn
from stalwart.store import (
    FsBlobs,
    NewMessage,
    NewRecipient,
    Store,
    enqueue,
    find_account,
    get_emails,
    list_email_ids,
    list_queue,
)
from tests.live.daemon import ADDRESS, Daemon
from tests.live.relay import RecordingRelay

KILLS = int(os.environ.get("STALWART_TORTURE_KILLS", "4"))
QUEUED = int(os.environ.get("STALWART_TORTURE_QUEUED", "60"))
_SECONDS = 60.0
_MESSAGE = b"From: %s\r\nTo: a@example.net\r\nSubject: queued\r\n\r\nhello\r\n" % ADDRESS.encode()
_NUMBER = re.compile(rb"^X-Number: ([0-9]+)\r$", re.MULTILINE)
_TRACE = re.compile(rb"\AReturn-Path: <[^\r]*>\r\nDelivered-To: [^\r]*\r\nReceived: [^\r]*(\r\n\t[^\r]*)+\r\n\Z")
_MAYBE_TWICE = re.compile(r"queue \d+: the server stopped while to=<([^>]*)> was answered")


def wait_until(condition: Callable[[], bool], what: str, pause: float = 0.01) -> None:
    """Wait for something that comes soon; `pause` is in seconds, between two looks."""
    end = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come in {_SECONDS:.0f} seconds")
        time.sleep(pause)


class QueueCase(SynchronousTestCase):
    """A daemon with a relay."""

    def setUp(self) -> None:
        """Start both."""
        self.relay = RecordingRelay()
        self.addCleanup(self.relay.close)
        self.daemon = Daemon.start(
            extra_config=f'[relay]\nhost = "127.0.0.1"\nport = {self.relay_port()}\ntls = "none"\n'
        )
        self.addCleanup(self.daemon.close)
        self.store = Store.open(
            str(self.daemon.database_path), FsBlobs(str(self.daemon.blobs_path)), clock=time.time, exclusive=False
        )
        self.addCleanup(self.store.close)
        with self.store.read() as s:
            account = find_account(s, ADDRESS)
        assert account is not None
        self.account_id = account.id

    def relay_port(self) -> int:
        """Where the daemon relays to."""
        return self.relay.port

    def put(self, *addresses: str, data: bytes = _MESSAGE) -> int:
        """Queue a message, as another process than the daemon."""
        name = self.store.blobs.put(data)
        with self.store.write() as s:
            return enqueue(
                s,
                NewMessage(
                    account_id=self.account_id,
                    blob_hash=name,
                    size=len(data),
                    return_path=ADDRESS,
                    recipients=tuple(NewRecipient(address=each) for each in addresses),
                ),
            )

    def shown(self, message: int) -> dict[str, Any]:
        """What `stalwart queue show` prints of a message."""
        shown: dict[str, Any] = json.loads(self.daemon.admin("queue", "show", "--json", str(message)))
        return shown

    def waiting(self) -> int:
        """How many messages wait."""
        with self.store.read() as s:
            return len(list_queue(s))


class RelayTests(QueueCase):
    """One message."""

    def test_relayed_signed(self) -> None:
        """What is queued leaves signed, a line in the log says what the relay answered, and the queue is empty."""
        self.daemon.admin("dkim", "create", ADDRESS.partition("@")[2])
        self.put("a@example.net", "b@example.com", ADDRESS)
        wait_until(lambda: not self.waiting(), "the end of the queue")
        self.assertEqual(self.relay.taken, {"a@example.net": 1, "b@example.com": 1})
        self.assertTrue(self.relay.messages["a@example.net"].startswith(b"DKIM-Signature: "))
        for line in (
            r"to=<a@example\.net> peer=\S*127\.0\.0\.1\S* attempt=1 relayed: 250 taken",
            rf"to=<{re.escape(ADDRESS)}> .* delivered: 250 2\.0\.0",
        ):  # a local delivery is logged after its commit
            wait_until(lambda line=line: re.search(line, self.daemon.log) is not None, line)  # type: ignore[misc]

    def test_delivers_back_at_once(self) -> None:
        """A relay that hands the mail back by LMTP before it answers doesn't block: nothing is locked meanwhile."""
        answers: list[object] = []

        def hand_back(recipients: list[str], message: bytes) -> None:
            with smtplib.LMTP("127.0.0.1", self.daemon.lmtp_port, timeout=20) as client:
                answers.append(client.sendmail("list@example.net", [ADDRESS], message))

        self.relay.before_answer = hand_back
        message = self.put("list@example.net")
        wait_until(lambda: not self.waiting(), "the end of the queue")
        self.assertEqual(answers, [{}])
        self.assertEqual(self.shown(message)["recipients"][0]["status"], "relayed")

    def test_report_comes_back(self) -> None:
        """A bounce of the relay's, matched by its envelope id, makes of a relayed recipient a failed one."""
        message = self.put("a@example.net")
        wait_until(lambda: not self.waiting(), "the end of the queue")
        self.assertEqual(self.shown(message)["recipients"][0]["status"], "relayed")
        report = (
            "From: MAILER-DAEMON@example.net\r\nMIME-Version: 1.0\r\n"
            "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
            "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n"
            f"Original-Envelope-Id: {self.shown(message)['env_id']}\r\n\r\n"
            "Final-Recipient: rfc822; a@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n"
        )
        with smtplib.LMTP("127.0.0.1", self.daemon.lmtp_port, timeout=20) as client:
            client.sendmail("", [ADDRESS], report)
        self.assertEqual(self.shown(message)["recipients"][0]["status"], "failed")

    def test_paused(self) -> None:
        """While the queue is paused beside the daemon nothing leaves, also after a restart; resumed, it all does."""
        self.daemon.admin("queue", "pause")
        self.put("a@example.net")
        self.daemon.kill()
        self.daemon.run()
        time.sleep(2.5)
        self.assertEqual((self.relay.taken, self.waiting()), ({}, 1))
        self.daemon.admin("queue", "resume")
        wait_until(lambda: not self.waiting(), "the end of the queue")
        self.assertEqual(self.relay.taken, {"a@example.net": 1})


class KillTests(QueueCase):
    """kill -9, at the worst moments and at any."""

    def test_nothing_is_lost_or_doubled(self) -> None:
        """All arrives whole: here once, elsewhere once or as often as the log says; each refusal is reported once."""
        self.relay.refused = ("refused",)
        self.go_on = threading.Event()
        self.addCleanup(self.go_on.set)
        queued = {number: recipients(number) for number in range(QUEUED)}
        here = {number for number, addresses in queued.items() if ADDRESS in addresses}
        everybody = {address: number for number, addresses in queued.items() for address in addresses}
        refused = {address for address in everybody if address.startswith(self.relay.refused)}
        elsewhere = everybody.keys() - refused - {ADDRESS}
        moments = (self.while_answered, self.when_stored, self.when_reported, self.at_random)
        for kill in range(KILLS):
            has_come = moments[kill % len(moments)]()
            for number in range(kill, QUEUED, KILLS):
                self.put(*queued[number], data=message(number))
            wait_until(has_come, f"the moment of kill {kill}", pause=0.0)
            self.daemon.kill()
            self.relay.before_answer = None
            self.go_on.set()
            self.daemon.run()
        wait_until(lambda: not self.waiting(), "the end of the queue")

        self.assertEqual(set(self.relay.taken), elsewhere)
        for address, octets in self.relay.deliveries:
            self.assertEqual(octets, message(everybody[address]), address)
        again = Counter({address: times - 1 for address, times in self.relay.taken.items() if times > 1})
        self.assertLessEqual(again, Counter(_MAYBE_TWICE.findall(self.daemon.log)))
        stored, told = self.inbox()
        self.assertEqual(stored, Counter(here))
        self.assertEqual(told, Counter(refused))
        self.check_database(refused)

    # When it is killed

    def while_answered(self) -> Callable[[], bool]:
        """While the relay has several messages whole, and has answered none of them."""
        waiting: list[bytes] = []
        self.go_on.clear()

        def hold(_: list[str], octets: bytes) -> None:
            waiting.append(octets)
            self.go_on.wait(_SECONDS)

        self.relay.before_answer = hold
        return lambda: len(waiting) >= 2

    def when_stored(self) -> Callable[[], bool]:
        """When the next mail has come into the inbox, at once."""

        def stored() -> int:
            with self.store.read() as s:
                account = find_account(s, ADDRESS)
            assert account is not None
            return account.message_count

        before = stored()
        return lambda: stored() > before

    def when_reported(self) -> Callable[[], bool]:
        """When the next report is in the queue, at once."""

        def reports() -> int:
            with self.store.read() as s:
                count: int = s.driver.execute("SELECT count(*) FROM queue_message WHERE return_path = ''").fetchone()[0]
                return count

        before = reports()
        return lambda: reports() > before

    def at_random(self) -> Callable[[], bool]:
        """Some time after the daemon has begun with the new messages."""
        before = len(self.relay.taken)
        goal = random.randrange(1, max(2, QUEUED // KILLS))

        def come() -> bool:
            if len(self.relay.taken) < before + goal:
                return False
            time.sleep(random.uniform(0, 0.02))
            return True

        return come

    # What became of it

    def inbox(self) -> tuple[Counter[int], Counter[str]]:
        """How often each message lies in the account, by number, all whole; and who failed by the reports."""
        stored: Counter[int] = Counter()
        told: Counter[str] = Counter()
        with self.store.read() as s:
            rows = get_emails(s, self.account_id, list_email_ids(s, self.account_id, 10_000))
        for row in rows.values():
            octets = self.store.blobs.get(row.blob_hash)
            report = dsn.parse(octets)
            if report is not None:
                told.update(each.address for each in report.recipients if each.action == "failed")
                continue
            found = _NUMBER.search(octets)
            assert found is not None, octets[:500]
            number = int(found[1])
            self.assertEqual(octets[-len(message(number)) :], message(number))
            self.assertRegex(octets[: -len(message(number))], _TRACE)
            stored[number] += 1
        return stored, told

    def check_database(self, refused: set[str]) -> None:
        """The queue's rows say what has happened, no attempt is under way, and the file is sound."""
        with self.store.read() as s:
            ended = list_queue(s, limit=10_000, finished=True)
        for each in (recipient for row in ended for recipient in row.recipients):
            status = "failed" if each.address in refused else "delivered" if each.address == ADDRESS else "relayed"
            self.assertEqual((each.status, each.begun_at, each.ending_at), (status, None, None), each.address)
        self.assertEqual(len(ended), QUEUED + len(refused))
        with closing(sqlite3.connect(self.daemon.database_path)) as connection:
            self.assertEqual(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
            self.assertEqual(connection.execute("PRAGMA foreign_key_check").fetchall(), [])


def recipients(number: int) -> list[str]:
    """Who gets the message of this number: one elsewhere; some a second of the domain, us, or one that is refused."""
    domain = f"d{number % 5}.example"
    addresses = [f"user{number}@{domain}"]
    if number % 3 == 0:
        addresses.append(f"other{number}@{domain}")
    if number % 7 < 2:  # one of them large
        addresses.append(ADDRESS)
    if number % 6 < 2:  # together with those who get it, or in a transaction of its own
        addresses.append(f"refused{number}@{domain if number % 6 == 0 else 'else.example'}")
    return addresses


def message(number: int) -> bytes:
    """The message of this number: always the same octets, some in lines that begin with dots."""
    chance = random.Random(number)
    octets = base64.encodebytes(chance.randbytes(100_000 if number % 7 == 0 else chance.randrange(200, 8_000)))
    body = b"".join(b"." * chance.choice((0, 0, 1, 2)) + line + b"\r\n" for line in octets.splitlines())
    return b"From: %s\r\nTo: user@d.example\r\nSubject: queued\r\nX-Number: %d\r\n\r\n.\r\n%s" % (
        ADDRESS.encode(),
        number,
        body,
    )
