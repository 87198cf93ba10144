"""The real daemon in a process of its own, for tests that need one: start it, talk to it, stop it, kill it.

`Daemon.start()` writes a configuration into a temporary folder, makes an account, starts `twistd -n stalwart`
and returns when the listeners answer. Use it as a context manager, or with `addCleanup(daemon.close)`.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType

from click.testing import CliRunner, Result

from stalwart.auth import Passwords
from stalwart.cli.main import stalwart
from stalwart.store import FsBlobs, Store, create_account, create_domain

ROOT = Path(__file__).resolve().parents[2]
HOSTNAME = "mail.example.org"
ADDRESS = "jane@example.org"
PASSWORD = "correct horse battery staple"
START_SECONDS = 60.0
STOP_SECONDS = 20.0

_TWISTD = "from twisted.scripts.twistd import run; run()"
_ADMIN = "from stalwart.cli.main import main; main()"


class DaemonFailed(AssertionError):
    """The daemon didn't start, died, or didn't stop; the text ends with its log."""


class AdminFailed(AssertionError):
    """The admin command left with another exit code than 0; the text has what it printed."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has, and that no process with tests is given again while this one runs.

    It isn't one of those that the kernel hands out itself, on Linux from 32768 on: until a daemon listens there, it
    could become another's. What reserves it is the name of a Unix socket, which the kernel frees with the process.
    """
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reservation, socket.socket() as probe:
            try:
                reservation.bind(f"\0stalwart-test-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            reservation.detach()
            return port


def environment() -> dict[str, str]:
    """The environment for a process that is to find this working copy, its plugin included."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STALWART_")}
    kept["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
    kept["PYTHONUNBUFFERED"] = "1"
    return kept


def configuration(home: Path, http_port: int, lmtp_port: int, extra: str = "") -> str:
    """One http and one lmtp listener on loopback, LMTP also on the Unix socket `home/lmtp.sock`."""
    return f"""\
[server]
hostname = "{HOSTNAME}"

[server.listener.http]
protocol = "http"
bind = "127.0.0.1:{http_port}"

[server.listener.lmtp]
protocol = "lmtp"
bind = ["127.0.0.1:{lmtp_port}", "unix:{home}/lmtp.sock"]

[store.data]
type = "sqlite"
path = "{home}/data/stalwart.sqlite"

[store.blobs]
type = "fs"
path = "{home}/data/blobs"

[storage]
data = "data"
blob = "blobs"
fts = "data"
{extra}"""


class Daemon:
    """A daemon with a folder of its own. It can be stopped or killed, and started again on what is there."""

    def __init__(self, home: Path, *, extra_config: str = "") -> None:
        self.home = home
        self.http_port = free_port()
        self.lmtp_port = free_port()
        self.lmtp_socket = home / "lmtp.sock"
        self.config_path = home / "stalwart.toml"
        self.database_path = home / "data" / "stalwart.sqlite"
        self.blobs_path = home / "data" / "blobs"
        self.address = ADDRESS
        self.password = PASSWORD
        self._log_path = home / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._remove_home = False
        self._domains: set[str] = set()
        (home / "data").mkdir(parents=True, exist_ok=True)
        self.config_path.write_text(configuration(home, self.http_port, self.lmtp_port, extra_config))

    @classmethod
    def start(cls, home: Path | None = None, *, accounts: Iterable[str] = (ADDRESS,), extra_config: str = "") -> Daemon:
        """A running daemon with these accounts, each with the password `PASSWORD`.

        Without `home` it gets a temporary folder, which `close` removes. `extra_config` is TOML that is put
        after the configuration, so it starts with a table of its own.
        """
        daemon = cls(home or Path(tempfile.mkdtemp(prefix="stalwart-live-")), extra_config=extra_config)
        daemon._remove_home = home is None
        try:
            daemon._make_accounts(list(accounts))
            daemon.run()
        except BaseException:
            daemon.close()
            raise
        return daemon

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        """Where HTTP is served, without a slash at the end."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def pid(self) -> int:
        """The process id of the running daemon."""
        if self._process is None:
            raise DaemonFailed("the daemon is not running")
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything that the daemon printed so far, over all its starts."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def run(self) -> None:
        """Start the process and wait until every listener accepts connections."""
        if self._process is not None:
            raise DaemonFailed("the daemon runs already")
        command = [
            sys.executable,
            "-c",
            _TWISTD,
            "--nodaemon",
            "--pidfile=",
            "stalwart",
            "-c",
            str(self.config_path),
        ]
        with self._log_path.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self.home,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        addresses: list[tuple[str, int] | str] = [
            ("127.0.0.1", self.http_port),
            ("127.0.0.1", self.lmtp_port),
            str(self.lmtp_socket),
        ]
        deadline = time.monotonic() + START_SECONDS
        while addresses:
            if _accepts(addresses[0]):
                addresses.pop(0)
                continue
            code = self._process.poll()
            if code is not None:
                self._process = None
                raise DaemonFailed(f"the daemon left with code {code} while it started\n{self.log}")
            if time.monotonic() > deadline:
                self.kill()
                raise DaemonFailed(f"{addresses[0]} didn't answer in {START_SECONDS:.0f} s\n{self.log}")
            time.sleep(0.02)

    def stop(self) -> int:
        """Ask it to leave (SIGTERM) and return its exit code.

        twistd, when all services have stopped, ends itself by the signal that it got; that is 0 here.
        """
        if self._process is None:
            raise DaemonFailed("the daemon is not running")
        self._process.terminate()
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DaemonFailed(f"the daemon didn't stop in {STOP_SECONDS:.0f} s\n{self.log}") from None
        self._process = None
        return 0 if code == -signal.SIGTERM else code

    def kill(self) -> None:
        """`kill -9`: it gets no chance to finish anything."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End the process if it runs, and remove the folder if it was made here."""
        self.kill()
        if self._remove_home:
            shutil.rmtree(self.home, ignore_errors=True)

    def command(self, *arguments: str, stdin: str = "") -> Result:
        """Run `stalwart ARGUMENTS` on this daemon's configuration: exit code and output.

        It runs in this process, beside the daemon's; one of its own would take a second to import everything.
        """
        done = CliRunner().invoke(stalwart, ["--config", str(self.config_path), *arguments], input=stdin)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    def admin(self, *arguments: str, stdin: str = "") -> str:
        """Run a command as `command` does, which has to succeed; what it printed."""
        done = self.command(*arguments, stdin=stdin)
        if done.exit_code:
            raise AdminFailed(f"stalwart {' '.join(arguments)}: exit code {done.exit_code}\n{done.output}")
        return done.stdout

    def admin_program(self, *arguments: str, stdin: str = "") -> str:
        """The same by the entry point of the program, in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-c", _ADMIN, "--config", str(self.config_path), *arguments],
            cwd=self.home,
            env=environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise AdminFailed(
                f"stalwart {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def create_account(self, address: str, *options: str) -> None:
        """Make an account with the password `PASSWORD` by the admin command, and its domain if that isn't there."""
        domain = address.rpartition("@")[2]
        if domain not in self._domains:
            self.admin("domain", "create", domain)
            self._domains.add(domain)
        self.admin("account", "create", address, "--password-stdin", *options, stdin=PASSWORD + "\n")

    def _make_accounts(self, addresses: Sequence[str]) -> None:
        """Make the first accounts in this process, which is quicker than the admin command."""
        self._domains.update(address.rpartition("@")[2] for address in addresses)
        password_hash = Passwords().hash(PASSWORD)
        store = Store.open(str(self.database_path), FsBlobs(str(self.blobs_path)), clock=time.time, exclusive=False)
        with closing(store), store.write() as session:
            for domain in sorted(self._domains):
                create_domain(session, domain)
            for address in addresses:
                create_account(session, address, password_hash=password_hash)

    def deliver(
        self, message: bytes, recipients: Sequence[str] = (ADDRESS,), sender: str = "sender@example.net"
    ) -> list[bytes]:
        """Deliver a message by LMTP over TCP; the final answer for each recipient. RCPT must accept all."""
        with smtplib.LMTP("127.0.0.1", self.lmtp_port, timeout=60) as client:
            client.ehlo_or_helo_if_needed()
            _expect(250, client.mail(sender))
            for recipient in recipients:
                _expect(250, client.rcpt(recipient))
            # smtplib reads one answer after DATA; LMTP gives one per recipient (RFC 2033 §4.2).
            answers = [_as_line(client.data(message))]
            answers += [_as_line(client.getreply()) for _ in recipients[1:]]
        return answers


def _expect(wanted: int, reply: tuple[int, bytes]) -> None:
    if reply[0] != wanted:
        raise AssertionError(f"LMTP answered {_as_line(reply)!r} where {wanted} was wanted")


def _as_line(reply: tuple[int, bytes]) -> bytes:
    return b"%d %s" % reply


def _accepts(address: tuple[str, int] | str) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(address)
        except OSError:
            return False
        return True
