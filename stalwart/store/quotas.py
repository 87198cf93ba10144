"""What an account has in use and may have. The state of the type "Quota" moves with both (RFC 9425)."""

from __future__ import annotations

from sqlalchemy import bindparam, func, select, update

from stalwart.store.edits import bury
from stalwart.store.errors import NotFound
from stalwart.store.rows import QuotaRow
from stalwart.store.session import Session
from stalwart.store.tables import account, identity, mailbox

OCTETS = 1
"""The number of the quota of octets among an account's quotas."""

_QUOTA = select(
    account.c.address,
    account.c.quota,
    account.c.used,
    select(func.count()).select_from(mailbox).where(mailbox.c.account_id == account.c.id).scalar_subquery(),
    select(func.count()).select_from(identity).where(identity.c.account_id == account.c.id).scalar_subquery(),
    account.c.quota_modseq,
    account.c.quota_created_modseq,
).where(account.c.id == bindparam("account"))
_SET = (
    update(account)
    .where(account.c.id == bindparam("account"))
    .values(
        quota=bindparam("new_quota"),
        quota_modseq=bindparam("changed"),
        quota_created_modseq=bindparam("created"),
    )
)


def get_quota(s: Session, account_id: int) -> QuotaRow:
    """An account's use and limit. NotFound."""
    row = s.connection.execute(_QUOTA, {"account": account_id}).one_or_none()
    if row is None:
        raise NotFound(f"account {account_id} does not exist")
    return QuotaRow(
        address=row[0],
        quota=row[1],
        used=row[2],
        mailboxes=row[3],
        identities=row[4],
        quota_modseq=row[5],
        quota_created_modseq=row[6],
    )


def set_quota(s: Session, account_id: int, octets: int | None) -> None:
    """Give an account a quota, or take it away; mail that lies there stays, however much it is. NotFound."""
    before = get_quota(s, account_id)
    if before.quota == octets:
        return
    created = before.quota_created_modseq
    if octets is None:
        changed = bury(s, account_id, "Quota", OCTETS, created)
    else:
        changed = s.touch(account_id, "Quota")
        if before.quota is None:
            created = changed
    s.connection.execute(_SET, {"account": account_id, "new_quota": octets, "changed": changed, "created": created})
