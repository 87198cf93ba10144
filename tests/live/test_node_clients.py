"""JMAP clients in JavaScript that nobody here wrote walk through the real daemon."""

from __future__ import annotations

import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import ADDRESS, PASSWORD, ROOT, Daemon

CLIENTS = Path(__file__).parent / "clients"
SAMPLE = ROOT / "etc" / "demo" / "mail"
SECONDS = 60


class NodeClientTests(SynchronousTestCase):
    """The programs in tests/live/clients, each with a daemon of its own that has the mail of `make run`."""

    def setUp(self) -> None:
        """A daemon with the sample mail."""
        self.daemon = Daemon.start()
        self.addCleanup(self.daemon.close)
        for mailbox in sorted(SAMPLE.iterdir()):
            self.daemon.admin("import", ADDRESS, str(mailbox), "--mailbox", mailbox.name)

    def walk(self, program: str) -> None:
        """The program reaches its end, and the daemon met nothing unexpected."""
        arguments = [f"{self.daemon.base_url}/jmap/session", ADDRESS, PASSWORD]
        done = subprocess.run(
            ["node", str(CLIENTS / program), *arguments], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        self.assertEqual(done.stdout, "walked\n", done.stderr + self.daemon.log)
        self.assertEqual(self.daemon.stop(), 0, self.daemon.log)
        self.assertNotIn("Traceback", self.daemon.log)

    def test_jam(self) -> None:
        """jmap-jam: login, list, read, search, snippets, keywords, move, upload, write, download, push, send."""
        self.walk("jam.mjs")

    def test_client_ts(self) -> None:
        """jmap-client-ts, all capabilities at once: login, list, read, search, keywords, move, create, send."""
        self.walk("client_ts.mjs")
