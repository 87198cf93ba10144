"""A daemon's AcmeService in memory: time is a Clock, the CA an object, blocking work is done in place."""

from __future__ import annotations

import datetime
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from stalwart.config import AcmeProvider
from stalwart.ops.metrics import Metrics
from stalwart.tls.acme.errors import AcmeError
from stalwart.tls.acme.lease import Lease
from stalwart.tls.acme.resources import Authorization, Challenge, Identifier, Order, RenewalInfo
from stalwart.tls.acme.service import AcmeService
from stalwart.tls.credentials import Issued
from tests.tls.acme.fake_root import Root

NOW = 2_000_000_000.0
CA = "https://ca.example/dir"


class Pool:
    """Runs blocking work in place; it may fail as a disk does."""

    def run(self, function: Any) -> Deferred[Any]:
        """As a pool of threads does, but now."""
        return maybeDeferred(function)


class Front:
    """What TLS listeners serve."""

    def __init__(self) -> None:
        self.issued: list[Issued] = []
        self.changes = 0

    def set_issued(self, certificates: Sequence[Issued]) -> None:
        """Serve these."""
        self.issued = list(certificates)
        self.changes += 1

    def names(self) -> list[str]:
        """The names that there is a certificate for."""
        return [each.name for each in self.issued]


class Responder:
    """An IResponder that remembers what it answers."""

    def __init__(self, challenge_type: str) -> None:
        self.challenge_type = challenge_type
        self.answers: dict[str, str] = {}
        self.log: list[str] = []

    def start_responding(self, server_name: str, challenge: Any, response: Any) -> None:
        """Answer for a token."""
        self.answers[challenge.encode("token")] = response.key_authorization
        self.log.append(f"start {server_name}")

    def stop_responding(self, server_name: str, challenge: Any, response: Any) -> None:
        """Answer no longer."""
        del self.answers[challenge.encode("token")]
        self.log.append(f"stop {server_name}")


class MemoryCa:
    """A client and its CA in one. `faults` are raised by the next orders for a name; `hold` keeps them waiting."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._root = Root()
        self._orders: dict[str, list[str]] = {}
        self.orders: list[tuple[str, str | None]] = []
        self.faults: dict[str, list[BaseException]] = {}
        self.refused: dict[str, AcmeError] = {}
        self.hold: Deferred[None] | None = None
        self.running = 0
        self.most_running = 0
        self.lifetime = datetime.timedelta(days=90)
        self.valid_already = False
        self.offered: tuple[str, ...] = ("dns-01", "http-01", "tls-alpn-01")
        self.info: RenewalInfo | AcmeError | None = None
        self.asked = 0
        self.seen: list[str] = []
        self.responder: Responder | None = None
        self.terms_url: str | AcmeError = "https://ca.example/terms"
        self.ahead = 0.0

    async def terms(self) -> str | None:
        """Where the terms are."""
        if isinstance(self.terms_url, AcmeError):
            raise self.terms_url
        return self.terms_url

    async def new_order(self, names: Sequence[str], *, replaces: str | None = None) -> Order:
        """An order with one authorization."""
        (name,) = names
        self.orders.append((name, replaces))
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            if self.hold is not None:
                waiting: Deferred[None] = Deferred()
                self.hold.addCallback(lambda _: waiting.callback(None) if not waiting.called else None)
                await waiting
            if self.faults.get(name):
                raise self.faults[name].pop(0)
        finally:
            self.running -= 1
        return Order(
            status="pending",
            identifiers=[Identifier(type="dns", value=name)],
            authorizations=[f"https://ca.example/authz/{name}"],
            finalize="https://ca.example/finalize",
            url="https://ca.example/order",
        )

    async def authorization(self, url: str) -> Authorization:
        """Pending with challenges, or valid already."""
        name = url.rpartition("/")[2]
        challenges = [
            Challenge(type=kind, url=f"https://ca.example/{name}", status="pending", token=token_of(name))
            for kind in self.offered
        ]
        return Authorization(
            status="valid" if self.valid_already else "pending",
            identifier=Identifier(type="dns", value=name),
            challenges=challenges,
            url=url,
        )

    async def respond(self, challenge: Challenge) -> Challenge:
        """Look at what the responder answers."""
        assert self.responder is not None
        self.seen.append(self.responder.answers[str(challenge.token)])
        name = challenge.url.rpartition("/")[2]
        if name in self.refused and self.refused[name].type == "respond":
            raise self.refused[name]
        return challenge

    async def wait_for_authorization(self, url: str) -> Authorization:
        """Valid, unless the name is refused."""
        name = url.rpartition("/")[2]
        if name in self.refused:
            raise self.refused[name]
        return await self.authorization(url)

    async def finalize(self, order: Order, request: x509.CertificateSigningRequest) -> Order:
        """Issue."""
        now = datetime.datetime.fromtimestamp(NOW + self.ahead + self._clock.seconds(), datetime.UTC)
        certificate = self._root.issue(request, self.lifetime, now=now)
        self.chain = certificate.public_bytes(Encoding.PEM) + self._root.certificate.public_bytes(Encoding.PEM)
        return order

    async def certificate(self, order: Order) -> bytes:
        """The chain."""
        return self.chain

    async def renewal_info(self, certificate: x509.Certificate) -> RenewalInfo | None:
        """What is set."""
        self.asked += 1
        if isinstance(self.info, AcmeError):
            raise self.info
        return self.info


def provider(*domains: str, **more: Any) -> AcmeProvider:
    """A provider that agrees to the terms."""
    fields: dict[str, Any] = {"id": "le", "directory": CA, "contact": ("mailto:a@example.org",), "agree_to_terms": True}
    return AcmeProvider(domains=domains, **{**fields, **more})


def token_of(name: str) -> str:
    """The token of a name's challenges."""
    return "t" * 22 + name.replace(".", "-")


