"""Sessions of people who signed in with a browser. Of their tokens only hashes are kept."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, delete, insert, select, update

from stalwart.store.errors import NotFound
from stalwart.store.session import Session
from stalwart.store.tables import browser_session

_COLUMNS = select(*(column for column in browser_session.c if column.name != "hash"))
_BY_HASH = _COLUMNS.where(browser_session.c.hash == bindparam("token_hash"))
_OF_ACCOUNT = _COLUMNS.where(browser_session.c.account_id == bindparam("account")).order_by(
    browser_session.c.used_at.desc(), browser_session.c.id.desc()
)
_INSERT = insert(browser_session)
_BY_ID = browser_session.c.id == bindparam("session")
_USED = update(browser_session).where(_BY_ID).values(used_at=bindparam("now"), address=bindparam("new_address"))
_ATTEMPT = (
    update(browser_session)
    .where(_BY_ID, browser_session.c.attempts < bindparam("most"))
    .values(attempts=browser_session.c.attempts + 1)
)
_DELETE = delete(browser_session).where(_BY_ID, browser_session.c.account_id == bindparam("account"))
_DELETE_BY_HASH = delete(browser_session).where(browser_session.c.hash == bindparam("token_hash"))
_DELETE_ALL = delete(browser_session).where(
    browser_session.c.account_id == bindparam("account"), browser_session.c.id != bindparam("but")
)
_EXPIRE = delete(browser_session).where(browser_session.c.ends_at <= bindparam("now"))


class BrowserSessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A browser in which an account's password was typed. Times are seconds since the epoch.

    It counts as long as the account's password is of this version. With `needs_code` the code of the second factor is
    still to be typed: until then it is nobody's sign-in.
    """

    id: int = 0
    account_id: int
    credential_version: int
    needs_code: bool
    attempts: int = 0
    """How many codes were tried."""

    signed_in_at: int
    used_at: int
    ends_at: int
    address: str
    """Where it was last used from."""

    agent: str
    """What the browser calls itself."""

    purpose: bytes | None
    """A hash of what the password was asked for; None for nothing in particular."""


def add_browser_session(s: Session, token: str, row: BrowserSessionRow, *, most: int) -> int:
    """Keep a new session under a token, which must be random; gives its id.

    Sessions of all accounts that have ended are removed, and the account's least recently used where it has `most`.
    """
    s.connection.execute(_EXPIRE, {"now": s.now()})
    for surplus in list_browser_sessions(s, row.account_id)[most - 1 :]:
        s.connection.execute(_DELETE, {"session": surplus.id, "account": surplus.account_id})
    values = {name: value for name, value in msgspec.structs.asdict(row).items() if name != "id"}
    return s.insert(_INSERT, {**values, "hash": _hash(token)})


def find_browser_session(s: Session, token: str) -> BrowserSessionRow | None:
    """The session of a token, if it hasn't ended."""
    row = s.connection.execute(_BY_HASH, {"token_hash": _hash(token)}).one_or_none()
    return None if row is None or row.ends_at <= s.clock() else _row(row)


def list_browser_sessions(s: Session, account_id: int) -> list[BrowserSessionRow]:
    """An account's, the last used first; also those that have ended and were not removed yet."""
    return [_row(row) for row in s.connection.execute(_OF_ACCOUNT, {"account": account_id})]


def note_browser_use(s: Session, session_id: int, address: str) -> None:
    """Note that a session was used just now, from there."""
    s.connection.execute(_USED, {"session": session_id, "now": s.now(), "new_address": address})


def use_code_attempt(s: Session, session_id: int, *, most: int) -> bool:
    """Count one more code that is tried; False if `most` were already."""
    return bool(s.connection.execute(_ATTEMPT, {"session": session_id, "most": most}).rowcount)


def remove_browser_session(s: Session, account_id: int, session_id: int) -> None:
    """End one session of an account. NotFound."""
    if not s.connection.execute(_DELETE, {"session": session_id, "account": account_id}).rowcount:
        raise NotFound(f"this account has no session {session_id} of a browser")


def end_browser_session(s: Session, token: str) -> bool:
    """End the session of a token; False if there is none."""
    return bool(s.connection.execute(_DELETE_BY_HASH, {"token_hash": _hash(token)}).rowcount)


def remove_browser_sessions(s: Session, account_id: int, *, but: int = 0) -> int:
    """End all sessions of an account, except the one with the id `but`; gives how many."""
    return s.connection.execute(_DELETE_ALL, {"account": account_id, "but": but}).rowcount


def expire_browser_sessions(s: Session) -> int:
    """Remove those that have ended; gives how many."""
    return s.connection.execute(_EXPIRE, {"now": s.now()}).rowcount


def _hash(token: str) -> bytes:
    # Tokens are random and long: nothing slower is needed.
    return hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _row(row: Row[*tuple[Any, ...]]) -> BrowserSessionRow:
    return BrowserSessionRow(**row._mapping)
