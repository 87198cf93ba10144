"""Whether credentials are right: passwords with a second factor, app passwords, API keys, and the fallback admin."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable

import msgspec

from stalwart.auth.codes import plain_recovery_code, split_code, step_of
from stalwart.auth.headers import Credentials
from stalwart.auth.loading import load_principal
from stalwart.auth.passwords import Passwords
from stalwart.auth.principal import Principal
from stalwart.auth.schemes import UnusableHash, is_hash
from stalwart.config.secret import Secret
from stalwart.store import (
    ALL_PERMISSIONS,
    AccountRow,
    DiskFull,
    InvalidAddress,
    Session,
    Store,
    StoreBusy,
    find_account,
    find_credential,
    find_principal,
    find_token,
    find_totp,
    get_grant,
    note_grant_use,
    note_use,
    principal_of_account,
    replace_password_hash,
    use_recovery_code,
    use_totp_step,
)

_USED_EVERY = 60  # seconds


class FallbackAdmin(msgspec.Struct, frozen=True, kw_only=True):
    """An administrator that the configuration names, for when there is no other. The secret is in clear or a hash."""

    user: str
    secret: Secret


class CodeNeeded(Exception):
    """The password is right, and the account asks for a code of its second factor: see `Checker.check_code`."""

    def __init__(self, account_id: int, credential_version: int) -> None:
        super().__init__(account_id)
        self.account_id = account_id
        self.credential_version = credential_version


class _Password(msgspec.Struct, frozen=True, kw_only=True):
    """What a password is checked against, and whose it is.

    What they may do is read when it was right: until then an account costs hardly more than an unknown user.
    """

    account: AccountRow
    principal_id: int
    totp: str | None


class Checker:
    """Checks credentials against the store. Safe to use from any thread.

    Whoever tries to find out what is wrong with theirs learns nothing: an unknown user, a disabled one, a wrong
    password and a missing code all cost one check of a password.
    """

    def __init__(self, store: Store, passwords: Passwords, *, on_trouble: Callable[[str], None]) -> None:
        """`on_trouble` is told, for the operator, of stored hashes that can't be used, and of what can't be written."""
        self._store = store
        self._passwords = passwords
        self._on_trouble = on_trouble
        self._lock = threading.Lock()
        self._fallback: tuple[FallbackAdmin, Principal] | None = None
        self._fallbacks = 0

    def set_fallback(self, admin: FallbackAdmin | None) -> None:
        """Let this administrator in from now on, and no other fallback."""
        with self._lock:
            if admin is None:
                self._fallback = None
            elif self._fallback is None or self._fallback[0] != admin:
                self._fallbacks += 1
                principal = Principal(
                    account_id=0,
                    address=admin.user,
                    name="",
                    credential_version=self._fallbacks,
                    permissions=ALL_PERMISSIONS,
                )
                self._fallback = admin, principal

    @property
    def fallback(self) -> Principal | None:
        """Who the fallback administrator is at the moment."""
        fallback = self._fallback
        return None if fallback is None else fallback[1]

    def check(self, credentials: Credentials, client: str | None = None) -> Principal | None:
        """Who they stand for; None if they aren't right, or not for the address of the client, if given.

        Blocks. StoreError.
        """
        user, secret = credentials.user, credentials.secret.reveal()
        if credentials.is_token:
            return self._by_token(secret, client)
        with self._store.read() as s:
            found = None if credentials.is_api_key else self._account(s, user, secret)
            if found is None:
                found = self._api_key(s, user, secret)
        if isinstance(found, Principal):
            if client is not None and not found.may_come_from(client):
                return None
            self._note_use(found)
            return found
        if found is not None:
            return self._by_password(found, secret)
        return self._by_fallback(credentials)

    def hash(self, password: str) -> str:
        """The hash to keep of a new password. Blocks."""
        return self._passwords.hash(password)

    def check_password(self, user: str, password: str, code: str = "") -> Principal | None:
        """Who signs in by an account's own password, and a code where one is needed: no app password, no API key.

        Blocks. CodeNeeded, StoreError.
        """
        with self._store.read() as s:
            found = self._with_password(s, user)
        if found is None:
            self._passwords.verify_nobody(password)
            return None
        return self._by_parts(found, password, code)

    def check_code(self, account_id: int, credential_version: int, code: str) -> Principal | None:
        """Who signs in by a code, whose password was found right by this version; None if the code is wrong.

        The code is one of the app's, or a recovery code.

        Also None where the account, its password or its second factor has changed meanwhile. Blocks. StoreError.
        """
        with self._store.read() as s:
            principal = load_principal(s, account_id, None)
            if principal is None or principal.credential_version != credential_version:
                return None
            account = find_account(s, principal.address)
            totp = find_totp(s, principal.principal_id)
        if account is None or totp is None:
            return None
        found = _Password(account=account, principal_id=principal.principal_id, totp=totp)
        return principal if self._take_code(found, totp, code) else None

    # Who it may be, in a snapshot.

    def _with_password(self, s: Session, user: str) -> _Password | None:
        try:
            account = find_account(s, user)
        except InvalidAddress:
            return None
        if account is None or account.kind != "individual" or not account.is_enabled:
            return None
        principal_id = principal_of_account(s, account.id).id
        return _Password(account=account, principal_id=principal_id, totp=find_totp(s, principal_id))

    def _account(self, s: Session, user: str, secret: str) -> Principal | _Password | None:
        found = self._with_password(s, user)
        if found is None:
            return None
        app = find_credential(s, found.principal_id, secret)
        return found if app is None else load_principal(s, found.account.id, app.id)

    def _api_key(self, s: Session, name: str, secret: str) -> Principal | None:
        holder = find_principal(s, "apiKey", name)
        row = None if holder is None else find_credential(s, holder.id, secret)
        return None if row is None else load_principal(s, 0, row.id)

    def _by_token(self, token: str, client: str | None) -> Principal | None:
        with self._store.read() as s:
            row = find_token(s, token)
            principal = None if row is None else load_principal(s, 0, None, token_id=row.id)
            if row is None or principal is None or (client is not None and not principal.may_come_from(client)):
                return None
            grant = get_grant(s, row.grant_id)
        if client is not None and (grant.last_used_at or 0) + _USED_EVERY <= self._store.clock():
            self._note(principal, lambda s: note_grant_use(s, grant.id, client))
        return principal

    # Whether it is.

    def _by_password(self, found: _Password, secret: str) -> Principal | None:
        # The whole secret is the password where no code is asked for, also if it ends like one.
        password, code = (secret, "") if found.totp is None else split_code(secret)
        try:
            return self._by_parts(found, password, code)
        except CodeNeeded:
            return None

    def _by_parts(self, found: _Password, password: str, code: str) -> Principal | None:
        account = found.account
        try:
            right = self._passwords.verify(account.password_hash, password)
        except UnusableHash as error:
            self._on_trouble(
                f"nobody can sign in as {account.address} by a password: {error}; "
                f"`stalwart account passwd {account.address}` sets a new one"
            )
            right = False
            self._passwords.verify_nobody(password)
        else:
            if not right and self._passwords.is_dated(account.password_hash):
                self._passwords.verify_nobody(password)
        if not right:
            return None
        if found.totp is not None:
            if not code:
                raise CodeNeeded(account.id, account.credential_version)
            if not self._take_code(found, found.totp, code):
                return None
        if self._passwords.is_dated(account.password_hash):
            better = self._passwords.hash(password)
            self._note(account, lambda s: replace_password_hash(s, account.id, account.password_hash, better))
        with self._store.read() as s:
            principal = load_principal(s, account.id, None)
        # The password may have been changed while it was checked.
        is_same = principal is not None and principal.credential_version == account.credential_version
        return principal if is_same else None

    def _take_code(self, found: _Password, totp: str, code: str) -> bool:
        try:
            step = step_of(totp, code, self._store.clock())
        except ValueError:  # not base32
            self._on_trouble(
                f"nobody can sign in as {found.account.address}: the secret of the second factor is malformed; "
                f"`stalwart account totp disable {found.account.address}` takes it away"
            )
            return False
        if step is None and code.isdigit():
            return False
        with self._store.write() as s:
            if step is None:
                return use_recovery_code(s, found.principal_id, plain_recovery_code(code))
            return use_totp_step(s, found.principal_id, step)

    def _by_fallback(self, credentials: Credentials) -> Principal | None:
        fallback, secret = self._fallback, credentials.secret.reveal()
        if fallback is None or credentials.is_api_key or credentials.user.lower() != fallback[0].user.lower():
            if not credentials.is_api_key:  # whose secrets can't be guessed
                self._passwords.verify_nobody(secret)
            return None
        stored = fallback[0].secret.reveal()
        if not is_hash(stored):
            right = hmac.compare_digest(stored.encode(), secret.encode("utf-8", "surrogatepass"))
            self._passwords.verify_nobody(secret)
        else:
            try:
                right = self._passwords.verify(stored, secret)
            except UnusableHash as error:
                self._on_trouble(f"authentication.fallback-admin.secret is no hash that can be used: {error}")
                right = False
        return fallback[1] if right else None

    def _note_use(self, principal: Principal) -> None:
        if (credential_id := principal.credential_id) is not None:
            self._note(principal, lambda s: note_use(s, credential_id))

    def _note(self, who: Principal | AccountRow, note: Callable[[Session], object]) -> None:
        """Write down what a sign-in doesn't depend on: people still want to read, and to make room, on a full disk."""
        try:
            with self._store.write() as s:
                note(s)
        except (DiskFull, StoreBusy) as error:
            self._on_trouble(f"{who.address} signed in, and what is kept of that could not be written: {error}")
