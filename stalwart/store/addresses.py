"""Addresses and domains in the one form in which they are stored and compared."""

from __future__ import annotations

import re
import unicodedata

import idna

from stalwart.mail.normal import normalized
from stalwart.store.errors import InvalidAddress

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# RFC 5322 §3.2.3 dot-atom, with RFC 6531 §3.3's letters beyond ASCII.
_LOCAL = re.compile(
    r"[a-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+)*"
)
_QUOTED_PAIR = re.compile(r"\\(.)")


def normalise_domain(text: str) -> str:
    """A domain name in lower-case A-labels. Raises InvalidAddress."""
    name = text.strip().removesuffix(".").lower()
    if not name.isascii() or "xn--" in name:
        try:
            name = idna.encode(name, uts46=True).decode("ascii")  # RFC 5891, mapped as UTS 46 says
        except (idna.IDNAError, UnicodeError) as error:
            raise InvalidAddress(f"{text!r} is not a domain name: {error}") from None
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidAddress(
            f"{text!r} is not a domain name: wanted labels of letters, digits and hyphens, such as example.org"
        )
    return name


def normalise_address(text: str) -> str:
    """An address with its local part in NFC and lower case, and its domain normalised. Raises InvalidAddress."""
    local, at, domain = text.strip().rpartition("@")
    if not at or not local:
        raise InvalidAddress(f"{text!r} is not an address: wanted user@domain")
    if len(local) > 1 and local[0] == local[-1] == '"':  # RFC 5321 §4.1.2: "bob"@ is the same as bob@
        local = _QUOTED_PAIR.sub(r"\1", local[1:-1])
    local = normalized("NFC", normalized("NFC", local).lower())
    if not _LOCAL.fullmatch(local) or any(unicodedata.category(c)[0] in "CZ" for c in local if c > "\x7f"):
        raise InvalidAddress(f"{text!r} is not an address this server can use: the part before @ has odd characters")
    if len(local.encode("utf-8", "replace")) > 64:  # RFC 5321 §4.5.3.1.1
        raise InvalidAddress(f"{text!r} is not an address: the part before @ is longer than 64 octets")
    return f"{local}@{normalise_domain(domain)}"


def without_tag(address: str) -> str | None:
    """`user@domain` for a normalised `user+tag@domain`; None if there is no tag."""
    local, _, domain = address.rpartition("@")
    user, plus, _ = local.partition("+")
    return f"{user}@{domain}" if plus and user else None
