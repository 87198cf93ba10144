"""The envelope of an EmailSubmission (RFC 8621 §7): taken from the message or as given, and what it asks of SMTP."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NotRequired, TypedDict

import msgspec

from stalwart.jmap.arguments import UTCDate, decode_value
from stalwart.jmap.call import Call
from stalwart.jmap.errors import InvalidArguments, SetError, invalid_properties
from stalwart.jmap.types.email_query import seconds_from
from stalwart.mail.envelope import is_mailbox, same_mailbox
from stalwart.mail.outgoing import Read
from stalwart.store import NewRecipient, Ret

Parameters = dict[str, str | None]

_DELIVERY: Final = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_ORCPT: Final = re.compile(r"[A-Za-z0-9-]{1,40};[^\x00-\x1f\x7f]{1,500}")
_ENVID: Final = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_RETS: Final[Mapping[str, Ret]] = {"FULL": "FULL", "HDRS": "HDRS"}
_DIGITS: Final = re.compile(r"[0-9]{1,15}", re.ASCII)


class Address(TypedDict):
    """RFC 8621 §7: an address of the envelope. Parameter values are as they are before xtext."""

    email: str
    parameters: NotRequired[Parameters | None]


class Envelope(TypedDict):
    """RFC 8621 §7."""

    mailFrom: Address
    rcptTo: list[Address]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What an envelope asks for. `held_until` is seconds since the epoch, None: at once (RFC 4865)."""

    return_path: str
    recipients: tuple[NewRecipient, ...]
    ret: Ret | None
    held_until: int | None


def derive(message: Read, email: str, is_allowed: Callable[[str], bool]) -> Envelope:
    """The envelope that the header of the message implies; `email` is the Identity's, `is_allowed` asks it."""
    # RFC 8621 §7: Sender, if present, otherwise From; the first address. Neither field is there twice.
    found = message.authors[0] if message.sender is None else message.sender
    sender = found if is_allowed(found) else email
    unique: dict[tuple[str, str], str] = {}
    for name in ("to", "cc", "bcc"):
        for address in message.addresses(name):
            unique.setdefault(same_mailbox(address), address)
    return {
        "mailFrom": {"email": sender, "parameters": None},
        "rcptTo": [{"email": address, "parameters": None} for address in unique.values()],
    }


def check(call: Call, envelope: Envelope) -> Asked:
    """What the envelope asks for.

    Raises:
        SetError: `noRecipients`, `tooManyRecipients`, `invalidRecipients`, `invalidProperties`.
    """
    rcpt_to = envelope["rcptTo"]
    if not rcpt_to:
        raise SetError("noRecipients", "There is nobody to send this to.")
    most = call.limits.max_recipients
    if len(rcpt_to) > most:
        raise SetError(
            "tooManyRecipients", f"{len(rcpt_to)} recipients are more than {most} that are allowed.", maxRecipients=most
        )
    if wrong := [address["email"] for address in rcpt_to if not is_mailbox(address["email"])]:
        raise SetError(
            "invalidRecipients",
            f"{len(wrong)} recipients are no addresses that mail can be sent to.",
            invalidRecipients=wrong,
        )
    mail_from = envelope["mailFrom"]
    parameters = _named(mail_from.get("parameters"), _MAIL, "mailFrom")
    recipients: dict[tuple[str, str], NewRecipient] = {}
    for index, address in enumerate(rcpt_to):
        asked = _named(address.get("parameters"), _RCPT, f"rcptTo/{index}")
        recipient = NewRecipient(address=address["email"], notify=asked.get("NOTIFY"), orcpt=asked.get("ORCPT"))
        recipients.setdefault(same_mailbox(address["email"]), recipient)
    return Asked(
        return_path=mail_from["email"],
        recipients=tuple(recipients.values()),
        ret=_RETS.get(parameters.get("RET", "")),
        held_until=_held_until(call, parameters),
    )


def _held_until(call: Call, parameters: Mapping[str, str]) -> int | None:
    """When the message is to be sent; None: at once."""
    if "HOLDFOR" in parameters and "HOLDUNTIL" in parameters:
        raise _wrong("mailFrom", "HOLDFOR and HOLDUNTIL exclude each other (RFC 4865)")
    now, most = call.session.now(), call.limits.max_delayed_send
    if "HOLDFOR" in parameters:
        until = now + int(parameters["HOLDFOR"])
    elif "HOLDUNTIL" in parameters:
        try:
            until = seconds_from(decode_value(parameters["HOLDUNTIL"], UTCDate, "HOLDUNTIL"), "HOLDUNTIL")
        except InvalidArguments:
            raise _wrong("mailFrom", f"HOLDUNTIL: {parameters['HOLDUNTIL'][:40]!r} is not a UTCDate") from None
    else:
        return None
    if until - now > most:
        raise _wrong("mailFrom", f"a message can be held for at most {most} seconds")
    return until if until > now else None


def _named(given: Parameters | None, known: Mapping[str, Callable[[str], bool]], where: str) -> dict[str, str]:
    """The parameters by name, in upper case (RFC 5321 §4.1.1.11: names have no case); "" where one has no value."""
    named: dict[str, str] = {}
    for given_name, value in (given or {}).items():
        name, text = given_name.upper(), value or ""
        is_right = known.get(name)
        if is_right is None:
            raise _wrong(where, f"the parameter {given_name[:100]!r} is not supported")
        if name in named or not is_right(text):
            raise _wrong(where, f"the parameter {name} can't be {text[:100]!r}")
        named[name] = text if name == "ORCPT" else text.upper()
    return named


def _wrong(where: str, text: str) -> SetError:
    return invalid_properties(f"envelope/{where}: {text}.", ["envelope"])


def _is_notify(value: str) -> bool:
    # RFC 3461 §4.1
    words = value.upper().split(",")
    return words == ["NEVER"] or (_DELIVERY.issuperset(words) and len(words) == len(set(words)))


def _among(*values: str) -> Callable[[str], bool]:
    return lambda value: value.upper() in values


def _like(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda value: pattern.fullmatch(value) is not None


# BODY, SIZE, SMTPUTF8 and ENVID are the server's own business (RFC 8621 §7): they are let through, and found out anew.
_MAIL: Final[Mapping[str, Callable[[str], bool]]] = {
    "HOLDFOR": _like(_DIGITS),
    "HOLDUNTIL": _like(_ENVID),
    "RET": _among(*_RETS),
    "ENVID": _like(_ENVID),
    "SIZE": _like(_DIGITS),
    "BODY": _among("7BIT", "8BITMIME"),
    "SMTPUTF8": lambda value: not value,
}
_RCPT: Final[Mapping[str, Callable[[str], bool]]] = {"NOTIFY": _is_notify, "ORCPT": _like(_ORCPT)}
