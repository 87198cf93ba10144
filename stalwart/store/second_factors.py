"""Second factors: secrets of time-based codes, those not confirmed yet, and recovery codes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import bindparam, delete, func, insert, select, update

from stalwart.store.errors import NotFound
from stalwart.store.session import Session
from stalwart.store.tables import recovery_code, totp, totp_enrolment

_SECRET = select(totp.c.secret).where(totp.c.principal_id == bindparam("principal"))
_INSERT = insert(totp)
_DELETE = delete(totp).where(totp.c.principal_id == bindparam("principal"))
_STEP = (
    update(totp)
    .where(totp.c.principal_id == bindparam("principal"), totp.c.last_step < bindparam("step"))
    .values(last_step=bindparam("step"))
)
_ENROLMENT = select(totp_enrolment.c.secret).where(
    totp_enrolment.c.principal_id == bindparam("principal"), totp_enrolment.c.expires_at > bindparam("now")
)
_BEGIN = insert(totp_enrolment)
_END = delete(totp_enrolment).where(totp_enrolment.c.principal_id == bindparam("principal"))
_COUNT = select(func.count()).where(recovery_code.c.principal_id == bindparam("principal"))
_ADD_CODE = insert(recovery_code)
_DELETE_CODES = delete(recovery_code).where(recovery_code.c.principal_id == bindparam("principal"))
_USE_CODE = _DELETE_CODES.where(recovery_code.c.hash == bindparam("code_hash"))


def find_totp(s: Session, principal_id: int) -> str | None:
    """The secret of a principal's second factor in base32, None if there is none."""
    return s.connection.scalar(_SECRET, {"principal": principal_id})


def set_totp(s: Session, principal_id: int, secret: str) -> None:
    """Ask for codes of this secret (base32) beside the password from now on, in place of one that there was.

    Recovery codes that there were don't count any more.
    """
    s.connection.execute(_DELETE, {"principal": principal_id})
    values = {"principal_id": principal_id, "secret": secret, "created_at": s.now(), "last_step": 0}
    s.connection.execute(_INSERT, values)
    s.connection.execute(_END, {"principal": principal_id})
    s.connection.execute(_DELETE_CODES, {"principal": principal_id})


def remove_totp(s: Session, principal_id: int) -> None:
    """Ask for no codes any more. NotFound if none were asked for."""
    if not s.connection.execute(_DELETE, {"principal": principal_id}).rowcount:
        raise NotFound("no second factor is set up for this account")
    s.connection.execute(_DELETE_CODES, {"principal": principal_id})


def use_totp_step(s: Session, principal_id: int, step: int) -> bool:
    """Take the code of a time step; False if it, or a later one, was taken before. RFC 6238 §5.2"""
    return bool(s.connection.execute(_STEP, {"principal": principal_id, "step": step}).rowcount)


def begin_totp(s: Session, principal_id: int, secret: str, *, lasts: int) -> int:
    """Keep a secret until a code has shown that the app has it, for `lasts` seconds; gives when that ends.

    It takes the place of one that waits; nothing changes about sign-in.
    """
    s.connection.execute(_END, {"principal": principal_id})
    expires_at = s.now() + lasts
    s.connection.execute(_BEGIN, {"principal_id": principal_id, "secret": secret, "expires_at": expires_at})
    return expires_at


def find_totp_begun(s: Session, principal_id: int) -> str | None:
    """The secret that waits to be confirmed, None if there is none."""
    return s.connection.scalar(_ENROLMENT, {"principal": principal_id, "now": s.now()})


def replace_recovery_codes(s: Session, principal_id: int, codes: Sequence[str]) -> None:
    """Let each of these codes, which must be random and long, stand in for one of the app, once; no others do."""
    s.connection.execute(_DELETE_CODES, {"principal": principal_id})
    s.connection.execute(_ADD_CODE, [{"principal_id": principal_id, "hash": _hash(code)} for code in codes])


def count_recovery_codes(s: Session, principal_id: int) -> int:
    """How many are left."""
    return int(s.connection.execute(_COUNT, {"principal": principal_id}).scalar_one())


def use_recovery_code(s: Session, principal_id: int, code: str) -> bool:
    """Use one up; False if there is no such code."""
    return bool(s.connection.execute(_USE_CODE, {"principal": principal_id, "code_hash": _hash(code)}).rowcount)


def _hash(code: str) -> bytes:
    # They are random and long: nothing slower is needed.
    return hashlib.blake2b(code.encode("utf-8", "surrogatepass"), digest_size=32).digest()
