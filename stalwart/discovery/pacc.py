"""The document `user-agent-configuration.json` (draft-ietf-mailmaint-pacc), whose digest stands in DNS."""

from __future__ import annotations

import base64
import hashlib

import msgspec

from stalwart.config import Settings
from stalwart.discovery.services import oauth, provider_name, services

_BY_URL = ("jmap", "caldav", "carddav")


def pacc_document(settings: Settings, domain: str) -> bytes:
    """The document of a domain (A-labels, lower case). The same settings give the same octets."""
    protocols = {
        service.protocol: {"url": service.url} if service.protocol in _BY_URL else {"host": service.host}
        for service in services(settings, domain)
    }
    tokens = oauth(settings, domain)
    public = {} if tokens is None else {"oauth-public": {"issuer": tokens.issuer}}
    document = {
        "protocols": protocols,
        "authentication": {**public, "password": True},
        "info": {"provider": {"name": provider_name(settings, domain)}},
    }
    return msgspec.json.encode(document, order="sorted")


def pacc_digest(document: bytes) -> str:
    """What the TXT record at `_ua-auto-config` says of the document."""
    digest = base64.b64encode(hashlib.sha256(document).digest()).decode("ascii")
    return f"v=UAAC1; a=sha256; d={digest}"
