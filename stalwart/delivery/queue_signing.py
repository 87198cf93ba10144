"""Signs what leaves, with the keys of the domain that it says it is from."""

from __future__ import annotations

import re
from collections.abc import Callable

from stalwart.mail import dkim
from stalwart.mail.headers import as_addresses, parse_fields
from stalwart.store import InvalidAddress, Store, dkim_signing_keys
from stalwart.store.addresses import normalise_domain

_HEADER_END = re.compile(rb"\r?\n\r?\n")


class Signer:
    """Gives the header lines to put before a message; works in any thread."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def __call__(self, message: bytes) -> bytes:
        """The signatures; none for a message from a domain without keys. Raises StoreError, InvalidKey."""
        domain = author_domain(message)
        if domain is None:
            return b""
        with self._store.read() as session:
            keys = dkim_signing_keys(session, domain)
        return dkim.sign(message, keys, int(self._clock())) if keys else b""


def author_domain(message: bytes) -> str | None:
    """The domain of the first address in From (A-labels), by whose keys receivers judge. RFC 7489 §3.1"""
    end = _HEADER_END.search(message)
    for field in parse_fields(message[: end.end()] if end else message):
        if field.name.lower() == "from":
            for address in as_addresses(field.raw):
                try:
                    return normalise_domain(address.email.rpartition("@")[2])
                except InvalidAddress:
                    return None
    return None
