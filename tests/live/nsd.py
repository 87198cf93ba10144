"""An NSD of its own for a test: Debian's authoritative DNS server with zones in a temporary folder."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import dns.exception
import dns.message
import dns.query

NSD = "/usr/sbin/nsd"
CHECKZONE = "/usr/sbin/nsd-checkzone"
_START_SECONDS = 30.0

_SERVER = """\
server:
    ip-address: 127.0.0.1@{port}
    username: ""
    chroot: ""
    pidfile: ""
    database: ""
    zonesdir: "{home}"
    zonelistfile: "{home}/zone.list"
    xfrdfile: "{home}/xfrd.state"
    xfrdir: "{home}"
    server-count: 1
    rrl-ratelimit: 0
remote-control:
    control-enable: no
"""


class NsdFailed(AssertionError):
    """NSD is missing, doesn't start, or refuses a zone; the text has what it printed."""


class Nsd:
    """NSD on a port of 127.0.0.1, over UDP and TCP. Use it as a context manager.

    `zones` are the records by the zone's name; for an empty text there is no file, so that NSD answers SERVFAIL.
    Names in no zone are REFUSED, as by a server that a domain is delegated to by mistake.
    """

    def __init__(self, home: Path, zones: Mapping[str, str]) -> None:
        if not os.access(NSD, os.X_OK):
            raise NsdFailed(f"{NSD} is missing: apt install nsd")
        self.port = _free_port()
        self._log = home / "nsd.log"
        configuration = _SERVER.format(port=self.port, home=home)
        for name, text in zones.items():
            configuration += f'zone:\n    name: "{name}"\n    zonefile: "{name}.zone"\n'
            if text:
                (home / f"{name}.zone").write_text(text)
        path = home / "nsd.conf"
        path.write_text(configuration)
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [NSD, "-d", "-c", str(path)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def __enter__(self) -> Nsd:
        deadline = time.monotonic() + _START_SECONDS
        question = dns.message.make_query("example.org", "SOA")
        while True:
            try:
                dns.query.udp(question, "127.0.0.1", timeout=0.2, port=self.port)
            except (dns.exception.Timeout, OSError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._stop()
                    raise NsdFailed(f"no answer\n{self._log.read_text(errors='replace')}") from None
                continue
            return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def check_zone(home: Path, name: str, text: str) -> str:
    """What `nsd-checkzone` says of a zone; NsdFailed if it isn't good."""
    path = home / "checked.zone"
    path.write_text(text)
    done = subprocess.run([CHECKZONE, name, str(path)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NsdFailed(done.stdout + done.stderr)
    return done.stdout


def _free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago, over UDP and TCP."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            try:
                datagrams.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
