"""Apple's configuration profile (.mobileconfig) for one address, as iPhones, iPads and Macs install it."""

from __future__ import annotations

import plistlib
import uuid
from urllib.parse import urlsplit

from stalwart.config import Settings
from stalwart.discovery.services import Service, provider_name, services

CONTENT_TYPE = "application/x-apple-aspen-config"


def mobileconfig(settings: Settings, domain: str, address: str) -> bytes | None:
    """The profile of an address of a domain (as `normalise_address` gives them), not signed.

    None where there is nothing to receive mail by that Apple's Mail speaks, or nothing to send it by. The same address
    and settings give the same octets; another profile for the address replaces the earlier one.
    """
    offered = {service.protocol: service for service in services(settings, domain)}
    incoming, outgoing = offered.get("imap") or offered.get("pop3"), offered.get("smtp")
    if incoming is None or outgoing is None:
        return None
    name = provider_name(settings, domain)
    profile = uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{address}")
    identifier = ".".join(reversed(domain.split("."))) + f".autoconfig.{profile}"
    contents = [_mail(name, address, incoming, outgoing)]
    contents += [_dav(name, address, offered[kind]) for kind in ("caldav", "carddav") if kind in offered]
    for content in contents:
        own = uuid.uuid5(profile, str(content["PayloadType"]))
        content |= {"PayloadUUID": str(own).upper(), "PayloadIdentifier": f"{identifier}.{own}", "PayloadVersion": 1}
    return plistlib.dumps(
        {
            "PayloadType": "Configuration",
            "PayloadVersion": 1,
            "PayloadIdentifier": identifier,
            "PayloadUUID": str(profile).upper(),
            "PayloadDisplayName": f"{name}: {address}",
            "PayloadDescription": f"Sets up {address}. This profile is not signed: install it only if it came to you "
            f"over https from a server of {domain}.",
            "PayloadOrganization": name,
            "PayloadRemovalDisallowed": False,
            "PayloadContent": contents,
        },
        sort_keys=True,
    )


def _mail(name: str, address: str, incoming: Service, outgoing: Service) -> dict[str, object]:
    return {
        "PayloadType": "com.apple.mail.managed",
        "PayloadDisplayName": f"{name}: mail",
        "EmailAccountDescription": name,
        "EmailAccountType": "EmailTypeIMAP" if incoming.protocol == "imap" else "EmailTypePOP",
        "EmailAddress": address,
        "IncomingMailServerAuthentication": "EmailAuthPassword",
        "IncomingMailServerHostName": incoming.host,
        "IncomingMailServerPortNumber": incoming.port,
        "IncomingMailServerUseSSL": True,
        "IncomingMailServerUsername": address,
        "OutgoingMailServerAuthentication": "EmailAuthPassword",
        "OutgoingMailServerHostName": outgoing.host,
        "OutgoingMailServerPortNumber": outgoing.port,
        "OutgoingMailServerUseSSL": True,
        "OutgoingMailServerUsername": address,
        "OutgoingPasswordSameAsIncomingPassword": True,
    }


def _dav(name: str, address: str, service: Service) -> dict[str, object]:
    kind, what = ("CalDAV", "calendars") if service.protocol == "caldav" else ("CardDAV", "contacts")
    return {
        "PayloadType": f"com.apple.{service.protocol}.account",
        "PayloadDisplayName": f"{name}: {what}",
        f"{kind}AccountDescription": name,
        f"{kind}HostName": service.host,
        f"{kind}Port": service.port,
        f"{kind}PrincipalURL": urlsplit(service.url).path or "/",
        f"{kind}UseSSL": True,
        f"{kind}Username": address,
    }
