"""Which records a domain is to have, from the settings, its DKIM keys and the certificates that are served."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from stalwart.config import Settings
from stalwart.discovery import mta_sts_policy, pacc_digest, pacc_document, services
from stalwart.discovery.mta_sts import mta_sts_of
from stalwart.discovery.services import Security, ServiceProtocol, is_address
from stalwart.mail.dkim import record_name, record_value
from stalwart.store import RECORD_SECONDS, DkimKeyRow
from stalwart.zone.record import Record, Wanted, in_zone
from stalwart.zone.values import Alias, Caa, Mx, Srv, Tlsa, Txt

# RFC 6186 §3, RFC 8314 §5.1, RFC 8620 §2.2, RFC 6764 §3: the names by protocol and security.
_SERVICES: dict[tuple[ServiceProtocol, Security], tuple[str, str]] = {
    ("jmap", "tls"): ("_jmap", "JMAP"),
    ("imap", "tls"): ("_imaps", "IMAP over TLS"),
    ("imap", "starttls"): ("_imap", "IMAP with STARTTLS"),
    ("pop3", "tls"): ("_pop3s", "POP3 over TLS"),
    ("pop3", "starttls"): ("_pop3", "POP3 with STARTTLS"),
    ("smtp", "tls"): ("_submissions", "submission over TLS"),
    ("smtp", "starttls"): ("_submission", "submission with STARTTLS"),
    ("caldav", "tls"): ("_caldavs", "CalDAV"),
    ("carddav", "tls"): ("_carddavs", "CardDAV"),
}

# RFC 8659 §4.2: the domain by which a CA calls itself, by the host of its ACME directory.
_AUTHORITIES = {
    "acme-v02.api.letsencrypt.org": "letsencrypt.org",
    "acme-staging-v02.api.letsencrypt.org": "letsencrypt.org",
    "dv.acme-v02.api.pki.goog": "pki.goog",
    "dv.acme-v02.test-api.pki.goog": "pki.goog",
    "acme.zerossl.com": "sectigo.com",
    "acme.ssl.com": "ssl.com",
}

WEB_NAMES = ("autoconfig", "autodiscover", "mta-sts", "ua-auto-config")
"""The names below a domain that clients and servers ask for by https."""


class ServedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that is served. `renewed`: it is replaced by itself, and its key with it."""

    certificate: x509.Certificate
    names: tuple[str, ...]
    renewed: bool


def mx_hosts(settings: Settings, domain: str) -> tuple[str, ...]:
    """The hosts that take the domain's mail: those of the MTA-STS settings, else this machine."""
    told = mta_sts_of(settings, domain).mx
    return tuple(host for host in told if not host.startswith("*.")) or (settings.hostname,)


def jmap_place(settings: Settings, domain: str) -> tuple[str, int] | None:
    """The host and port where JMAP is offered; None if the settings say that clients aren't told of it."""
    return next(((each.host, each.port) for each in services(settings, domain) if each.protocol == "jmap"), None)


def foreign_relay(settings: Settings) -> str | None:
    """The host of another machine that all mail leaves by; None if it leaves from this one."""
    host = settings.relay.host
    if host is None or host in ("localhost", settings.hostname):
        return None
    try:
        return None if ip_address(host).is_loopback else host
    except ValueError:
        return host


