"""What one server knows of its clients' conduct: bans, failed sign-ins, scanning, and what they used of their rates.

Belongs to one thread, and does no I/O: whoever made it hears of new bans, and keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from stalwart.auth.bans import BanList
from stalwart.auth.failures import SignInFailures
from stalwart.auth.globs import PathGlobs
from stalwart.auth.rates import RateLimiter
from stalwart.config import Rate
from stalwart.ops.metrics import Metrics
from stalwart.ops.networks import LOOPBACK, UNIX, IPNetwork, Networks
from stalwart.ops.prefixes import client_key, client_network
from stalwart.store import BanReason, BanRow

_LOCAL, _ALLOWED, _OTHER = "local", "allowed", "other"
_MOST_KNOWN = 8192


class GuardRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says. A rate that is None is no limit."""

    blocked: tuple[IPNetwork, ...] = ()
    allowed: tuple[IPNetwork, ...] = ()
    proxies: tuple[IPNetwork, ...] = ()
    """Who speaks for others, and so is never banned by the server itself."""

    failed_sign_ins: Rate | None = None
    scans: Rate | None = None
    scan_paths: tuple[str, ...] = ()
    ban_seconds: float | None = None
    """How long a ban lasts; None for no end."""

    anonymous: Rate | None = None
    account: Rate | None = None


class Guard:
    """One for all listeners. Counts survive `configure`."""

    def __init__(
        self,
        rules: GuardRules,
        *,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        metrics: Metrics,
        on_ban: Callable[[BanRow], None] | None = None,
    ) -> None:
        """`on_ban` hears of the bans that the server makes itself."""
        self.monotonic = monotonic
        self.bans = BanList(wall)
        self.anonymous = RateLimiter(None)
        """By `client_key`."""

        self.accounts = RateLimiter(None)
        """By account id."""

        self.on_ban = on_ban
        self._wall = wall
        self._failures = SignInFailures(None)
        self._scans = RateLimiter(None)
        self._made = metrics.bans_made
        self.refused = metrics.ban_refusals
        self.limited = metrics.rate_limited
        self._closed = metrics.ban_refusals.labels("connection")
        self.configure(rules)

    def configure(self, rules: GuardRules) -> None:
        """Go by other rules from now on."""
        self.rules = rules
        self._standings: dict[str, str] = {}
        self.bans.configure(blocked=rules.blocked, allowed=rules.allowed)
        self.anonymous.rate = rules.anonymous
        self.accounts.rate = rules.account
        self._failures.rate = rules.failed_sign_ins
        self._scans.rate = rules.scans
        self._proxies = Networks(rules.proxies)
        self._scan_paths = PathGlobs(rules.scan_paths)

    # Bans.

    def ban_of(self, address: str) -> BanRow | None:
        """The ban that keeps a client out, if one does."""
        row = self.bans.find(address)
        if row is not None and row.reason != "manual" and address in self._proxies:
            return None  # it is in the /64 of another who was banned
        return row

    def closes(self, address: str, *, by_request: bool) -> bool:
        """Whether a connection from the socket's peer, or from whom a PROXY header names, is to be closed; counts it.

        With `by_request`, those who speak for others are let in: each of the others is looked at with its requests.
        """
        if self.ban_of(address) is None or (by_request and address in self._proxies):
            return False
        self._closed.inc()
        return True

    def replace_bans(self, rows: Iterable[BanRow]) -> None:
        """Take these for all bans of the running server. What a client did whose ban was lifted is forgotten."""
        before = self.bans.networks()
        self.bans.replace(rows)
        lifted = {client_key(network.partition("/")[0]) for network in before - self.bans.networks()}
        if lifted:
            for key in lifted:
                self._scans.forget(key)
            self._failures.forget(lifted)

    def garbled(self, address: str) -> None:
        """A client sent what is no HTTP."""
        if self._watches(address) and self._scans.charge(client_key(address), self.monotonic()):
            assert self.rules.scans is not None
            self._ban(address, "scanning", f"more than {self.rules.scans.count} requests that were no HTTP")

    def not_found(self, address: str, *paths: str) -> None:
        """A client asked for what isn't served: here is the path as it was sent, and as it was looked for."""
        for path in paths:
            if self._scan_paths.match(path):
                if self._watches(address):
                    self._ban(address, "banned-path", f"asked for {path[:200]!r}")
                return

    # Sign-ins.

    def sign_in_wait(self, address: str, name: str) -> float:
        """The seconds until a client may try to sign in by this name, 0 for now."""
        return self._failures.wait(address, name, self.monotonic()) if self._watches(address) else 0.0

    def sign_in_failed(self, address: str, name: str) -> None:
        """A sign-in failed."""
        if self._watches(address):
            for banned, why in self._failures.failed(address, name, self.monotonic()).items():
                if self._watches(banned):
                    self._ban(banned, "auth-failure", why)

    def sign_in_succeeded(self, address: str, name: str) -> None:
        """A password was checked and was right."""
        if self._watches(address):
            self._failures.succeeded(address, name, self.monotonic())

    # Rates.

    def exempt(self, address: str, peer: str) -> bool:
        """Whether no rate holds for a client; nobody passes for one of this machine by what was forwarded."""
        standing = self._standing(address)
        return standing is _ALLOWED or (standing is _LOCAL and self._standing(peer) is _LOCAL)

    def _standing(self, address: str) -> str:
        standing = self._standings.get(address)
        if standing is None:
            if address in LOOPBACK or address == UNIX:
                standing = _LOCAL
            else:
                standing = _ALLOWED if self.bans.allows(address) else _OTHER
            if len(self._standings) >= _MOST_KNOWN:
                self._standings.clear()
            self._standings[address] = standing
        return standing

    def _watches(self, address: str) -> bool:
        return not self.bans.allows(address) and address not in self._proxies

    def _ban(self, address: str, reason: BanReason, why: str) -> None:
        network = client_network(address)
        now = self._wall()
        if network is None or self.bans.is_full or self.bans.find(address) is not None:
            return
        if self._failures.works(address, self.monotonic()):
            return  # a page or a mail can have somebody's browser ask for anything
        seconds = self.rules.ban_seconds
        # A single address stands without its prefix length.
        text = str(network.network_address) if network.num_addresses == 1 else str(network)
        until = None if seconds is None else int(now + seconds)
        row = BanRow(network=text, reason=reason, since=int(now), until=until, detail=why)
        self.bans.add(row)
        self._made.labels(reason).inc()
        if self.on_ban is not None:
            self.on_ban(row)
