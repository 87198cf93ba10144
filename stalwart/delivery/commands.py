"""LMTP command lines as values: verbs, paths and parameters by the grammar of RFC 5321 §4.1.2 and RFC 6531 §3.3.

Everything here takes text and gives values or raises `LmtpError` with the answer.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Literal

import msgspec

from stalwart.delivery.replies import (
    LINE_CHARACTERS,
    LmtpError,
    Reply,
    reply,
)

Body = Literal["7BIT", "8BITMIME"]

# RFC 5321 §4.1.2 with RFC 6531 §3.3: above ASCII everything may stand in a local part or a domain. Dots are allowed
# anywhere, since senders like `a..b@example.org` exist; `_` in domains for the same reason.
# All are written as what may not stand there, since ranges of so many characters are slow to compile.
_ATEXT = r'[^\x00-\x20"(),.:;<>@\[\\\]\x7f]'
_LOCAL = rf'(?:(?:{_ATEXT}|\.)+|"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*")'
_LABEL = r"[^\x00-,./:-@\[-^`{-\x7f]+"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[A-Za-z0-9.:-]+\])"
# RFC 5321 §4.1.1.3 and appendix C: a source route is read and ignored.
_ROUTE = rf"(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?"
_PATH = re.compile(rf"<{_ROUTE}(?P<local>{_LOCAL})@(?P<domain>{_DOMAIN})>")
_HOST = re.compile(_DOMAIN)
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_PARAMETER = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[^\x00-\x20=\x7f]+))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_MAIL_SYNTAX = reply(501, "5.5.4", "Write MAIL FROM:<address>")
_RCPT_SYNTAX = reply(501, "5.5.4", "Write RCPT TO:<address>")
_BAD_SENDER = reply(501, "5.1.7", "Bad sender address: <local@domain> or <> is wanted")
_BAD_RECIPIENT = reply(501, "5.1.3", "Bad recipient address: <local@domain> is wanted")
# RFC 6531 §3.5: 553 with X.6.7.
_NEEDS_SMTPUTF8 = reply(553, "5.6.7", "A non-ASCII address needs SMTPUTF8 after MAIL FROM")


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A line taken apart. The verb is in upper case, the argument as sent but without spaces at its ends."""

    verb: str
    argument: str


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """What a MAIL command said. The sender of a bounce is empty. The size (octets) is what the client announced."""

    sender: str
    size: int | None
    body: Body
    smtputf8: bool


