"""Push subscriptions (RFC 8620 §7.2), each tied to the credentials that it was made with, and this server's keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
from sqlalchemy import Select, and_, bindparam, delete, insert, or_, select, update

from stalwart.store.session import Session
from stalwart.store.tables import account, push_subscription, server_key

PUSH_SUBSCRIPTION = "PushSubscription"
"""What commits that changed subscriptions announce. Not a type of the account's data: nobody is pushed its state."""

_COLUMNS = list(push_subscription.c)
# RFC 8620 §7.2: revoked credentials take their subscriptions along
_LIVE: Select[*tuple[object, ...]] = (
    select(*_COLUMNS)
    .join_from(push_subscription, account, account.c.id == push_subscription.c.account_id)
    .where(
        or_(
            push_subscription.c.credential_id.is_not(None),
            account.c.credential_version == push_subscription.c.credential_version,
        ),
        push_subscription.c.expires_at > bindparam("now"),
    )
    .order_by(push_subscription.c.id)
)
_LIVE_OF = _LIVE.where(push_subscription.c.account_id == bindparam("account"))
_INSERT = insert(push_subscription)
_UPDATE = (
    update(push_subscription)
    .where(push_subscription.c.id == bindparam("subscription"))
    .values(
        is_verified=bindparam("is_verified"),
        expires_at=bindparam("expires_at"),
        types=bindparam("types"),
    )
)
_DELETE = delete(push_subscription).where(push_subscription.c.id == bindparam("subscription"))
_DELETE_DEAD = delete(push_subscription).where(
    or_(
        push_subscription.c.expires_at <= bindparam("now"),
        and_(
            push_subscription.c.credential_id.is_(None),
            push_subscription.c.credential_version
            != select(account.c.credential_version)
            .where(account.c.id == push_subscription.c.account_id)
            .scalar_subquery(),
        ),
    )
)
_DELETE_DEAD_OF = _DELETE_DEAD.where(push_subscription.c.account_id == bindparam("account"))
_DELETE_ALL_DEAD = _DELETE_DEAD.returning(push_subscription.c.account_id)
_KEY = select(server_key.c.value).where(server_key.c.name == bindparam("name"))
_INSERT_KEY = insert(server_key)


class SubscriptionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A push subscription. `p256dh` and `auth` are the decoded keys; `types` None means all."""

    id: int = 0
    account_id: int
    credential_version: int
    credential_id: int | None = None
    """The app password or API key that it was made with, which takes it along; None: the password."""

    grant_id: int | None = None
    """What its account lets the OAuth client do that made it, which takes it along, too."""

    device_client_id: str
    url: str
    p256dh: bytes | None
    auth: bytes | None
    verification_code: str
    is_verified: bool = False
    expires_at: int
    types: tuple[str, ...] | None


def list_subscriptions(s: Session, account_id: int | None = None) -> Sequence[SubscriptionRow]:
    """The subscriptions of the account, or of all, that have not expired and whose password is still the same."""
    where: dict[str, object] = {"now": s.now()}
    if account_id is None:
        rows = s.connection.execute(_LIVE, where)
    else:
        rows = s.connection.execute(_LIVE_OF, {**where, "account": account_id})
    return [
        SubscriptionRow(**{**row._mapping, "types": None if row.types is None else tuple(row.types.split())})
        for row in rows
    ]


def add_subscription(s: Session, row: SubscriptionRow) -> SubscriptionRow:
    """Keep a new subscription; gives it with its id. Dead ones of the account, which no limit counts, are removed."""
    s.touch(row.account_id, PUSH_SUBSCRIPTION)
    with _erasing(s):
        s.connection.execute(_DELETE_DEAD_OF, {"now": s.now(), "account": row.account_id})
    values = msgspec.structs.asdict(row)
    del values["id"]
    return msgspec.structs.replace(row, id=s.insert(_INSERT, {**values, "types": _types(row)}))


def update_subscription(s: Session, row: SubscriptionRow) -> None:
    """Keep what may change of a subscription: whether it is verified, when it expires, its types."""
    s.touch(row.account_id, PUSH_SUBSCRIPTION)
    s.connection.execute(
        _UPDATE,
        {
            "subscription": row.id,
            "is_verified": row.is_verified,
            "expires_at": row.expires_at,
            "types": _types(row),
        },
    )


def delete_subscription(s: Session, account_id: int, subscription: int) -> None:
    """Remove a subscription, if it is there still. Its octets are overwritten, as RFC 8620 §7.2 asks."""
    with _erasing(s):
        if s.connection.execute(_DELETE, {"subscription": subscription}).rowcount:
            s.touch(account_id, PUSH_SUBSCRIPTION)


def delete_dead_subscriptions(s: Session) -> int:
    """Remove those that have expired or whose password was changed; gives how many."""
    with _erasing(s):
        accounts = list(s.connection.scalars(_DELETE_ALL_DEAD, {"now": s.now()}))
    for account_id in set(accounts):
        s.touch(account_id, PUSH_SUBSCRIPTION)  # so that who pushes to them forgets them too
    return len(accounts)


def find_key(s: Session, name: str) -> bytes | None:
    """A key of this server, if it was made already."""
    value: bytes | None = s.connection.scalar(_KEY, {"name": name})
    return value


def add_key(s: Session, name: str, make: Callable[[], bytes]) -> bytes:
    """A key of this server, made now unless another process was faster."""
    known = find_key(s, name)
    if known is None:
        known = make()
        s.connection.execute(_INSERT_KEY, {"name": name, "value": known})
    return known


def _types(row: SubscriptionRow) -> str | None:
    return None if row.types is None else " ".join(sorted(row.types))


@contextmanager
def _erasing(s: Session) -> Iterator[None]:
    s.driver.execute("PRAGMA secure_delete=ON")
    try:
        yield
    finally:
        s.driver.execute("PRAGMA secure_delete=OFF")
