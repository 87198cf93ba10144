"""What accounts let OAuth clients do, with the codes and the tokens issued for it, which are kept as SHA-256.

Whoever ends a grant removes it: its codes, tokens, tickets and push subscriptions go with it, and the directory's
version moves, so that every process notices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Row, Select, and_, bindparam, delete, exists, insert, not_, select, update

from stalwart.store.errors import NotFound
from stalwart.store.session import Session
from stalwart.store.tables import oauth_code, oauth_device, oauth_grant, oauth_token

TokenKind = Literal["access", "refresh"]

_AT_ONCE = 500
_MOVE = "UPDATE directory SET version = version + 1"
# SQLite fires these for rows that go by cascade, too. A new token changes nothing that anybody could have kept.
DDL = (f"CREATE TRIGGER oauth_token_removed AFTER DELETE ON oauth_token BEGIN {_MOVE}; END",)

_g, _c, _t = oauth_grant.c, oauth_code.c, oauth_token.c
_GRANTS = select(*_g)
_GRANT = _GRANTS.where(_g.id == bindparam("in_grant"))
_LIVE = exists().where(_t.grant_id == _g.id, _t.expires_at > bindparam("now"), _t.replaced_at.is_(None))
_USABLE: Select[*tuple[Any, ...]] = _GRANTS.where(_LIVE).order_by(_g.id)
_USABLE_OF = _USABLE.where(_g.account_id == bindparam("account"))
_ADD_GRANT = insert(oauth_grant)
_END = delete(oauth_grant).where(_g.id == bindparam("in_grant"))
_END_OF = delete(oauth_grant).where(_g.account_id == bindparam("account"))
_USED = (
    update(oauth_grant)
    .where(_g.id == bindparam("in_grant"))
    .values(last_used_at=bindparam("at"), address=bindparam("from_address"))
)

_ADD_CODE = insert(oauth_code)
_CODE = select(*_c).where(_c.hash == bindparam("secret_hash"))
_USE_CODE = (
    update(oauth_code).where(_c.hash == bindparam("secret_hash"), _c.used_at.is_(None)).values(used_at=bindparam("at"))
)

_ADD_TOKEN = insert(oauth_token)
_TOKENS = select(*(column for column in _t if column.name != "hash"))
_TOKEN_BY_HASH = _TOKENS.where(_t.hash == bindparam("secret_hash"))
_TOKEN_BY_ID = _TOKENS.where(_t.id == bindparam("token"))
_REPLACE = (
    update(oauth_token)
    .where(_t.grant_id == bindparam("in_grant"), _t.kind == "refresh", _t.replaced_at.is_(None))
    .values(replaced_at=bindparam("at"))
)
_REMOVE_TOKEN = delete(oauth_token).where(_t.id == bindparam("token"))
# The newest by the index of the grant, which has the ids in order: as few steps, however many a grant has.
_REFRESHED_AT = (
    select(_t.created_at)
    .where(_t.grant_id == bindparam("in_grant"), _t.kind == "refresh")
    .order_by(_t.id.desc())
    .limit(1)
    .offset(bindparam("newer"))
)
_EXPIRE_TOKENS = delete(oauth_token).where(
    _t.id.in_(select(_t.id).where(_t.expires_at <= bindparam("now")).limit(_AT_ONCE))
)
# A grant of which nothing is left that could be used: neither tokens, nor a code or device that may still fetch them.
_EXPIRE_GRANTS = delete(oauth_grant).where(
    _g.id.in_(
        select(_g.id)
        .where(
            not_(exists().where(_t.grant_id == _g.id)),
            not_(exists().where(_c.grant_id == _g.id, _c.used_at.is_(None), _c.expires_at > bindparam("now"))),
            not_(exists().where(and_(oauth_device.c.grant_id == _g.id, oauth_device.c.expires_at > bindparam("now")))),
        )
        .limit(_AT_ONCE)
    )
)


class GrantRow(msgspec.Struct, frozen=True, kw_only=True):
    """That an account lets a client do what `scope` names. Times are in epoch seconds.

    It counts as long as the account's password is of `credential_version`, or the API key of `credential_id` is there.
    `address` is where it was last used from; `last_used_at` is right to some minutes, since what was verified is
    remembered, and None before tokens were fetched. `client_row_id` None: the client isn't registered.
    """

    id: int = 0
    account_id: int
    credential_version: int
    credential_id: int | None = None
    client_row_id: int | None
    client_id: str
    client_name: str
    scope: tuple[str, ...]
    signed_in_at: int
    address: str
    created_at: int = 0
    last_used_at: int | None = None


class CodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """An authorization code. `redirect_uri` None: the request had none."""

    grant_id: int
    redirect_uri: str | None
    code_challenge: str | None
    nonce: str | None
    expires_at: int
    used_at: int | None = None


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """An access token or refresh token; `replaced_at` is when a refresh token was used."""

    id: int
    kind: TokenKind
    grant_id: int
    scope: tuple[str, ...]
    created_at: int
    expires_at: int
    replaced_at: int | None


def add_grant(s: Session, row: GrantRow) -> int:
    """Keep a new grant, made now; gives its id."""
    values = {**_plain(row), "created_at": s.now(), "last_used_at": None}
    del values["id"]
    return s.insert(_ADD_GRANT, values)


def get_grant(s: Session, grant_id: int) -> GrantRow:
    """The one with this id. NotFound."""
    row = s.connection.execute(_GRANT, {"in_grant": grant_id}).one_or_none()
    if row is None:
        raise NotFound(f"there is no authorisation {grant_id} of an OAuth client")
    return _grant(row)


def list_grants(s: Session, account_id: int | None = None) -> Sequence[GrantRow]:
    """Those of an account, or of all, for which there are tokens that have not expired."""
    if account_id is None:
        rows = s.connection.execute(_USABLE, {"now": s.now()})
    else:
        rows = s.connection.execute(_USABLE_OF, {"now": s.now(), "account": account_id})
    return [_grant(row) for row in rows]


def end_grant(s: Session, grant_id: int) -> None:
    """Revoke a grant with all that was issued for it. NotFound."""
    if not s.connection.execute(_END, {"in_grant": grant_id}).rowcount:
        raise NotFound(f"there is no authorisation {grant_id} of an OAuth client")


def end_grants(s: Session, account_id: int) -> int:
    """Revoke all of an account; gives how many there were."""
    return s.connection.execute(_END_OF, {"account": account_id}).rowcount


def note_grant_use(s: Session, grant_id: int, address: str) -> None:
    """Note that tokens were fetched for it, or one was used, just now, and where from."""
    s.connection.execute(_USED, {"in_grant": grant_id, "at": s.now(), "from_address": address})


def add_code(s: Session, code: str, row: CodeRow) -> None:
    """Keep a new authorization code, which must be random."""
    s.connection.execute(_ADD_CODE, {"hash": secret_hash(code), **msgspec.structs.asdict(row)})


def find_code(s: Session, code: str) -> CodeRow | None:
    """The code's row, also if it has expired or was used."""
    row = s.connection.execute(_CODE, {"secret_hash": secret_hash(code)}).one_or_none()
    return None if row is None else CodeRow(**{k: v for k, v in row._mapping.items() if k != "hash"})


