"""`twistd stalwart -c old.yml`: a file of 2022 runs the real daemon."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time

import requests
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live.daemon import environment, free_port

_TWISTD = "from twisted.scripts.twistd import run; run()"
_LMTP_PORT = 8024  # an old file can't name another


class OldFileTests(SynchronousTestCase):
    """With nothing but the old file, and a place for data."""

    def test_it_just_works(self) -> None:
        """Address, port, CORS, log level and caches of the file take effect; mail comes in by the default listener."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", _LMTP_PORT))
            except OSError:
                raise SkipTest(f"port {_LMTP_PORT} is taken on this machine") from None
        port = free_port()
        with tempfile.TemporaryDirectory() as home:
            path = os.path.join(home, "old.yml")
            with open(path, "w") as file:
                file.write(f"jmap-bind-addr: 127.0.0.9\njmap-port: {port}\nlog-level: error\ncache-size-ids: 1000000\n")
            command = [sys.executable, "-c", _TWISTD, "--nodaemon", "--pidfile=", "stalwart", "-c", path]
            with subprocess.Popen(
                command,
                cwd=home,
                env=environment() | {"STALWART_HOME": os.path.join(home, "data")},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process:
                try:
                    answer = _get(process, f"http://127.0.0.9:{port}/healthz/live")
                    metrics = requests.get(f"http://127.0.0.9:{port}/metrics/prometheus", timeout=30).text
                    with socket.create_connection(("127.0.0.1", _LMTP_PORT), timeout=30) as wire:
                        greeting = wire.recv(1000)
                finally:
                    process.terminate()
                    output = process.communicate(timeout=30)[0]
            self.assertTrue(os.path.exists(os.path.join(home, "data", "stalwart.sqlite")))
        self.assertEqual((answer.status_code, answer.headers["Access-Control-Allow-Origin"]), (200, "*"), output)
        self.assertTrue(greeting.startswith(b"220 "), greeting)
        for name in ("ids", "recipients", "sharings", "acl"):
            self.assertIn(f'stalwart_cache_bytes{{cache="{name}"}} 0.0', metrics)
        self.assertEqual(output, "")


def _get(process: subprocess.Popen[str], url: str) -> requests.Response:
    """The answer, once the daemon listens."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return requests.get(url, headers={"Origin": "https://webmail.example"}, timeout=30)
        except requests.ConnectionError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
