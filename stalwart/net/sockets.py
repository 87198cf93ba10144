"""Listening sockets, bound with a listener's options: TCP over IPv4 and IPv6, and Unix sockets."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct

from stalwart.config import Listener, SocketOptions, TcpAddress, UnixAddress
from stalwart.net.unix import UNIX_MODE

_ADVICE = {
    errno.EADDRINUSE: "address already in use: stop the program that listens there, or choose another address",
    errno.EACCES: "permission denied: ports below 1024 need CAP_NET_BIND_SERVICE, a Unix socket a folder to write in",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EAFNOSUPPORT: "this machine has no such kind of address (is IPv6 switched off?)",
    errno.ENOENT: "the folder of the Unix socket does not exist",
    errno.ENOTDIR: "the folder of the Unix socket does not exist",
    errno.EINVAL: "the system refuses it; a link-local address needs its interface, as in [fe80::1%eth0]:8080",
    errno.ENODEV: "this machine has no such network interface",
    socket.EAI_NONAME: "this machine has no such network interface",
}


class ListenError(Exception):
    """An address can't be listened on; the text names the listener, the address and what to do."""

    def __init__(self, listener: str, address: object, reason: str) -> None:
        super().__init__(f'listener "{listener}": {address}: {reason}')


def open_sockets(listener: Listener) -> list[socket.socket]:
    """Bind and listen on all addresses of a listener; all or none. Raises ListenError."""
    sockets: list[socket.socket] = []
    for address in listener.bind:
        try:
            sockets.append(_open(address, listener.socket))
        except OSError as error:
            for opened in sockets:
                opened.close()
            reason = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
            raise ListenError(listener.id, address, reason) from error
    return sockets


def _open(address: TcpAddress | UnixAddress, options: SocketOptions) -> socket.socket:
    if isinstance(address, UnixAddress):
        family, target = socket.AF_UNIX, address.path
        remove_stale(address.path)
    else:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        target = (address.host, address.port)  # type: ignore[assignment]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _set_options(sock, family, options)
        if family == socket.AF_UNIX:
            umask = os.umask(0o777 & ~UNIX_MODE)
            try:
                sock.bind(target)
            finally:
                os.umask(umask)
        else:
            sock.bind(target)
        sock.listen(options.backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _set_options(sock: socket.socket, family: int, options: SocketOptions) -> None:
    """Set what accepted connections inherit, too: on Linux they take over all of these."""
    if options.send_buffer_size is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.send_buffer_size)
    if options.recv_buffer_size is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.recv_buffer_size)
    if options.linger is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, round(options.linger)))
    if family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, options.reuse_addr)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, options.reuse_port)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, options.nodelay)
    if family == socket.AF_INET6:
        # "[::]" takes IPv4 clients, too.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, False)
    if options.tos is not None:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, options.tos)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, options.tos)
    if options.ttl is not None:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, options.ttl)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, options.ttl)


def remove_stale(path: str) -> None:
    """Remove a Unix socket that a crashed process left behind; one that somebody listens on stays."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "there is a file of that name that is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except TimeoutError as error:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from error
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
