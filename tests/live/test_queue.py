"""The queue of a real daemon: mail leaves through a relay, and a daemon that is killed loses and doubles nothing.

STALWART_TORTURE_KILLS and STALWART_TORTURE_QUEUED say how often it is killed, and with how many messages.
"""

from __future__ import annotations

import json
import os
import random
import re
import smtplib
import time
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stalwart.store import FsBlobs, NewMessage, NewRecipient, Store, enqueue, find_account, list_queue
from tests.live.daemon import ADDRESS, Daemon
from tests.live.relay import RecordingRelay

KILLS = int(os.environ.get("STALWART_TORTURE_KILLS", "3"))
QUEUED = int(os.environ.get("STALWART_TORTURE_QUEUED", "60"))
_SECONDS = 60.0
_MAYBE_TWICE = re.compile(r"queue \d+: the server stopped while to=<([^>]*)> was answered")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that comes soon."""
    end = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come in {_SECONDS:.0f} seconds")
        time.sleep(0.01)


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

    def put(self, *addresses: str, body: bytes = b"hello\r\n") -> int:
        """Queue a short message."""
        data = b"From: %s\r\nTo: %s\r\nSubject: queued\r\n\r\n%s" % (ADDRESS.encode(), addresses[0].encode(), body)
        return self.put_octets(data, *addresses)

    def put_octets(self, data: bytes, *addresses: str) -> int:
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
    """kill -9."""

    def test_nothing_is_lost_or_doubled(self) -> None:
        """All messages arrive; none arrives twice of which the log doesn't say so after the restart."""
        chance = random.Random()
        for number in range(QUEUED):
            self.put(f"user{number}@d{number % 5}.example", body=b"line\r\n" * chance.choice((10, 10, 20_000)))
        for kill in range(1, KILLS + 1):
            goal = QUEUED * kill // (KILLS + 1)
            wait_until(lambda goal=goal: len(self.relay.taken) >= goal, f"message {goal}")  # type: ignore[misc]
            time.sleep(chance.uniform(0, 0.02))
            self.daemon.kill()
            self.daemon.run()
        wait_until(lambda: not self.waiting(), "the end of the queue")
        expected = {f"user{number}@d{number % 5}.example" for number in range(QUEUED)}
        self.assertEqual(set(self.relay.taken), expected)
        twice = {address for address, times in self.relay.taken.items() if times > 1}
        self.assertLessEqual(twice, set(_MAYBE_TWICE.findall(self.daemon.log)))
