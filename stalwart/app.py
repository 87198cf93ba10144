"""The composition root: settings and a reactor become one service. The only place that knows all rooms."""

from __future__ import annotations

import os
import random
import resource
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, gatherResults
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger

from stalwart import __version__
from stalwart.auth import Authenticator, Guard, GuardRules, Passwords
from stalwart.config import ConfigErrors, FsStore, Listener, Settings, SqliteStore, plan_reload
from stalwart.delivery.lmtp_server import LmtpFactory
from stalwart.delivery.local import Mailroom
from stalwart.delivery.memory import MessageMemory
from stalwart.delivery.queue_attempt import Attempts
from stalwart.delivery.queue_journal import QueueJournal
from stalwart.delivery.queue_runner import QueueRunner
from stalwart.delivery.queue_signing import Signer
from stalwart.delivery.sending import make_sender
from stalwart.housekeeping import Housekeeping
from stalwart.http import Branch, ListenerContext, RequestIds, Site, SiteSettings, site_settings
from stalwart.http.dns import DnsAnswers, SystemResolver
from stalwart.http.evaluation import Answers
from stalwart.http.kept import Kept
from stalwart.http.lockout import locked_out
from stalwart.http.lookups import ServerAnswers, WithoutWriting
from stalwart.http.settings import facts_of
from stalwart.jmap.limits import limits_of
from stalwart.jmap.webpush import KEY_NAME, Vapid, make_key
from stalwart.net import BanKeeper, ListenError, ListenerService
from stalwart.net.control import Answer, Command, ControlService, control_path
from stalwart.ops.cache import Cache
from stalwart.ops.log import AccessLog, LogOutput
from stalwart.ops.metrics import Metrics
from stalwart.ops.networks import Networks
from stalwart.ops.threads import BatchThread, ThreadPool
from stalwart.store import IdCache, ReadOnlyDatabase, Session, Store, StoreError, add_key, open_blobs
from stalwart.tls import BadCertificate, Certificates
from stalwart.web.acme import Http01Responder, responder
from stalwart.web.jmap import Jmap
from stalwart.web.jmap_announcer import Announcer
from stalwart.web.jmap_push_client import PushClient
from stalwart.web.jmap_push_sender import PushSender
from stalwart.web.jmap_streams import Streams
from stalwart.web.root import build_root

_log = Logger(namespace="stalwart")

# Octets of messages that all LMTP sessions together may hold: four of the largest.
_MESSAGE_MEMORY = 300_000_000
# Octets of what is remembered about who receives mail: some 8,000 addresses.
_RECIPIENT_MEMORY = 4 * 1024 * 1024
# With one thread a slow request would stop all others, also on a machine with one CPU.
_LEAST_THREADS = 2
# For lookups of rules.
_LOOKUP_THREADS = 2
# File descriptors for databases, blobs being written, logs.
_OTHER_DESCRIPTORS = 256


class StartFailed(Exception):
    """The daemon can't start. The text says why and what to do."""


