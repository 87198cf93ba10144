"""Thunderbird's config-v1.1.xml, which most other mail clients read too (draft-ietf-mailmaint-autoconfig)."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from stalwart.config import Settings
from stalwart.discovery.services import OAuth, Security, Service, oauth, provider_name, services
from stalwart.discovery.xml import add, document

EMAIL_ADDRESS = "%EMAILADDRESS%"
"""What clients put the user's address in for."""

_SOCKET_TYPES: dict[Security, str] = {"tls": "SSL", "starttls": "STARTTLS"}
_MOST_NAME, _MOST_SHORT_NAME = 60, 20  # characters


def client_config(settings: Settings, domain: str, address: str | None = None) -> bytes | None:
    """The document for a domain (A-labels, lower case); None if nothing is offered that it could tell of.

    With an address (as `normalise_address` gives it) this is the user name, whether the account exists or not;
    without one its placeholder is.
    """
    return _client_config(settings, domain, address or EMAIL_ADDRESS, oauth(settings, domain))


def _client_config(settings: Settings, domain: str, user: str, tokens: OAuth | None) -> bytes | None:
    offered = services(settings, domain)
    if not any(service.protocol in ("jmap", "imap", "pop3") for service in offered):
        return None
    root = Element("clientConfig", {"version": "1.1"})
    provider = add(root, "emailProvider", id=domain)
    name = provider_name(settings, domain)
    add(provider, "domain", domain)
    add(provider, "displayName", name[:_MOST_NAME])
    add(provider, "displayShortName", name[:_MOST_SHORT_NAME])
    # The first that a client knows is taken: what all of them know comes first.
    for service in offered:
        if service.protocol in ("imap", "pop3"):
            _by_host(add(provider, "incomingServer", type=service.protocol), service, user)
    for service in offered:
        if service.protocol == "smtp":
            _by_host(add(provider, "outgoingServer", type="smtp"), service, user)
    for service in offered:
        if service.protocol == "jmap":
            server = add(provider, "incomingServer", type="jmap")
            add(server, "url", service.url)
            if tokens is not None:  # the preferred way comes first; clients pass over those that they can't use
                add(server, "authentication", "OAuth2")
            add(server, "authentication", "basic")
            add(server, "username", user)
    for service in offered:
        if service.protocol in ("caldav", "carddav"):
            element = "calendar" if service.protocol == "caldav" else "addressBook"
            server = add(root, element, type=service.protocol)
            add(server, "username", user)
            # The other server's own: nothing is known of its tokens.
            add(server, "authentication", "http-basic")
            add(server, "serverURL", service.url)
    if tokens is not None:
        block = add(root, "oAuth2")
        add(block, "issuer", tokens.issuer)
        add(block, "scope", " ".join(tokens.scopes))
        add(block, "authURL", tokens.authorization_endpoint)
        add(block, "tokenURL", tokens.token_endpoint)
    add(root, "clientConfigUpdate", url=f"https://autoconfig.{domain}/mail/config-v1.1.xml")
    return document(root)


def _by_host(server: Element, service: Service, user: str) -> None:
    add(server, "hostname", service.host)
    add(server, "port", service.port)
    add(server, "socketType", _SOCKET_TYPES[service.security])
    # Mostly another program's: it knows nothing of this server's tokens.
    add(server, "authentication", "password-cleartext")
    add(server, "username", user)
