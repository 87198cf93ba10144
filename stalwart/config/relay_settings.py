"""The settings of mail on its way out: through a relay, or directly to the recipients' servers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from stalwart.config.kinds import HostAddress, Hostname, SecretText, bounded_duration, whole
from stalwart.config.schema import Key
from stalwart.config.secret import Secret

RelayTls = Literal["starttls", "implicit", "none"]
_PORTS: dict[RelayTls, int] = {"starttls": 587, "implicit": 465, "none": 25}

# RFC 5321 §4.5.3.2 has up to ten minutes; a peer that needs longer needs a repair.
_Wait = Annotated[float, bounded_duration(1.0, 1800.0)]


class RelaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table `relay`. Times are in seconds."""

    host: Annotated[
        Hostname | None,
        Key(
            name="host",
            doc="The server that takes all mail for others and brings it on: a mail transfer agent of your own, or "
            "that of your provider. Not set: mail leaves only with `relay.direct`.",
            example='"smtp.example.net"',
        ),
    ] = None
    port: Annotated[
        Annotated[int, whole(1, 65535)] | None,
        Key(
            name="port",
            doc="The relay's port. Not set: 587 with `starttls`, 465 with `implicit`, 25 with `none`.",
            example="2525",
        ),
    ] = None
    tls: Annotated[
        RelayTls,
        Key(
            name="tls",
            doc="How the connection to the relay is encrypted: `starttls` after its greeting, `implicit` from the "
            "first octet on, or `none`. With the first two its certificate must be for `relay.host` and from an "
            "authority that this system trusts, else nothing is sent. `none` is for a relay on this machine.",
            example='"implicit"',
        ),
    ] = "starttls"
    username: Annotated[
        str | None,
        Key(name="auth.username", doc="The name to sign in with at the relay.", example='"mail@example.org"'),
    ] = None
    secret: Annotated[
        SecretText | None,
        Key(
            name="auth.secret",
            doc="The password of `relay.auth.username`. AUTH PLAIN and AUTH LOGIN are known.",
            example='"%{file:/etc/stalwart/relay.secret}%"',
        ),
    ] = None
    direct: Annotated[
        bool,
        Key(
            name="direct",
            doc="Bring mail to the recipients' own servers, those that the MX records of their domains name, over TLS "
            "wherever it is offered; where a domain says so by MTA-STS (or by DANE, see `relay.dnssec-resolver`), over "
            "TLS that is checked or not at all. Has no effect with `relay.host`. Many networks block port 25, and many "
            "servers take no mail from addresses without a reverse name.",
            example="true",
        ),
    ] = False
    dnssec_resolver: Annotated[
        HostAddress | None,
        Key(
            name="dnssec-resolver",
            doc="The IP address of a DNS server (port 53) that validates DNSSEC and that nobody can come in between, "
            "best one on this machine. What it says is authentic is believed, and DANE (RFC 7672) is used with "
            "`relay.direct`. Not set: the system's servers are asked, and DANE is not used.",
            example='"127.0.0.1"',
        ),
    ] = None
    allow_private_addresses: Annotated[
        bool,
        Key(
            name="allow-private-addresses",
            doc="With `relay.direct`, bring mail to addresses of private networks too, and fetch MTA-STS policies from "
            "there and from this machine. Whoever owns a domain says which addresses its servers have: switched on, "
            "this server connects to whatever they name in your network.",
            example="true",
        ),
    ] = False
    timeout_connect: Annotated[
        _Wait, Key(name="timeout.connect", doc="How long a connection and its TLS handshake may take.", example='"1m"')
    ] = 30.0
    timeout_command: Annotated[
        _Wait,
        Key(
            name="timeout.command", doc="How long a server may take to greet, and to answer a command.", example='"2m"'
        ),
    ] = 300.0
    timeout_content: Annotated[
        _Wait,
        Key(
            name="timeout.content",
            doc="How long a server may take none of the octets of a message that are on their way to it.",
            example='"1m"',
        ),
    ] = 180.0
    timeout_final: Annotated[
        _Wait,
        Key(
            name="timeout.final",
            doc="How long a server may take to answer when it has the whole message. If this is too short, mail "
            "arrives twice.",
            example='"15m"',
        ),
    ] = 600.0

    @property
    def effective_port(self) -> int:
        """The relay's port."""
        return self.port or _PORTS[self.tls]

    @property
    def credentials(self) -> tuple[str, Secret] | None:
        """Name and password for the relay, None if it needs none."""
        if self.username is None or self.secret is None:
            return None
        return self.username, self.secret
