"""Moves the state of an EmailSubmission when the queue learns something of it, in the transaction that notes it."""

from __future__ import annotations

from sqlalchemy import bindparam, update

from stalwart.store.errors import NotFound
from stalwart.store.prepared import Prepared
from stalwart.store.session import Session
from stalwart.store.tables import email_submission

EMAIL_SUBMISSION = "EmailSubmission"

_TOUCH = Prepared(
    update(email_submission)
    .where(email_submission.c.id == bindparam("submission"), email_submission.c.account_id == bindparam("account"))
    .values(modseq=bindparam("new_modseq"))
)


def touch_submission(s: Session, account_id: int | None, submission_id: int | None) -> None:
    """Note that the submission now shows otherwise. None: what is queued belongs to no account, or to no submission."""
    if account_id is None or submission_id is None:
        return
    # RFC 8621 §7 and §7.2: the object changes each time the status of any of the recipients does.
    try:
        modseq = s.touch(account_id, EMAIL_SUBMISSION)
    except NotFound:
        return  # the account was deleted, and nobody asks for its state any more
    _TOUCH.run(s.driver, {"submission": submission_id, "account": account_id, "new_modseq": modseq})
