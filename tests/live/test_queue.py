"""The queue of a real daemon: mail leaves through a relay, and a daemon that is killed loses and doubles nothing.

STALWART_TORTURE_KILLS and STALWART_TORTURE_QUEUED say how often it is killed, and with how many messages.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable

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
            extra_config=f'[relay]\nhost = "127.0.0.1"\nport = {self.relay.port}\ntls = "none"\n'
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

    def put(self, *addresses: str, body: bytes = b"hello\r\n") -> int:
        """Queue a message, as another process than the daemon."""
        data = b"From: %s\r\nTo: %s\r\nSubject: queued\r\n\r\n%s" % (ADDRESS.encode(), addresses[0].encode(), body)
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
        self.assertRegex(self.daemon.log, r"to=<a@example\.net> peer=\S*127\.0\.0\.1\S* attempt=1 relayed: 250 taken")
        self.assertRegex(self.daemon.log, rf"to=<{re.escape(ADDRESS)}> .* delivered: 250 2\.0\.0")


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
