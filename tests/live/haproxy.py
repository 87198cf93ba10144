"""An HAProxy of its own for a test: Debian's program with a configuration in a temporary folder."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

HAPROXY = "/usr/sbin/haproxy"
_START_SECONDS = 30.0


class HaproxyFailed(AssertionError):
    """HAProxy is missing, refused its configuration, or finds a server down; the text has what it printed."""


class Haproxy:
    """HAProxy with this configuration, to which a socket for its state is added. Use it as a context manager."""

    def __init__(self, home: Path, configuration: str) -> None:
        if not os.access(HAPROXY, os.X_OK):
            raise HaproxyFailed(f"{HAPROXY} is missing: apt install haproxy")
        self._state = home / "haproxy.sock"
        self._log = home / "haproxy.log"
        path = home / "haproxy.cfg"
        path.write_text(f"global\n    stats socket {self._state} mode 600\n{configuration}")
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [HAPROXY, "-db", "-f", str(path)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def __enter__(self) -> Haproxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def checks(self) -> Mapping[str, str]:
        """The outcome of the last health check of each server, by its backend, once every server had one.

        Such as `L4OK` and `L7OK`, see "check_status" in HAProxy's management guide, 9.1.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            found = self._last_checks() if self._state.exists() else {}
            if found and all(status not in ("", "INI") and not status.startswith("* ") for status in found.values()):
                return found
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise HaproxyFailed(f"no outcome of all checks, but {found}\n{self._log.read_text(errors='replace')}")
            time.sleep(0.05)

    def _last_checks(self) -> dict[str, str]:
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(10)
            try:
                wire.connect(str(self._state))
            except (FileNotFoundError, ConnectionRefusedError):
                return {}
            wire.sendall(b"show stat\n")
            text = b""
            while piece := wire.recv(65536):
                text += piece
        rows = csv.DictReader(text.decode().removeprefix("# ").splitlines())
        return {row["pxname"]: row["check_status"] for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")}
