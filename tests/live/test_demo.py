"""`make run`: what a person meets first."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live.daemon import ROOT, environment, free_port

_BIN = Path(sys.executable).parent


class DemoTests(SynchronousTestCase):
    """The script behind `make run`, in a folder and on ports of its own."""

    def setUp(self) -> None:
        """A copy of the script and of its mail."""
        if not all((_BIN / name).exists() for name in ("stalwart", "twistd")):
            raise SkipTest(f"`stalwart` and `twistd` are not installed in {_BIN}")
        self.root = Path(tempfile.mkdtemp(prefix="stalwart-demo-"))
        self.addCleanup(shutil.rmtree, self.root)
        shutil.copytree(ROOT / "etc" / "demo", self.root / "etc" / "demo")
        self.script = self.root / "etc" / "demo" / "run.py"
        text = self.script.read_text()
        for port in ("8080", "8443", "8024"):
            text = text.replace(port, str(free_port()))
        self.script.write_text(text)

    def start(self) -> tuple[subprocess.Popen[str], str]:
        """Run it until the server is ready; the process, and what it printed."""
        process = subprocess.Popen(
            [sys.executable, self.script],
            cwd=self.root,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if " is ready: " in line:
                return process, printed
        raise AssertionError(printed)

    def curl(self, line: str) -> dict[str, object]:
        """What a printed line gives when it is pasted into a shell."""
        done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True, timeout=60)
        answer: dict[str, object] = json.loads(done.stdout)
        return answer

    def test_twice(self) -> None:
        """The printed lines work when pasted; the second start goes on with what is there, the password too."""
        process, printed = self.start()
        session, mailboxes = re.findall(r"^  (curl .*)$", printed, re.MULTILINE)
        self.assertEqual(self.curl(session)["username"], "ada@example.org")
        before = self.curl(mailboxes)["methodResponses"]
        self.assertIn('"Inbox"', json.dumps(before))
        process.terminate()
        process.communicate(timeout=30)
        found = re.search(r"password   (\S+)   \(shown this once\)", printed)
        assert found is not None
        _, printed = self.start()
        self.assertNotIn("shown this once", printed)
        again = re.findall(r"^  (curl .*)$", printed, re.MULTILINE)[1]
        self.assertIn("-u 'ada@example.org' ", again)  # curl asks for the password
        self.assertEqual(
            self.curl(again.replace("example.org'", f"example.org:{found[1]}'", 1))["methodResponses"], before
        )
