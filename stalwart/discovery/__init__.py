"""What clients and other servers are told of a domain's services: one set of values, and a document for each format.

Pure: from settings to octets. `stalwart.web` serves the documents; `stalwart dns` writes the same values as records.
"""

from __future__ import annotations

from stalwart.discovery.mta_sts import mta_sts_policy
from stalwart.discovery.pacc import pacc_digest, pacc_document
from stalwart.discovery.services import OAuth, Service, base_url, oauth, services

__all__ = ["OAuth", "Service", "base_url", "mta_sts_policy", "oauth", "pacc_digest", "pacc_document", "services"]
