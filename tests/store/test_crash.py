"""A writer that is killed: what it said was stored is there, whole and once, and nothing is half there."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

from stalwart.store import FsBlobs, Store, get_emails, list_email_ids, list_mailboxes, sweep
from tests.store.bed import StoreTestCase

_WRITER = """
import sys, time
from stalwart.mail.summary import summarize
from stalwart.store import FsBlobs, NewEmail, Store, add_email
path, account_id, mailbox_id = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = Store.open(path, FsBlobs(path + "-blobs"), clock=time.time, exclusive=True)
number = int(sys.argv[4])
while True:
    jobs, names = [], []
    for _ in range(3):
        number += 1
        data = b"Message-ID: <%d@x>\\r\\nSubject: %d\\r\\n\\r\\n" % (number, number) + b"text " * 2000
        new = NewEmail(blob_hash=store.blobs.put(data), size=len(data), received_at=number, mailbox_ids=(mailbox_id,),
                       digest=summarize(data))
        jobs.append(lambda s, new=new: add_email(s, account_id, new))
        names.append(new.blob_hash)
    store.run_batch(jobs)
    print("\\n".join(names), flush=True)
"""


class CrashTests(StoreTestCase):
    """kill -9 in the middle of things."""

    def test_killed_writer(self) -> None:
        """After each kill, exactly the acknowledged mails (and at most the batch under way) are there, whole."""
        inbox = self.mailbox_id()
        self.store.close()
        chance = random.Random(3)
        acknowledged: list[str] = []
        for start in range(4):
            writer = subprocess.Popen(
                [sys.executable, "-c", _WRITER, self.path, str(self.account_id), str(inbox), str(start * 10_000)],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert writer.stdout is not None
            for _ in range(chance.randrange(3, 30)):
                acknowledged.append(writer.stdout.readline().strip())
            writer.send_signal(signal.SIGKILL)
            acknowledged += [line.strip() for line in writer.stdout.read().splitlines() if len(line.strip()) == 52]
            writer.wait()
            writer.stdout.close()
            self.check(acknowledged)

    def test_two_processes(self) -> None:
        """Two processes that write to one account at the same time give out no modseq twice and lose no count."""
        inbox = self.mailbox_id()
        arguments = [self.path, str(self.account_id), str(inbox)]
        source = _WRITER.replace("while True", "while number % 10_000 < 60").replace(
            "exclusive=True", "exclusive=False"
        )
        others = [
            subprocess.Popen([sys.executable, "-c", source, *arguments, start], stdout=subprocess.PIPE, text=True)
            for start in ("0", "10000")
        ]
        said = [other.communicate()[0].split() for other in others]
        self.assertEqual([len(names) for names in said], [60, 60])
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        ((given, last),) = connection.execute(
            "SELECT count(DISTINCT modseq), max(modseq) FROM (SELECT modseq FROM email UNION ALL "
            "SELECT modseq FROM thread UNION ALL SELECT modseq FROM mailbox)"
        )
        self.assertEqual(given, 120 + 120 + 6)
        self.assertLessEqual(last, connection.execute("SELECT modseq FROM account").fetchone()[0])
        self.store.close()
        self.check([*said[0], *said[1]])

    def check(self, acknowledged: list[str]) -> None:
        """Open the store and look at everything."""
        blobs = FsBlobs(self.path + "-blobs")
        self.assertEqual(os.listdir(self.path + "-blobs/tmp"), [])
        store = Store.open(self.path, blobs, clock=time.time, exclusive=True)
        try:
            with store.read() as s:
                self.assertEqual(s.driver.execute("PRAGMA integrity_check").fetchone(), ("ok",))
                rows = get_emails(s, self.account_id, list_email_ids(s, self.account_id, 10_000)).values()
                (inbox,) = (m for m in list_mailboxes(s, self.account_id) if m.role == "inbox")
                indexed = s.driver.execute("SELECT count(*) FROM email_search").fetchone()[0]
            stored = [row.blob_hash for row in rows]
            self.assertEqual(len(set(stored)), len(stored))
            self.assertEqual(set(acknowledged) - set(stored), set())
            for row in rows:
                self.assertEqual(len(blobs.get(row.blob_hash)), row.size)
            self.assertEqual((inbox.total_emails, indexed), (len(stored), len(stored)))
            # Each start of the writer may have committed one batch of three that it could not tell of.
            self.assertLessEqual(len(stored) - len(acknowledged), 3 * 4)
            sweep(store, keep_seconds=-10)
            self.assertEqual(set(blobs.untouched_since(time.time() + 60)), set(stored))
        finally:
            store.close()
