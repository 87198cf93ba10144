"""What docs/jmap.md says of first steps works as it stands there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live.daemon import ADDRESS, PASSWORD, ROOT, Daemon


class CurlTests(SynchronousTestCase):
    """The commands under "With curl"."""

    def test_walk(self) -> None:
        """Session, query, update, upload, import, download, push subscription, events and tickets, one by one."""
        if shutil.which("curl") is None:
            raise SkipTest("there is no curl on this machine")
        page = (ROOT / "docs" / "jmap.md").read_text()
        found = re.search(r"```sh\n(.*?)```", page, re.DOTALL)
        assert found is not None
        daemon = Daemon.start()
        self.addCleanup(daemon.close)
        daemon.deliver(b"From: bob@example.net\r\nSubject: The first\r\n\r\nHello.\r\n")
        script = found[1].replace("http://127.0.0.1:8080", daemon.base_url)
        script = script.replace("LOGIN=ada@example.org:PASSWORD", f"LOGIN='{ADDRESS}:{PASSWORD}'")
        script = script.replace("curl -sN", "curl -sN -m 1")  # these would not end
        steps = re.split(r"^(?=# )", script, flags=re.MULTILINE)
        done = subprocess.run(
            ["sh"],
            input="".join(f"{step.rstrip()}\necho @@\n" for step in steps),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        answers = [part.strip() for part in done.stdout.split("@@")]
        _, session, read, marked, imported, downloaded, pushed, events, _ = answers
        self.assertIn("A1", json.loads(session)["accounts"])
        self.assertEqual(json.loads(read)["methodResponses"][1][1]["list"][0]["subject"], "The first")
        self.assertEqual(json.loads(marked)["methodResponses"][0][1]["updated"], {"E1": None})
        self.assertEqual(list(json.loads(imported)["methodResponses"][0][1]["created"]), ["new"])
        self.assertEqual(downloaded, "From: bob@example.net\nSubject: From curl\n\nHello.")
        self.assertEqual(list(json.loads(pushed)["methodResponses"][0][1]["created"]), ["mine"])
        self.assertEqual(events.count(": waiting for changes"), 2)
