"""Where a message for a domain goes: to the relay, or to the mail exchangers of the domain."""

from __future__ import annotations

from typing import Literal
from typing import Protocol as Shape

import msgspec

from stalwart.config import RelaySettings
from stalwart.delivery.outgoing import Kind
from stalwart.delivery.replies import Reply, reply
from stalwart.delivery.smtp_commands import Credentials
from stalwart.delivery.smtp_replies import one_line

TargetTls = Literal["required", "offered", "none", "implicit"]
"""As `stalwart.delivery.smtp.Tls`, and TLS from the first octet on."""


class Tlsa(msgspec.Struct, frozen=True, kw_only=True):
    """A TLSA record (RFC 6698 §2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A server to try. `addresses` are IP addresses in the order to try them; empty: those of `host`.

    `names`: what a certificate must be for, empty if any will do. With `tlsa` one of these records must fit instead,
    and the first name is where they were found.
    """

    host: str
    port: int
    tls: TargetTls
    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    tlsa: tuple[Tlsa, ...] = ()
    credentials: Credentials | None = None


class RouteFailed(Exception):
    """There is no server to be tried, for now or for good."""

    def __init__(self, kind: Kind, reply: Reply) -> None:
        super().__init__(one_line(reply))
        self.kind = kind
        self.reply = reply


class Routes(Shape):
    """Where messages go."""

    async def find(self, destination: str) -> tuple[Target, ...]:
        """The servers to try for a domain (A-labels), the best first, at least one. Raises RouteFailed."""


class RelayRoute:
    """Everything goes to the relay."""

    def __init__(self, settings: RelaySettings) -> None:
        assert settings.host is not None, "there is no relay"
        tls: TargetTls = "required" if settings.tls == "starttls" else settings.tls
        sign_in = settings.credentials
        self._targets = (
            Target(
                host=settings.host,
                port=settings.effective_port,
                tls=tls,
                names=() if tls == "none" else (settings.host,),
                credentials=sign_in and Credentials(username=sign_in[0], secret=sign_in[1].reveal()),
            ),
        )

    async def find(self, destination: str) -> tuple[Target, ...]:
        """See `Routes`."""
        return self._targets


class NoRoute:
    """Nothing is set up."""

    async def find(self, destination: str) -> tuple[Target, ...]:
        """See `Routes`."""
        text = "This server isn't set up to send mail to others: set relay.host or relay.direct"
        raise RouteFailed("temporary", reply(451, "4.3.5", text))
