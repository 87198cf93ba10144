"""Vacation responses: what each account has set, and whom it has answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, func, or_, select
from sqlalchemy.dialects.sqlite import insert

from stalwart.store.permissions import SENDS
from stalwart.store.prepared import Prepared
from stalwart.store.principals import account_may
from stalwart.store.rows import ActiveVacation, VacationRow
from stalwart.store.session import Session
from stalwart.store.tables import account, address, vacation_answer, vacation_response

VACATION_RESPONSE = "VacationResponse"
MOST_ANSWERS = ((3600, 60), (86_400, 300))
"""Seconds, and how many are answered in them for one account: who makes senders up gets no more than that sent."""

_v, _a = vacation_response.c, vacation_answer.c
_SETTINGS = (_v.is_enabled, _v.from_date, _v.to_date, _v.subject, _v.text_body, _v.html_body)
_ONE = select(*_SETTINGS).where(_v.account_id == bindparam("account"))
# Asked for each mail that comes in.
_IS_ACTIVE = Prepared(
    select(_v.account_id).where(
        _v.account_id == bindparam("account"),
        _v.is_enabled,
        # RFC 8621 §8: on or after fromDate, before toDate
        or_(_v.from_date.is_(None), _v.from_date <= bindparam("now")),
        or_(_v.to_date.is_(None), _v.to_date > bindparam("now")),
    )
)
_OWNER = select(account.c.name).where(account.c.id == bindparam("account"))
_ADDRESSES = select(address.c.address).where(address.c.account_id == bindparam("account"))
# INSERT … ON CONFLICT is spelled alike in PostgreSQL.
_INSERT = insert(vacation_response)
_PUT = _INSERT.on_conflict_do_update(
    index_elements=[_v.account_id],
    set_={column.name: _INSERT.excluded[column.name] for column in _SETTINGS},
)
_ANSWERED = Prepared(
    select(_a.answered_at).where(
        _a.account_id == bindparam("account"), _a.sender == bindparam("sender"), _a.answered_at > bindparam("after")
    )
)
_COUNT = Prepared(
    select(func.count()).where(_a.account_id == bindparam("account"), _a.answered_at > bindparam("after"))
)
_FORGET = delete(vacation_answer).where(_a.account_id == bindparam("account"))
_FORGET_OLD = _FORGET.where(_a.answered_at <= bindparam("after"))
_NOTE = insert(vacation_answer)


def get_vacation(s: Session, account_id: int) -> VacationRow:
    """What the account has set, or the defaults."""
    row = s.connection.execute(_ONE, {"account": account_id}).one_or_none()
    return VacationRow() if row is None else VacationRow(**row._mapping)


def set_vacation(s: Session, account_id: int, values: Mapping[str, Any]) -> None:
    """Change the named values of `VacationRow`, and nothing else. Raises NotFound without such an account.

    Who was answered before may be answered again: it is another answer.
    """
    s.touch(account_id, VACATION_RESPONSE)
    changed = msgspec.structs.replace(get_vacation(s, account_id), **values)
    s.connection.execute(_PUT, {"account_id": account_id, **msgspec.structs.asdict(changed)})
    s.connection.execute(_FORGET, {"account": account_id})


def active_vacation(s: Session, account_id: int) -> ActiveVacation | None:
    """What to answer for the account now, or None if it is not away, or doesn't have the permission `email-send`."""
    if _IS_ACTIVE.run(s.driver, {"account": account_id, "now": s.now()}).fetchone() is None:
        return None
    if not account_may(s, account_id, SENDS):
        return None
    where = {"account": account_id}
    return ActiveVacation(
        response=get_vacation(s, account_id),
        name=s.connection.execute(_OWNER, where).scalar_one(),
        addresses=frozenset(s.connection.scalars(_ADDRESSES, where)),
    )


def was_answered(s: Session, account_id: int, sender: str, interval: int) -> bool:
    """Whether the sender has got an answer within so many seconds."""
    where = {"account": account_id, "sender": sender, "after": s.now() - interval}
    return _ANSWERED.run(s.driver, where).fetchone() is not None


def reached_bound(s: Session, account_id: int) -> tuple[int, int] | None:
    """The bound by which nobody else gets an answer for now: seconds, and how many had one in them; None: none."""
    now = s.now()
    for seconds, most in MOST_ANSWERS:
        if _COUNT.run(s.driver, {"account": account_id, "after": now - seconds}).fetchone()[0] >= most:
            return seconds, most
    return None


def note_answer(s: Session, account_id: int, sender: str, interval: int) -> bool:
    """Note that the sender gets an answer now; False, and nothing noted, if they got one within so many seconds, or too
    many others did.

    What is older is forgotten.
    """
    if was_answered(s, account_id, sender, interval) or reached_bound(s, account_id) is not None:
        return False
    s.connection.execute(_FORGET_OLD, {"account": account_id, "after": s.now() - interval})
    s.connection.execute(_NOTE, {"account_id": account_id, "sender": sender, "answered_at": s.now()})
    return True