def use_code(s: Session, code: str) -> bool:
    """Use the code up; False if it was before."""
    return bool(s.connection.execute(_USE_CODE, {"secret_hash": secret_hash(code), "at": s.now()}).rowcount)


def add_token(s: Session, token: str, kind: TokenKind, grant_id: int, scope: Sequence[str], *, expires_at: int) -> int:
    """Keep a new token, which must be random; gives its id."""
    values = {
        "hash": secret_hash(token),
        "kind": kind,
        "grant_id": grant_id,
        "scope": " ".join(scope),
        "created_at": s.now(),
        "expires_at": expires_at,
        "replaced_at": None,
    }
    return s.insert(_ADD_TOKEN, values)


def find_token(s: Session, token: str) -> TokenRow | None:
    """The token's row, also if it was replaced; None if it has expired or isn't known."""
    row = s.connection.execute(_TOKEN_BY_HASH, {"secret_hash": secret_hash(token)}).one_or_none()
    return None if row is None or row.expires_at <= s.clock() else _token(row)


def get_token(s: Session, token_id: int) -> TokenRow:
    """The token with this id. NotFound, also if it has expired."""
    row = s.connection.execute(_TOKEN_BY_ID, {"token": token_id}).one_or_none()
    if row is None or row.expires_at <= s.clock():
        raise NotFound(f"there is no token {token_id}")
    return _token(row)


def replace_refresh_tokens(s: Session, grant_id: int) -> None:
    """Have the refresh token of a grant be one that was used: the next one takes its place."""
    s.connection.execute(_REPLACE, {"in_grant": grant_id, "at": s.now()})


def refreshed_at(s: Session, grant_id: int, nth: int) -> int | None:
    """When the `nth` newest refresh token of a grant was issued, used ones included; None: there are fewer."""
    return s.connection.scalar(_REFRESHED_AT, {"in_grant": grant_id, "newer": nth - 1})


def remove_token(s: Session, token_id: int) -> None:
    """Revoke one token."""
    s.connection.execute(_REMOVE_TOKEN, {"token": token_id})


def expire_grants(s: Session) -> int:
    """Remove some of the tokens that have expired, and then of the grants of which nothing is left; gives how many."""
    now = {"now": s.now()}
    removed = s.connection.execute(_EXPIRE_TOKENS, now).rowcount
    if removed < _AT_ONCE:
        removed += s.connection.execute(_EXPIRE_GRANTS, now).rowcount
    return removed


def secret_hash(secret: str) -> bytes:
    """What is kept of a code or token. They are random and long: nothing slower is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _plain(row: GrantRow) -> dict[str, Any]:
    return {**msgspec.structs.asdict(row), "scope": " ".join(row.scope)}


def _grant(row: Row[*tuple[Any, ...]]) -> GrantRow:
    return GrantRow(**{**row._mapping, "scope": tuple(row.scope.split())})


def _token(row: Row[*tuple[Any, ...]]) -> TokenRow:
    return TokenRow(**{**row._mapping, "scope": tuple(row.scope.split())})
