"""The daemon as a process: what a person sees when it starts, can't start, and stops."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live.daemon import ADDRESS, PASSWORD, Daemon, configuration, environment, free_port

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


class ProcessTests(SynchronousTestCase):
    """`twistd stalwart` from outside."""

    def setUp(self) -> None:
        """A folder; short, since it holds a Unix socket."""
        import tempfile

        folder = tempfile.TemporaryDirectory(prefix="stalwart-")
        self.addCleanup(folder.cleanup)
        self.home = Path(folder.name)

    def twistd(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run twistd to its end."""
        return subprocess.run(
            [*TWISTD, *arguments],
            cwd=self.home,
            env={**environment(), **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_help_and_version(self) -> None:
        """`twistd stalwart --help` explains the option; `twistd --help` lists the command."""
        shown = self.twistd("stalwart", "--help")
        self.assertEqual(shown.returncode, 0)
        self.assertIn("--config", shown.stdout)
        self.assertIn("stalwart", self.twistd("--help").stdout)

    def test_bad_configuration(self) -> None:
        """All errors on standard error, exit code 1, no traceback."""
        path = self.home / "bad.toml"
        path.write_text('[server.listener.http]\nprotocol = "gopher"\nbind = "nowhere"\nbnid = 1\n')
        for arguments, variables in (
            (("-n", "stalwart", "-c", str(path)), {}),
            (("-n", "stalwart"), {"STALWART_CONFIG": str(path)}),
            (("stalwart", "--config", str(path)), {}),
        ):
            done = self.twistd(*arguments, **variables)
            self.assertEqual(done.returncode, 1)
            for wanted in ("gopher", "nowhere", "bnid", "bind", f"{path}:2", f"{path}:3", f"{path}:4"):
                self.assertIn(wanted, done.stderr)
            self.assertNotIn("Traceback", done.stdout + done.stderr)

    def test_terminal_without_unicode(self) -> None:
        """The admin command prints names that the terminal can't show as escapes."""
        path = self.home / "stalwart.toml"
        path.write_text(configuration(self.home, free_port(), free_port()))
        shown = [
            subprocess.run(
                [sys.executable, "-c", "from stalwart.cli.main import main; main()", "-c", str(path), *arguments],
                env={**environment(), "PYTHONIOENCODING": "iso-8859-1"},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for arguments in (
                ("domain", "create", "example.org"),
                ("account", "create", ADDRESS, "--name", "\u65e5"),
                ("account", "list"),
            )
        ]
        self.assertIn("\\u65e5", shown[2])

    def test_missing_configuration(self) -> None:
        """A file that was named and isn't there is an error, not a reason for defaults."""
        done = self.twistd("-n", "stalwart", "-c", str(self.home / "none.toml"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("none.toml", done.stderr)

    def test_port_in_use(self) -> None:
        """A port in use names the listener and the address, in the foreground and as a daemon; exit code 1."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            path = self.home / "stalwart.toml"
            path.write_text(configuration(self.home, port, free_port()))
            done = self.twistd("--nodaemon", "--pidfile=", "stalwart", "-c", str(path))
            self.assertEqual(done.returncode, 1)
            self.assertNotIn("Traceback", done.stdout + done.stderr)
            for wanted in ("http", f"127.0.0.1:{port}", "in use"):
                self.assertIn(wanted, done.stderr)
            done = self.twistd("--pidfile", str(self.home / "pid"), "stalwart", "-c", str(path))
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"127.0.0.1:{port}", done.stderr)

    def test_second_daemon_is_refused(self) -> None:
        """A second daemon on the same store leaves with 1 and says who has it; the first is not disturbed."""
        with Daemon.start(self.home) as first:
            path = self.home / "second.toml"
            path.write_text(configuration(self.home, free_port(), free_port()).replace("lmtp.sock", "second.sock"))
            done = self.twistd("--nodaemon", "--pidfile=", "stalwart", "-c", str(path))
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"process {first.pid}", done.stderr)
            self.assertIn("in use", done.stderr)
            self.assertNotIn("Traceback", done.stdout + done.stderr)
            self.assertEqual(requests.get(f"{first.base_url}/healthz/ready", timeout=10).status_code, 200)

    def test_room_for_connections(self) -> None:
        """A low limit of open files is raised, so that the promised connections find descriptors."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            daemon = Daemon.start(self.home)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.addCleanup(daemon.close)
        limits = Path(f"/proc/{daemon.pid}/limits").read_text()
        found = re.search(r"Max open files +(\d+)", limits)
        assert found is not None, limits
        self.assertGreaterEqual(int(found[1]), min(hard, 2 * 8192))

    def test_defaults(self) -> None:
        """Without a configuration it serves HTTP and LMTP on loopback and keeps its data in $STALWART_HOME."""
        if Path("/etc/stalwart/stalwart.toml").exists():
            raise SkipTest("this machine has a /etc/stalwart/stalwart.toml")
        for port in (8080, 8024):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    self.fail(f"this test needs 127.0.0.1:{port}, and something listens there")
        process = subprocess.Popen(
            [*TWISTD, "--nodaemon", "--pidfile=", "stalwart"],
            cwd=self.home,
            env={**environment(), "STALWART_HOME": str(self.home / "data")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    answer = requests.get("http://127.0.0.1:8080/healthz/ready", timeout=10)
                    break
                except requests.ConnectionError:
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.05)
            self.assertEqual(answer.status_code, 200)
            with socket.create_connection(("127.0.0.1", 8024), timeout=10) as lmtp:
                self.assertEqual(lmtp.recv(100)[:4], b"220 ")
            self.assertTrue((self.home / "data" / "stalwart.sqlite").exists())
            self.assertEqual(os.stat(self.home / "data").st_mode & 0o077, 0)
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=30)
        # twistd ends by the signal that it was sent, once all is closed.
        self.assertEqual(process.returncode, -signal.SIGTERM, output)
        self.assertIn("stopped", output)
        self.assertNotIn("Traceback", output)

    def test_stop_lets_a_running_request_finish(self) -> None:
        """SIGTERM during an upload: the listener closes, the upload is answered, the exit code is 0."""
        with Daemon.start(self.home) as daemon:
            session = requests.get(f"{daemon.base_url}/jmap/session", auth=(ADDRESS, PASSWORD), timeout=10).json()
            account = session["primaryAccounts"]["urn:ietf:params:jmap:mail"]
            sent = threading.Event()
            go_on = threading.Event()

            def body() -> Iterator[bytes]:
                yield b"first half, "
                sent.set()
                go_on.wait(20)
                yield b"second half"

            answers: list[requests.Response] = []

            def upload() -> None:
                url = session["uploadUrl"].replace("{accountId}", account)
                answers.append(requests.post(url, data=body(), auth=(ADDRESS, PASSWORD), timeout=30))

            thread = threading.Thread(target=upload)
            thread.start()
            self.assertTrue(sent.wait(20))
            stopping = threading.Thread(target=daemon.stop)
            time.sleep(0.3)  # the first half is on its way to the daemon
            stopping.start()
            self.assertTrue(_refused_within(daemon.http_port, 5))
            go_on.set()
            thread.join(30)
            stopping.join(30)
            self.assertTrue(answers[0].ok, daemon.log)
            self.assertEqual(answers[0].json()["size"], len(b"first half, second half"))

    def test_signals(self) -> None:
        """SIGHUP and SIGUSR1 end nothing, SIGUSR1 begins a new log file."""
        path = self.home / "stalwart.toml"
        port = free_port()
        path.write_text(configuration(self.home, port, free_port()))
        log = self.home / "t.log"
        process = subprocess.Popen(
            [*TWISTD, "--nodaemon", "--pidfile=", f"--logfile={log}", "stalwart", "-c", str(path)],
            cwd=self.home,
            env=environment(),
        )
        self.addCleanup(process.kill)
        self.wait_until(lambda: log.exists() and "is ready" in log.read_text())
        process.send_signal(signal.SIGUSR1)
        self.wait_until(lambda: "is ready" in Path(f"{log}.1").read_text() if Path(f"{log}.1").exists() else False)
        log.rename(self.home / "moved")
        process.send_signal(signal.SIGUSR1)
        self.wait_until(log.exists)
        process.send_signal(signal.SIGHUP)
        self.wait_until(lambda: "SIGHUP" in log.read_text())
        process.terminate()
        process.wait(30)
        self.assertIn("stopped", log.read_text())
        self.assertNotIn("Traceback", log.read_text())

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the daemon does."""
        deadline = time.monotonic() + 30
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_damaged_database(self) -> None:
        """A file that is no database is named, in the foreground and in a daemon's log; exit code 1, no traceback."""
        (self.home / "data").mkdir()
        (self.home / "data" / "stalwart.sqlite").write_bytes(b"no database" * 1000)
        path = self.home / "stalwart.toml"
        path.write_text(configuration(self.home, free_port(), free_port()))
        done = self.twistd("--nodaemon", "--pidfile=", "stalwart", "-c", str(path))
        self.assertEqual(done.returncode, 1)
        self.assertIn("stalwart.sqlite: this file is not a SQLite database", done.stderr)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        done = self.twistd("--pidfile", str(self.home / "pid"), "stalwart", "-c", str(path))
        self.assertEqual(done.returncode, 1)
        log = (self.home / "twistd.log").read_text()
        self.assertIn("stalwart.sqlite: this file is not a SQLite database", log)
        self.assertNotIn("sqlalchemy", log)

    def test_log_that_can_not_be_opened(self) -> None:
        """A log file in a folder that isn't there: one sentence, exit code 1."""
        done = self.twistd("--logfile", str(self.home / "none" / "log"), "stalwart")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(
            done.stderr, f"stalwart: can't write the log {self.home}/none/log: No such file or directory\n"
        )

    def test_log_without_a_reader(self) -> None:
        """A full disk under the log, or a standard output that was closed, stops neither the start nor the service."""
        path = self.home / "stalwart.toml"
        for output in ("> /dev/full", ">&-"):
            port = free_port()
            path.write_text(configuration(self.home, port, free_port()))
            command = f'exec "$@" {output}'
            process = subprocess.Popen(
                ["/bin/sh", "-c", command, "sh", *TWISTD, "--nodaemon", "--pidfile=", "stalwart", "-c", str(path)],
                cwd=self.home,
                env=environment(),
            )
            self.addCleanup(process.kill)
            self.wait_until(lambda: _accepts(port))  # noqa: B023 - called before the next turn
            for _ in range(3):
                self.assertEqual(requests.get(f"http://127.0.0.1:{port}/healthz/ready", timeout=10).status_code, 200)
            process.terminate()
            self.assertEqual(process.wait(30), -signal.SIGTERM)

    def test_admin_command_beside_the_daemon(self) -> None:
        """An account made, a password changed and mail imported while the daemon runs count at once."""
        with Daemon.start(self.home) as daemon:
            url = f"{daemon.base_url}/jmap/session"
            daemon.admin_program("account", "create", "late@example.org", "--password-stdin", stdin=PASSWORD + "\n")
            self.assertEqual(requests.get(url, auth=("late@example.org", PASSWORD), timeout=10).status_code, 200)
            daemon.admin_program("account", "passwd", "late@example.org", "--password-stdin", stdin="another\n")
            self.assertEqual(requests.get(url, auth=("late@example.org", PASSWORD), timeout=10).status_code, 401)
            self.assertEqual(requests.get(url, auth=("late@example.org", "another"), timeout=10).status_code, 200)
            self.assertEqual(daemon.deliver(b"Subject: x\r\n\r\nx\r\n", ["late@example.org"])[0][:3], b"250")
            daemon.admin_program("account", "delete", "late@example.org", "--yes")
            self.assertEqual(requests.get(url, auth=("late@example.org", "another"), timeout=10).status_code, 401)

    def test_log_holds_no_secret(self) -> None:
        """Passwords, tokens in queries and message text never reach the log, at the most talkative level."""
        with Daemon.start(self.home) as daemon:
            daemon.stop()
            daemon.config_path.write_text('log-level = "trace"\n' + daemon.config_path.read_text())
            daemon.run()
            requests.get(f"{daemon.base_url}/jmap/session?token=qverysecret", auth=(ADDRESS, PASSWORD), timeout=10)
            requests.get(f"{daemon.base_url}/jmap/session", auth=(ADDRESS, "wverysecret"), timeout=10)
            headers = {"Authorization": "Bearer bverysecret"}
            answer = requests.get(f"{daemon.base_url}/jmap/session", headers=headers, timeout=10)
            daemon.deliver(b"Subject: sverysecret\r\n\r\nmverysecret\r\n")
            daemon.stop()
            self.assertNotIn("verysecret", daemon.log)
            self.assertNotIn(PASSWORD, daemon.log)
            self.assertIn(answer.headers["X-Request-Id"], daemon.log)
            self.assertIn(ADDRESS, daemon.log)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _refused_within(port: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        time.sleep(0.05)
    return False
