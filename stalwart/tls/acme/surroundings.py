"""What the providers of a daemon have in common, passed in from where the daemon is put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from stalwart.config import AcmeProvider
from stalwart.ops.metrics import Metrics
from stalwart.tls.acme.engine import Client
from stalwart.tls.acme.resources import RenewalInfo
from stalwart.tls.acme.store import RunsInThread


class FullClient(Client, Protocol):
    """The part of `AcmeClient` that is used."""

    async def terms(self) -> str | None:
        """Where the terms of service are."""

    async def renewal_info(self, certificate: x509.Certificate) -> RenewalInfo | None:
        """When the CA wants a renewal."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What all providers of a daemon have in common.

    `clock` is the wall clock, `random` gives numbers from 0 up to 1; `before_order` may only warn, its failures are
    logged. `look_beside` is called in a thread with each look at a provider with tls-alpn-01.
    """

    reactor: Any
    pool: RunsInThread
    metrics: Metrics
    clock: Callable[[], float]
    random: Callable[[], float]
    make_client: Callable[[AcmeProvider, ec.EllipticCurvePrivateKey], FullClient]
    responders: Callable[[AcmeProvider, str], Sequence[Any]]
    before_order: Callable[[AcmeProvider, str], Awaitable[None]] | None
    look_beside: Callable[[], None] | None = None
