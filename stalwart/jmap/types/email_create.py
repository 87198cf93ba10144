"""Email/set, create (RFC 8621 §4.6): an Email object becomes a message in the blob store, and the message an Email."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from stalwart import store
from stalwart.jmap.arguments import SetArguments
from stalwart.jmap.call import Call
from stalwart.jmap.declare import Creation
from stalwart.jmap.errors import SetError, invalid_properties
from stalwart.jmap.types.email_fields import CONVENIENCE, Fields, Problems
from stalwart.jmap.types.email_parts import Parts, body_values, compose
from stalwart.jmap.types.email_set import no_mailbox, wanted_keywords, wanted_mailboxes
from stalwart.mail.build import NewPart, build
from stalwart.mail.build_fields import InvalidValue, date_field, message_id_field
from stalwart.mail.headers import HeaderField
from stalwart.mail.summary import Digest, summarize
from stalwart.store import BlobStore, NewEmail

_LISTS = ("textBody", "htmlBody", "attachments")


class KeptMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that lies in the blob store, read and ready to be added to an account."""

    blob_hash: str
    size: int
    digest: Digest


def prepare(call: Call, creation: Creation, arguments: SetArguments) -> KeptMessage:
    """Make the message and keep it, before the transaction begins.

    Raises:
        SetError: `invalidProperties`, `blobNotFound`, `tooLarge`.
    """
    given = {name: value for name, value in creation.values.items() if name in creation.given}
    problems = Problems()
    header = _header(given, problems)
    parts = Parts(body_values(given.get("bodyValues", {}), problems), call.content, problems)
    body = _body(given, parts, header, problems)
    problems.check()
    _check_size(call, parts.octets, call.limits.max_size_attachments_per_email)
    _check_size(call, parts.characters, call.limits.max_size_email)
    check_room(call, creation.values, parts.octets + parts.characters)
    fields, body = _completed(call, header.fields, body)
    call.exchange.charge_read(parts.octets + parts.characters)
    try:
        blob_hash, size = keep(call.blobs, build(fields, body, lambda: secrets.token_hex(12)), call)
    except InvalidValue as error:
        raise invalid_properties(f"The body can not be written: {error}.", ["bodyStructure"]) from None
    return KeptMessage(blob_hash=blob_hash, size=size, digest=summarize(call.blobs.get(blob_hash)))


def create(call: Call, creation: Creation, arguments: SetArguments) -> int:
    """Add the prepared message; gives the number of the Email. Raises SetError."""
    received = creation.values["receivedAt"]
    return add(call, creation.prepared, creation.values, None if received is None else seconds_of(received))


def add(call: Call, message: KeptMessage, values: Mapping[str, Any], received_at: int | None) -> int:
    """Add a message with the `mailboxIds` and `keywords` of `values`; `received_at` None is now.

    Raises:
        SetError: `invalidProperties`, `tooManyMailboxes`, `tooManyKeywords`, `overQuota`.
    """
    mailboxes = wanted_mailboxes(call, values["mailboxIds"])
    new = NewEmail(
        blob_hash=message.blob_hash,
        size=message.size,
        received_at=call.session.now() if received_at is None else received_at,
        mailbox_ids=tuple(sorted(mailboxes)),
        keywords=wanted_keywords(call, values["keywords"]),
        digest=message.digest,
    )
    try:
        return store.add_email(call.session, call.account.row, new).id
    except store.OverQuota as error:
        raise _over_quota(error.size, error.quota) from None
    except store.NotFound:
        every = {mailbox.id for mailbox in store.list_mailboxes(call.session, call.account.row)}
        raise no_mailbox(f"M{min(mailboxes - every, default=0)}") from None


def check_room(call: Call, values: Mapping[str, Any], octets: int) -> None:
    """Refuse early what `add` would refuse, so that octets that nothing will name aren't written to the disk.

    Raises:
        SetError: as for `add`.
    """
    mailboxes = wanted_mailboxes(call, values["mailboxIds"])
    wanted_keywords(call, values["keywords"])
    if missing := mailboxes - {mailbox.id for mailbox in store.list_mailboxes(call.session, call.account.row)}:
        raise no_mailbox(f"M{min(missing)}")
    account = store.get_account(call.session, call.account.row)
    if account.quota is not None and account.used + octets > account.quota:
        raise _over_quota(octets, account.quota)


