"""LMTP against the real daemon: a full disk, clients that leave too soon, a shutdown inside a message."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import ADDRESS, Daemon
from tests.live.jmap import query_text

OPENING = f"LHLO client.example\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<{ADDRESS}>\r\nDATA\r\n".encode()


class Client:
    """A client that says exactly what it is told."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(30)
        self.socket.connect(address)
        self._answers = self.socket.makefile("rb")
        self.expect(b"220")

    def send(self, octets: bytes) -> None:
        """Send octets as they are."""
        self.socket.sendall(octets)

    def expect(self, code: bytes) -> bytes:
        """The next answer, which must have this code."""
        line = self._answers.readline()
        while line[3:4] == b"-":
            line = self._answers.readline()
        assert line.startswith(code), f"{line!r} where {code!r} was wanted"
        return line

    def open_message(self) -> None:
        """Say everything up to the message."""
        self.send(OPENING)
        for code in (b"250", b"250", b"250", b"354"):
            self.expect(code)

    def ended(self) -> bool:
        """Whether the daemon closed the connection."""
        return self._answers.read() == b""

    def close(self) -> None:
        """Hang up."""
        self._answers.close()
        self.socket.close()


class LmtpTests(SynchronousTestCase):
    """What clients do."""

    def setUp(self) -> None:
        """Start the daemon."""
        self.daemon = Daemon.start()
        self.addCleanup(self.daemon.close)

    def test_accounts_come_and_go(self) -> None:
        """An account that another process makes, deletes and makes anew counts from the next recipient on."""
        client = self.connect()
        client.send(b"LHLO client.example\r\n")
        client.expect(b"250")

        def ask(code: bytes) -> None:
            for line, wanted in (
                (b"MAIL FROM:<s@example.net>", b"250"),
                (b"RCPT TO:<new@example.org>", code),
                (b"RSET", b"250"),
            ):
                client.send(line + b"\r\n")
                client.expect(wanted)

        for _ in range(2):
            ask(b"550")
            ask(b"550")
            self.daemon.create_account("new@example.org")
            ask(b"250")
            ask(b"250")
            self.daemon.admin("account", "delete", "new@example.org", "--yes")
        ask(b"550")

    def connect(self, address: tuple[str, int] | str | None = None) -> Client:
        """A client of the listener."""
        client = Client(address or ("127.0.0.1", self.daemon.lmtp_port))
        self.addCleanup(client.close)
        return client

    def wait_for_log(self, text: str) -> None:
        """Wait until the daemon wrote this."""
        deadline = time.monotonic() + 20
        while text not in self.daemon.log:
            assert time.monotonic() < deadline, f"no {text!r} in the log:\n{self.daemon.log}"
            time.sleep(0.02)

    def blobs(self) -> list[Path]:
        """The files of the blob store."""
        return [path for path in self.daemon.blobs_path.rglob("*") if path.is_file()]

    def test_over_a_unix_socket(self) -> None:
        """The Unix socket of the listener takes mail too, and the octets may come one at a time."""
        client = self.connect(str(self.daemon.lmtp_socket))
        client.open_message()
        for octet in b"Subject: drop by drop\r\n\r\n..\r\n.\r\n":
            client.send(bytes([octet]))
        self.assertRegex(client.expect(b"250"), rb"\A250 2\.0\.0 Stored, id [0-9a-zA-Z_-]+\r\n\Z")
        client.send(b"QUIT\r\n")
        client.expect(b"221")
        self.assertTrue(client.ended())
        self.assertEqual(query_text(self.daemon, ADDRESS, "drop"), 1)

    def test_hang_up_inside_a_message(self) -> None:
        """A client that leaves before the final dot leaves nothing: no message, no file."""
        before = self.blobs()
        client = self.connect()
        client.open_message()
        client.send(b"Subject: unfinished\r\n\r\n" + b"x" * 100_000)
        client.close()
        self.wait_for_log("hung up after")
        self.assertEqual(query_text(self.daemon, ADDRESS, "unfinished"), 0)
        self.assertEqual(self.blobs(), before)

    def test_smuggling(self) -> None:
        """A dot between lone line ends doesn't end a message: what is behind it is content, not commands."""
        client = self.connect()
        client.open_message()
        client.send(b"Subject: one message\r\n\r\n\n.\nMAIL FROM:<x@y>\r\n\n.\r\nDATA\r\n\r.\rsmuggled\r\n.\r\n")
        client.expect(b"250")
        client.send(b"QUIT\r\n")
        client.expect(b"221")
        self.assertEqual(query_text(self.daemon, ADDRESS, "smuggled"), 1)


class ShutdownTests(SynchronousTestCase):
    """SIGTERM."""

    def test_message_on_its_way(self) -> None:
        """A message that is arriving is still taken and answered; then the daemon leaves, and the mail is there.

        A second SIGTERM meanwhile changes nothing.
        """
        daemon = Daemon.start()
        self.addCleanup(daemon.close)
        busy, idle = Client(("127.0.0.1", daemon.lmtp_port)), Client(("127.0.0.1", daemon.lmtp_port))
        self.addCleanup(busy.close)
        self.addCleanup(idle.close)
        busy.open_message()
        busy.send(b"Subject: just in time\r\n\r\n")
        codes: list[int] = []
        stopping = threading.Thread(target=lambda: codes.append(daemon.stop()))
        stopping.start()
        idle.expect(b"421 4.3.2")
        self.assertTrue(idle.ended())
        os.kill(daemon.pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while "stopping already" not in daemon.log:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        busy.send(b"hello\r\n.\r\n")
        busy.expect(b"250 2.0.0")
        busy.expect(b"421 4.3.2")
        self.assertTrue(busy.ended())
        stopping.join(30)
        self.assertEqual(codes, [0])
        self.assertNotIn("Traceback", daemon.log)
        daemon.run()
        self.assertEqual(query_text(daemon, ADDRESS, "time"), 1)


class FullDiskTests(SynchronousTestCase):
    """A blob store without room."""

    def test_disk_full(self) -> None:
        """A message that doesn't fit any more gets a temporary refusal, and one that does is still taken.

        Where a small file system can be mounted (as root) the disk is really full, which is 452 4.3.1. Elsewhere the
        size of files is limited, which looks like trouble of another kind: 451 4.3.0.
        """
        daemon = Daemon.start()
        self.addCleanup(daemon.close)
        answer = b"452 4.3.1"
        if self.mount(daemon.blobs_path):
            daemon.stop()
            daemon.run()
        else:
            answer = b"451 4.3.0"
            limit = 4_000_000
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (limit, limit))
        small, large = b"Subject: small\r\n\r\nhello\r\n", b"Subject: large\r\n\r\n" + (b"x" * 998 + b"\r\n") * 5000
        self.assertTrue(daemon.deliver(small)[0].startswith(b"250"))
        self.assertTrue(daemon.deliver(large)[0].startswith(answer), daemon.log)
        self.assertTrue(daemon.deliver(small)[0].startswith(b"250"))
        self.assertEqual(query_text(daemon, ADDRESS, "large"), 0)
        self.assertEqual(query_text(daemon, ADDRESS, "small"), 2)
        self.assertEqual(list((daemon.blobs_path / "tmp").iterdir()), [])

    def mount(self, folder: Path) -> bool:
        """Put a file system of 2 MB over the folder, if this process may."""
        if os.geteuid() != 0 or shutil.which("mount") is None:
            return False
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(folder)], capture_output=True, check=False
        )
        if done.returncode:
            return False
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        return True
