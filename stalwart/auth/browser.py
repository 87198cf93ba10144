"""Sign-ins that last in a browser: begun with a password, ended by time, by signing out, or with the password."""

from __future__ import annotations

import hashlib
import secrets

import msgspec

from stalwart.auth.loading import load_principal
from stalwart.auth.principal import Principal
from stalwart.store import (
    BrowserSessionRow,
    Session,
    Store,
    add_browser_session,
    end_browser_session,
    find_browser_session,
    note_browser_use,
)

IDLE_SECONDS = 1800
"""After so long without a request a sign-in has ended."""

LIFETIME_SECONDS = 12 * 3600
"""A sign-in ends so long after the password was typed, however much it is used."""

CODE_SECONDS = 300
"""How long there is to type the code of a second factor."""

MOST_CODES = 5
"""How many codes may be tried before the password is asked for again."""

_MOST_SESSIONS = 50
_USED_EVERY = 60
_MOST_AGENT = 200
_LONGEST_TOKEN = 100


class BrowserSession(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in that counts."""

    id: int
    principal: Principal
    signed_in_at: int
    """When the password was typed, in epoch seconds."""

    token: str
    """What the browser shows. Not to be logged."""

    purpose: bytes | None
    """What the password was asked for, as `purpose_of` gives it."""


class CodeStep(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in whose password was right, and whose code is missing."""

    id: int
    account_id: int
    address: str
    """The account's."""

    credential_version: int
    token: str


def begin_session(
    s: Session,
    account_id: int,
    credential_version: int,
    *,
    address: str,
    agent: str,
    purpose: bytes | None = None,
    needs_code: bool = False,
) -> str:
    """A new session in a transaction `s`; gives its token, which has to be a new one with each step of a sign-in.

    The password must have been verified, and the code, too, unless the session is the one that waits for it.
    """
    token = secrets.token_urlsafe(32)
    now = s.now()
    row = BrowserSessionRow(
        account_id=account_id,
        credential_version=credential_version,
        needs_code=needs_code,
        signed_in_at=now,
        used_at=now,
        ends_at=now + (CODE_SECONDS if needs_code else LIFETIME_SECONDS),
        address=address,
        agent=agent[:_MOST_AGENT],
        purpose=purpose,
    )
    add_browser_session(s, token, row, most=_MOST_SESSIONS)
    return token


def find_session(s: Session, token: str) -> BrowserSession | CodeStep | None:
    """Whose session this is at this moment; None if it has ended in any way."""
    row = find_browser_session(s, token) if len(token) <= _LONGEST_TOKEN else None
    if row is None or row.used_at + IDLE_SECONDS <= s.clock():
        return None
    principal = load_principal(s, row.account_id, None)
    if principal is None or principal.credential_version != row.credential_version:
        return None  # disabled, or the password was changed
    if not principal.may("authenticate"):
        return None
    if row.needs_code:
        return CodeStep(
            id=row.id,
            account_id=row.account_id,
            address=principal.address,
            credential_version=row.credential_version,
            token=token,
        )
    return BrowserSession(
        id=row.id, principal=principal, signed_in_at=row.signed_in_at, token=token, purpose=row.purpose
    )


def is_usable(row: BrowserSessionRow, now: float) -> bool:
    """Whether a sign-in is complete and hasn't ended by time."""
    return not row.needs_code and row.ends_at > now and row.used_at + IDLE_SECONDS > now


def resume_session(store: Store, token: str, *, address: str) -> BrowserSession | CodeStep | None:
    """As `find_session`, and note the use, once a minute or when the address changes. Blocks. StoreError."""
    with store.read() as s:
        found = find_session(s, token)
        row = find_browser_session(s, token) if isinstance(found, BrowserSession) else None
        due = row is not None and (row.used_at + _USED_EVERY <= s.clock() or row.address != address)
    if due and row is not None:
        with store.write() as s:
            note_browser_use(s, row.id, address)
    return found


def end_session(s: Session, token: str) -> bool:
    """Sign out; `s` is a transaction. False if there was nothing to end."""
    return len(token) <= _LONGEST_TOKEN and end_browser_session(s, token)


def form_token(token: str, purpose: str) -> str:
    """What a form shows to prove that it comes from a page for the browser with this token, made for this purpose."""
    digest = hashlib.blake2b(purpose.encode("utf-8", "surrogatepass"), key=_key(token), digest_size=24)
    return digest.hexdigest()


def purpose_of(text: str) -> bytes:
    """A hash of what a password is asked for."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _key(token: str) -> bytes:
    return hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32, person=b"form").digest()
