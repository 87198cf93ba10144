"""Sign-in by the Authorization field, and the memory of what was verified a short while ago."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable

from stalwart.auth.checking import Checker, FallbackAdmin
from stalwart.auth.headers import parse_authorization
from stalwart.auth.loading import load_principal
from stalwart.auth.passwords import Passwords
from stalwart.auth.principal import Principal
from stalwart.ops.metrics import Metrics
from stalwart.store import Session, Store

_TTL = 300.0
_MOST = 4096

_Key = tuple[int, int | None, int | None, int | None]
"""What a principal is loaded by: its account, credential, grant and token."""


class Authenticator:
    """Answers who an Authorization field stands for. Safe to use from any thread.

    What was verified is remembered under a keyed hash of the field's value: neither the value nor a hash that could
    be guessed against lies in memory. Whoever goes by it asks `still_valid` in the request's own snapshot: a change by
    any process is then noticed with the next request.
    """

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        *,
        clock: Callable[[], float],
        metrics: Metrics | None = None,
        on_trouble: Callable[[str], None] = lambda text: None,
        ttl: float = _TTL,
        most: int = _MOST,
    ) -> None:
        """`clock` gives seconds that only rise; `on_trouble` is told of stored hashes that can't be used."""
        self.checker = Checker(store, passwords, on_trouble=on_trouble)
        self._store = store
        self._clock = clock
        self._wall = store.clock
        self._ttl = ttl
        self._most = most
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._verified: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        # Principals as the store has them, with the directory's version that goes for.
        self._current: dict[_Key, tuple[int, Principal | None]] = {}
        self._forgotten = 0
        outcomes = metrics.sign_ins if metrics is not None else None
        self._ok, self._cached, self._failed = (
            outcomes.labels(name) if outcomes is not None else None for name in ("ok", "cached", "failed")
        )

    def set_fallback(self, admin: FallbackAdmin | None) -> None:
        """Let this administrator of the configuration in from now on, and no other."""
        self.checker.set_fallback(admin)

    def cached(self, authorization: bytes) -> Principal | None:
        """Who this value was verified for within the last minutes. No I/O, no hashing of passwords.

        What has changed since then is not noticed here: ask `still_valid` in the request's session.
        """
        principal = self._look_up(self._digest(authorization))
        if principal is not None and self._cached is not None:
            self._cached.inc()
        return principal

    def verify(self, authorization: bytes, client: str | None = None) -> Principal | None:
        """Check who the value says it is; None if that isn't right, or not for the address of the client, if given.

        Blocks. AuthMalformed, StoreError.
        """
        credentials = parse_authorization(authorization)
        digest = self._digest(authorization)
        known = self._look_up(digest)
        if known is not None and (client is None or known.may_come_from(client)):
            return known  # several first requests of one client came together
        started_at = self._forgotten
        principal = self.checker.check(credentials, client)
        if principal is not None:
            self._remember(digest, principal, started_at)
        outcome = self._failed if principal is None else self._ok
        if outcome is not None:
            outcome.inc()
        return principal

    def recheck(self, authorization: bytes, client: str | None = None) -> Principal | None:
        """As `verify`, but what is remembered is brought up to date first. Blocks. AuthMalformed, StoreError."""
        digest = self._digest(authorization)
        known = self._look_up(digest)
        if known is not None:
            with self._store.read() as s:
                current = self.current(s, known)
            if current is not None and (client is None or current.may_come_from(client)):
                with self._lock:
                    if digest in self._verified:
                        self._verified[digest] = (self._verified[digest][0], current)
                return current
            with self._lock:
                self._verified.pop(digest, None)
        return self.verify(authorization, client)

    def still_valid(self, s: Session, principal: Principal) -> bool:
        """Whether the credentials still count, and give the same permissions."""
        return self.current(s, principal) == principal

    def current(self, s: Session, principal: Principal) -> Principal | None:
        """The principal as it is in this snapshot, perhaps with other permissions; None if its credentials ended."""
        if not principal.principal_id:
            fallback = self.checker.fallback
            return fallback if fallback == principal else None
        if principal.expires_at is not None and principal.expires_at <= s.clock():
            return None
        found = self._loaded(s, principal)
        # A new password has nothing to do with who signed in by another secret, which has version 0.
        return found if found is not None and found.credential_version == principal.credential_version else None

    def forget(self, account_id: int) -> None:
        """Drop what is remembered for an account; its next request is verified anew."""
        with self._lock:
            self._forgotten += 1
            for digest in [d for d, (_, principal) in self._verified.items() if principal.account_id == account_id]:
                del self._verified[digest]

    def _loaded(self, s: Session, principal: Principal) -> Principal | None:
        if not s.is_snapshot:  # what a transaction sees may be undone, and its versions be given out again
            return _load(s, _key(principal))
        key, version = _key(principal), s.directory_version()
        known = self._current.get(key)
        if known is not None and known[0] == version:
            return known[1]
        found = _load(s, key)
        if len(self._current) >= self._most:
            self._current.clear()
        self._current[key] = version, found
        return found

    def _digest(self, authorization: bytes) -> bytes:
        return hashlib.blake2b(authorization, key=self._key, digest_size=16).digest()

    def _look_up(self, digest: bytes) -> Principal | None:
        with self._lock:
            entry = self._verified.get(digest)
            if entry is None:
                return None
            until, principal = entry
            has_ended = principal.expires_at is not None and principal.expires_at <= self._wall()
            if self._clock() >= until or has_ended or not (principal.principal_id or self._is_fallback(principal)):
                del self._verified[digest]
                return None
            return principal

    def _is_fallback(self, principal: Principal) -> bool:
        return principal == self.checker.fallback

    def _remember(self, digest: bytes, principal: Principal, started_at: int) -> None:
        with self._lock:
            if self._forgotten != started_at:  # forgotten while the password was being checked
                return
            self._verified[digest] = (self._clock() + self._ttl, principal)
            self._verified.move_to_end(digest)
            while len(self._verified) > self._most:
                self._verified.popitem(last=False)


def _key(principal: Principal) -> _Key:
    return principal.account_id, principal.credential_id, principal.grant_id, principal.token_id


def _load(s: Session, key: _Key) -> Principal | None:
    account_id, credential_id, grant_id, token_id = key
    return load_principal(s, account_id, credential_id, grant_id=grant_id, token_id=token_id)
