"""The composition root: settings and a reactor become one service. The only place that knows all rooms."""

from __future__ import annotations

import resource
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger

from stalwart import __version__
from stalwart.auth import Authenticator, Passwords
from stalwart.config import HttpSettings, Listener, Settings
from stalwart.delivery.lmtp_server import LmtpFactory
from stalwart.delivery.local import Mailroom
from stalwart.delivery.memory import MessageMemory
from stalwart.housekeeping import Housekeeping
from stalwart.http import Branch, Cors, ListenerContext, RequestIds, ResponseHeaders, Site, TrustedProxies
from stalwart.http.rules import RulePolicy, RuleUrl
from stalwart.net import ListenError, ListenerService
from stalwart.ops.cache import Cache
from stalwart.ops.log import AccessLog, LogOutput
from stalwart.ops.metrics import Metrics
from stalwart.ops.threads import BatchThread, ThreadPool
from stalwart.store import IdCache, Session, Store, StoredEmail, StoreError, open_blobs
from stalwart.tls import Certificates
from stalwart.web.acme import responder
from stalwart.web.jmap import Jmap
from stalwart.web.root import build_root

_log = Logger(namespace="stalwart")

# Octets of messages that all LMTP sessions together may hold: four of the largest.
_MESSAGE_MEMORY = 300_000_000
# Octets of what is remembered about who receives mail: some 8,000 addresses.
_RECIPIENT_MEMORY = 4 * 1024 * 1024
# With one thread a slow request would stop all others, also on a machine with one CPU.
_LEAST_THREADS = 2
# Where plain HTTP is sent by http.redirect-https.
_HTTPS_PORT = 443
# File descriptors for databases, blobs being written, logs.
_OTHER_DESCRIPTORS = 256


class StartFailed(Exception):
    """The daemon can't start. The text says why and what to do."""


class Daemon(Service):
    """All that runs, started in order and stopped in reverse: sockets, store, threads, listeners.

    Sockets are bound while the process may still be root; everything else waits until privileges are dropped.
    """

    def __init__(
        self, settings: Settings, reactor: Any, *, metrics: Metrics, output: LogOutput, foreground: bool
    ) -> None:
        """`reactor` provides IReactorSocket, IReactorTime and IReactorFromThreads."""
        self._settings = settings
        self._reactor = reactor
        self._metrics = metrics
        self._output = output
        self._foreground = foreground
        certificates = Certificates(settings.certificates, settings.hostname)
        self._listeners = [
            ListenerService(
                reactor,
                listener,
                metrics=metrics,
                certificates=certificates,
                proxy_networks=listener.proxy_trusted_networks,
            )
            for listener in settings.listeners
        ]
        self._backend: _Backend | None = None

    def privilegedStartService(self) -> None:
        """Bind the sockets."""
        _allow_descriptors([listener.listener.max_connections for listener in self._listeners])
        try:
            for listener in self._listeners:
                listener.privilegedStartService()
        except ListenError as error:
            self._fail(str(error))

    def startService(self) -> None:
        """Open the store, start the threads, and begin to accept connections."""
        super().startService()  # type: ignore[no-untyped-call]
        for warning in self._settings.warnings:
            _log.warn("{warning}", warning=str(warning))
        try:
            self._backend = backend = _Backend(self._settings, self._reactor, self._metrics)
        except StoreError as error:
            self._fail(str(error))
        make = {"http": self._http_factories(backend), "lmtp": self._lmtp_factories(backend)}
        for listener in self._listeners:
            listener.factory = make[listener.listener.protocol](listener.listener)
            listener.startService()
        _log.info(
            "stalwart {version} is ready: {hostname}, configuration {source}, data in {data}",
            version=__version__,
            hostname=self._settings.hostname,
            source=self._settings.source or "built in",
            data=self._settings.data.path,
        )

    def stopService(self) -> Deferred[None]:
        """Stop accepting, let running work finish, then close the store."""
        super().stopService()  # type: ignore[no-untyped-call]
        _log.info("stopping")
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        stopping = [listener.stopService() for listener in self._listeners]
        for success, result in await DeferredList(stopping, consumeErrors=True):
            if not success:
                _log.failure("a listener did not stop in good order", result)
        self._close()

    def _close(self) -> None:
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        _log.info("stopped")
        self._output.flush()

    def _http_factories(self, backend: _Backend) -> Callable[[Listener], IProtocolFactory]:
        http = self._settings.http
        facts = _facts(self._settings)
        policy = RulePolicy(http.allowed_endpoint, facts, loopback_exempt=http.loopback_exempt)
        acme = responder()
        access_log = AccessLog(self._output, self._reactor)
        request_ids = RequestIds(secrets.token_bytes(5))
        jmap = Jmap(
            backend.store,
            backend.authenticator,
            backend.pool,
            self._metrics,
            hostname=self._settings.hostname,
            threads=backend.threads,
            url=RuleUrl(http.url, facts) if http.url is not None else None,
        )

        def tree() -> Branch:
            return build_root(
                ping=backend.store.ping,
                pool=backend.pool,
                reactor=self._reactor,
                metrics=self._metrics,
                acme_responder=acme,
                more=jmap.resources(),
            )

        def make(listener: Listener) -> IProtocolFactory:
            return Site(
                tree(),
                listener=ListenerContext(id=listener.id, tls=listener.tls_implicit),
                metrics=self._metrics,
                reactor=self._reactor,
                request_ids=request_ids,
                policy=policy,
                access_log=access_log,
                acme_responder=acme,
                forwarded=TrustedProxies(http.believed_proxies) if http.believed_proxies else None,
                finishing=ResponseHeaders(http.headers, hsts=http.hsts, cors=_cors(http)),
                redirect_port=_HTTPS_PORT if http.redirect_to_https else None,
            )

        return make

    def _lmtp_factories(self, backend: _Backend) -> Callable[[Listener], IProtocolFactory]:
        memory = MessageMemory(_MESSAGE_MEMORY)
        mailroom = Mailroom(
            backend.store,
            pool=backend.pool,
            writer=backend.writer,
            recipients=Cache(
                "recipients",
                octets=_RECIPIENT_MEMORY,
                tti=self._settings.cache.recipients_tti,
                clock=time.monotonic,
                metrics=self._metrics,
            ),
            hostname=self._settings.hostname,
            clock=time.time,
        )

        def make(listener: Listener) -> IProtocolFactory:
            return LmtpFactory(
                listener=listener.id,
                hostname=self._settings.hostname,
                mailroom=mailroom,
                memory=memory,
                metrics=self._metrics,
                reactor=self._reactor,
                new_id=RequestIds(secrets.token_bytes(5)),
            )

        return make

    def _fail(self, reason: str) -> NoReturn:
        """End the start: exit code 1, and the reason where a person looks for it."""
        for listener in self._listeners:
            listener.stopService()
        _log.error("can't start: {reason}", reason=reason)
        self._output.flush()
        if self._foreground:
            sys.__stderr__.write(f"stalwart: {reason}\n")  # type: ignore[union-attr]
            raise SystemExit(1) from None
        # twistd writes the exception's first 100 octets to the terminal it was started from, and leaves with 1.
        raise StartFailed(reason) from None