def parse_line(line: bytes) -> Command:
    """Take a line without its CR LF apart."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise LmtpError(LINE_CHARACTERS) from None
    if _CONTROL.search(text.replace("\t", " ")):
        raise LmtpError(LINE_CHARACTERS)
    verb, _, argument = text.replace("\t", " ").strip(" ").partition(" ")
    return Command(verb=verb.upper(), argument=argument.strip(" "))


def parse_host(argument: str) -> str:
    """The name after LHLO: a domain or an address literal. RFC 2033 §4.1: as EHLO in RFC 5321 §4.1.1.1."""
    if not _HOST.fullmatch(argument):
        raise LmtpError(reply(501, "5.5.4", "Write LHLO and your host name"))
    return argument


def parse_mail(argument: str) -> Mail:
    """`FROM:<path>` and the parameters SIZE (RFC 1870), BODY (RFC 6152) and SMTPUTF8 (RFC 6531)."""
    rest = _after("FROM:", argument, _MAIL_SYNTAX)
    if rest.startswith("<>"):
        sender, tail = "", rest[2:]
    else:
        sender, tail = _path(rest, _BAD_SENDER)
    size: int | None = None
    body: Body = "7BIT"
    smtputf8 = False
    for name, value in _parameters(tail).items():
        match name:
            case "SIZE":
                size = _size(value)
            case "BODY":
                body = _body(value)
            case "SMTPUTF8" if value is None:
                smtputf8 = True
            case "SMTPUTF8":
                raise LmtpError(reply(501, "5.5.4", "SMTPUTF8 takes no value"))
            case _:
                raise LmtpError(_unknown("MAIL", name))
    if not (smtputf8 or sender.isascii()):
        raise LmtpError(_NEEDS_SMTPUTF8)
    return Mail(sender=sender, size=size, body=body, smtputf8=smtputf8)


def parse_rcpt(argument: str, *, smtputf8: bool) -> str:
    """`TO:<path>` without parameters; the address, or `postmaster` alone (RFC 5321 §4.1.1.3)."""
    rest = _after("TO:", argument, _RCPT_SYNTAX)
    if rest[:12].lower() == "<postmaster>":
        address, tail = "postmaster", rest[12:]
    else:
        address, tail = _path(rest, _BAD_RECIPIENT)
    for name in _parameters(tail):
        raise LmtpError(_unknown("RCPT", name))
    if not (smtputf8 or address.isascii()):
        raise LmtpError(_NEEDS_SMTPUTF8)
    return address


def _after(keyword: str, argument: str, otherwise: Reply) -> str:
    if argument[: len(keyword)].upper() != keyword:
        raise LmtpError(otherwise)
    return argument[len(keyword) :].lstrip(" ")


def _path(text: str, otherwise: Reply) -> tuple[str, str]:
    """The address at the start of the text, in the shortest spelling, and what comes after it."""
    match = _PATH.match(text)
    if match is None:
        raise LmtpError(otherwise)
    local, domain = match["local"], match["domain"]
    if domain.startswith("["):
        domain = _literal(domain[1:-1], otherwise)
    return f"{_spelled(local)}@{domain}", text[match.end() :]


def _literal(text: str, otherwise: Reply) -> str:
    """An address literal. RFC 5321 §4.1.3: an IPv6 one has the tag in front."""
    tagged = text[:5].lower() == "ipv6:"
    try:
        if tagged:
            return f"[IPv6:{ipaddress.IPv6Address(text[5:])}]"
        return f"[{ipaddress.IPv4Address(text)}]"
    except ValueError:
        raise LmtpError(otherwise) from None


def _spelled(local: str) -> str:
    """Quoted only if it has to be. RFC 5321 §4.1.2: a string and its quoted form are the same mailbox."""
    if local.startswith('"'):
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    if _DOT_STRING.fullmatch(local):
        return local
    escaped = re.sub(r'(["\\])', r"\\\1", local)
    return f'"{escaped}"'


def _parameters(text: str) -> dict[str, str | None]:
    if text and not text.startswith(" "):
        raise LmtpError(reply(501, "5.5.4", "A space is wanted between the address and the parameters"))
    found: dict[str, str | None] = {}
    for word in text.split():
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise LmtpError(reply(501, "5.5.4", "Bad parameter: NAME or NAME=value is wanted"))
        name = match["name"].upper()
        if name in found:
            raise LmtpError(reply(501, "5.5.4", f"{name} is given twice"))
        found[name] = match["value"]
    return found


def _size(value: str | None) -> int:
    # RFC 1870 §3: up to twenty digits.
    if value is None or not re.fullmatch(r"[0-9]{1,20}", value):
        raise LmtpError(reply(501, "5.5.4", "SIZE takes a number of octets"))
    return int(value)


def _body(value: str | None) -> Body:
    match (value or "").upper():
        case "7BIT":
            return "7BIT"
        case "8BITMIME":
            return "8BITMIME"
        case _:
            raise LmtpError(reply(501, "5.5.4", "BODY takes 7BIT or 8BITMIME"))


def _unknown(verb: str, name: str) -> Reply:
    # RFC 5321 §4.1.1.11: 555 for parameters that weren't offered. The name is ASCII by the grammar above.
    return reply(555, "5.5.4", f"{verb} takes no parameter {name[:40]}")
