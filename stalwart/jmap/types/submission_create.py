"""EmailSubmission/set, create (RFC 8621 §7.5): a message becomes what goes out, and that is queued."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from stalwart import store
from stalwart.jmap.call import Call
from stalwart.jmap.declare import Creation
from stalwart.jmap.errors import SetError, invalid_properties
from stalwart.jmap.ids import row_of
from stalwart.jmap.types.submission_envelope import Asked, Envelope, check, derive
from stalwart.mail.build_fields import format_moment
from stalwart.mail.outgoing import NotSendable, Read, prepare, read
from stalwart.store import EmailRow, IdentityRow, InvalidAddress, NewMessage, NewSubmission, Session


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in the blob store to be queued. `envelope` is as it will be shown, as JSON."""

    envelope: str
    asked: Asked
    blob_hash: str
    size: int
    is_8bit: bool
    needs_smtputf8: bool


def prepare_submission(call: Call, creation: Creation, arguments: object) -> Ready:
    """Check everything, and write the octets that go out, before the transaction begins.

    Raises:
        SetError: as RFC 8621 §7.5 has them.
    """
    check_sender(call)
    if "undoStatus" in creation.given:
        # RFC 8621 §7: server set on create
        raise invalid_properties("undoStatus: only the server sets it on a new EmailSubmission.", ["undoStatus"])
    identity, email = _found(call, creation)
    _check_size(call, email.size)
    call.exchange.charge_read(email.size)
    try:
        message = read(call.blobs.get(email.blob_hash))
    except NotSendable as error:
        raise _invalid_email(error) from None
    envelope, asked = _envelope(call, creation, identity, message)
    _check_rate(call, len(asked.recipients), store.sending_wait)  # before anything is written to the disk
    domain = identity.email.rpartition("@")[2]
    try:
        outgoing = prepare(
            message,
            # RFC 5322 §3.6.4: the right side is a domain of ours, which makes it unique
            message_id=f"{secrets.token_hex(16)}@{domain}",
            date=format_moment(datetime.fromtimestamp(call.session.now(), UTC)),
        )
    except NotSendable as error:
        raise _invalid_email(error) from None
    _check_size(call, len(outgoing.octets))
    return Ready(
        envelope=msgspec.json.encode(envelope).decode(),
        asked=asked,
        blob_hash=call.blobs.put(outgoing.octets),
        size=len(outgoing.octets),
        is_8bit=outgoing.is_8bit,
        needs_smtputf8=outgoing.needs_smtputf8,
    )


def create_submission(call: Call, creation: Creation, arguments: object) -> int:
    """Note the prepared submission and queue its message; gives its number. Raises SetError."""
    ready: Ready = creation.prepared
    identity, email = _found(call, creation)  # they may be gone since
    _check_rate(call, len(ready.asked.recipients), store.charge_sending)
    now = call.session.now()
    held_until = ready.asked.held_until
    new = NewSubmission(
        identity_id=identity.id,
        email_id=email.id,
        thread_id=email.thread_id,
        envelope=ready.envelope,
        send_at=now if held_until is None else held_until,
    )
    message = NewMessage(
        account_id=call.account.row,
        blob_hash=ready.blob_hash,
        size=ready.size,
        return_path=ready.asked.return_path,
        recipients=ready.asked.recipients,
        ret=ready.asked.ret,
        is_8bit=ready.is_8bit,
        needs_smtputf8=ready.needs_smtputf8,
        not_before=held_until,
    )
    return store.create_submission(call.session, call.account.row, new, message)


def check_sender(call: Call) -> None:
    """Raises SetError, `forbiddenToSend`, on the account of somebody else, and for who may not send."""
    if not call.principal.may(store.SENDS):
        raise SetError("forbiddenToSend", f"This needs the permission {store.SENDS}, which you don't have.")
    if not call.account.is_personal:
        raise SetError("forbiddenToSend", "Mail is sent from one's own account, not from one that is shared.")


def _found(call: Call, creation: Creation) -> tuple[IdentityRow, EmailRow]:
    account = call.account.row
    identity_id, email_id = creation.values["identityId"], creation.values["emailId"]
    identity_row, email_row = row_of("I", identity_id), row_of("E", email_id)
    identity = identity_row and store.get_identities(call.session, account, [identity_row]).get(identity_row)
    email = email_row and store.get_emails(call.session, account, [email_row]).get(email_row)
    missing = {} if identity else {"identityId": f"there is no Identity {identity_id[:100]!r}"}
    if not email:
        missing["emailId"] = f"there is no Email {email_id[:100]!r}"
    if missing or not identity or not email:
        # RFC 8621 §7.5
        raise invalid_properties(" ".join(f"{name}: {text}." for name, text in missing.items()), missing)
    return identity, email


def _envelope(call: Call, creation: Creation, identity: IdentityRow, message: Read) -> tuple[Envelope, Asked]:
    def is_allowed(address: str) -> bool:
        if any(character.isspace() for character in address):
            return False  # normalising drops it, and SMTP has no such address
        try:
            plain = store.normalise_address(address)
        except InvalidAddress:
            return False
        return identity.email in (plain, store.without_tag(plain))

    wrong = [address for address in message.addresses("from") if not is_allowed(address)]
    if wrong:
        raise SetError("forbiddenFrom", f"From: {wrong[0][:100]!r} is not the address of the Identity.")
    envelope: Envelope | None = creation.values["envelope"]
    if envelope is None:
        envelope = derive(message, identity.email, is_allowed)
        call.exchange.charge_read(32 * len(envelope["rcptTo"]))
    mail_from = envelope["mailFrom"]["email"]
    # RFC 8621 §7: the empty string MAY be allowed; what is sent so is answered by no report
    if mail_from and not is_allowed(mail_from):
        raise SetError("forbiddenMailFrom", f"mailFrom: {mail_from[:100]!r} is not the address of the Identity.")
    return envelope, check(call, envelope)


def _check_size(call: Call, octets: int) -> None:
    most = call.limits.max_size_submitted
    if octets > most:
        raise SetError("tooLarge", f"{octets} octets are more than the {most} that are sent.", maxSize=most)


def _check_rate(call: Call, recipients: int, wait_for: Callable[[Session, int, int, int, float], float]) -> None:
    """Ask `store.sending_wait` or `store.charge_sending`. Raises SetError, `rateLimit`."""
    rate = call.limits.sending_rate
    if rate is None:
        return
    wait = wait_for(call.session, call.account.row, recipients, rate.count, rate.period)
    if wait > 0.0:
        raise SetError(
            "rateLimit",
            f"The account may send to {rate.count} recipients in {rate.period:g} seconds. "
            f"Try again in {int(wait) + 1} seconds.",
        )


def _invalid_email(error: NotSendable) -> SetError:
    return SetError("invalidEmail", f"The Email can't be sent: {error}", properties=list(error.properties))
