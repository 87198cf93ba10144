"""What a daemon has beside its sockets: the open store, the threads that work on it, and the surfaces over both."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.logger import Logger

from stalwart import __version__
from stalwart.auth import Authenticator, FallbackAdmin, Guard, GuardRules, Passwords
from stalwart.auth.oauth.signing import make_key as make_signing_key
from stalwart.config import FsStore, Settings, SqliteStore
from stalwart.delivery.local import Mailroom
from stalwart.delivery.mta_sts_kept import StoredPolicies
from stalwart.delivery.queue_attempt import Attempts
from stalwart.delivery.queue_journal import QueueJournal
from stalwart.delivery.queue_runner import QueueRunner
from stalwart.delivery.queue_signing import Signer
from stalwart.delivery.sending import limits_for, make_sender
from stalwart.housekeeping import Housekeeping
from stalwart.http import Branch
from stalwart.http.dns import DnsAnswers, system_resolver
from stalwart.http.evaluation import Answers
from stalwart.http.kept import Kept
from stalwart.http.lookups import ServerAnswers
from stalwart.http.settings import facts_of
from stalwart.jmap.limits import limits_of
from stalwart.jmap.webpush import KEY_NAME, BadKey, Vapid, make_key
from stalwart.net import BanKeeper
from stalwart.ops.cache import Cache
from stalwart.ops.metrics import Metrics
from stalwart.ops.threads import BatchThread, ThreadPool
from stalwart.store import (
    AclCache,
    IdCache,
    ReadOnlyDatabase,
    Session,
    ShareCaches,
    SharingCache,
    Store,
    StoreDamaged,
    StoreError,
    add_key,
    ensure_signing_key,
    open_blobs,
)
from stalwart.web.api import account_api
from stalwart.web.discovery import Discovery
from stalwart.web.jmap import Jmap
from stalwart.web.jmap_announcer import Announcer
from stalwart.web.jmap_push_client import PushClient
from stalwart.web.jmap_push_sender import PushSender
from stalwart.web.jmap_streams import Streams
from stalwart.web.local_domains import LocalDomains
from stalwart.web.oauth import resources as oauth_resources
from stalwart.web.oauth_surface import OAuth
from stalwart.web.pages import Desk, pages
from stalwart.web.root import build_root

_log = Logger(namespace="stalwart")

# Octets of what is remembered about who receives mail: some 8,000 addresses.
_RECIPIENT_MEMORY = 4 * 1024 * 1024
# Octets of what is remembered about shared accounts, and as much again about what users may do there.
_SHARE_MEMORY = 2 * 1024 * 1024
# With one thread a slow request would stop all others, also on a machine with one CPU.
_LEAST_THREADS = 2
# For lookups of rules.
_LOOKUP_THREADS = 2


class Backend:
    """The open store with the threads that work on it."""

    def __init__(self, settings: Settings, reactor: Any, metrics: Metrics, guard: Guard) -> None:
        """Open the store. Raises StoreError."""
        self._reactor = reactor
        self._metrics = metrics
        ids: IdCache = Cache(
            "ids",
            octets=settings.cache.ids_size,
            tti=settings.cache.ids_tti,
            clock=time.monotonic,
            metrics=metrics,
        )
        sharings: SharingCache = Cache(
            "sharings",
            octets=_SHARE_MEMORY,
            tti=settings.cache.sharings_tti,
            clock=time.monotonic,
            metrics=metrics,
        )
        acl: AclCache = Cache(
            "acl", octets=_SHARE_MEMORY, tti=settings.cache.acl_tti, clock=time.monotonic, metrics=metrics
        )
        self.store = Store.open(
            settings.data.path,
            open_blobs(settings.blob),
            clock=time.time,
            metrics=metrics,
            ids=ids,
            shares=ShareCaches(sharings=sharings, acl=acl),
            exclusive=True,
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
        self._sender = make_sender(
            settings.relay,
            hostname=settings.hostname,
            reactor=reactor,
            policies=StoredPolicies(self.store, self.pool, self.writer),
        )
        self._queue = self._queue_runner(settings)
        self.discovery = Discovery(settings, LocalDomains(self.store, self.pool, time.monotonic))
        self.authenticator = Authenticator(
            self.store,
            Passwords(),
            clock=time.monotonic,
            metrics=metrics,
            on_trouble=lambda text: _log.error("{trouble}", trouble=text),
        )
        self.authenticator.set_fallback(fallback_admin(settings))
        # A sweep over many blobs takes a while; requests must not wait for it.
        self._sweeper = ThreadPool(reactor, 1, "housekeeping")
        self._housekeeping = Housekeeping(self.store, self._sweeper, reactor, upload_seconds=settings.jmap.upload_ttl)
        # One thread, whose work is done in order.
        self._watcher = ThreadPool(reactor, 1, "announcer")
        self.announcer = Announcer(self.store, reactor, self._watcher, current=self.authenticator.current)
        with self.store.write() as session:
            key = add_key(session, KEY_NAME, make_key)
            ensure_signing_key(session, settings.oauth.algorithm, make_signing_key)
        try:
            self.vapid = Vapid(key, f"mailto:postmaster@{settings.hostname}")
        except BadKey as error:
            raise StoreDamaged(
                f"{settings.data.path}: the key that pushes are signed with can't be used: {error}; restore a copy of "
                f'the database, or remove "{KEY_NAME}" from its table server_key, and a new one is made'
            ) from None
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
        self._dns = DnsAnswers(lambda: system_resolver(reactor), reactor)
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
            limits=limits_for(settings.relay),
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


def fallback_admin(settings: Settings) -> FallbackAdmin | None:
    """The administrator that a configuration names."""
    named = settings.fallback_admin
    if named.user is None or named.secret is None:
        return None
    return FallbackAdmin(user=named.user, secret=named.secret)


def http_tree(backend: Backend, settings: Settings, reactor: Any, metrics: Metrics) -> Callable[[], Branch]:
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
    oauth = OAuth(
        backend.store,
        backend.authenticator,
        backend.pool,
        jmap.sign_ins_of,
        hostname=settings.hostname,
        threads=backend.threads,
        settings=settings.oauth,
    )
    desk = Desk(jmap, metrics, settings.oauth)
    streams = Streams(jmap, backend.announcer, reactor, settings.jmap)

    def tree() -> Branch:
        return build_root(
            ping=backend.store.ping,
            pool=backend.pool,
            reactor=reactor,
            metrics=metrics,
            more={
                **jmap.resources(streams),
                **oauth_resources(oauth),
                **pages(desk, settings.hostname),
                **account_api(desk, settings.hostname),
                **backend.discovery.resources(),
            },
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
    backend = Backend(empty, reactor, metrics, guard)
    try:
        return http_tree(backend, settings, reactor, metrics)()
    finally:
        backend.store.close()