class Daemon:
    """One process. Several may have one `folder`."""

    def __init__(self, folder: str, *providers: AcmeProvider, clock: Clock | None = None, machine: str = "m") -> None:
        self.clock = clock or Clock()
        self.wall = NOW  # at the clock's zero
        self.ca = MemoryCa(self.clock)
        self.front = Front()
        self.metrics = Metrics("")
        self.responders: dict[str, Responder] = {}
        self.before_order: Callable[[AcmeProvider, str], Awaitable[None]] | None = None
        self.looks_beside = 0
        self._folder, self._providers, self._machine = folder, providers, machine

    def start(self) -> Daemon:
        """Run."""
        os.makedirs(self._folder, exist_ok=True)
        self.service = AcmeService(
            self._providers,
            os.path.join(self._folder, "stalwart.sqlite"),
            self.clock,
            pool=Pool(),
            front=self.front,
            responders=self._make_responders,
            metrics=self.metrics,
            make_client=lambda provider, key: self.ca,
            before_order=self.before_order,
            look_beside=self._look_beside,
            clock=self.now,
            random=lambda: 0.0,
            lease=lambda path, shared: Lease(
                path, shared=shared, monotonic=self.clock.seconds, machine=self._machine, lock=lambda _: None
            ),
        )
        self.service.startService()
        self.clock.advance(0)
        return self

    def _look_beside(self) -> None:
        self.looks_beside += 1

    def now(self) -> float:
        """The wall clock."""
        return self.wall + self.clock.seconds()

    def run(self, seconds: float) -> None:
        """Time goes on, in steps of a second."""
        self.clock.pump([1.0] * int(seconds))

    def days(self, days: float) -> None:
        """Time goes on, in steps of an hour."""
        self.clock.pump([3600.0] * int(days * 24))

    def metric(self, name: str, label: str) -> float:
        """A counter of the registry."""
        key = "reason" if "failures" in name else "outcome"
        return self.metrics.registry.get_sample_value(name, {key: label}) or 0.0

    def _make_responders(self, provider: AcmeProvider, folder: str) -> Sequence[Any]:
        made = [Responder(kind) for kind in ("http-01", "tls-alpn-01")]
        self.responders = {each.challenge_type: each for each in made}
        self.ca.responder = self.responders[provider.challenge]
        return made
