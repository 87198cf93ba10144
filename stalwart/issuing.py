"""What a daemon has for certificates that authorities issue: the service that orders, and who answers challenges."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from txacme.interfaces import IResponder

from stalwart.config import AcmeProvider, Settings
from stalwart.net.control import Answer
from stalwart.ops.metrics import Metrics
from stalwart.ops.threads import ThreadPool
from stalwart.tls import Certificates
from stalwart.tls.acme.alpn01 import SharedChallenges, TlsAlpn01Responder
from stalwart.tls.acme.failures import AcmeFailure
from stalwart.tls.acme.folder import store_path
from stalwart.tls.acme.self_check import self_check
from stalwart.tls.acme.service import AcmeService
from stalwart.web.acme import Http01

_log = Logger(namespace="stalwart.acme")


class Issuing:
    """Orders and renews in the background, and answers for all listeners. No authority can hold up anything else."""

    def __init__(self, settings: Settings, reactor: Any, metrics: Metrics, certificates: Certificates) -> None:
        """`certificates` is the TLS front, which serves what is issued and the challenges of tls-alpn-01."""
        self._reactor = reactor
        self._data_path = settings.data.path
        self._certificates = certificates
        # What is read and written is little, but goes to the disk for sure.
        self._pool = ThreadPool(reactor, 1, "acme")
        self.responder = Http01(self._thumbprint)
        """Answers http-01 challenges."""

        self._shared = SharedChallenges(())
        self._service = AcmeService(
            settings.acme,
            settings.data.path,
            reactor,
            pool=self._pool,
            front=certificates,
            responders=self._responders,
            metrics=metrics,
            before_order=self._look,
            look_beside=self._look_at_challenges,
        )
        self._share(settings.acme)

    def start(self) -> None:
        """Serve what is on the disk, and begin to order. The daemon must have its final user."""
        self._pool.start()
        self._service.startService()

    async def stop(self) -> None:
        """Order nothing more."""
        await self._service.stopService()
        self._pool.stop()

    async def configure(self, providers: Sequence[AcmeProvider]) -> None:
        """Go by other settings from now on."""
        self._share(providers)
        await self._service.configure(providers)

    def renew(self, name: str) -> Deferred[Answer]:
        """Order a certificate now; fires when it is there or can't be had."""
        return Deferred.fromCoroutine(self._renew(name))

    async def _renew(self, name: str) -> Answer:
        try:
            await self._service.renew(name)
        except AcmeFailure as failure:
            return Answer(done=False, lines=(str(failure),))
        served = self._certificates.names().get(name)
        if served is not None and served.source == "configured":
            return Answer(
                done=True,
                lines=(f"a new certificate for {name} is there, but that of the configuration is served for it",),
            )
        return Answer(done=True, lines=(f"a new certificate for {name} is there and served",))

    def _share(self, providers: Sequence[AcmeProvider]) -> None:
        """Answer challenges of other daemons, too, that share a folder."""
        folders = [
            Path(store_path(provider, self._data_path)) for provider in providers if provider.challenge == "tls-alpn-01"
        ]
        self._shared = SharedChallenges(folders)
        self._certificates.challenges.find_challenge = self._shared.find

    def _look_at_challenges(self) -> None:
        """In a thread, every two seconds."""
        self._shared.look()

    def _responders(self, provider: AcmeProvider, folder: str) -> Sequence[IResponder]:
        if provider.challenge == "tls-alpn-01":
            challenges = self._certificates.challenges
            shared_by = None if provider.cache is None else self._reactor
            return (
                TlsAlpn01Responder(challenges, Path(folder), pool=self._pool, clock=time.time, shared_by=shared_by),
            )
        return (self.responder.tokens,)

    def _thumbprint(self, host: str) -> str | None:
        """The account that answers at a host: the one that orders for it, else the only one there is."""
        found = self._service.thumbprint_for(host)
        if found is not None:
            return found
        every = self._service.thumbprints()
        return every[0] if len(every) == 1 else None

    async def _look(self, provider: AcmeProvider, name: str) -> None:
        """Say what the authority will stumble over. It alone decides."""
        thumbprint = self._thumbprint(name)
        if provider.challenge != "http-01" or thumbprint is None:
            return
        wrong = await self_check(name, thumbprint, token=secrets.token_urlsafe(32), reactor=self._reactor)
        if wrong is not None:
            _log.warn("{wrong}; the certificate is ordered all the same", wrong=wrong)
