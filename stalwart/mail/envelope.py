"""Addresses of an SMTP envelope: which texts are one (RFC 5321 §4.1.2, RFC 6531 §3.3), and which are the same."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import idna

__all__ = ["is_mailbox", "same_mailbox"]

_ATEXT: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u00a0-\ud7ff\ue000-\U0010ffff]"
_DOT_STRING: Final = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED_STRING: Final = re.compile(r'"(?:[ !#-\[\]-~\u00a0-\ud7ff\ue000-\U0010ffff]|\\[ -~])*"')
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MOST_LOCAL: Final = 64
_MOST_PATH: Final = 254
_MOST_DOMAIN: Final = 253


def is_mailbox(text: str) -> bool:
    """Whether mail could be sent to this address; that anybody reads it is not asked."""
    local, at, domain = text.rpartition("@")
    if not at or _octets(local) > _MOST_LOCAL or _octets(text) > _MOST_PATH:  # RFC 5321 §4.5.3.1
        return False
    if not (_DOT_STRING.fullmatch(local) or _QUOTED_STRING.fullmatch(local)):
        return False
    return _is_literal(domain) if domain.startswith("[") else _is_domain(domain)


def same_mailbox(text: str) -> tuple[str, str]:
    """What is equal for two writings of one mailbox. RFC 5321 §2.4: only the domain is without case."""
    local, _, domain = text.rpartition("@")
    return local, domain.lower()


def _octets(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _is_domain(name: str) -> bool:
    name = name.lower()
    if not name.isascii() or "xn--" in name:
        try:
            name = idna.encode(name, uts46=True).decode("ascii")  # RFC 5891
        except (idna.IDNAError, UnicodeError):
            return False
    return len(name) <= _MOST_DOMAIN and all(_LABEL.fullmatch(label) for label in name.split("."))


def _is_literal(text: str) -> bool:
    # RFC 5321 §4.1.3
    inside = text.removeprefix("[").removesuffix("]")
    if len(inside) != len(text) - 2:
        return False
    try:
        if inside[:5].lower() == "ipv6:":
            ipaddress.IPv6Address(inside[5:])
            return "%" not in inside
        ipaddress.IPv4Address(inside)
    except ValueError:
        return False
    return True