def _over_quota(octets: int, quota: int) -> SetError:
    return SetError("overQuota", f"{octets} octets more would exceed the quota of {quota} octets.")


def keep(blobs: BlobStore, pieces: Iterable[bytes], call: Call) -> tuple[str, int]:
    """Write a message to the blob store as its pieces come; gives its hash and size. Raises SetError, `tooLarge`."""
    writer = blobs.begin()
    try:
        for piece in pieces:
            writer.write(piece)
            _check_size(call, writer.size, call.limits.max_size_email)
        return writer.commit(), writer.size
    except BaseException:
        writer.abort()
        raise


def seconds_of(date: str) -> int:
    """The second in which a UTCDate lies, since the epoch. Raises SetError, `invalidProperties`."""
    try:
        return int(datetime.fromisoformat(date.partition(".")[0].removesuffix("Z") + "+00:00").timestamp())
    except ValueError:
        raise invalid_properties(f"receivedAt: {date!r} is not a date.", ["receivedAt"]) from None


def _check_size(call: Call, octets: int, most: int) -> None:
    if octets > most:
        raise SetError("tooLarge", f"{octets} octets are more than the {most} that are allowed.", maxSize=most)


def _header(given: Mapping[str, Any], problems: Problems) -> Fields:
    header = Fields(problems)
    for key, value in given.items():
        if key == "headers":
            # RFC 8621 §4.6: MUST NOT be given
            problems.add(key, "header fields are set one by one, as properties of their own")
        elif key in CONVENIENCE:
            header.add_convenience(key, value)
        elif key.startswith("header:"):
            if key.lower().startswith("header:content-"):
                # RFC 8621 §4.6: only on EmailBodyPart objects
                problems.add(key, "Content-* fields are set on a body part")
            else:
                header.add_property(key, value, key)
    return header


def _body(given: Mapping[str, Any], parts: Parts, header: Fields, problems: Problems) -> NewPart:
    if "bodyStructure" in given:
        for name in _LISTS:
            if name in given:
                # RFC 8621 §4.6: not together with bodyStructure
                problems.add(name, "can not be given together with bodyStructure")
        body = parts.read(given["bodyStructure"], "bodyStructure")
        for key in given["bodyStructure"]:
            name = key.split(":", 2)[1].lower() if key.startswith("header:") else ""
            if name in header.names:
                # RFC 8621 §4.6: not what is defined on the Email already
                problems.add(f"bodyStructure/{key}", "is a header field of the Email already")
        return body
    bodies: list[NewPart | None] = []
    for name, media_type in (("textBody", "text/plain"), ("htmlBody", "text/html")):
        if name not in given:
            bodies.append(None)
        elif len(given[name]) != 1:
            problems.add(name, "exactly one part is wanted")  # RFC 8621 §4.6
            bodies.append(None)
        else:
            bodies.append(parts.read(given[name][0], f"{name}/0", wanted_type=media_type, leaf=True))
    attachments = [
        parts.read(one, f"attachments/{index}", leaf=True) for index, one in enumerate(given.get("attachments", ()))
    ]
    text, html = bodies
    try:
        body = compose(text, html, attachments)
    except InvalidValue as error:
        problems.add("attachments", str(error))
        return NewPart(type="text/plain")
    if body is text or body is html:
        for field in body.fields:
            if field.name.lower() in header.names:
                problems.add(f"{'textBody' if body is text else 'htmlBody'}/0", f"{field.name} is given twice")
    return body


def _completed(call: Call, given: list[HeaderField], body: NewPart) -> tuple[list[HeaderField], NewPart]:
    """The header with all that a message must have; fields of the body that aren't of its own move there."""
    own = tuple(field for field in body.fields if field.name.lower().startswith("content-"))
    fields = [*given, *(field for field in body.fields if field not in own)]
    names = {field.name.lower() for field in fields}
    if "message-id" not in names:
        # RFC 5322 §3.6.4: the right side is a domain of ours, which makes it unique
        domain = call.principal.address.rpartition("@")[2]
        fields.append(message_id_field("Message-ID", [f"{secrets.token_hex(16)}@{domain}"]))
    if "date" not in names:
        fields.append(date_field("Date", datetime.fromtimestamp(call.session.now(), UTC)))  # RFC 5322 §3.6.1
    return fields, msgspec.structs.replace(body, fields=own)
