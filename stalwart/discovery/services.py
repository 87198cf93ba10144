"""The services of a domain as settings tell them; every document and every DNS record is made of these values."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from stalwart.config import Autoconfig, MailService, Settings

DEFAULT_DOMAIN = "default"

ServiceProtocol = Literal["jmap", "imap", "pop3", "smtp", "caldav", "carddav"]
Security = Literal["tls", "starttls"]

_PORTS: dict[tuple[str, Security], int] = {
    ("imap", "tls"): 993,
    ("imap", "starttls"): 143,
    ("pop3", "tls"): 995,
    ("pop3", "starttls"): 110,
    # RFC 8314 §3.3: submission over implicit TLS.
    ("smtp", "tls"): 465,
    ("smtp", "starttls"): 587,
}
_HTTPS_PORT = 443
# An expression that is a text and nothing else.
_PLAIN_URL = re.compile(r"""(?P<quote>['"])(?P<url>https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?)/?(?P=quote)""")


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One way to reach a domain's mail, calendars or contacts.

    `smtp` is submission; `jmap`, `caldav` and `carddav` are https, and `url` is where they begin ('' for the others).
    """

    protocol: ServiceProtocol
    host: str
    port: int
    security: Security
    url: str = ""


class OAuth(msgspec.Struct, frozen=True, kw_only=True):
    """Where clients get tokens: the issuer (RFC 8414 §2), two of its endpoints, and the scopes to ask for."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    scopes: tuple[str, ...]


def is_address(host: str) -> bool:
    """Whether a host is given by its IP address, which clients can go to, and DNS records can't name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def autoconfig_of(settings: Settings, domain: str) -> Autoconfig:
    """The settings that hold for a domain (A-labels, lower case): its own, else those of `default`."""
    for name in (domain, DEFAULT_DOMAIN):
        for entry in settings.autoconfig:
            if entry.id == name:
                return entry
    return Autoconfig(id=DEFAULT_DOMAIN)


def provider_name(settings: Settings, domain: str) -> str:
    """What clients call the provider of a domain."""
    return autoconfig_of(settings, domain).name or domain


def services(settings: Settings, domain: str) -> tuple[Service, ...]:
    """What is offered to users of a domain (A-labels, lower case), always in the same order."""
    told = autoconfig_of(settings, domain)
    found: list[Service] = []
    if told.jmap.enabled:
        found.append(_by_url("jmap", f"{base_url(settings, domain)}/jmap/session"))
    mail: tuple[tuple[ServiceProtocol, MailService], ...] = (
        ("imap", told.imap),
        ("pop3", told.pop3),
        ("smtp", told.smtp),
    )
    for protocol, service in mail:
        if service.host is not None:
            port = service.port or _PORTS[protocol, service.security]
            found.append(Service(protocol=protocol, host=service.host, port=port, security=service.security))
    web: tuple[tuple[ServiceProtocol, str | None], ...] = (("caldav", told.caldav.url), ("carddav", told.carddav.url))
    found += [_by_url(protocol, url) for protocol, url in web if url is not None]
    return tuple(found)


def _by_url(protocol: ServiceProtocol, url: str) -> Service:
    parts = urlsplit(url)
    assert parts.hostname is not None
    return Service(protocol=protocol, host=parts.hostname, port=parts.port or _HTTPS_PORT, security="tls", url=url)


def base_url(settings: Settings, domain: str) -> str:
    """Where this server's https begins for users of a domain, without a slash at the end.

    From settings alone, never from a request: the digest of a document that has it stands in DNS. It is what
    `autoconfig.<domain>.jmap.host` says, else `http.url` if that is the same for all requests, else `server.hostname`.
    """
    told = autoconfig_of(settings, domain).jmap
    port = "" if told.port == _HTTPS_PORT else f":{told.port}"
    rule = settings.http.url
    if told.host is None and rule is not None and not rule.clauses:
        plain = _PLAIN_URL.fullmatch(rule.otherwise.text.strip())
        if plain is not None:
            return plain["url"].lower()
    return f"https://{told.host or settings.hostname}{port}"


def oauth(settings: Settings, domain: str) -> OAuth | None:
    """What documents tell of OAuth; None while this server serves none of it.

    The one place that says so: where the endpoints are served, this is an `OAuth` over `base_url(settings, domain)`.
    """
    return None
