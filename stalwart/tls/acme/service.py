"""Orders and renews the certificates of all `acme.<id>` while the daemon runs, and has them served.

Nothing here holds up the start, and no failure of a CA stops anything but the renewal of its certificates.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.logger import Logger

from stalwart.config import AcmeProvider
from stalwart.ops.metrics import Metrics
from stalwart.tls.acme.client import AcmeClient
from stalwart.tls.acme.failures import AcmeFailure
from stalwart.tls.acme.folder import StoreFolder, store_path
from stalwart.tls.acme.jws import ExternalAccount
from stalwart.tls.acme.lease import Lease
from stalwart.tls.acme.provider import NameStatus, ProviderService
from stalwart.tls.acme.store import RunsInThread
from stalwart.tls.acme.surroundings import FullClient, Surroundings
from stalwart.tls.acme.transport import checked_agent
from stalwart.tls.credentials import BadCertificate, Issued

_log = Logger(namespace="stalwart.acme")

# Shorter than txacme waits for an authorization, so that it is the client that says what it waited for.
_OPERATION_SECONDS = 240.0


class TakesIssued(Protocol):
    """What serves certificates, such as `stalwart.tls.Certificates`."""

    def set_issued(self, certificates: Sequence[Issued]) -> None:
        """Serve these in place of those before. Raises BadCertificate."""


class AcmeService(Service):
    """All providers of a daemon. Started before the listeners, so that their first client gets its certificate."""

    def __init__(
        self,
        providers: Sequence[AcmeProvider],
        data_path: str,
        reactor: Any,
        *,
        pool: RunsInThread,
        front: TakesIssued,
        responders: Callable[[AcmeProvider, str], Sequence[Any]],
        metrics: Metrics,
        make_client: Callable[[AcmeProvider, ec.EllipticCurvePrivateKey], FullClient] | None = None,
        before_order: Callable[[AcmeProvider, str], Awaitable[None]] | None = None,
        look_beside: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
        lease: Callable[..., Lease] = Lease,
    ) -> None:
        """`data_path` is the database: folders lie beside it unless a provider says where.

        `responders` gives the IResponders for a provider and the folder of its store. `before_order` looks whether
        a name leads here; it can't stop an order. `look_beside` sees, in a thread, what else others put
        into the folders.
        """
        self._providers = tuple(providers)
        self._data_path = data_path
        self._front = front
        self._lease = lease
        self._around = Surroundings(
            reactor=reactor,
            pool=pool,
            metrics=metrics,
            clock=clock,
            random=random,
            make_client=make_client or client_maker(reactor, clock),
            responders=responders,
            before_order=before_order,
            look_beside=look_beside,
        )
        self._running: dict[str, ProviderService] = {}
        self._configuring = DeferredLock()

    def startService(self) -> None:
        """Serve what is on disk, and begin to look what is due."""
        super().startService()  # type: ignore[no-untyped-call]
        for provider in self._providers:
            service = self._make(provider)
            service.load()
            self._start(service)
        self._publish()

    def stopService(self) -> Deferred[None]:
        """Cancel all orders; what is served stays served."""
        super().stopService()  # type: ignore[no-untyped-call]
        return self._configuring.run(lambda: Deferred.fromCoroutine(self._stop(list(self._running.values()))))

    def configure(self, providers: Sequence[AcmeProvider]) -> Deferred[None]:
        """Go by these from now on. What is no longer wanted is neither served nor renewed; on disk it stays."""
        return self._configuring.run(lambda: Deferred.fromCoroutine(self._configure(tuple(providers))))

    async def _configure(self, providers: tuple[AcmeProvider, ...]) -> None:
        self._providers = providers
        if not self.running:
            return
        kept = [service for service in self._running.values() if service.provider in providers]
        known = [service.provider for service in kept]
        begun = [self._make(provider) for provider in providers if provider not in known]
        for service in begun:
            await service.load_in_thread()
        await self._stop([service for service in self._running.values() if service not in kept])
        if self.running:  # else it was stopped meanwhile
            for service in begun:
                self._start(service)
            self._publish()

    def _make(self, provider: AcmeProvider) -> ProviderService:
        folder = StoreFolder(store_path(provider, self._data_path), clock=self._around.clock)
        lease = self._lease(folder.path, shared=provider.cache is not None)
        service = ProviderService(provider, folder, lease, self._around, self._publish)
        for before in self._running.values():
            if before.store.folder.path == folder.path:
                service.store.start_from(before.store)
        return service

    def _start(self, service: ProviderService) -> None:
        self._running[service.provider.id] = service
        service.startService()

    async def _stop(self, services: Sequence[ProviderService]) -> None:
        stopping = [Deferred.fromCoroutine(service.stop()) for service in services]
        for success, result in await DeferredList(stopping, consumeErrors=True):
            if not success:
                _log.failure("ordering certificates did not stop in good order", result)
        for service in services:
            self._running.pop(service.provider.id, None)

    def renew(self, name: str) -> Deferred[None]:
        """Order a certificate for a configured name now; fires when it is there. Fails with AcmeFailure."""
        for service in self._running.values():
            if name in service.provider.domains:
                return service.renew(name)
        failed: Deferred[None] = Deferred()
        failed.errback(AcmeFailure(f"{name} stands in the domains of no acme.<id>"))
        return failed

    def names(self) -> list[NameStatus]:
        """What is known of each configured name."""
        return [status for service in self._running.values() for status in service.statuses()]

    def thumbprints(self) -> tuple[str, ...]:
        """The thumbprints (RFC 7638) of all accounts."""
        return tuple(service.thumbprint for service in self._running.values() if service.thumbprint is not None)

    def thumbprint_for(self, name: str) -> str | None:
        """The thumbprint of the account that orders for a name."""
        for service in self._running.values():
            if name in service.provider.domains:
                return service.thumbprint
        return None

    def _publish(self) -> None:
        """Have the certificates of the configured names served."""
        if not self.running:
            return
        issued = [
            Issued(
                name=name,
                chain_pem=pair.chain_pem,
                key_pem=pair.key_pem,
                default=service.provider.default and name == service.provider.domains[0],
            )
            for service in self._running.values()
            for name in service.provider.domains
            if (pair := service.store.served.get(name)) is not None
        ]
        try:
            self._front.set_issued(issued)
        except BadCertificate as error:
            _log.error("issued certificates can't be served, those before stay: {error}", error=error)


def client_maker(
    reactor: Any, clock: Callable[[], float]
) -> Callable[[AcmeProvider, ec.EllipticCurvePrivateKey], FullClient]:
    """Makes clients as the configuration wants them; raises ValueError if a `ca-bundle` can't be used."""

    def make(provider: AcmeProvider, key: ec.EllipticCurvePrivateKey) -> FullClient:
        eab = None
        if provider.eab_kid is not None and provider.eab_hmac_key is not None:
            eab = ExternalAccount(kid=provider.eab_kid, hmac_key=provider.eab_hmac_key)
        return AcmeClient(
            provider.directory,
            key,
            agent=checked_agent(reactor, _bundle(provider)),
            reactor=reactor,
            contact=provider.contact,
            agree_to_terms=provider.agree_to_terms,
            eab=eab,
            profile=provider.profile,
            operation_seconds=_OPERATION_SECONDS,
            clock=clock,
        )

    return make


def _bundle(provider: AcmeProvider) -> str | None:
    if provider.ca_bundle is None:
        return None
    try:
        with open(provider.ca_bundle, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError as error:
        raise ValueError(f"acme.{provider.id}.ca-bundle can't be read: {error.strerror or error}") from error
