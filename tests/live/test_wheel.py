"""An ordinary installation from the built wheel works: plugin, data files and commands are in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests
from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import PASSWORD, ROOT, configuration, free_port

_SOURCES = ("stalwart", "twisted", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


class WheelTests(SynchronousTestCase):
    """Build, install into a fresh virtual environment, start."""

    def test_installed_daemon(self) -> None:
        """`pip install` of the wheel gives `stalwart` and `twistd stalwart`, which make a store and serve it."""
        with tempfile.TemporaryDirectory(prefix="stalwart-wheel-") as name:
            folder = Path(name)
            source = folder / "source"
            source.mkdir()
            for entry in _SOURCES:
                path = ROOT / entry
                if path.is_dir():
                    shutil.copytree(path, source / entry, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
                else:
                    shutil.copy(path, source / entry)
            environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

            def run(*command: str | Path, stdin: str | None = None) -> str:
                done = subprocess.run(
                    [str(part) for part in command],
                    cwd=folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                    input=stdin,
                    check=False,
                    timeout=300,
                )
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                return done.stdout

            run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "dist", source)
            [wheel] = (folder / "dist").glob("stalwart-*.whl")
            run(sys.executable, "-m", "venv", folder / "venv")
            run(folder / "venv/bin/python", "-m", "pip", "install", "--quiet", wheel)
            home = folder / "home"
            home.mkdir()
            config = home / "stalwart.toml"
            port = free_port()
            config.write_text(configuration(home, port, free_port()))
            stalwart = folder / "venv/bin/stalwart"
            self.assertIn("stalwart ", run(stalwart, "--version"))
            run(stalwart, "-c", config, "check")
            run(stalwart, "-c", config, "domain", "create", "example.org")
            run(
                *(stalwart, "-c", config, "account", "create", "ada@example.org", "--password-stdin"),
                stdin=PASSWORD + "\n",
            )
            daemon = subprocess.Popen(
                [folder / "venv/bin/twistd", "--nodaemon", "--pidfile=", "stalwart", "-c", config],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            try:
                deadline = time.monotonic() + 60
                while daemon.poll() is None and time.monotonic() < deadline:
                    try:
                        answer = requests.get(
                            f"http://127.0.0.1:{port}/jmap/session", auth=("ada@example.org", PASSWORD), timeout=10
                        )
                        self.assertEqual(answer.json()["username"], "ada@example.org")
                        page = requests.get(
                            f"http://127.0.0.1:{port}/login", headers={"Accept-Language": "de"}, timeout=10
                        )
                        self.assertIn("Anmelden", page.text)  # templates and catalogues are there
                        break
                    except requests.ConnectionError:
                        time.sleep(0.1)
                else:
                    self.fail("the installed daemon didn't answer")
            finally:
                daemon.terminate()
                output, _ = daemon.communicate(timeout=30)
            self.assertEqual(daemon.returncode, -signal.SIGTERM, output)