class Daemon(Service):
    """All that runs, started in order and stopped in reverse: sockets, store, threads, listeners.

    Sockets are bound while the process may still be root; everything else waits until privileges are dropped.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        *,
        metrics: Metrics,
        output: LogOutput,
        foreground: bool,
        load: Callable[[], Settings],
    ) -> None:
        """`reactor` provides IReactorSocket, IReactorTime and IReactorFromThreads.

        `load` reads the configuration again; it raises ConfigErrors.
        """
        self._settings = settings
        self._load = load
        self._reactor = reactor
        self._metrics = metrics
        self._output = output
        self._foreground = foreground
        self._certificates = Certificates(settings.certificates, settings.hostname)
        self._guard = Guard(guard_rules(settings), monotonic=time.monotonic, wall=time.time, metrics=metrics)
        self._site_settings = SiteSettings()
        self._reloading = DeferredLock()
        self._sites: list[Site] = []
        self._control = ControlService(reactor, control_path(settings.data.path), self._obey)
        self._listeners = [
            ListenerService(
                reactor,
                listener,
                metrics=metrics,
                certificates=self._certificates,
                proxy_networks=listener.proxy_trusted_networks,
                # LMTP has no requests to look at later, and believes no Forwarded.
                closes=partial(self._guard.closes, by_request=listener.protocol == "http"),
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
            self._backend = backend = _Backend(self._settings, self._reactor, self._metrics, self._guard)
            backend.start()
        except StoreError as error:
            self._fail(str(error))
        self._site_settings = site_settings(self._settings, backend.answers(self._settings), self._reactor)
        make = {"http": self._http_factories(backend), "lmtp": self._lmtp_factories(backend)}
        for listener in self._listeners:
            listener.factory = make[listener.listener.protocol](listener.listener)
            listener.startService()
        self._control.startService()
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
        if self._backend is not None:
            # Streams never end by themselves: the listeners would wait for them.
            self._backend.end_streams()
        stopping = [self._control.stopService(), *(listener.stopService() for listener in self._listeners)]
        for success, result in await DeferredList(stopping, consumeErrors=True):
            if not success:
                _log.failure("a listener did not stop in good order", result)
        if self._backend is not None:
            await self._backend.end_queue()
        self._close()

    def _close(self) -> None:
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        _log.info("stopped")
        self._output.flush()

    def _http_factories(self, backend: _Backend) -> Callable[[Listener], IProtocolFactory]:
        acme = responder()
        access_log = AccessLog(self._output, self._reactor)
        request_ids = RequestIds(secrets.token_bytes(5))
        tree = http_tree(backend, self._settings, self._reactor, self._metrics, acme)

        def make(listener: Listener) -> IProtocolFactory:
            site = Site(
                tree(),
                listener=ListenerContext(id=listener.id, tls=listener.tls_implicit),
                metrics=self._metrics,
                reactor=self._reactor,
                request_ids=request_ids,
                settings=self._site_settings,
                access_log=access_log,
                acme_responder=acme,
                guard=self._guard,
            )
            self._sites.append(site)
            return site

        return make

    def _lmtp_factories(self, backend: _Backend) -> Callable[[Listener], IProtocolFactory]:
        memory = MessageMemory(_MESSAGE_MEMORY)

        def make(listener: Listener) -> IProtocolFactory:
            return LmtpFactory(
                listener=listener.id,
                hostname=self._settings.hostname,
                mailroom=backend.mailroom,
                memory=memory,
                metrics=self._metrics,
                reactor=self._reactor,
                new_id=RequestIds(secrets.token_bytes(5)),
            )

        return make

    def reload(self, *, force: bool = False) -> Deferred[Answer]:
        """Read the configuration again and go by it from now on; all or nothing. What became of it is logged, too.

        Without `force` nothing is done that would lock out who administers the server just now.
        """
        return self._reloading.run(lambda: Deferred.fromCoroutine(self._reload(force=force)))

    async def _reload(self, *, force: bool) -> Answer:
        backend = self._backend
        if backend is None:
            return self._refuse(["the daemon is starting or stopping"])
        try:
            plan = plan_reload(self._settings, self._load())
        except ConfigErrors as errors:
            return self._refuse(str(errors).splitlines())
        answers, rules = backend.answers(plan.settings), guard_rules(plan.settings)
        wanted = site_settings(plan.settings, answers, self._reactor)
        if not force:
            # Rules are asked about requests of the past, which must not count again.
            before, after = (
                site_settings(settings, WithoutWriting(answers), self._reactor)
                for settings, answers in ((self._settings, backend.answers(self._settings)), (plan.settings, answers))
            )
            if lockouts := await self._lockouts(before, after, rules, plan.settings.listeners):
                return self._refuse(lockouts)
            if self._backend is not backend:
                return self._refuse(["the daemon has stopped meanwhile"])
        try:
            self._certificates.replace(plan.settings.certificates)
        except BadCertificate as error:
            return self._refuse([str(error)])
        # From here on nothing can fail.
        self._settings, self._site_settings = plan.settings, wanted
        for site in self._sites:
            site.settings = wanted
        self._guard.configure(rules)
        for service, listener in zip(self._listeners, plan.settings.listeners, strict=True):
            service.reconfigure(listener)
        self._output.configure(plan.settings.log_format, plan.settings.log_level)
        _allow_descriptors([listener.max_connections for listener in plan.settings.listeners])
        warnings = [str(warning) for warning in plan.settings.warnings]
        for warning in warnings:
            _log.warn("{warning}", warning=warning)
        changed, waiting = ", ".join(plan.changed), ", ".join(plan.waiting)
        done = f"the configuration was read again; now in effect: {changed or 'nothing new'}"
        _log.info("{done}", done=done)
        lines = [*(f"warning: {warning}" for warning in warnings), done]
        if waiting:
            left = f"changed, but waiting for a restart: {waiting}"
            _log.warn("{left}", left=left)
            lines.append(left)
        return Answer(done=True, lines=tuple(lines))

    async def _lockouts(
        self, before: SiteSettings, after: SiteSettings, rules: GuardRules, listeners: Sequence[Listener]
    ) -> list[str]:
        now, then = (
            {listener.id: Networks(listener.proxy_trusted_networks) for listener in each}
            for each in (self._settings.listeners, listeners)
        )
        judging = [
            Deferred.fromCoroutine(
                locked_out(site.admin_visits, before, after, rules, (now[site.listener.id], then[site.listener.id]))
            )
            for site in self._sites
        ]
        found = [out for outs in await gatherResults(judging, consumeErrors=True) for out in outs]
        return [
            f'{out.address}, which administered this server by listener "{out.listener}" within the last 15 minutes, '
            + (
                "could not connect any more: proxy.trusted-networks says something else of who must send PROXY headers"
                if out.status is None
                else f"would get {out.status} for {out.method} {out.path}"
            )
            + "; `stalwart reload --force` does it all the same"
            for out in found
        ]

    def _refuse(self, lines: list[str]) -> Answer:
        for line in lines:
            _log.error("{line}", line=line)
        kept = "the reload is refused: nothing was changed, and the daemon goes on as it was"
        _log.error("{kept}", kept=kept)
        return Answer(done=False, lines=(*lines, kept))

    def _obey(self, command: Command) -> Deferred[Answer]:
        _log.info("reload asked for by the control socket{how}", how=", by force" if command.force else "")
        return self.reload(force=command.force)

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


def http_tree(
    backend: _Backend, settings: Settings, reactor: Any, metrics: Metrics, acme_responder: Http01Responder
) -> Callable[[], Branch]:
    """What makes the resource tree of an http listener: each has one of its own, over the same surfaces."""
    jmap = Jmap(
        backend.store,
        backend.authenticator,
        backend.pool,
        metrics,
        hostname=settings.hostname,
        threads=backend.threads,
        limits=limits_of(settings.jmap, settings.object_quota, settings.submission),
        application_server_key=backend.vapid.application_server_key,
    )
    streams = Streams(jmap, backend.announcer, reactor, settings.jmap)

    def tree() -> Branch:
        return build_root(
            ping=backend.store.ping,
            pool=backend.pool,
            reactor=reactor,
            metrics=metrics,
            acme_responder=acme_responder,
            more=jmap.resources(streams),
        )

    return tree


def tree_to_look_at(settings: Settings, folder: str, reactor: Any) -> Branch:
    """The resource tree that the daemon would serve, over an empty store in `folder`. Nothing of it runs."""
    metrics = Metrics(__version__)
    empty = msgspec.structs.replace(
        settings,
        data=SqliteStore(id="empty", path=os.path.join(folder, "stalwart.sqlite")),
        blob=FsStore(id="empty", path=os.path.join(folder, "blobs")),
    )
    guard = Guard(GuardRules(), monotonic=time.monotonic, wall=time.time, metrics=metrics)
    backend = _Backend(empty, reactor, metrics, guard)
    try:
        return http_tree(backend, settings, reactor, metrics, responder())()
    finally:
        backend.store.close()


def guard_rules(settings: Settings) -> GuardRules:
    """What the configuration says of bans and rates; for the guard when it is made, and when settings are reloaded."""
    http, auto_ban = settings.http, settings.auto_ban
    speaking = [network for listener in settings.listeners for network in listener.proxy_trusted_networks]
    return GuardRules(
        blocked=settings.blocked_ip,
        allowed=settings.allowed_ip,
        proxies=(*http.believed_proxies, *dict.fromkeys(speaking)),
        failed_sign_ins=auto_ban.auth_rate,
        scans=auto_ban.scan_rate,
        scan_paths=auto_ban.scan_paths,
        ban_seconds=auto_ban.period,
        anonymous=http.rate_limit_anonymous,
        account=http.rate_limit_account,
    )


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

    def __init__(self, settings: Settings, reactor: Any, metrics: Metrics, guard: Guard) -> None:
        self._reactor = reactor
        self._metrics = metrics
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
        self.writer: BatchThread[Callable[[Session], Any], Any] = BatchThread(reactor, self.store.run_batch, "writer")
        self.mailroom = Mailroom(
            self.store,
            pool=self.pool,
            writer=self.writer,
            recipients=Cache(
                "recipients",
                octets=_RECIPIENT_MEMORY,
                tti=settings.cache.recipients_tti,
                clock=time.monotonic,
                metrics=metrics,
            ),
            hostname=settings.hostname,
            clock=time.time,
        )
        # One thread, for the database's sake; what it does is short, but must not wait behind requests.
        self._queue_thread = ThreadPool(reactor, 1, "queue")
        self._sender = make_sender(settings.relay, hostname=settings.hostname, reactor=reactor)
        self._queue = self._queue_runner(settings)
        self.authenticator = Authenticator(self.store, Passwords(), clock=time.monotonic, metrics=metrics)
        # A sweep over many blobs takes a while; requests must not wait for it.
        self._sweeper = ThreadPool(reactor, 1, "housekeeping")
        self._housekeeping = Housekeeping(self.store, self._sweeper, reactor, upload_seconds=settings.jmap.upload_ttl)
        # One thread, whose work is done in order.
        self._watcher = ThreadPool(reactor, 1, "announcer")
        self.announcer = Announcer(self.store, reactor, self._watcher)
        with self.store.write() as session:
            key = add_key(session, KEY_NAME, make_key)
        self.vapid = Vapid(key, f"mailto:postmaster@{settings.hostname}")
        self._pushes = PushSender(
            self.store,
            self.announcer,
            reactor,
            self._watcher,
            PushClient(
                reactor,
                timeout=settings.jmap.push_timeout_request,
                allow_private=settings.jmap.push_allow_private_addresses,
            ),
            self.vapid,
            settings=settings.jmap,
            limits=limits_of(settings.jmap, settings.object_quota, settings.submission),
        )
        # Strangers cause lookups: they must not take the threads that requests of accounts wait for.
        self._lookup_pool = ThreadPool(reactor, _LOOKUP_THREADS, "lookups")
        self._dns = DnsAnswers(lambda: SystemResolver(reactor), reactor)
        self._databases: dict[str, ReadOnlyDatabase] = {}
        # One thread, so that bans are written and read in order. Behind slow lookups, what rules keep would wait longer
        # than the second that a crash may cost.
        self._records = ThreadPool(reactor, 1, "records")
        self._bans = BanKeeper(guard, self.store, self._records, reactor, metrics)
        self._kept = Kept(self.store, self._records, reactor)

    def answers(self, settings: Settings) -> Answers:
        """What the rules of a configuration ask for."""
        names = settings.rule_names
        for path in names.databases.values():
            if path not in self._databases:
                self._databases[path] = ReadOnlyDatabase(path)
        return ServerAnswers(
            facts_of(settings),
            names,
            databases={name: self._databases[path] for name, path in names.databases.items()},
            store=self.store,
            kept=self._kept,
            dns=self._dns,
            pool=self._lookup_pool,
            metrics=self._metrics,
            reactor=self._reactor,
        )

    def _queue_runner(self, settings: Settings) -> QueueRunner:
        journal = QueueJournal(self._metrics, time.time)
        attempts = Attempts(
            self.store,
            pool=self.pool,
            writer=self.writer,
            mailroom=self.mailroom,
            sender=self._sender,
            sign=Signer(self.store, time.time),
            journal=journal,
            reactor=self._reactor,
            hostname=settings.hostname,
            clock=time.time,
            chance=random.random,
            random_token=lambda: secrets.token_hex(16),
        )
        return QueueRunner(
            self.store,
            attempts,
            thread=self._queue_thread,
            reactor=self._reactor,
            journal=journal,
            clock=time.time,
        )

    def start(self) -> None:
        """Begin to work. Raises StoreError."""
        self._kept.load()
        self._lookup_pool.start()
        self._watcher.start()
        self._pushes.start()
        self._sweeper.start()
        self._records.start()
        self.pool.start()
        self.writer.start()
        self._housekeeping.startService()
        self._bans.startService()
        self._queue_thread.start()
        self._queue.startService()

    async def end_queue(self) -> None:
        """Send nothing more, and wait until what is under way has ended."""
        await self._queue.stopService()
        self._sender.close()

    def end_streams(self) -> None:
        """Push no more, and end what waits for changes."""
        self._pushes.stop()
        self.announcer.close()

    def close(self) -> None:
        """Finish what the threads have, and close the store."""
        self.end_streams()
        self._watcher.stop()
        self.announcer.close_thread()
        self._queue_thread.stop()
        self._queue.close()
        self._bans.stopService()
        self._housekeeping.stopService()
        self._records.stop()
        self._sweeper.stop()
        self.pool.stop()
        self.writer.stop()
        self._lookup_pool.stop()
        self._dns.close()
        for database in self._databases.values():
            database.close()
        try:
            self._kept.close()
        except StoreError as error:
            _log.error("what rules kept in the last seconds is lost: {reason}", reason=str(error))
        self.store.close()
