"""What an account has in use and may have. The state of the type "Quota" moves with both (RFC 9425)."""

from __future__ import annotations

from sqlalchemy import bindparam, func, select, update

from stalwart.store.changes import check_since
from stalwart.store.edits import bury
from stalwart.store.errors import CannotCalculateChanges, NotFound
from stalwart.store.rows import Changes, QuotaRow
from stalwart.store.session import Session
from stalwart.store.tables import account, identity, mailbox, tombstone

OCTET_QUOTA, MAILBOX_QUOTA, IDENTITY_QUOTA = 1, 2, 3
"""The numbers of an account's quotas: of octets, if it has one, of mailboxes and of identities."""

_QUOTA = select(
    account.c.address,
    account.c.quota,
    account.c.used,
    select(func.count()).select_from(mailbox).where(mailbox.c.account_id == account.c.id).scalar_subquery(),
    select(func.count()).select_from(identity).where(identity.c.account_id == account.c.id).scalar_subquery(),
    account.c.quota_modseq,
    account.c.quota_created_modseq,
).where(account.c.id == bindparam("account"))
_DESTROYED = select(tombstone.c.modseq).where(
    tombstone.c.account_id == bindparam("account"),
    tombstone.c.type == "Quota",
    tombstone.c.modseq > bindparam("since"),
    tombstone.c.created_modseq <= bindparam("since"),
)
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


def quota_changes(s: Session, account_id: int, since: int, most: int) -> Changes:
    """What happened to the quotas after `since`; what may have changed counts as changed. CannotCalculateChanges."""
    current = check_since(s, account_id, "Quota", since)
    created: list[int] = []
    updated: list[int] = []
    destroyed: list[int] = []
    row = get_quota(s, account_id)
    if since < current:
        updated += (MAILBOX_QUOTA, IDENTITY_QUOTA)
        where = {"account": account_id, "since": since}
        had_one = s.connection.execute(_DESTROYED, where).first() is not None
        if row.quota is None:
            destroyed += [OCTET_QUOTA] if had_one else []
        elif row.quota_created_modseq > since and not had_one:
            created.append(OCTET_QUOTA)
        else:
            updated.insert(0, OCTET_QUOTA)
    if len(created) + len(updated) + len(destroyed) > most:
        raise CannotCalculateChanges("the changes of quotas are not known one by one")
    return Changes(
        created=created,
        updated=updated,
        destroyed=destroyed,
        new_state=current,
        has_more=False,
        only_counts=since < current and row.quota_modseq <= since,
    )


def set_quota(s: Session, account_id: int, octets: int | None) -> None:
    """Give an account a quota, or take it away; mail that lies there stays, however much it is. NotFound."""
    before = get_quota(s, account_id)
    if before.quota == octets:
        return
    created = before.quota_created_modseq
    if octets is None:
        changed = bury(s, account_id, "Quota", OCTET_QUOTA, created)
    else:
        changed = s.touch(account_id, "Quota")
        if before.quota is None:
            created = changed
    s.connection.execute(_SET, {"account": account_id, "new_quota": octets, "changed": changed, "created": created})
