"""The answers that somebody who is away has sent to those who write to them, made with the delivery of the mail.

The answer's octets are written before the transaction that stores the mail, and put into the queue in it: there is an
answer if and only if the mail was delivered.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import msgspec

from stalwart.mail.build_fields import InvalidValue
from stalwart.mail.headers import header_fields
from stalwart.mail.message import Part
from stalwart.mail.vacation import INTERVAL, Answer, Response, compose, sender_key, why_silent
from stalwart.store import (
    ActiveVacation,
    InvalidAddress,
    NewMessage,
    NewRecipient,
    Session,
    Store,
    StoreError,
    active_vacation,
    enqueue,
    normalise_address,
    note_answer,
    reached_bound,
    was_answered,
    without_tag,
)

_COMPLAINT_SECONDS = 3600.0


class NoAnswer(Exception):
    """An answer can't be made that should be sent. The text is for the log; the mail is delivered all the same."""


class TooManyAnswers(NoAnswer):
    """The account has answered so many that nobody else gets an answer for now."""

    def __init__(self, account_id: int, text: str) -> None:
        super().__init__(text)
        self.account_id = account_id


class Complaints:
    """Which answers that weren't made are to be logged: all, but of an account with too many one in an hour.

    `clock` gives seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._made_at: dict[int, float] = {}

    def is_due(self, reason: NoAnswer) -> bool:
        """Whether this one is to be logged, which it is then."""
        if not isinstance(reason, TooManyAnswers):
            return True
        now = self._clock()
        self._made_at = {each: at for each, at in self._made_at.items() if 0 <= now - at < _COMPLAINT_SECONDS}
        if reason.account_id in self._made_at:
            return False
        self._made_at[reason.account_id] = now
        return True


class PreparedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer whose octets are on disk. `sender` is by what its recipient is known again."""

    account_id: int
    sender: str
    message: NewMessage


def prepare_answer(
    store: Store, *, account_id: int, recipient: str, sender: str, message: bytes, root: Part, hostname: str, now: float
) -> PreparedAnswer | None:
    """The answer to a message that is about to be stored for `recipient`, an address of the account; None: none.

    `sender` is the return path, `root` the structure of the message, `now` epoch seconds. Blocks on the disk. Raises
    NoAnswer.
    """
    if not sender:
        return None
    try:
        with store.read() as session:
            away = active_vacation(session, account_id)
            if away is None or was_answered(session, account_id, sender_key(sender), INTERVAL):
                return None
            bound = reached_bound(session, account_id)
            if bound is not None:
                raise TooManyAnswers(account_id, _too_many(recipient, sender, *bound))
        return _prepare(store, away, account_id, recipient, sender, message, root, hostname, now)
    except (StoreError, InvalidValue) as error:
        raise NoAnswer(f"no vacation answer from {recipient} to {sender}: {error}") from error


def _too_many(recipient: str, sender: str, seconds: int, most: int) -> str:
    return (
        f"no vacation answer from {recipient} to {sender}, nor to others for now: {most} senders had one in the last "
        f"{seconds // 3600} h, which is the most (this is logged once an hour for an account)"
    )


def _prepare(
    store: Store,
    away: ActiveVacation,
    account_id: int,
    recipient: str,
    sender: str,
    message: bytes,
    root: Part,
    hostname: str,
    now: float,
) -> PreparedAnswer | None:
    fields = header_fields(message, root)
    if not _can_be_sent_to(sender) or why_silent(fields, sender, lambda address: _is_own(address, away)) is not None:
        return None
    octets = compose(
        Response(subject=away.response.subject, text_body=away.response.text_body, html_body=away.response.html_body),
        Answer(
            name=away.name,
            sender=recipient,
            recipient=sender,
            message_id=f"{secrets.token_hex(16)}@{hostname}",
            sent_at=int(now),
        ),
        fields,
        lambda: secrets.token_hex(12),
    )
    new = NewMessage(
        account_id=account_id,
        blob_hash=store.blobs.put(octets),
        size=len(octets),
        return_path="",  # RFC 3834 §3.3
        recipients=(NewRecipient(address=sender, notify="NEVER"),),
        is_8bit=not octets.isascii(),
        needs_smtputf8=not (recipient + sender).isascii(),
    )
    return PreparedAnswer(account_id=account_id, sender=sender_key(sender), message=new)


def queue_answer(session: Session, answer: PreparedAnswer) -> bool:
    """In the transaction that stores the mail: have the answer sent, if it still is to be; whether it is."""
    if active_vacation(session, answer.account_id) is None:
        return False
    # RFC 3834 §2: no more than one in the interval, also when two mails of a sender come in at once
    if not note_answer(session, answer.account_id, answer.sender, INTERVAL):
        return False
    enqueue(session, answer.message)
    return True


def _can_be_sent_to(address: str) -> bool:
    try:
        normalise_address(address)
    except InvalidAddress:
        return False
    return True


def _is_own(address: str, away: ActiveVacation) -> bool:
    try:
        wanted = normalise_address(address)
    except InvalidAddress:
        return False
    return wanted in away.addresses or without_tag(wanted) in away.addresses
