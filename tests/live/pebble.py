"""A CA of its own for a test: Debian's `pebble` and its DNS server, on free ports and in a temporary folder.

It validates for real: over HTTP at `http_port` and TLS at `tls_port` of 127.0.0.1, which is where every name leads.
Use it as a context manager, or with `addCleanup(pebble.close)`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import trustme

PEBBLE = "/usr/bin/pebble"
CHALLTESTSRV = "/usr/bin/pebble-challtestsrv"
_START_SECONDS = 30.0


class PebbleFailed(AssertionError):
    """Pebble is missing or didn't start; the text has what it printed."""


class Pebble:
    """A CA that can be killed and brought back; it then has forgotten everything, and has another root."""

    def __init__(
        self,
        *,
        validity_seconds: int = 7_776_000,
        external_accounts: Mapping[str, str] | None = None,
        reused_percent: int = 0,
        bad_nonce_percent: int = 0,
        http_port: int | None = None,
        tls_port: int | None = None,
    ) -> None:
        """Start it. `external_accounts` are MAC keys in base64url by kid; with them no account is made without one.

        `reused_percent` is how many of the valid authorizations are used again, `bad_nonce_percent` how many good
        nonces are refused. The ports are those that challenges are looked for at, free ones if they aren't given.
        """
        for program in (PEBBLE, CHALLTESTSRV):
            if not os.access(program, os.X_OK):
                raise PebbleFailed(f"{program} is missing: apt install pebble")
        unused_http, unused_tls, self.port, self.management_port, dns_port, records_port = _free_ports(6)
        self.http_port = http_port or unused_http
        self.tls_port = tls_port or unused_tls
        self.directory_url = f"https://127.0.0.1:{self.port}/dir"
        self._home = Path(tempfile.mkdtemp(prefix="stalwart-pebble-"))
        self._log_path = self._home / "pebble.log"
        self._dns = f"127.0.0.1:{dns_port}"
        self._environment = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_AUTHZREUSE": str(reused_percent),
            "PEBBLE_WFE_NONCEREJECT": str(bad_nonce_percent),
        }
        self._pebble: subprocess.Popen[bytes] | None = None
        self._resolver: subprocess.Popen[bytes] | None = None
        self._configure(validity_seconds, external_accounts or {})
        try:
            self._resolver = self._start(
                CHALLTESTSRV, "-dns01", self._dns, "-management", f"127.0.0.1:{records_port}",
                "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "",
            )  # fmt: skip
            self.run()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Pebble:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def log(self) -> str:
        """Everything that was printed so far, over all its starts."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    @property
    def validations(self) -> int:
        """How many challenges it has looked at."""
        return self.log.count("Pulled a task from the Tasks queue")

    def run(self) -> None:
        """Start the CA, which was killed, and wait until it answers."""
        if self._pebble is not None:
            raise PebbleFailed("pebble runs already")
        self._pebble = self._start(PEBBLE, "-config", str(self._home / "config.json"), "-dnsserver", self._dns)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self._management("/roots/0")
                return
            except OSError as error:
                if self._pebble.poll() is not None or time.monotonic() > deadline:
                    raise PebbleFailed(f"pebble doesn't answer: {error}\n{self.log}") from error
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the CA (SIGKILL); names are resolved as before."""
        _end(self._pebble)
        self._pebble = None

    def root(self) -> str:
        """PEM of the root that vouches for what is issued; another one after each start."""
        return self._management("/roots/0").decode("ascii")

    def close(self) -> None:
        """End both processes and remove the folder."""
        self.kill()
        _end(self._resolver)
        self._resolver = None
        shutil.rmtree(self._home, ignore_errors=True)

    def _configure(self, validity_seconds: int, external_accounts: Mapping[str, str]) -> None:
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        pair = authority.issue_cert("127.0.0.1", "localhost", key_type=trustme.KeyType.ECDSA)
        self.ca_bundle = authority.cert_pem.bytes().decode("ascii")
        """PEM of the root that the CA's own listener is to be checked against."""
        self.ca_bundle_path = self._home / "ca.pem"
        self.ca_bundle_path.write_text(self.ca_bundle)
        pair.cert_chain_pems[0].write_to_path(str(self._home / "api.pem"))
        pair.private_key_pem.write_to_path(str(self._home / "api.key"))
        settings = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management_port}",
            "certificate": str(self._home / "api.pem"),
            "privateKey": str(self._home / "api.key"),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(external_accounts),
            "externalAccountMACKeys": dict(external_accounts),
            "certificateValidityPeriod": validity_seconds,
        }
        (self._home / "config.json").write_text(json.dumps({"pebble": settings}))

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with self._log_path.open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=self._home,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _management(self, path: str) -> bytes:
        context = ssl.create_default_context(cadata=self.ca_bundle)
        url = f"https://127.0.0.1:{self.management_port}{path}"
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            body: bytes = answer.read()
            return body


def _free_ports(count: int) -> list[int]:
    """Different TCP ports of 127.0.0.1 that nobody listened on a moment ago."""
    with ExitStack() as open_ones:
        probes = [open_ones.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.send_signal(signal.SIGKILL)
        process.wait()
