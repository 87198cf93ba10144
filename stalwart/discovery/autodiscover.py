"""Outlook's Autodiscover: the XML of version 1 ([MS-OXDSCLI]), and the JSON of version 2 ([MS-OXDISCO])."""

from __future__ import annotations

import datetime
import uuid
import zlib
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

import msgspec
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from stalwart.config import Settings
from stalwart.discovery.services import Security, base_url, services
from stalwart.discovery.xml import add, document

MOST_OCTETS = 8192
"""What a request may have."""

_ANSWER = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
_OUTLOOK = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
_TYPES = {"imap": "IMAP", "pop3": "POP3", "smtp": "SMTP"}
_ENCRYPTION: dict[Security, str] = {"tls": "SSL", "starttls": "TLS"}


class BadRequest(Exception):
    """The request can't be answered. `code` is Autodiscover's ErrorCode, the message is for the client."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def invalid_request() -> BadRequest:
    """What isn't a request for the settings of an address."""
    return BadRequest(600, "Invalid Request")


def unknown_address() -> BadRequest:
    """The address' domain isn't one of this server; nothing is said of single addresses."""
    return BadRequest(500, "The email address can't be found.")


def no_services() -> BadRequest:
    """Outlook speaks nothing that is offered."""
    return BadRequest(601, "Provider is not available")


def read_request(body: bytes) -> str:
    """The address that a request asks about, as it stands there. Raises BadRequest.

    Names are compared without their case and namespace. A DTD is refused, and with it all entities.
    """
    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:  # of encodings, the last two
        raise invalid_request() from error
    if _name(root) != "autodiscover":
        raise invalid_request()
    request = next(_children(root, "request"), None)
    if request is None:
        raise invalid_request()
    schemas = [(each.text or "").strip() for each in _children(request, "acceptableresponseschema")]
    if schemas and _OUTLOOK not in schemas:
        raise no_services()
    address = next(((each.text or "").strip() for each in _children(request, "emailaddress")), "")
    if "@" not in address:
        raise invalid_request()
    return address


def _children(parent: Element, name: str) -> Iterator[Element]:
    return (child for child in parent if _name(child) == name)


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2].lower()


def account_settings(settings: Settings, domain: str, address: str) -> bytes:
    """The answer for an address of a domain (as `normalise_address` gives them).

    Raises BadRequest if there is nothing that Outlook speaks.
    """
    offered = [service for service in services(settings, domain) if service.protocol in _TYPES]
    if not offered:
        raise no_services()
    root = Element("Autodiscover", {"xmlns": _ANSWER})
    response = add(root, "Response", xmlns=_OUTLOOK)
    user = add(response, "User")
    add(user, "DisplayName", address)
    add(user, "AutoDiscoverSMTPAddress", address)
    add(user, "DeploymentId", str(uuid.uuid5(uuid.NAMESPACE_DNS, settings.hostname)))
    account = add(response, "Account")
    add(account, "AccountType", "email")
    add(account, "Action", "settings")
    for service in offered:
        protocol = add(account, "Protocol")
        add(protocol, "Type", _TYPES[service.protocol])
        add(protocol, "Server", service.host)
        add(protocol, "Port", service.port)
        add(protocol, "LoginName", address)
        add(protocol, "DomainRequired", "off")
        add(protocol, "SPA", "off")
        add(protocol, "SSL", "on")
        # Goes before SSL, where Outlook knows it: TLS is STARTTLS here.
        add(protocol, "Encryption", _ENCRYPTION[service.security])
        add(protocol, "AuthRequired", "on")
    return document(root)


def error_answer(error: BadRequest, hostname: str, now: float) -> bytes:
    """The answer that tells of an error; `now` is in seconds since 1970."""
    root = Element("Autodiscover", {"xmlns": _ANSWER})
    time = datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%H:%M:%S.%f")
    fault = add(add(root, "Response"), "Error", Time=time, Id=str(zlib.crc32(hostname.encode("utf-8"))))
    add(fault, "ErrorCode", error.code)
    add(fault, "Message", str(error))
    add(fault, "DebugData")
    return document(root)


def version_2(settings: Settings, domain: str) -> bytes:
    """Where version 1 is, for those who begin with version 2."""
    url = f"{base_url(settings, domain)}/autodiscover/autodiscover.xml"
    return msgspec.json.encode({"Protocol": "AutodiscoverV1", "Url": url})


def version_2_error(code: str, message: str) -> bytes:
    """A refusal in the form of version 2."""
    return msgspec.json.encode({"ErrorCode": code, "ErrorMessage": message})