def _facts(settings: Settings) -> dict[str, str]:
    """What `config_get` and `system` tell rules: settings that are plain values, and this machine's names."""
    facts = {entry.key: str(entry.value) for entry in settings.entries if isinstance(entry.value, str | int)}
    return {**facts, "system.hostname": settings.hostname, "system.domain": settings.hostname.partition(".")[2]}


def _cors(http: HttpSettings) -> Cors | None:
    if http.permissive_cors:
        return Cors()
    return Cors(origins=http.cors_allowed_origins) if http.cors_allowed_origins else None


def _allow_descriptors(connections: Sequence[int]) -> None:
    """Have room for all listeners' connections: shells and twistd leave the limit at 1024 where 8192 are promised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    wanted = sum(connections) + _OTHER_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft < max(connections):
        _log.warn(
            "the limit of open files is {limit}, and one listener may have {connections} connections: raise it "
            "(LimitNOFILE in the systemd unit, ulimit -n in a shell) or lower max-connections",
            limit=soft,
            connections=max(connections),
        )


class _Backend:
    """The open store with the threads that work on it."""

    def __init__(self, settings: Settings, reactor: Any, metrics: Metrics) -> None:
        ids: IdCache = Cache(
            "ids",
            octets=settings.cache.ids_size,
            tti=settings.cache.ids_tti,
            clock=time.monotonic,
            metrics=metrics,
        )
        self.store = Store.open(
            settings.data.path, open_blobs(settings.blob), clock=time.time, metrics=metrics, ids=ids, exclusive=True
        )
        self.threads = max(_LEAST_THREADS, settings.worker_pool_size)
        self.pool = ThreadPool(reactor, self.threads, "worker")
        self.writer: BatchThread[Callable[[Session], StoredEmail], StoredEmail] = BatchThread(
            reactor, self.store.run_batch, "writer"
        )
        self.authenticator = Authenticator(self.store, Passwords(), clock=time.monotonic, metrics=metrics)
        # A sweep over many blobs takes a while; requests must not wait for it.
        self._sweeper = ThreadPool(reactor, 1, "housekeeping")
        self._housekeeping = Housekeeping(self.store, self._sweeper, reactor)
        self._sweeper.start()
        self.pool.start()
        self.writer.start()
        self._housekeeping.startService()

    def close(self) -> None:
        """Finish what the threads have, and close the store."""
        self._housekeeping.stopService()
        self._sweeper.stop()
        self.pool.stop()
        self.writer.stop()
        self.store.close()
