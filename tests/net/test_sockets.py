"""Listening sockets: options, errors that say what to do, Unix sockets left behind."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import Listener, SocketOptions, TcpAddress, UnixAddress
from stalwart.net import ListenError
from stalwart.net.sockets import open_sockets

_ANY = TcpAddress(host="127.0.0.1", port=0)


class Sockets(SynchronousTestCase):
    """`open_sockets`."""

    def opened(
        self, bind: Sequence[TcpAddress | UnixAddress], options: SocketOptions | None = None
    ) -> list[socket.socket]:
        """The sockets of a listener, closed after the test."""
        listener = Listener(id="x", protocol="http", bind=tuple(bind), socket=options or SocketOptions())
        sockets = open_sockets(listener)
        for sock in sockets:
            self.addCleanup(sock.close)
        return sockets

    def refused(self, bind: Sequence[TcpAddress | UnixAddress]) -> str:
        """The text of the error."""
        return str(self.assertRaises(ListenError, self.opened, bind))

    def test_options(self) -> None:
        """Every option is set on the socket."""
        options = SocketOptions(
            reuse_port=True, send_buffer_size=70_000, recv_buffer_size=80_000, tos=16, ttl=33, linger=5.0
        )
        (sock,) = self.opened([_ANY], options)
        for level, option, least in (
            (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
            (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1),
            (socket.SOL_SOCKET, socket.SO_SNDBUF, 70_000),
            (socket.SOL_SOCKET, socket.SO_RCVBUF, 80_000),
            (socket.IPPROTO_IP, socket.IP_TOS, 16),
            (socket.IPPROTO_IP, socket.IP_TTL, 33),
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        ):
            self.assertGreaterEqual(sock.getsockopt(level, option), least)
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8), b"\1\0\0\0\5\0\0\0")

    def test_switched_off(self) -> None:
        """Options that are on can be off."""
        (sock,) = self.opened([_ANY], SocketOptions(reuse_addr=False, nodelay=False))
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR), 0)
        self.assertEqual(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 0)

    def test_dual_stack(self) -> None:
        """`[::]` takes IPv4 clients too."""
        (sock,) = self.opened([TcpAddress(host="::", port=0)])
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 0)
        with socket.create_connection(("127.0.0.1", sock.getsockname()[1]), timeout=5):
            pass

    def test_in_use(self) -> None:
        """A port in use is told with the listener and the address, and the other sockets are closed."""
        (sock,) = self.opened([_ANY])
        taken = TcpAddress(host="127.0.0.1", port=sock.getsockname()[1])
        text = self.refused([_ANY, taken])
        self.assertIn(f'listener "x": {taken}: address already in use', text)

    def test_not_here(self) -> None:
        """An address of another machine can't be listened on."""
        self.assertIn("this machine has no such address", self.refused([TcpAddress(host="192.0.2.1", port=0)]))

    def test_link_local(self) -> None:
        """A link-local address must name an interface, and one that is there."""
        self.assertIn("needs its interface", self.refused([TcpAddress(host="fe80::1", port=0)]))
        self.assertIn("no such network interface", self.refused([TcpAddress(host="fe80::1%none9", port=0)]))

    def test_unix(self) -> None:
        """A Unix socket is for the owner and the group."""
        path = os.path.join(os.path.abspath(self.mktemp()))
        self.opened([UnixAddress(path=path)])
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o660)

    def test_unix_in_use(self) -> None:
        """One that somebody listens on is left alone."""
        path = os.path.abspath(self.mktemp())
        self.opened([UnixAddress(path=path)])
        self.assertIn("address already in use", self.refused([UnixAddress(path=path)]))
        self.assertTrue(os.path.exists(path))

    def test_unix_left_behind(self) -> None:
        """One that nobody listens on any more is replaced."""
        path = os.path.abspath(self.mktemp())
        with socket.socket(socket.AF_UNIX) as crashed:
            crashed.bind(path)
        self.opened([UnixAddress(path=path)])
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)

    def test_unix_other_file(self) -> None:
        """A file of that name which is no socket is never removed."""
        path = os.path.abspath(self.mktemp())
        with open(path, "w") as file:
            file.write("precious")
        self.assertIn("not a socket", self.refused([UnixAddress(path=path)]))
        self.assertTrue(os.path.exists(path))

    def test_unix_no_folder(self) -> None:
        """A missing folder is named as such."""
        folder = os.path.abspath(self.mktemp())
        text = "the folder of the Unix socket does not exist"
        self.assertIn(text, self.refused([UnixAddress(path=f"{folder}/x")]))
        with open(folder, "w"):
            self.assertIn(text, self.refused([UnixAddress(path=f"{folder}/x")]))
