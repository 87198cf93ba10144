"""A certificate that another ACME client has got is taken over, if everything about it fits."""

from __future__ import annotations

import time

import msgspec
from cryptography import x509

from stalwart.tls.acme.folder import StoreFolder
from stalwart.tls.acme.pair import BadPair, read_pair
from stalwart.tls.acme.policy import NameState


class BadImport(Exception):
    """It can't be taken over; the text says why, and what to do."""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken over: until when it is valid (unix seconds), and what is odd with it."""

    not_after: float
    warnings: tuple[str, ...] = ()


def import_certificate(folder: StoreFolder, name: str, chain_pem: bytes, key_pem: bytes, *, now: float) -> Imported:
    """Write a certificate for `name` (A-labels or an IP address) into a store. Raises BadImport, OSError."""
    try:
        pair = read_pair(name, chain_pem + b"\n" + key_pem)
    except BadPair as error:
        raise BadImport(str(error)) from None
    validity = pair.validity
    if validity.not_after <= now:
        raise BadImport(f"the certificate expired at {_when(validity.not_after)}")
    if validity.not_before > now:
        when = _when(validity.not_before)
        raise BadImport(f"the certificate is valid only from {when} on: is this machine's clock right?")
    folder.prepare()
    folder.write(name, pair.chain_pem, pair.key_pem)
    # What failed before doesn't count for this one, nor does it come from a directory that we know.
    folder.write_states({**folder.states(), name: NameState()})
    chain = x509.load_pem_x509_certificates(pair.chain_pem)
    alone = len(chain) == 1 and chain[0].issuer != chain[0].subject
    warning = "the file has no chain: clients may not find the way to the authority that they trust"
    return Imported(not_after=validity.not_after, warnings=(warning,) if alone else ())


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
