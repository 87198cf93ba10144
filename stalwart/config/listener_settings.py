"""The settings of listeners: `server.listener.<id>`, with what they fall back on under `server`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stalwart.config.kinds import Duration, ListenAddress, Network, Protocol, whole
from stalwart.config.schema import Group, Key
from stalwart.config.tls_settings import TlsOptions


class SocketOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is set on a listener's sockets and on the connections they accept."""

    reuse_addr: Annotated[
        bool,
        Key(
            name="reuse-addr",
            doc="Bind although connections of an earlier process are still in TIME_WAIT (`SO_REUSEADDR`).",
            example="true",
            inherited=True,
        ),
    ] = True
    reuse_port: Annotated[
        bool,
        Key(
            name="reuse-port",
            doc="Let other processes bind the same address and share its connections (`SO_REUSEPORT`).",
            example="false",
            inherited=True,
        ),
    ] = False
    send_buffer_size: Annotated[
        Annotated[int, whole(1, 2**31 - 1, "octets")] | None,
        Key(
            name="send-buffer-size",
            doc="The kernel's send buffer of a connection (`SO_SNDBUF`). Not set: the system's choice.",
            example="262144",
            inherited=True,
        ),
    ] = None
    recv_buffer_size: Annotated[
        Annotated[int, whole(1, 2**31 - 1, "octets")] | None,
        Key(
            name="recv-buffer-size",
            doc="The kernel's receive buffer of a connection (`SO_RCVBUF`). Not set: the system's choice.",
            example="262144",
            inherited=True,
        ),
    ] = None
    tos: Annotated[
        Annotated[int, whole(0, 255)] | None,
        Key(
            name="tos",
            doc="The type of service octet of outgoing packets (`IP_TOS`, `IPV6_TCLASS`).",
            example="16",
            inherited=True,
        ),
    ] = None
    ttl: Annotated[
        Annotated[int, whole(1, 255)] | None,
        Key(
            name="ttl",
            doc="The time to live of outgoing packets, in hops (`IP_TTL`, `IPV6_UNICAST_HOPS`).",
            example="64",
            inherited=True,
        ),
    ] = None
    linger: Annotated[
        Duration | None,
        Key(
            name="linger",
            doc="How long closing a connection waits for unsent data (`SO_LINGER`). "
            "Not set: the system sends it in the background.",
            example='"10s"',
            inherited=True,
        ),
    ] = None
    backlog: Annotated[
        Annotated[int, whole(1, 1_000_000)],
        Key(
            name="backlog",
            doc="How many connections may wait to be accepted; the system may set a lower limit (`somaxconn`).",
            example="1024",
            inherited=True,
        ),
    ] = 1024
    nodelay: Annotated[
        bool,
        Key(
            name="nodelay",
            doc="Send small pieces at once instead of collecting them (`TCP_NODELAY`).",
            example="true",
            inherited=True,
        ),
    ] = True


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses that one service is offered on."""

    id: str
    protocol: Annotated[
        Protocol,
        Key(
            name="protocol",
            doc="What is spoken: `http` serves JMAP and everything beside it, `lmtp` takes in mail. "
            "`https` is read as `http` and does not switch on TLS; `tls.implicit` does.",
            example='"http"',
        ),
    ]
    bind: Annotated[
        tuple[ListenAddress, ...],
        Key(
            name="bind",
            doc="Where to listen: one or several of `ip:port`, `[v6]:port` and `unix:/path`. `[::]:443` listens on all "
            "addresses, IPv4 too; port 0 takes any free port. Two listeners cannot have the same address.",
            example='["192.0.2.1:443", "[2001:db8::1]:443"]',
        ),
    ]
    tls_implicit: Annotated[
        bool,
        Key(
            name="tls.implicit",
            doc="TLS from the first octet on, with the certificates under `certificate`.",
            example="true",
            inherited=True,
        ),
    ] = False
    tls: Annotated[
        TlsOptions, Group(name="tls", doc="How TLS is spoken, by `tls.implicit`.", inherited=True, reloaded=True)
    ] = TlsOptions()
    max_connections: Annotated[
        Annotated[int, whole(1, 10_000_000)],
        Key(
            name="max-connections",
            doc="How many connections may be open at the same time; further ones are closed at once.",
            example="8192",
            inherited=True,
            reloaded=True,
        ),
    ] = 8192
    proxy_trusted_networks: Annotated[
        tuple[Network, ...],
        Key(
            name="proxy.trusted-networks",
            doc="The addresses and networks of proxies that speak the PROXY protocol (version 1 or 2) to this "
            "listener. Connections from there must begin with its header, which tells the client's address; in those "
            "from elsewhere it is not looked for. The peer of a Unix socket belongs to loopback. An empty array: none, "
            "whatever `server.proxy.trusted-networks` says.",
            example='["192.0.2.7", "10.0.0.0/8"]',
            inherited=True,
            may_be_empty=True,
            reloaded=True,
        ),
    ] = ()
    socket: Annotated[SocketOptions, Group(name="socket", doc="Options of the listener's sockets.", inherited=True)] = (
        SocketOptions()
    )
