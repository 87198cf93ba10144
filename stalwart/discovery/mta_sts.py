"""The MTA-STS policy of a domain (RFC 8461 §3.2)."""

from __future__ import annotations

import hashlib

from cryptography import x509

from stalwart.config import MtaSts, Settings
from stalwart.config.pem import read_chain
from stalwart.discovery.services import is_address

_NOT_MX = ("mta-sts.", "autoconfig.", "autodiscover.", "ua-auto-config.", "*.")


def mta_sts_policy(settings: Settings, domain: str) -> tuple[bytes, str] | None:
    """The policy and its id (RFC 8461 §3.1: for `_mta-sts`) of a domain in A-labels; None if it has none.

    The id is made from the policy: another policy has another id.
    """
    told = mta_sts_of(settings, domain)
    if told.mode == "disable":
        return None
    lines = ["version: STSv1", f"mode: {told.mode}", f"max_age: {int(told.max_age)}"]
    if told.mode != "none":
        lines += [f"mx: {name}" for name in sorted(set(told.mx or _default_names(settings)))]
    body = "".join(f"{line}\r\n" for line in lines).encode("ascii")
    return body, hashlib.sha256(body).hexdigest()[:32]


def mta_sts_of(settings: Settings, domain: str) -> MtaSts:
    """The settings that hold for a domain."""
    return next((entry for entry in settings.mta_sts_domains if entry.id == domain), settings.mta_sts)


def _default_names(settings: Settings) -> list[str]:
    """This host, whose MX record `stalwart dns` asks for, and all names of certificates: in files, and from CAs."""
    names = [settings.hostname]
    for certificate in settings.certificates:
        first = read_chain(certificate.cert)[0]
        try:
            extension = first.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except (x509.ExtensionNotFound, ValueError):
            continue  # no names, or none that can be read
        names += [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)]
    for provider in settings.acme:
        names += provider.domains
    return [name for name in names if not name.startswith(_NOT_MX) and not is_address(name)] or [settings.hostname]