def wanted_records(
    settings: Settings,
    domain: str,
    keys: Sequence[DkimKeyRow],
    certificates: Sequence[ServedCertificate],
    now: float,
) -> Wanted:
    """The records of a domain in lower-case A-labels. `now` is in unix seconds."""
    hosts = mx_hosts(settings, domain)
    caa, notes = _caa(settings, domain, certificates)
    records = [
        *_mx(domain, hosts),
        *_spf(settings, domain, hosts),
        *_dkim(domain, keys, now),
        *_reports(settings, domain),
        *_services(settings, domain),
        *_names(settings, domain),
        *caa,
        *_tlsa(hosts, certificates),
    ]
    addressed = dict.fromkeys((settings.hostname, *hosts))
    own = [host for host in addressed if in_zone(host, domain)]
    if own:
        notes = (f"not told here: the A and AAAA records of {', '.join(own)}, its public addresses", *notes)
    numbers = dict.fromkeys(service.host for service in services(settings, domain) if is_address(service.host))
    if numbers:
        notes = (*notes, f"no SRV records for {', '.join(numbers)}: they name hosts, not addresses")
    if {"imap", "pop3", "smtp"}.isdisjoint(service.protocol for service in services(settings, domain)):
        notes = (*notes, "if other programs offer IMAP, POP3 or submission, tell that in autoconfig.<domain> first")
    if not any(record.check == "DKIM" for record in records):
        notes = (*notes, f"no DKIM keys yet: `stalwart dkim create {domain}` makes them")
    return Wanted(domain=domain, records=tuple(records), notes=notes)


def _mx(domain: str, hosts: Sequence[str]) -> Iterator[Record]:
    for number, host in enumerate(hosts, 1):
        yield Record(
            check="MX",
            name=domain,
            data=Mx(10 * number, host),
            why=f"Other servers bring mail for {domain} to this host.",
        )


def _spf(settings: Settings, domain: str, hosts: Sequence[str]) -> Iterator[Record]:
    host, relay = settings.hostname, foreign_relay(settings)
    if relay is not None:
        try:
            mechanism = f"ip{ip_address(relay).version}:{relay}"
        except ValueError:
            mechanism = f"a:{relay}"
        value = f"v=spf1 mx {mechanism} ~all"
        why = (
            f"It names who sends mail of {domain}; if the provider of {relay} tells an include:, put that in its place."
        )
    else:
        value = "v=spf1 mx -all" if host in hosts else f"v=spf1 mx a:{host} -all"
        why = f"It names who sends mail of {domain}: mail from all others is forged."
    yield Record(check="SPF", name=domain, data=Txt(value), why=why)
    if host != domain and relay is None:
        yield Record(
            check="SPF of the host",
            name=host,
            data=Txt("v=spf1 a -all"),
            why="Bounces have no sender, so that receivers look at the name that this machine greets with.",
            required=False,
        )


def _dkim(domain: str, keys: Sequence[DkimKeyRow], now: float) -> Iterator[Record]:
    for key in keys:
        ended = key.signs_until is not None and key.signs_until <= now
        if key.signs_until is not None and ended:
            if key.signs_from >= key.signs_until or key.signs_until + RECORD_SECONDS <= now:
                continue
            why = "This former key signed mail that may still be under way; the record may go a week after its end."
        elif key.signs_from > now:
            why = "This key will sign soon, and receivers have to know it before."
        else:
            why = "With this key receivers verify that mail is from here and unchanged."
        yield Record(
            check="DKIM",
            name=record_name(domain, key.selector),
            data=Txt(record_value(key.algorithm, key.public_key)),
            why=why,
            required=not ended,
        )


def _reports(settings: Settings, domain: str) -> Iterator[Record]:
    yield Record(
        check="DMARC",
        name=f"_dmarc.{domain}",
        data=Txt(f"v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}"),
        why=f"It tells receivers what to do with mail that only claims to be from {domain}, and where to report.",
    )
    policy = mta_sts_policy(settings, domain)
    if policy is not None:
        yield Record(
            check="MTA-STS",
            name=f"_mta-sts.{domain}",
            data=Txt(f"v=STSv1; id={policy[1]}"),
            why="Servers that see a new id fetch the policy that has them deliver over checked TLS only.",
        )
        yield _alias(settings, domain, "mta-sts", "MTA-STS host", "Servers fetch the MTA-STS policy there.")
    yield Record(
        check="TLS-RPT",
        name=f"_smtp._tls.{domain}",
        data=Txt(f"v=TLSRPTv1; rua=mailto:postmaster@{domain}"),
        why="Servers that could not deliver over TLS report it to this address.",
    )


