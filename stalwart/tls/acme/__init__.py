"""Certificates from a CA that speaks ACME (RFC 8555)."""

from __future__ import annotations

from stalwart.tls.acme.ari import certificate_id
from stalwart.tls.acme.client import AcmeClient
from stalwart.tls.acme.errors import AcmeError, Subproblem
from stalwart.tls.acme.identifiers import identifier
from stalwart.tls.acme.jws import ExternalAccount, key_authorization, thumbprint
from stalwart.tls.acme.resources import Authorization, Challenge, Order, RenewalInfo, SuggestedWindow
from stalwart.tls.acme.transport import checked_agent

__all__ = [
    "AcmeClient",
    "AcmeError",
    "Authorization",
    "Challenge",
    "ExternalAccount",
    "Order",
    "RenewalInfo",
    "Subproblem",
    "SuggestedWindow",
    "certificate_id",
    "checked_agent",
    "identifier",
    "key_authorization",
    "thumbprint",
]
