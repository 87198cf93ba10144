"""The composition root: settings and a reactor become one service. The only place that knows all rooms."""

from __future__ import annotations

import resource
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, gatherResults
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger

from stalwart import __version__
from stalwart.auth import Guard, GuardRules
from stalwart.backend import Backend, fallback_admin, http_tree
from stalwart.config import Certificate, ConfigErrors, Listener, Settings, certificate_sources, plan_reload
from stalwart.delivery.lmtp_server import LmtpFactory
from stalwart.delivery.memory import MessageMemory
from stalwart.http import ListenerContext, RequestIds, Site, SiteSettings, site_settings
from stalwart.http.lockout import locked_out
from stalwart.http.lookups import WithoutWriting
from stalwart.issuing import Issuing
from stalwart.net import ListenError, ListenerService
from stalwart.net.control import Answer, Command, ControlService, RenewCommand, control_path
from stalwart.ops.log import AccessLog, LogOutput
from stalwart.ops.metrics import Metrics
from stalwart.ops.networks import Networks
from stalwart.ops.threads import ThreadPool
from stalwart.store import StoreError
from stalwart.tls import BadCertificate, Certificates, CertificateWatch, Credential
from stalwart.web.pages import problem_page

_log = Logger(namespace="stalwart")

# Octets of messages that all LMTP sessions together may hold: four of the largest.
_MESSAGE_MEMORY = 300_000_000
# File descriptors for databases, blobs being written, logs.
_OTHER_DESCRIPTORS = 256
# A look at files that a dead server has doesn't hold up the end.
_LAST_LOOK_SECONDS = 1.0


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
        self._certificates = Certificates(settings.certificates, settings.hostname, metrics=metrics)
        self._watch_pool = ThreadPool(reactor, 1, "certificates")
        self._watch = CertificateWatch(self._certificates, reactor, self._watch_pool)
        self._watch.configure(settings.certificates, certificate_sources(settings))
        self._watch.on_replaced = self._certificates_replaced
        self._issuing = Issuing(settings, reactor, metrics, self._certificates)
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
        self._backend: Backend | None = None

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
            self._backend = backend = Backend(self._settings, self._reactor, self._metrics, self._guard)
            backend.start()
        except StoreError as error:
            self._fail(str(error))
        self._site_settings = site_settings(self._settings, backend.answers(self._settings), self._reactor)
        self._issuing.start()
        make = {"http": self._http_factories(backend), "lmtp": self._lmtp_factories(backend)}
        for listener in self._listeners:
            listener.factory = make[listener.listener.protocol](listener.listener)
            listener.startService()
        self._watch_pool.start()
        self._watch.startService()
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
        self._watch.stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._backend is not None:
            # Streams never end by themselves: the listeners would wait for them.
            self._backend.end_streams()
        issuing = Deferred.fromCoroutine(self._issuing.stop())
        stopping = [issuing, self._control.stopService(), *(listener.stopService() for listener in self._listeners)]
        for success, result in await DeferredList(stopping, consumeErrors=True):
            if not success:
                _log.failure("a part of the daemon did not stop in good order", result)
        if self._backend is not None:
            await self._backend.end_queue()
        self._close()

    def _close(self) -> None:
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        self._watch_pool.stop(_LAST_LOOK_SECONDS)
        _log.info("stopped")
        self._output.flush()

    def _http_factories(self, backend: Backend) -> Callable[[Listener], IProtocolFactory]:
        access_log = AccessLog(self._output, self._reactor)
        request_ids = RequestIds(secrets.token_bytes(5))
        tree = http_tree(backend, self._settings, self._reactor, self._metrics)

        def make(listener: Listener) -> IProtocolFactory:
            site = Site(
                tree(),
                listener=ListenerContext(id=listener.id, tls=listener.tls_implicit),
                metrics=self._metrics,
                reactor=self._reactor,
                request_ids=request_ids,
                settings=self._site_settings,
                access_log=access_log,
                acme_responder=self._issuing.responder,
                guard=self._guard,
                problem_page=problem_page,
            )
            self._sites.append(site)
            return site

        return make

    def _lmtp_factories(self, backend: Backend) -> Callable[[Listener], IProtocolFactory]:
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
            # Hundreds of certificates take their time.
            loaded, prepared = await self._watch_pool.run(self._read)
            plan = plan_reload(self._settings, loaded)
        except ConfigErrors as errors:
            return self._refuse(str(errors).splitlines())
        except BadCertificate as error:
            return self._refuse([str(error)])
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
        self._certificates.replace(plan.settings.certificates, prepared)
        self._watch.configure(plan.settings.certificates, certificate_sources(plan.settings))
        # From here on nothing can fail.
        self._settings, self._site_settings = plan.settings, wanted
        for site in self._sites:
            site.settings = wanted
        backend.discovery.configure(plan.settings)
        self._guard.configure(rules)
        backend.authenticator.set_fallback(fallback_admin(plan.settings))
        for service, listener in zip(self._listeners, plan.settings.listeners, strict=True):
            service.reconfigure(listener)
        self._configure_issuing(plan.settings)
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

    def _read(self) -> tuple[Settings, Mapping[Certificate, Credential]]:
        """The configuration as it is now, its certificates loaded. Raises ConfigErrors, BadCertificate."""
        settings = self._load()
        return settings, self._certificates.prepare(settings.certificates)

    def _configure_issuing(self, settings: Settings) -> None:
        """Have other names ordered; which takes its time, and fails by itself."""
        configuring = Deferred.fromCoroutine(self._issuing.configure(settings.acme))
        configuring.addErrback(lambda failure: _log.failure("the settings of acme could not be taken over", failure))

    def _certificates_replaced(self, certificates: Sequence[Certificate]) -> None:
        """So that a reload knows what is served, and tells of nothing that isn't new."""
        self._settings = msgspec.structs.replace(self._settings, certificates=tuple(certificates))

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
        if isinstance(command, RenewCommand):
            _log.info("a new certificate for {name} asked for by the control socket", name=command.name)
            return self._issuing.renew(command.name)
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