def _services(settings: Settings, domain: str) -> Iterator[Record]:
    offered = {(service.protocol, service.security): service for service in services(settings, domain)}
    for place, (label, title) in _SERVICES.items():
        service = offered.get(place)
        if service is not None and is_address(service.host):
            continue
        if service is None:
            data = Srv(0, 0, 0, "")  # RFC 6186 §3.4, RFC 2782: a service that decidedly is not there
            why = f"It tells clients not to look for {title}, which isn't offered."
        else:
            data = Srv(0, 1, service.port, service.host)
            why = f"Clients that know only an address find {title} by it."
        name = f"{label}._tcp.{domain}"
        yield Record(check="SRV", name=name, data=data, why=why, required=service is not None)


def _names(settings: Settings, domain: str) -> Iterator[Record]:
    yield _alias(settings, domain, "autoconfig", "autoconfig", "Thunderbird asks there how to set itself up.")
    yield _alias(settings, domain, "autodiscover", "autodiscover", "Outlook asks there how to set itself up.")
    place = jmap_place(settings, domain)
    yield Record(
        check="SRV",
        name=f"_autodiscover._tcp.{domain}",
        data=Srv(0, 1, 443 if place is None else place[1], _web_host(settings, domain)),
        why="Outlook looks here if autodiscover leads nowhere.",
        required=False,
    )
    yield _alias(settings, domain, "ua-auto-config", "PACC host", "Clients that know PACC fetch their settings there.")
    yield Record(
        check="PACC",
        name=f"_ua-auto-config.{domain}",
        data=Txt(pacc_digest(pacc_document(settings, domain))),
        why="Clients compare the settings that they fetched with this digest; it changes with them.",
        required=False,
    )


def _alias(settings: Settings, domain: str, label: str, check: str, why: str) -> Record:
    return Record(
        check=check,
        name=f"{label}.{domain}",
        data=Alias(_web_host(settings, domain)),
        why=why,
        required=label != "ua-auto-config",
    )


def _web_host(settings: Settings, domain: str) -> str:
    """The name under which this server is reached by https."""
    place = jmap_place(settings, domain)
    return settings.hostname if place is None else place[0]


def _caa(
    settings: Settings, domain: str, certificates: Sequence[ServedCertificate]
) -> tuple[list[Record], tuple[str, ...]]:
    providers = [each for each in settings.acme if any(in_zone(name, domain) for name in each.domains)]
    foreign = [each for each in certificates if not each.renewed and any(in_zone(name, domain) for name in each.names)]
    if foreign and providers:
        return [], (f"no CAA record: names of {domain} have certificates that acme.<id> doesn't order",)
    authorities = {}
    for provider in providers:
        host = urlsplit(provider.directory).hostname or ""
        if host not in _AUTHORITIES:
            return [], (
                f"no CAA record: the CA of acme.{provider.id} tells its name as caaIdentities in its directory",
            )
        authorities[_AUTHORITIES[host]] = provider.id
    records = [
        Record(
            check="CAA",
            name=domain,
            data=Caa(0, "issue", authority),
            why="Only this CA may issue certificates; with `; accounturi=URL` after its name, only to your account.",
            required=False,
        )
        for authority in authorities
    ]
    return records, ()


def _tlsa(hosts: Sequence[str], certificates: Sequence[ServedCertificate]) -> Iterator[Record]:
    for host in hosts:
        for served in certificates:
            if not any(_covers(name, host) for name in served.names):
                continue
            key = served.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            caution = (
                "each renewal brings a new one, whose record has to be there a TTL before"
                if served.renewed
                else "publish the next one's record a TTL before the certificate is changed"
            )
            yield Record(
                check="TLSA",
                name=f"_25._tcp.{host}",
                data=Tlsa(3, 1, 1, hashlib.sha256(key).digest()),  # RFC 7672 §3.1.1
                why="If the zone is signed, and the SMTP server shows this certificate, servers that use DANE"
                f" take no other key: {caution}.",
                required=False,
                only_signed=True,
            )


def _covers(pattern: str, host: str) -> bool:
    # RFC 6125 §6.4.3
    return pattern == host or (pattern.startswith("*.") and host.partition(".")[2] == pattern[2:])
