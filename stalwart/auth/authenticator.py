"""Sign-in with Basic credentials, and the memory of those that were verified a short while ago."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable

from stalwart.auth.basic import parse_basic
from stalwart.auth.passwords import Passwords
from stalwart.auth.principal import Principal
from stalwart.ops.metrics import Metrics
from stalwart.store import InvalidAddress, Session, Store, credential_version, find_account

_TTL = 300.0
_MOST = 4096


class Authenticator:
    """Answers who an Authorization header stands for. Safe to use from any thread.

    What was verified is remembered under a keyed hash of the header's value: neither the value nor a hash that could
    be guessed against lies in memory.
    """

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        *,
        clock: Callable[[], float],
        metrics: Metrics | None = None,
        ttl: float = _TTL,
        most: int = _MOST,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._clock = clock
        self._ttl = ttl
        self._most = most
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._verified: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._forgotten = 0
        outcomes = metrics.sign_ins if metrics is not None else None
        self._ok, self._cached, self._failed = (
            outcomes.labels(name) if outcomes is not None else None for name in ("ok", "cached", "failed")
        )

    def cached(self, authorization: bytes) -> Principal | None:
        """Who this header was verified for within the last minutes. No I/O, no hashing of passwords.

        A change of the password since then is not noticed here: ask `still_valid` in the request's session.
        """
        principal = self._look_up(self._digest(authorization))
        if principal is not None and self._cached is not None:
            self._cached.inc()
        return principal

    def verify(self, authorization: bytes) -> Principal | None:
        """Check the header's user and password; None if they don't fit. Blocks. AuthMalformed, StoreError.

        An unknown user costs as much time as a wrong password.
        """
        credentials = parse_basic(authorization)
        digest = self._digest(authorization)
        if (known := self._look_up(digest)) is not None:  # several first requests of one client came together
            return known
        started_at = self._forgotten
        with self._store.read() as s:
            try:
                account = find_account(s, credentials.user)
            except InvalidAddress:
                account = None
        password = credentials.password.reveal()
        if account is None:
            self._passwords.verify_nobody(password)
        elif self._passwords.verify(account.password_hash, password):
            principal = Principal(
                account_id=account.id,
                address=account.address,
                name=account.name,
                is_admin=account.is_admin,
                credential_version=account.credential_version,
            )
            self._remember(digest, principal, started_at)
            if self._ok is not None:
                self._ok.inc()
            return principal
        if self._failed is not None:
            self._failed.inc()
        return None

    def still_valid(self, s: Session, principal: Principal) -> bool:
        """Whether the account exists and its password is still the one that was verified."""
        return credential_version(s, principal.account_id) == principal.credential_version

    def forget(self, account_id: int) -> None:
        """Drop what is remembered for an account; its next request is verified anew."""
        with self._lock:
            self._forgotten += 1
            for digest in [d for d, (_, principal) in self._verified.items() if principal.account_id == account_id]:
                del self._verified[digest]

    def _digest(self, authorization: bytes) -> bytes:
        return hashlib.blake2b(authorization, key=self._key, digest_size=16).digest()

    def _look_up(self, digest: bytes) -> Principal | None:
        with self._lock:
            entry = self._verified.get(digest)
            if entry is None:
                return None
            until, principal = entry
            if self._clock() >= until:
                del self._verified[digest]
                return None
            return principal

    def _remember(self, digest: bytes, principal: Principal, started_at: int) -> None:
        with self._lock:
            if self._forgotten != started_at:  # forgotten while the password was being checked
                return
            self._verified[digest] = (self._clock() + self._ttl, principal)
            self._verified.move_to_end(digest)
            while len(self._verified) > self._most:
                self._verified.popitem(last=False)
