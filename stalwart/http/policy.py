"""The gate that every request passes before it is routed, and what it may look at."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

import msgspec

ACME_CHALLENGES = b"/.well-known/acme-challenge/"
"""What lies below is judged only by a rule that names it."""


class ListenerContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a request may know of the listener that it came in by."""

    id: str
    protocol: str = "http"
    tls: bool = False


class PolicyRequest(Protocol):
    """The part of a request that a policy decides on. Path and addresses are already normalised."""

    @property
    def listener(self) -> ListenerContext:
        """The listener that took the connection."""

    @property
    def client_address(self) -> str:
        """The client's IP address in canonical form; "unix" for a Unix socket."""

    @property
    def peer_address(self) -> str:
        """The address of the socket's other end, which may be a proxy's."""

    @property
    def peer_is_loopback(self) -> bool:
        """Whether a process of this machine asks for itself; nothing that was forwarded makes it so."""

    @property
    def scheme(self) -> str:
        """`https` or `http`, as the client used it."""

    @property
    def authority(self) -> str:
        """The host and maybe port that the client asked for, without the scheme's default port; '' for none."""

    @property
    def client_port(self) -> int:
        """The client's port; 0 for a Unix socket."""

    @property
    def local_address(self) -> str:
        """The IP address that the client connected to, or the path of the Unix socket."""

    @property
    def local_port(self) -> int:
        """The port that the client connected to; 0 for a Unix socket."""

    @property
    def tls_client_subject(self) -> str:
        """The subject of the certificate that the client showed on this connection, by RFC 4514; '' for none."""

    @property
    def method(self) -> bytes:
        """The method as it was sent."""

    @property
    def uri(self) -> bytes:
        """The request target as it was sent, with its query."""

    @property
    def path(self) -> bytes:
        """The normalised path, percent-encoded where it must be: the same octets that are routed."""

    @property
    def header_fields(self) -> Sequence[tuple[bytes, bytes]]:
        """All header fields in the order sent, names in lower case."""


class Policy(Protocol):
    """Decides whether a request may go on. Asked for every request: also OPTIONS, health, ACME, each HTTP/2 stream."""

    def decide(self, request: PolicyRequest) -> int | Coroutine[Any, Any, int]:
        """200 lets the request go on; any other status is the refusal. An exception refuses with 500.

        A coroutine gives the status later: the request waits, its body is not read, and the coroutine is cancelled
        if the client leaves.
        """


class AllowAll:
    """The policy of a server without rules."""

    def decide(self, request: PolicyRequest) -> int:
        """Always 200."""
        return 200
