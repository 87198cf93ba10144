"""A domain with its settings, keys and certificate, and zones that are asked without a network."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import Any

import dns.rdatatype
import dns.zonefile
from cryptography import x509

from stalwart.config import Settings
from stalwart.store import DkimKeyRow
from stalwart.zone import Answer, ServedCertificate, Unknown, Wanted, wanted_records
from stalwart.zone.values import Address, Alias, Caa, Mx, RecordType, Srv, Tlsa, Txt, Value
from tests.config.support import load_text

DOMAIN = "example.org"
HOST = "mail.example.org"
NOW = 1_900_000_000
DAY = 86_400

CONFIG = """\
[server]
hostname = "mail.example.org"
[server.listener.http]
protocol = "http"
bind = "127.0.0.1:0"
[autoconfig.default.imap]
host = "mail.example.org"
[autoconfig.default.smtp]
host = "smtp.example.org"
security = "starttls"
"""

ACME = """\
[acme.le]
domains = ["mail.example.org"]
contact = ["postmaster@example.org"]
agree-to-terms = true
"""

ADDRESSES = """\
mail.example.org. 3600 IN A 192.0.2.1
mail.example.org. 3600 IN AAAA 2001:db8::1
smtp.example.org. 3600 IN A 192.0.2.2
"""

# A certificate of mail.example.org, and the SHA-256 of its key.
CERTIFICATE = b"""\
-----BEGIN CERTIFICATE-----
MIIBejCCASCgAwIBAgIURhKVjEvtm/3pClJqa23gE8AZYWcwCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQbWFpbC5leGFtcGxlLm9yZzAeFw0yOTEyMzEwMDAwMDBaFw0z
MTAyMDIwMDAwMDBaMBsxGTAXBgNVBAMMEG1haWwuZXhhbXBsZS5vcmcwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAAQzlMtTtpZS0MKRAliGv/toHXX4QU+S9L9QCe2e
glj4vFyAHqgyLbGk/cWAW4U2HDTckNP+5TE86ZU8iqKIP7qyo0IwQDAbBgNVHREE
FDASghBtYWlsLmV4YW1wbGUub3JnMAwGA1UdEwEB/wQCMAAwEwYDVR0lBAwwCgYI
KwYBBQUHAwEwCgYIKoZIzj0EAwIDSAAwRQIgYpLFVul8A1UkBvR0/FBYIqZzSTnF
XAhzE6gcP9aNrBoCIQCEhcMQVrHEk2iq0vqxV/S1NXZjS9eoP/U/1VhyAcUmyg==
-----END CERTIFICATE-----
"""
KEY_DIGEST = "f35d2a4a0f60a2cf7cd37104b2b6a81c7944f6442352c31206665db877c8ace8"


def key(selector: str, octets: bytes, *, signs_from: int = NOW - 9 * DAY, signs_until: int | None = None) -> DkimKeyRow:
    """A key of the domain; `rsa` in the selector makes it one of RSA."""
    return DkimKeyRow(
        domain=DOMAIN,
        selector=selector,
        algorithm="rsa-sha256" if "rsa" in selector else "ed25519-sha256",
        public_key=octets,
        created_at=signs_from,
        signs_from=signs_from,
        signs_until=signs_until,
    )


KEYS = (key("20300101-rsa", bytes(range(256)) + bytes(38)), key("20300101-ed25519", bytes(range(32))))


def settings(more: str = ACME) -> Settings:
    """The settings with further ones."""
    return load_text(CONFIG + more)


def certificate(*, renewed: bool = False) -> ServedCertificate:
    """The certificate as it is served."""
    return ServedCertificate(certificate=x509.load_pem_x509_certificate(CERTIFICATE), names=(HOST,), renewed=renewed)


def wanted(more: str = ACME, *, keys: Iterable[DkimKeyRow] = KEYS, domain: str = DOMAIN) -> Wanted:
    """The records of the domain."""
    return wanted_records(settings(more), domain, tuple(keys), (certificate(renewed=True),), NOW)


class Zones:
    """Implements `Asks` over records in the form of a zone file; of some names nothing can be found out."""

    def __init__(self, text: str, *, failing: Collection[str] = (), secure: bool = False) -> None:
        self.failing = failing
        self.secure = secure
        self._records: dict[tuple[str, str], list[Value]] = {}
        for found in dns.zonefile.read_rrsets(text, rdclass=None):
            kind = dns.rdatatype.to_text(found.rdtype)
            values = self._records.setdefault((_host(found.name), kind), [])
            values += map(_value, found)

    async def __call__(self, name: str, kind: RecordType) -> Answer:
        """See `Asks`."""
        aliases: list[str] = []
        at = name
        while True:
            if at in self.failing:
                raise Unknown(f"the DNS server says SERVFAIL (2) for {at}")
            alias = self._records.get((at, "CNAME"))
            if not alias or kind == "CNAME":
                break
            assert isinstance(alias[0], Alias)
            at = alias[0].host
            aliases.append(at)
        values = self._records.get((at, kind), [])
        exists = any(owner == at for owner, _ in self._records)
        return Answer(values=tuple(values), exists=exists, aliases=tuple(aliases), secure=self.secure)


def _host(name: Any) -> str:
    return str(name).lower().rstrip(".")


def _value(data: Any) -> Value:
    match dns.rdatatype.to_text(data.rdtype):
        case "A" | "AAAA":
            return Address(ip_address(data.address))
        case "CNAME":
            return Alias(_host(data.target))
        case "MX":
            return Mx(data.preference, _host(data.exchange))
        case "SRV":
            return Srv(data.priority, data.weight, data.port, _host(data.target))
        case "TLSA":
            return Tlsa(data.usage, data.selector, data.mtype, data.cert)
        case "CAA":
            return Caa(data.flags, data.tag.decode("ascii"), data.value.decode("ascii", "surrogateescape"))
        case "TXT":
            return Txt(b"".join(data.strings).decode("ascii", "surrogateescape"))
    raise AssertionError(data)


def in_base64(octets: bytes) -> str:
    """As a key's record has it."""
    return base64.b64encode(octets).decode("ascii")
