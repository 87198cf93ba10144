"""Names as a CA wants them: A-labels (RFC 8555 §7.1.4) and IP addresses (RFC 8738 §3)."""

from __future__ import annotations

import ipaddress
import re

import idna

from stalwart.tls.acme.errors import BAD_NAME, AcmeError
from stalwart.tls.acme.resources import Identifier

_LONGEST_NAME = 253
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


def identifier(name: str) -> Identifier:
    """What to order for a host name, one with letters of any script, or an IP address. Raises AcmeError.

    A leading `*.` is kept (RFC 8555 §7.1.3): whether a challenge for such a name can be answered is not known here.
    """
    try:
        return Identifier(type="ip", value=_address(name))
    except ValueError:
        return Identifier(type="dns", value=_host(name))


def _address(name: str) -> str:
    """RFC 8738 §3: the text of RFC 5952. Raises ValueError."""
    address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise ValueError("an address with a zone is no address elsewhere")
    return str(address)


def _host(name: str) -> str:
    wildcard = "*." if name.startswith("*.") else ""
    host = name.removeprefix("*.").removesuffix(".").lower()
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise AcmeError(BAD_NAME, f"{name!r} is no name for a certificate", str(error)) from error
    labels = host.split(".")
    if len(host) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise AcmeError(BAD_NAME, f"{name!r} is no name for a certificate", "a host name or an IP address was wanted")
    return wildcard + host
