"""How much and how long a client may take over one request, with the defaults."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the HTTP front. Times are seconds, sizes octets. They are looked at once a second."""

    head_seconds: float = 10.0
    """From the first octet of a request to the end of its header section; over it: 408."""

    idle_seconds: float = 60.0
    """Without a request on an open connection; over it the connection is closed."""

    body_seconds: float = 10.0
    """What a request body may take beside its size divided by `body_rate`; over it: 408."""

    body_rate: float = 1000.0
    """Octets per second that a client must send a request body at, on average."""

    stall_seconds: float = 60.0
    """How long a client may take nothing at all of an answer that waits for it."""

    linger_seconds: float = 5.0
    """After an answer that ends the connection, while what the client still sends is thrown away."""

    target_size: int = 8192
    """The request line (RFC 9112 §3 wants at least 8000); over it: 414."""

    head_size: int = 32_768
    """The request line and all header fields; over it: 431."""

    head_fields: int = 100
    """Header fields in one request; over it: 431."""

    drain_size: int = 65_536
    """The rest of a refused request's body that is read so that the connection can be kept."""

    pipeline_size: int = 16_384
    """What is read ahead while a request is being answered."""
