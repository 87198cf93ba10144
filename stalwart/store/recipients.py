"""Who receives mail for an address, kept in memory for as long as no address changes.

A number in the database moves with every change of the addresses, in the same transaction and whichever process makes
it. What was found is kept under that number as the same snapshot has it, so that it can't be out of date.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import bindparam, select

from stalwart.ops.cache import Cache
from stalwart.store.accounts import resolve_recipient
from stalwart.store.permissions import RECEIVES
from stalwart.store.prepared import Prepared
from stalwart.store.principals import effective_permissions, principal_of_account
from stalwart.store.rows import AccountRow
from stalwart.store.session import Session
from stalwart.store.tables import IS_LIVE, account

# SQLite fires these for rows that go by cascade, too.
DDL = (
    "CREATE TRIGGER address_added AFTER INSERT ON address BEGIN UPDATE directory SET version = version + 1; END",
    "CREATE TRIGGER address_changed AFTER UPDATE ON address BEGIN UPDATE directory SET version = version + 1; END",
    "CREATE TRIGGER address_removed AFTER DELETE ON address BEGIN UPDATE directory SET version = version + 1; END",
)

_RECIPIENT = Prepared(
    select(account.c.address, account.c.quota, account.c.used).where(account.c.id == bindparam("account"), IS_LIVE)
)
_NOBODY = 0  # ids of accounts begin with 1

RecipientCache = Cache[tuple[int, str], int]
"""Account ids by the directory's version and the address as it was given."""


class RecipientRow(msgspec.Struct, frozen=True, kw_only=True):
    """An account that receives mail: its own address, and the octets it may have (None: no limit) and has."""

    id: int
    address: str
    quota: int | None
    used: int


def find_recipient(s: Session, address: str, cache: RecipientCache) -> RecipientRow | None:
    """As `resolve_recipient`, from memory if it can be; the octets are always those of `s`, which is a snapshot.

    An individual without the permission `email-receive` receives nothing.
    """
    version = s.directory_version()
    account_id = cache.get((version, address))
    if account_id is None:
        found = resolve_recipient(s, address)
        account_id = _NOBODY if found is None or not _may_receive(s, found) else found.id
        cache.put((version, address), account_id)
    row = _RECIPIENT.run(s.driver, {"account": account_id}).fetchone() if account_id != _NOBODY else None
    return None if row is None else RecipientRow(id=account_id, address=row[0], quota=row[1], used=row[2])


def _may_receive(s: Session, found: AccountRow) -> bool:
    if found.kind != "individual":
        return True
    return RECEIVES in effective_permissions(s, principal_of_account(s, found.id).id)
