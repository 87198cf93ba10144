"""What an SMTP client says: the extensions a server offers, and the lines that use them."""

from __future__ import annotations

import base64
import re

import msgspec

from stalwart.delivery.outgoing import Outgoing, OutRecipient
from stalwart.delivery.replies import Reply, reply

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
# RFC 5321 §4.1.2; nothing that ends a path or a line, whoever let it through.
_UNSAFE = re.compile(r"[\x00-\x20\x7f<>\ud800-\udfff]")
_MOST_COMMAND = 512  # RFC 5321 §4.5.3.1.4
_TELLING = 6  # characters of a password that are too much to show
_MOST_ORCPT = 500  # RFC 3461 §4.2
_PARAMETER = re.compile(r"[!-~]+")

NEEDS_8BITMIME = reply(554, "5.6.3", "The message has 8-bit octets, and this server takes only 7-bit ones")
NEEDS_SMTPUTF8 = reply(553, "5.6.7", "This server takes no addresses and header fields with other than ASCII")
BAD_ADDRESS = reply(553, "5.1.3", "This address can't be written in SMTP")
BAD_SENDER = reply(553, "5.1.7", "The sender's address can't be written in SMTP")


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a server offers. `size` is octets, None if it has no limit that it tells; `auth` are mechanisms."""

    name: str = ""
    extensions: frozenset[str] = frozenset()
    size: int | None = None
    auth: frozenset[str] = frozenset()

    def __contains__(self, extension: str) -> bool:
        return extension in self.extensions


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs in. `secret` must not be shown."""

    username: str
    secret: str

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"


def read_offer(answer: Reply) -> Offer:
    """RFC 5321 §4.1.1.1: the answer to EHLO. Lines that are no extension are passed over."""
    extensions = set()
    size = None
    auth: set[str] = set()
    for line in answer.lines[1:]:
        # Old servers write AUTH=LOGIN.
        keyword, *parameters = line.replace("AUTH=", "AUTH ", 1).split()[:32] or [""]
        keyword = keyword.upper()
        if not _KEYWORD.fullmatch(keyword):
            continue
        extensions.add(keyword)
        if keyword == "AUTH":
            auth.update(parameter.upper() for parameter in parameters)
        if keyword == "SIZE" and parameters and parameters[0].isascii() and parameters[0].isdigit():
            # RFC 1870 §4: 0 is no limit.
            size = int(parameters[0][:18]) or None
    name = answer.lines[0].split(" ")[0][:255]
    return Offer(name=name, extensions=frozenset(extensions), size=size, auth=frozenset(auth))


def encoded_address(address: str) -> str:
    """An address as it is sent: the domain in A-labels if the rest is ASCII (RFC 5890 §2.3.2.1). Raises ValueError."""
    local, at, domain = address.rpartition("@")
    if not local or not at or not domain or _UNSAFE.search(domain):
        raise ValueError(address)
    if _UNSAFE.search(local.replace(" ", "") if local.startswith('"') and local.endswith('"') else local):
        raise ValueError(address)
    if local.isascii() and not domain.isascii():
        try:
            return f"{local}@{domain.encode('idna').decode('ascii')}"
        except UnicodeError:
            raise ValueError(address) from None
    return address


def mail_line(outgoing: Outgoing, path: str, offer: Offer, *, utf8: bool) -> bytes:
    """The MAIL command; `path` is the sender's address as it is sent."""
    line = f"MAIL FROM:<{path}>"
    if "SIZE" in offer:
        line += f" SIZE={outgoing.size}"  # RFC 1870 §6
    if outgoing.is_8bit and "8BITMIME" in offer:
        line += " BODY=8BITMIME"  # RFC 6152 §3
    if utf8:
        line += " SMTPUTF8"  # RFC 6531 §3.4
    if "DSN" in offer:
        # RFC 3461 §4.3, §4.4
        line += f" RET={outgoing.ret}" if outgoing.ret else ""
        line += f" ENVID={xtext(outgoing.env_id)}" if outgoing.env_id else ""
    return line.encode() + b"\r\n"


def rcpt_line(recipient: OutRecipient, path: str, offer: Offer) -> bytes:
    """The RCPT command."""
    line = f"RCPT TO:<{path}>"
    if "DSN" in offer:
        # RFC 3461 §4.1, §4.2; a parameter that could break the line, or make it too long, is left out.
        for name, value in (("NOTIFY", recipient.notify), ("ORCPT", _original(recipient.orcpt))):
            line += f" {name}={value}" if value and _PARAMETER.fullmatch(value) else ""
    return line.encode() + b"\r\n"


def _original(orcpt: str | None) -> str | None:
    """ORCPT as it is sent. RFC 6533 §3 has another form for other than ASCII, which isn't sent."""
    if orcpt is None or not orcpt.isascii():
        return None
    kind, semicolon, address = orcpt.partition(";")
    encoded = f"{kind}{semicolon}{xtext(address)}"
    return encoded if len(encoded) <= _MOST_ORCPT else None


def xtext(text: str) -> str:
    """RFC 3461 §4: everything but printable ASCII, and "+" and "=", as +XX."""
    return "".join(
        chr(octet) if 33 <= octet <= 126 and octet not in b"+=" else f"+{octet:02X}" for octet in text.encode()
    )


def base64_line(text: str) -> bytes:
    """An answer of AUTH (RFC 4954 §4)."""
    return _encoded(text).encode() + b"\r\n"


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def without_secret(answer: Reply, credentials: Credentials) -> Reply:
    """An answer, its text hidden if it has a piece of the password, or of what that was sent as, on whatever lines."""
    text = "".join("".join(answer.lines).split()).casefold()
    plain = f"\0{credentials.username}\0{credentials.secret}"
    for form in (_encoded(plain), _encoded(credentials.secret), credentials.secret):
        form = "".join(form.split()).casefold()
        size = min(_TELLING, len(form))
        if size and any(form[start : start + size] in text for start in range(len(form) - size + 1)):
            return msgspec.structs.replace(answer, lines=("[not shown, it repeats the password]",))
    return answer


def auth_lines(credentials: Credentials, offer: Offer) -> tuple[bytes, ...]:
    """What is said in turn, each but the first after a 334; empty if the server has no mechanism of ours."""
    if "PLAIN" in offer.auth:
        # RFC 4616 §2
        response = base64_line(f"\0{credentials.username}\0{credentials.secret}")
        whole = b"AUTH PLAIN " + response
        # RFC 4954 §4: an initial response that makes the line too long is sent after a challenge.
        return (whole,) if len(whole) <= _MOST_COMMAND else (b"AUTH PLAIN\r\n", response)
    if "LOGIN" in offer.auth:
        return b"AUTH LOGIN\r\n", base64_line(credentials.username), base64_line(credentials.secret)
    return ()
