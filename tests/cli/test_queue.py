"""`stalwart queue …`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from stalwart.cli.main import stalwart
from stalwart.store import FsBlobs, NewMessage, NewRecipient, Store, enqueue, get_queue_message, queue


class QueueCommandTests(SynchronousTestCase):
    """Over a store of its own with two messages: one to two recipients, one for later."""

    def setUp(self) -> None:
        """Make them."""
        root = Path(self.mktemp()).absolute()
        root.mkdir(parents=True)
        self.config = root / "stalwart.toml"
        self.config.write_text(
            '[storage]\ndata = "db"\nblob = "b"\n'
            f'[store.db]\ntype = "sqlite"\npath = "{root}/mail.sqlite"\n'
            f'[store.b]\ntype = "fs"\npath = "{root}/blobs"\n'
        )
        self.store = Store.open(
            str(root / "mail.sqlite"), FsBlobs(str(root / "blobs")), clock=time.time, exclusive=False
        )
        self.addCleanup(self.store.close)
        self.first = self.put("a@example.net", "b@example.net")
        self.later = self.put("c@example.net", not_before=int(time.time()) + 3600)

    def put(self, *addresses: str, not_before: int | None = None) -> int:
        """Queue a message."""
        with self.store.write() as s:
            return enqueue(
                s,
                NewMessage(
                    account_id=None,
                    blob_hash="x",
                    size=2048,
                    return_path="jane@example.org",
                    recipients=tuple(NewRecipient(address=each) for each in addresses),
                    not_before=not_before,
                ),
            )

    def run_queue(self, *arguments: str) -> Result:
        """`stalwart queue ARGUMENTS`."""
        return CliRunner().invoke(stalwart, ["-c", str(self.config), "queue", *arguments])

    def fine(self, *arguments: str) -> str:
        """The output of a command that has to succeed."""
        result = self.run_queue(*arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.output

    def listed(self, *options: str) -> list[dict[str, Any]]:
        """What `list --json` prints."""
        listed: list[dict[str, Any]] = json.loads(self.fine("list", "--json", *options))
        return listed

    def test_list(self) -> None:
        """Each message that waits is a line with size, sender, recipients and when it goes."""
        head, first, later = self.fine("list").splitlines()
        self.assertTrue(head.startswith("ID"))
        self.assertIn("2.0 KiB  jane@example.org  a@example.net and 1 more  due", first)
        self.assertIn("c@example.net             next 2", later)
        self.assertEqual([row["id"] for row in self.listed()], [self.first, self.later])
        self.assertRegex(self.listed()[0]["created_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_show(self) -> None:
        """A message is shown with each recipient; one that isn't there is an error that says where to look."""
        output = self.fine("show", str(self.first))
        self.assertIn("from:        jane@example.org", output)
        self.assertIn("b@example.net  queued  0", output)
        shown = json.loads(self.fine("show", "--json", str(self.first)))
        self.assertEqual([each["address"] for each in shown["recipients"]], ["a@example.net", "b@example.net"])
        result = self.run_queue("show", "99")
        self.assertIn("message 99 is not in the queue", str(result.exception))

    def test_hold_and_release(self) -> None:
        """A held message is shown so, and goes when it is released; --all takes all that are held."""
        self.assertEqual(self.fine("hold", "--all"), f"message {self.first} is held\nmessage {self.later} is held\n")
        self.assertEqual([row["is_held"] for row in self.listed()], [True, True])
        self.assertIn("held", self.fine("list"))
        self.fine("release", str(self.first))
        self.assertEqual(self.fine("release", "--all"), f"message {self.later} is released\n")
        self.assertEqual([row["is_held"] for row in self.listed()], [False, False])

    def test_retry(self) -> None:
        """What was to go later is due at once."""
        self.assertIn("is tried now", self.fine("retry", str(self.later)))
        self.assertTrue(self.fine("list").splitlines()[2].endswith("due"))

    def test_cancel(self) -> None:
        """A canceled message is gone from the list, and shown with --all; canceling it again is an error."""
        self.fine("cancel", str(self.first))
        self.assertEqual([row["id"] for row in self.listed()], [self.later])
        self.assertEqual(self.listed("--all")[0]["recipients"][0]["status"], "canceled")
        self.assertIn("2 canceled", self.fine("list", "--all"))
        result = self.run_queue("cancel", str(self.first), str(self.later))
        self.assertEqual(result.exit_code, 1)
        self.assertIn(f"message {self.first} is done", result.output)
        self.assertIn(f"message {self.later} is canceled", result.output)

    def test_under_way(self) -> None:
        """Whoever cancels while an attempt is under way is told that it goes on."""
        with self.store.write() as s:
            recipients = [each.id for each in get_queue_message(s, self.first).recipients]
            queue.begin(s, self.first, recipients[:1])
        self.assertIn("being sent", self.fine("list"))
        self.assertIn("an attempt is under way", self.fine("cancel", str(self.first)))

    def test_pause(self) -> None:
        """A paused queue says so when it is listed."""
        self.fine("pause")
        self.assertIn("the queue is paused", self.fine("list"))
        self.fine("resume")
        self.assertNotIn("paused", self.fine("list"))

    def test_usage(self) -> None:
        """Neither ids nor --all, or both, is a usage error."""
        self.assertEqual(self.run_queue("retry").exit_code, 2)
        self.assertEqual(self.run_queue("cancel", "1", "--all").exit_code, 2)

    def test_empty(self) -> None:
        """An empty queue says so."""
        self.fine("cancel", "--all")
        self.assertIn("the queue is empty", self.fine("list"))
        self.assertEqual(self.listed(), [])
