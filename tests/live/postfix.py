"""A Postfix of its own for a test: Debian's programs, a configuration and a queue in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.live.daemon import free_port

POSTFIX = "/usr/sbin/postfix"
_START_SECONDS = 30.0

# Debian's master.cf without what a delivery over loopback doesn't need; nothing is chrooted.
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup    unix n - n 1 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
tlsmgr    unix - - n 1000? 1 tlsmgr
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
lmtp      unix - - n - - lmtp
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""

_MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/spool
data_directory = {home}/data
maillog_file = {home}/mail.log
maillog_file_prefixes = {home}
myhostname = mx.example.net
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 192.0.2.0/24
default_transport = discard
"""


class PostfixFailed(AssertionError):
    """Postfix is missing, or didn't do what the test needs; the text has its log."""


class Postfix:
    """One running instance on a port of 127.0.0.1. `settings` are the lines that the test is about, as in main.cf."""

    def __init__(self, settings: str, *, port: int | None = None) -> None:
        if not os.access(POSTFIX, os.X_OK):
            raise PostfixFailed(
                f"{POSTFIX} is missing, and this test is about it: `apt-get install postfix` (no configuration)"
            )
        if os.geteuid() != 0:
            raise PostfixFailed("Postfix starts only as root: run this test as root, in a container for example")
        self.home = Path(tempfile.mkdtemp(prefix="stalwart-postfix-"))
        self.port = port or free_port()
        self._config = self.home / "conf"
        for name in ("conf", "spool", "data"):
            (self.home / name).mkdir()
        # Its programs run as the user postfix.
        self.home.chmod(0o755)
        shutil.chown(self.home / "data", "postfix")
        (self._config / "master.cf").write_text(_MASTER.format(port=self.port))
        (self._config / "main.cf").write_text(_MAIN.format(home=self.home) + settings)
        try:
            self._command("postfix", "-c", str(self._config), "start")
            self._wait("the start of its master", lambda: "daemon started" in self.log)
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        """Its log so far."""
        path = self.home / "mail.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def sendmail(self, message: bytes, *recipients: str, sender: str = "sender@example.net") -> None:
        """Hand in a message by the sendmail command."""
        self._command("sendmail", "-C", str(self._config), "-i", "-f", sender, *recipients, stdin=message)

    def wait_until_delivered(self, count: int, seconds: float = 30.0) -> None:
        """Wait until so many recipients were delivered by LMTP."""
        self._wait(f"{count} deliveries", lambda: self.log.count("status=sent") >= count, seconds)

    def wait_for_log(self, text: str) -> None:
        """Wait until the log has this text."""
        self._wait(f"{text!r} in the log", lambda: text in self.log)

    def flush(self) -> None:
        """Have it try the mail in its queue now."""
        self._command("postfix", "-c", str(self._config), "flush")

    def close(self) -> None:
        """Stop it and remove its folder."""
        if (self.home / "spool" / "pid" / "master.pid").exists():
            subprocess.run(
                ["/usr/sbin/postfix", "-c", str(self._config), "abort"], capture_output=True, timeout=30, check=False
            )
        shutil.rmtree(self.home, ignore_errors=True)

    def _command(self, name: str, *arguments: str, stdin: bytes = b"") -> None:
        done = subprocess.run(
            [f"/usr/sbin/{name}", *arguments], input=stdin, capture_output=True, timeout=60, check=False
        )
        if done.returncode:
            output = (done.stdout + done.stderr).decode(errors="replace")
            raise PostfixFailed(f"{name} {' '.join(arguments)}: exit code {done.returncode}\n{output}\n{self.log}")

    def _wait(self, what: str, done: Callable[[], bool], seconds: float = _START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise PostfixFailed(f"waited {seconds:.0f} s for {what}\n{self.log}")
            time.sleep(0.02)
